"""Losses: each a frozen description with its value and its gradient."""

from __future__ import annotations

from ..errors import named
from .base import Loss
from .entropies import BinaryCrossEntropy, CrossEntropy
from .squares import MeanSquaredError, SquaredError

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Loss",
    "MeanSquaredError",
    "SquaredError",
    "loss",
]

LOSSES: dict[str, Loss] = {
    "squared_error": SquaredError(),
    "mean_squared_error": MeanSquaredError(),
    "cross_entropy": CrossEntropy(),
    "binary_cross_entropy": BinaryCrossEntropy(),
}


def loss(given: str | Loss) -> Loss:
    """Return the loss of that name, or the one given.

    >>> loss("cross_entropy")
    CrossEntropy()
    """
    if isinstance(given, Loss):
        return given
    return named("loss", given, LOSSES)
