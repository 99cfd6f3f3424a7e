"""Euclidean norms whose squares may be beyond the dtype."""

from __future__ import annotations

from ..activations import Array, Namespace

_TINY = 1e-30
"""Divides an array that is all zero; far below any number that counts."""


def norm(xp: Namespace, x: Array, axis: int) -> tuple[Array, Array]:
    """Return the largest |x| along an axis and ||x|| divided by it, the axis kept.

    >>> import numpy as np
    >>> largest, ratio = norm(np, np.asarray([3e200, 4e200]), axis=-1)
    >>> round(float(largest[0]) * float(ratio[0]) / 1e200, 9)
    5.0
    """
    largest = xp.maximum(xp.max(xp.abs(x), axis=axis, keepdims=True), _TINY)
    part = x / largest
    return largest, xp.sqrt(xp.sum(part * part, axis=axis, keepdims=True))
