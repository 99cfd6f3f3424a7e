"""Optimizers: frozen descriptions of an update; their slots live in the network."""

from __future__ import annotations

from ..errors import named
from .adam import Adam, Adamax, AdamW, AMSGrad
from .adaptive import Adadelta, Adagrad, RMSProp
from .averaging import EMA, SWA, Averaging
from .base import Optimizer, Rate, Rates
from .clipping import AdaptiveClip, Clip, ClipGlobalNorm, ClipNorm, ClipValue
from .lbfgs import LBFGS
from .lion import Lion
from .nadam import NAdam, RAdam
from .penalties import L1, L2, ElasticNet, MaxNorm, Penalty
from .sgd import SGD, Momentum, Nesterov

__all__ = [
    "EMA",
    "L1",
    "L2",
    "LBFGS",
    "OPTIMIZERS",
    "SGD",
    "SWA",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AdaptiveClip",
    "Averaging",
    "Clip",
    "ClipGlobalNorm",
    "ClipNorm",
    "ClipValue",
    "ElasticNet",
    "Lion",
    "MaxNorm",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Optimizer",
    "Penalty",
    "RAdam",
    "RMSProp",
    "Rate",
    "Rates",
    "optimizer",
]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "adamw": AdamW,
    "amsgrad": AMSGrad,
    "adamax": Adamax,
    "nadam": NAdam,
    "radam": RAdam,
    "rmsprop": RMSProp,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "lion": Lion,
}
"""Those that have a formula and need no argument, by name."""


def optimizer(given: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name with its default rate, or the one given.

    >>> optimizer("adam")
    Adam(lr=0.001)
    """
    if isinstance(given, Optimizer):
        return given
    known: dict[str, type[Optimizer]] = {**OPTIMIZERS, "lbfgs": LBFGS}
    return named("optimizer", given, known)()
