"""Optimizers: frozen descriptions of an update; their slots live in the network."""

from __future__ import annotations

from ..errors import named
from .adam import Adam, AdamW
from .base import Optimizer, Rate
from .sgd import SGD, Momentum, Nesterov

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "Rate",
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
    Adam(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08)
    """
    if isinstance(given, Optimizer):
        return given
    return named("optimizer", given, OPTIMIZERS)()
