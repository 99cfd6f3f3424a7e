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
from .layers import MLP, Activation, Layer, Linear, LogSoftmax, PReLU, Sequential, Softmax
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
    "BinaryCrossEntropy",
    "BinaryFocal",
    "Callback",
    "Clip",
    "ClipGlobalNorm",
    "ClipNorm",
    "ClipValue",
    "Constant",
    "CrossEntropy",
    "DeviceError",
    "EarlyStopping",
    "ElasticNet",
    "ElementWise",
    "Focal",
    "GaussianNLL",
    "GlorotNormal",
    "GlorotUniform",
    "GpubpError",
    "HeNormal",
    "HeUniform",
    "Hinge",
    "History",
    "Huber",
    "Initializer",
    "InputError",
    "KLDivergence",
    "Layer",
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
    "Schedule",
    "Sequential",
    "Softmax",
    "Spec",
    "SquaredError",
    "SquaredHinge",
    "TruncatedNormal",
    "activations",
    "check",
    "load",
    "lsuv",
    "select",
]


def __getattr__(name: str) -> Any:
    if name == "check":  # needed by few, and a tenth of the time of the whole import
        from importlib import import_module

        return import_module("gpubp.check")
    raise AttributeError(f"module 'gpubp' has no attribute {name!r}")
