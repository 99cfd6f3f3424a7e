"""Random examples and targets for a check."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..losses import Loss


def examples(rng: Any, n: int, inputs: tuple[int, ...], categories: tuple[int, ...]) -> Any:
    """Draw n examples: normal numbers, and any of its categories where a feature is one.

    >>> examples(np.random.default_rng(0), 2, (3,), (0, 1, 0))[:, 1].tolist()
    [0.0, 0.0]
    """
    x = rng.normal(size=(n, *inputs))
    if any(categories):
        counts = np.reshape(categories, inputs)
        x = np.where(counts > 0, rng.integers(0, np.maximum(counts, 1), x.shape), x)
    return x


def targets(rng: Any, loss: Loss, n: int, width: int) -> Any:
    """Draw n targets that a loss takes for raw outputs of `width`; labels, not soft rows of them.

    >>> import gpubp
    >>> targets(np.random.default_rng(0), gpubp.CrossEntropy(), 4, 3).tolist()
    [2, 1, 1, 0]
    """
    kind, shape = loss.targets, (n, loss.target_width(width))
    if kind in ("labels", "classes"):
        return rng.integers(0, width, n)
    if kind == "soft":
        return soft(rng, n, width)
    if kind == "binary":
        return rng.integers(0, 2, shape)
    if kind == "count":
        return rng.integers(0, 6, shape)
    return rng.random(shape) if kind == "unit" else rng.normal(size=shape)


def soft(rng: Any, n: int, width: int) -> Any:
    """Draw n rows of probabilities.

    >>> soft(np.random.default_rng(0), 2, 3).sum(axis=-1).round(12).tolist()
    [1.0, 1.0]
    """
    return rng.dirichlet(np.ones(width), n)
