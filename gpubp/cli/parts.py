"""The rows that are trained on and held out, as a network takes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..data import Arrays, Preprocessing, Table

AT_ONCE = 1 << 30
"""Bytes of features that are made before training; of more, batch by batch."""


class Part:
    """Rows of a data set as a network takes them: features `(n, width)` and targets.

    They are made at once, or where they would take more than `AT_ONCE` bytes, as they are needed.
    """

    def __init__(self, prep: Preprocessing, raw: Table | Arrays, rows: Any, dtype: str) -> None:
        self.t = prep.targets(raw, rows)
        self.width = prep.width
        self._raw, self._rows, self._encode = raw, rows, partial(prep.features, dtype=dtype)
        large = len(rows) * prep.width * np.dtype(dtype).itemsize > AT_ONCE
        self._x = None if large else prep.features(raw, rows, dtype)

    @classmethod
    def of(cls, x: Any, t: Any) -> Part:
        """Return a part of features that are there."""
        part = cls.__new__(cls)
        part.t, part._x, part.width = t, x, x.shape[1]
        return part

    def __len__(self) -> int:
        return len(self.t)

    def features(self, rows: slice) -> Any:
        """Return the features of some of the rows."""
        return self._encode(self._raw, self._rows[rows]) if self._x is None else self._x[rows]

    def source(self) -> Any:
        """Return `(x, t)`, or a source of both."""
        if self._x is not None:
            return self._x, self.t
        from ..data import Rows

        x = self._raw.x if isinstance(self._raw, Arrays) else self._raw
        t = np.zeros((len(x), *self.t.shape[1:]), dtype=self.t.dtype)
        t[self._rows] = self.t
        return Rows(x, t, rows=self._rows, transform=self._encode)

    def arguments(self) -> tuple[Any, ...]:
        """Return what `fit` takes first."""
        source = self.source()
        return source if isinstance(source, tuple) else (source,)


@dataclass(frozen=True)
class Task:
    """Rows to train on, to validate on and to test on, and what they went through."""

    name: str
    train: Part
    validation: Part | None
    test: Part | None
    prep: Preprocessing | None

    @property
    def classes(self) -> list[Any] | None:
        """The classes, or None for numbers."""
        return list(range(10)) if self.prep is None else self.prep.classes

    @property
    def width(self) -> int:
        """How many features there are."""
        return int(self.train.width)
