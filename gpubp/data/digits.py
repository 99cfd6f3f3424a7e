"""1,797 handwritten digits, 8 x 8 pixels each; source and licence in DIGITS-LICENSE.txt."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np


class Digits(NamedTuple):
    """Features `(n, 64)` float32 in [0, 1] and labels `(n,)` int64, for training and for test."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any


def digits() -> Digits:
    """Return the digits with a fixed split: every fifth image of each class is for the test.

    A split by writer is not known, so training and test share writers; an accuracy on these rows
    is higher than one on unknown writers would be.

    >>> data = digits()
    >>> data.x.shape, data.x_test.shape
    ((1442, 64), (355, 64))
    """
    with (files(__package__) / "digits.npz").open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        x = stored["images"].astype(np.float32) / np.float32(16)
        y = stored["labels"].astype(np.int64)
    held_out = np.zeros(len(y), dtype=bool)
    for label in range(10):
        held_out[np.flatnonzero(y == label)[4::5]] = True
    return Digits(x[~held_out], y[~held_out], x[held_out], y[held_out])
