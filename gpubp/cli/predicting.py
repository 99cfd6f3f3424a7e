"""What a network predicts of rows, in the names and the unit of its target, and how well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..network import Network

BLOCK = 16_384
"""Rows encoded and predicted in one go."""


class Predicted(NamedTuple):
    """`labels` `(n,)` and `chances` `(n, classes)` for classes, `values` for numbers, else None."""

    labels: Any = None
    chances: Any = None
    values: Any = None


def predict(net: Network, x: Any) -> Predicted:
    """Return what a network, or the mean of an ensemble's members, predicts of features.

    Of members, chances are averaged; of a loss without chances, and of numbers, the outputs.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(2, W="zeros"), inputs=1)
    >>> net.loss = gpubp.CrossEntropy()
    >>> predict(net, [[1.0]]).chances.tolist()
    [[0.5, 0.5]]
    """
    z, loss, be = np.asarray(net.predict(np.asarray(x))), net.loss, net.be
    several = net.members is not None
    if loss is None:
        return Predicted(values=z.mean(axis=0) if several else z)
    with be.activate():
        raw = be.asarray(z)
        if not loss.classifies:
            found = be.to_numpy(loss.predicted(be, raw, _columns(net, z))).astype(np.float64)
            return Predicted(values=found.mean(axis=0) if several else found)
        try:
            chances = be.to_numpy(loss.probabilities(be, raw))
        except InputError:  # a hinge says which class, and not how likely
            mean = be.asarray(z.mean(axis=0) if several else z)
            return Predicted(labels=be.to_numpy(loss.classes(be, mean)))
    chances = chances.mean(axis=0) if several else chances
    if loss.targets in ("unit", "binary"):
        if chances.shape[-1] > 1:  # yes or no for each output
            return Predicted(labels=(chances > 0.5).astype(np.int64), chances=chances)
        chances = np.concatenate([1.0 - chances, chances], axis=-1)
        return Predicted(labels=(chances[:, 1] > 0.5).astype(np.int64), chances=chances)
    return Predicted(labels=chances.argmax(axis=-1), chances=chances)


def blocks(n: int) -> Iterator[slice]:
    """Yield slices that go through `n` rows.

    >>> list(blocks(20_000))
    [slice(0, 16384, None), slice(16384, 20000, None)]
    """
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def _columns(net: Network, z: Any) -> int:
    """How many numbers a target has that this network learns."""
    width = z.shape[-1]
    if net.preprocessing is not None and net.preprocessing.task == "regression":
        return len(net.preprocessing.outputs.means)
    return int(net.loss.target_width(width)) if net.loss is not None else width


class Figures:
    """Figures over blocks of rows: accuracy and recall, or r2 and root mean squared error.

    >>> figures = Figures(classes=2)
    >>> figures.add(np.asarray([0, 1, 1]), np.asarray([0, 1, 0]))
    >>> figures.result()["accuracy"], figures.recalls()
    (0.6666666666666666, [(2, 0.5), (1, 1.0)])
    """

    def __init__(self, classes: int | None) -> None:
        self.rows, self._classes = 0, classes
        self._right = np.zeros(classes or 1, dtype=np.int64)
        self._there = np.zeros(classes or 1, dtype=np.int64)
        self._given: list[Any] = []
        self._errors = 0.0

    def add(self, predicted: Any, wanted: Any) -> None:
        """Take in predicted labels or numbers, and what they should have been.

        A label below zero is of a class that the network does not know.
        """
        self.rows += len(wanted)
        if self._classes is None:
            self._errors += float(((predicted - wanted) ** 2).sum())
            self._given.append(np.asarray(wanted, dtype=np.float64))
            return
        known = wanted >= 0
        hits = wanted[known & (predicted == wanted)]
        self._right += np.bincount(hits, minlength=self._classes)
        self._there += np.bincount(wanted[known], minlength=self._classes)

    def result(self) -> dict[str, float]:
        """Return `accuracy`, or `r2` and `rmse` in the unit of the numbers.

        `r2` is NaN where all rows have the same number.
        """
        if self._classes is not None:
            return {"accuracy": int(self._right.sum()) / self.rows}
        given = np.concatenate(self._given)
        total = float(((given - given.mean(axis=0)) ** 2).sum())
        r2 = 1.0 - self._errors / total if total > 0.0 else float("nan")
        return {"r2": r2, "rmse": float(np.sqrt(self._errors / given.size))}

    def recalls(self) -> list[tuple[int, float | None]]:
        """Return for each class how many rows it has, and the share of them that was found."""
        pairs = zip(self._there.tolist(), self._right.tolist(), strict=True)
        return [(n, right / n if n else None) for n, right in pairs]


def as_json(figures: dict[str, float]) -> dict[str, float | None]:
    """Return figures as JSON takes them, which has no NaN.

    >>> as_json({"r2": float("nan"), "rmse": 0.5})
    {'r2': None, 'rmse': 0.5}
    """
    return {name: value if np.isfinite(value) else None for name, value in figures.items()}


def text(figures: dict[str, float], target: str | None) -> str:
    """Return figures as a person reads them.

    >>> text({"r2": 0.5, "rmse": 53.214}, "progression")
    "r2 0.5000, root mean squared error 53.21 (in the unit of 'progression')"
    """
    if "accuracy" in figures:
        return f"accuracy {figures['accuracy']:.4f}"
    return (f"r2 {figures['r2']:.4f}, root mean squared error {figures['rmse']:.4g} (in the unit "
            f"of {target!r})")  # fmt: skip
