"""Optimizers: frozen descriptions of an update; their slots live in the network."""

from __future__ import annotations

from ..errors import named
from .adam import Adam, AdamW
from .base import Optimizer, Rate, Rates
from .clipping import AdaptiveClip, Clip, ClipGlobalNorm, ClipNorm, ClipValue
from .penalties import L1, L2, ElasticNet, MaxNorm, Penalty
from .sgd import SGD, Momentum, Nesterov

__all__ = [
    "L1",
    "L2",
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "AdaptiveClip",
    "Clip",
    "ClipGlobalNorm",
    "ClipNorm",
    "ClipValue",
    "ElasticNet",
    "MaxNorm",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "Penalty",
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
}


def optimizer(given: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name with its default rate, or the one given.

    >>> optimizer("adam")
    Adam(lr=0.001)
    """
    if isinstance(given, Optimizer):
        return given
    return named("optimizer", given, OPTIMIZERS)()
