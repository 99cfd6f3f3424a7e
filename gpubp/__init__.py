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
    Normal,
)
from .layers import MLP, Activation, Layer, Linear, Sequential
from .losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError, SquaredError
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
    "Activation",
    "Adam",
    "AdamW",
    "AdaptiveClip",
    "Backend",
    "BinaryCrossEntropy",
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
    "GlorotNormal",
    "GlorotUniform",
    "GpubpError",
    "HeNormal",
    "HeUniform",
    "History",
    "Initializer",
    "InputError",
    "Layer",
    "Linear",
    "Loss",
    "MaxNorm",
    "MeanSquaredError",
    "Momentum",
    "Nesterov",
    "Network",
    "NonFiniteError",
    "Normal",
    "Optimizer",
    "Param",
    "Penalty",
    "Schedule",
    "Sequential",
    "Spec",
    "SquaredError",
    "activations",
    "check",
    "load",
    "select",
]


def __getattr__(name: str) -> Any:
    if name == "check":  # needed by few, and a tenth of the time of the whole import
        from importlib import import_module

        return import_module("gpubp.check")
    raise AttributeError(f"module 'gpubp' has no attribute {name!r}")
