"""Which rows are for training and which are held out, and how much each class weighs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..errors import InputError, real, whole
from ..seeds import generator

Rows: TypeAlias = tuple[Any, Any]


def split(
    n_or_labels: Any, test: float = 0.2, *, stratify: bool | None = None, seed: int = 0
) -> Rows:
    """Return the rows of the training and of the test part: sorted, int64, each row in one.

    Of a number of rows, or of one target for each. Class labels `(n,)` (integers, texts or
    booleans) are stratified, unless `stratify` is false: each class has its share of the test
    part, by largest remainders; of a class of two rows or more each part has one at least, and a
    class of one row stays in training. Other targets are split as their number is.

    `test` is a share in (0, 1), or a whole number of rows. What the classes need goes before a
    share; a number of rows is kept to, or refused. `seed` alone fixes the draw. Raises
    `InputError` for what cannot be split so.

    >>> train, test = split(["no", "no", "no", "no", "yes", "yes"], test=2)
    >>> len(train), len(test), 4 in test or 5 in test
    (4, 2, True)
    >>> [len(rows) for rows in split(10, 0.3)]
    [7, 3]
    """
    n, codes = _read(n_or_labels, stratify)
    wanted = _wanted(test, n)
    counts = np.bincount(codes)
    each = np.asarray([wanted]) if len(counts) == 1 else _shares(counts, wanted, whole(test))
    order = _drawn(codes, "split", seed)
    first = np.cumsum(counts) - counts
    place = np.arange(n) - np.repeat(first, counts)  # of a row within its class
    held_out = np.zeros(n, dtype=bool)
    held_out[order[place < np.repeat(each, counts)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def folds(
    n_or_labels: Any, k: int = 5, *, stratify: bool | None = None, seed: int = 0
) -> list[Rows]:
    """Return `k` pairs of training and test rows; each row is in the test part of one of them.

    The test parts differ in length by one at most; of class labels, stratified as by `split`, they
    differ in the rows of each class by one at most. A class of fewer than `k` rows is therefore
    missing from some test parts, and a class of one row from one training part. Raises
    `InputError` for a `k` below 2 or above the number of rows.

    >>> [test.tolist() for train, test in folds(5, 2, seed=5)]
    [[1, 2, 3], [0, 4]]
    """
    n, codes = _read(n_or_labels, stratify)
    if not whole(k) or not 2 <= k <= n:
        raise InputError(f"k is {k!r}; expected a whole number of folds, 2 to {n} of {n} rows")
    of = np.empty(n, dtype=np.int64)
    of[_drawn(codes, "folds", seed)] = np.arange(n) % k  # goes on from class to class
    return [(np.flatnonzero(of != fold), np.flatnonzero(of == fold)) for fold in range(k)]


def class_weights(y: Any, classes: int | Iterable[Any] | None = None) -> tuple[float, ...]:
    """Return n / (k n_c) for each of k classes, as `CrossEntropy(class_weight=...)` takes them.

    With these the classes weigh the same together, and a row weighs 1 in the mean ("balanced" in
    scikit-learn; King and Zeng, 2001). `classes` says how many there are, or names them in order;
    without it they are 0 to the largest integer, or the different texts in sorted order. Raises
    `InputError` for a class without a row and for a label that is no class.

    >>> class_weights([0, 0, 0, 1])
    (0.6666666666666666, 2.0)
    >>> class_weights(["cat", "dog", "dog"], classes=["dog", "cat"])
    (0.75, 1.5)
    """
    labels = _labels(y)
    found, counts = np.unique(labels, return_counts=True)
    names = _classes(found, classes)
    rows = dict(zip(found.tolist(), counts.tolist(), strict=True))
    for name in names:
        if name not in rows:
            raise InputError(_EMPTY.format(repr(name)))
    if len(rows) > len(names):
        known = set(names)
        strange = next(label for label in rows if label not in known)
        row = int(np.flatnonzero(labels == strange)[0])
        raise InputError(f"y[{row}] is {strange!r}, which is not among the {len(names)} classes")
    return tuple(len(labels) / (len(names) * rows[name]) for name in names)


def _read(given: Any, stratify: bool | None) -> tuple[int, Any]:
    """How many rows there are, and the number of each one's class (0 where none is looked at)."""
    if whole(given):
        n, classes = int(given), False
        if stratify:
            raise InputError("stratify takes the class labels of the rows, not their number alone")
    else:
        array = _array(given, "the labels")
        if array.ndim == 0:
            raise InputError(f"expected a number of rows or one label for each, not {given!r}")
        n, classes = len(array), array.ndim == 1 and array.dtype.kind in "buiUSO"
    if n < 2:
        raise InputError(f"{n} rows cannot be split; expected at least 2")
    if not (classes if stratify is None else stratify):
        return n, np.zeros(n, dtype=np.int64)
    otherwise = ", or for numbers that are no classes stratify=False"
    return n, np.unique(_labels(array, otherwise), return_inverse=True)[1].reshape(n)


def _labels(y: Any, otherwise: str = "") -> Any:
    """Class labels `(n,)`: integers, booleans or texts; `InputError` for anything else."""
    labels = _array(y, "y")
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"y has shape {labels.shape}; expected class labels (n,)")
    if labels.dtype.kind == "O":
        labels = _of_one_kind(labels)
    if labels.dtype.kind not in "buiUS":
        raise InputError(
            f"y has dtype {labels.dtype}; class labels are integers, texts or booleans: use "
            f"y.astype('int64'){otherwise}"
        )
    return labels


def _of_one_kind(labels: Any) -> Any:
    kinds: tuple[type[Any], ...] = (str, int, bool)
    for kind in kinds:
        if all(type(label) is kind for label in labels):
            return np.asarray(labels.tolist())
    row = next(i for i, label in enumerate(labels) if type(label) is not type(labels[0]) or
               type(label) not in kinds)  # fmt: skip
    also = "" if row == 0 else f", and those before it are of type {type(labels[0]).__name__}"
    raise InputError(f"y[{row}] is {labels[row]!r}{also}; class labels are all texts or all whole "
                     "numbers: drop or fill the rows whose label is missing")  # fmt: skip


def _array(given: Any, name: str) -> Any:
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged, or on another device
        raise InputError(f"{name} cannot be read as an array: {error}") from error


_EMPTY = ("class {} has no row, so its weight would be infinite; name the classes there are with "
          "classes=[...]")  # fmt: skip


def _classes(found: Any, classes: Any) -> Sequence[Any]:
    """The classes in order, as they are named or as the labels found tell."""
    if whole(classes) and classes > 0:
        return range(int(classes))
    if classes is not None:
        names = _array(classes, "classes")
        if names.ndim != 1 or names.dtype.kind not in "buiUSO" or not len(names):
            raise InputError(f"classes is {classes!r}; expected their number or their names")
        listed: list[Any] = list(_labels(names).tolist())
        if len(set(listed)) < len(listed):
            twice = next(name for i, name in enumerate(listed) if name in listed[:i])
            raise InputError(f"classes names {twice!r} twice")
        return listed
    if found.dtype.kind not in "ui" or (found[0] == 0 and found[-1] == len(found) - 1):
        return list(found.tolist())
    if found[0] < 0:
        raise InputError(f"y holds the label {found[0]}; name the classes with classes=[...]")
    absent = int(np.flatnonzero(found != np.arange(len(found)))[0])
    raise InputError(_EMPTY.format(absent))


def _wanted(test: Any, n: int) -> int:
    """How many rows the test part is to have."""
    if whole(test) and 1 <= test < n:
        return int(test)
    if not whole(test) and 0 < real(test) < 1:
        return min(max(math.floor(real(test) * n + 0.5), 1), n - 1)
    raise InputError(
        f"test is {test!r}; expected a share between 0 and 1, or a whole number of rows, 1 to "
        f"{n - 1}"
    )


def _shares(counts: Any, wanted: int, exact: bool) -> Any:
    """How many rows of each class are held out: its share, by largest remainders."""
    least, most = np.minimum(counts - 1, 1), counts - 1
    if (exact and not least.sum() <= wanted <= most.sum()) or not most.any():
        raise InputError(
            f"test is {wanted} rows of {len(counts)} classes; with a row of each class of two or "
            f"more in both parts it can be {least.sum()} to {most.sum()}: take another number, or "
            "stratify=False"
        )
    total = min(max(wanted, int(least.sum())), int(most.sum()))
    quota = counts * (wanted / counts.sum())
    each = np.clip(np.floor(quota).astype(np.int64), least, most)
    while (left := total - int(each.sum())) != 0:
        step = 1 if left > 0 else -1
        open_ = np.flatnonzero(each < most if left > 0 else each > least)
        nearest = np.argsort(-step * (quota - each)[open_], kind="stable")
        each[open_[nearest[: abs(left)]]] += step
    return each


def _drawn(codes: Any, what: str, seed: int) -> Any:
    """All rows, class after class, in random order within each."""
    if not whole(seed) or seed < 0:
        raise InputError(f"seed is {seed!r}; expected a whole number of at least 0")
    order = generator(int(seed), what).permutation(len(codes))
    return order[np.argsort(codes[order], kind="stable")]
