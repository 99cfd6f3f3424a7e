"""gpubp: neural networks by explicit backpropagation, written once, on CPU and GPU.

>>> import gpubp
>>> gpubp.MLP([128, 64], 10).activation
'relu'
"""

from typing import TYPE_CHECKING, Any

from . import activations
from .backend import Backend, select
from .errors import DeviceError, GpubpError, InputError, NonFiniteError
from .history import Callback, EarlyStopping, History
from .initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LeCunNormal,
    LeCunUniform,
    Normal,
    Orthogonal,
    TruncatedNormal,
)
from .layers import (
    MLP,
    Activation,
    BatchNorm,
    Checkpoint,
    Columns,
    Concatenate,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    Identity,
    Layer,
    LayerNorm,
    Linear,
    LogSoftmax,
    Multiply,
    PReLU,
    Reshape,
    Residual,
    RMSNorm,
    Sequential,
    Softmax,
    Sum,
    Tied,
    kept_bytes,
)
from .losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    ElementWise,
    Focal,
    GaussianNLL,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    Loss,
    MeanSquaredError,
    MultiClassHinge,
    Poisson,
    Quantile,
    SquaredError,
    SquaredHinge,
)
from .lsuv import lsuv
from .network import Network, load
from .optimizers import (
    L1,
    L2,
    SGD,
    Adam,
    AdamW,
    AdaptiveClip,
    Clip,
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    ElasticNet,
    MaxNorm,
    Momentum,
    Nesterov,
    Optimizer,
    Penalty,
)
from .schedules import Schedule
from .storage import Param, Spec

if TYPE_CHECKING:
    from . import check

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "MLP",
    "SGD",
    "AbsoluteError",
    "Activation",
    "Adam",
    "AdamW",
    "AdaptiveClip",
    "Backend",
    "BatchNorm",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "Callback",
    "Checkpoint",
    "Clip",
    "ClipGlobalNorm",
    "ClipNorm",
    "ClipValue",
    "Columns",
    "Concatenate",
    "Constant",
    "CrossEntropy",
    "DeviceError",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "ElementWise",
    "Embedding",
    "Flatten",
    "Focal",
    "GaussianDropout",
    "GaussianNLL",
    "GaussianNoise",
    "GlorotNormal",
    "GlorotUniform",
    "GpubpError",
    "HeNormal",
    "HeUniform",
    "Hinge",
    "History",
    "Huber",
    "Identity",
    "Initializer",
    "InputError",
    "KLDivergence",
    "Layer",
    "LayerNorm",
    "LeCunNormal",
    "LeCunUniform",
    "Linear",
    "LogCosh",
    "LogSoftmax",
    "Loss",
    "MaxNorm",
    "MeanSquaredError",
    "Momentum",
    "MultiClassHinge",
    "Multiply",
    "Nesterov",
    "Network",
    "NonFiniteError",
    "Normal",
    "Optimizer",
    "Orthogonal",
    "PReLU",
    "Param",
    "Penalty",
    "Poisson",
    "Quantile",
    "RMSNorm",
    "Reshape",
    "Residual",
    "Schedule",
    "Sequential",
    "Softmax",
    "Spec",
    "SquaredError",
    "SquaredHinge",
    "Sum",
    "Tied",
    "TruncatedNormal",
    "activations",
    "check",
    "kept_bytes",
    "load",
    "lsuv",
    "select",
]


def __getattr__(name: str) -> Any:
    if name == "check":  # needed by few, and a tenth of the time of the whole import
        from importlib import import_module

        return import_module("gpubp.check")
    raise AttributeError(f"module 'gpubp' has no attribute {name!r}")
