"""Losses: each a frozen description with its value and its gradient."""

from __future__ import annotations

from ..errors import named
from .base import ElementWise, Loss
from .entropies import CrossEntropy, KLDivergence
from .focal import BinaryFocal, Focal
from .hinges import Hinge, MultiClassHinge, SquaredHinge
from .likelihoods import GaussianNLL, Poisson
from .logistic import BinaryCrossEntropy
from .robust import AbsoluteError, Huber, LogCosh, Quantile
from .squares import MeanSquaredError, SquaredError

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "ElementWise",
    "Focal",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanSquaredError",
    "MultiClassHinge",
    "Poisson",
    "Quantile",
    "SquaredError",
    "SquaredHinge",
    "loss",
]

LOSSES: dict[str, Loss] = {
    "squared_error": SquaredError(),
    "mean_squared_error": MeanSquaredError(),
    "absolute_error": AbsoluteError(),
    "huber": Huber(),
    "log_cosh": LogCosh(),
    "quantile": Quantile(),
    "poisson": Poisson(),
    "gaussian_nll": GaussianNLL(),
    "cross_entropy": CrossEntropy(),
    "kl_divergence": KLDivergence(),
    "focal": Focal(),
    "multi_class_hinge": MultiClassHinge(),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "binary_focal": BinaryFocal(),
    "hinge": Hinge(),
    "squared_hinge": SquaredHinge(),
}


_SHORT = {
    "mse": "mean_squared_error", "mae": "absolute_error", "ce": "cross_entropy",
    "bce": "binary_cross_entropy", "nll": "cross_entropy", "kl": "kl_divergence",
}  # fmt: skip
"""What people write elsewhere."""


def loss(given: str | Loss) -> Loss:
    """Return the loss of that name with its default arguments, or the one given.

    >>> loss("huber")
    Huber(delta=1.0)
    """
    if isinstance(given, Loss):
        return given
    return named("loss", _SHORT.get(given, given) if isinstance(given, str) else given, LOSSES)
