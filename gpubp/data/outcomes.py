"""What is to be predicted: classes, or numbers in a unit of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError, shown
from . import plain, raw
from .chosen import row
from .encoders import Encoder
from .on_host import array

Name = str | bool | int | float
"""A class as it was given: one kind for all classes of a target."""

FEW = 20
"""The most distinct whole numbers that are taken for classes where nobody says what they are."""

_LABELS = 1000  # the same for the integers of an array that run from 0 or 1 without a gap


@dataclass(frozen=True)
class Classes(Encoder):
    """The classes of a target, in the order of the network's outputs.

    >>> classes = Classes("kind", ("ale", "stout"))
    >>> classes.labels(["stout", "ale"]).tolist(), classes.decode([1, 1]).tolist()
    ([1, 0], ['stout', 'stout'])
    """

    name: str
    names: tuple[Name, ...]

    def __post_init__(self) -> None:
        kind = type(self).__name__
        found = plain.several(kind, "names", self.names, _name)
        if len({type(name) for name in found}) > 1:
            raise InputError(f"{kind}: the names are of several kinds; expected one")
        plain.distinct(kind, "names", found)
        if not found:
            raise InputError(f"{kind}: there is no class")
        self._set(name=plain.text(kind, "name", self.name), names=found)

    @classmethod
    def of(cls, name: str, values: Any, where: str, numbers: Any = None) -> Classes:
        """Return the classes that a column holds, sorted; `InputError` for fewer than two.

        >>> Classes.of("kind", np.asarray([3.0, 1.0, 3.0]), "kind").names
        (1, 3)
        """
        found = array_of(values, where, numbers)
        if found.dtype.kind == "O":
            names: list[Any] = sorted(set(found.tolist()))
        else:
            distinct = np.unique(found)
            as_whole = found.dtype.kind in "ui" or bool((distinct == np.floor(distinct)).all())
            kept = found.dtype.kind == "b" or not as_whole
            names = distinct.tolist() if kept else [int(value) for value in distinct.tolist()]
        if len(names) < 2:
            raise InputError(f"{where} holds the one class {shown(names[0])} in all training rows; "
                             "there is nothing to tell apart")  # fmt: skip
        if len(names) > FEW and 2 * len(names) > len(found):
            raise InputError(f"{where} holds {len(names):,} classes in {len(found):,} rows; for "
                             "numbers ask for task='regression'")  # fmt: skip
        return cls(name, tuple(names))

    def labels(self, values: Any, where: str = "the target", numbers: Any = None) -> Any:
        """Return the place of each entry's class, int64 `(n,)`; `InputError` for an unknown one.

        `numbers` are those of the rows, for messages; None stands for 0, 1, 2, ...
        """
        found = self.places(values, where, numbers)
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            entry = array_of(values, where)[unknown[0]]
            entry = entry.item() if hasattr(entry, "item") else entry
            raise InputError(
                f"{where}: {row(unknown[0], numbers)} is {shown(entry)}, which is none of the "
                f"{len(self.names)} classes of the training rows"
            )
        return found

    def places(self, values: Any, where: str = "the target", numbers: Any = None) -> Any:
        """Return the place of each entry's class, and -1 for an unknown one.

        >>> Classes("kind", (0, 1)).places([1, 2]).tolist()
        [1, -1]
        """
        found = array_of(values, where, numbers)
        texts = isinstance(self.names[0], str)
        if texts != (found.dtype.kind == "O"):
            held, was = ("numbers", "texts") if texts else ("texts", "numbers")
            raise InputError(f"{where} holds {held}; the classes of the training rows were {was}, "
                             f"such as {shown(self.names[0])}")  # fmt: skip
        place = {name: i for i, name in enumerate(self.names)}
        each = (place.get(entry, -1) for entry in found.tolist())
        return np.fromiter(each, np.int64, len(found))

    def decode(self, labels: Any) -> Any:
        """Return the class of each label, as an array of texts (dtype object) or of numbers.

        `InputError` for what is no label, 0 to the number of classes less one.
        """
        found = array(labels, "labels")
        last = len(self.names) - 1
        if found.dtype.kind not in "ui" and found.size:
            raise InputError(f"labels has dtype {found.dtype}; expected whole numbers, 0..{last}")
        bad = found[(found < 0) | (found > last)] if found.size else found
        if bad.size:
            raise InputError(f"labels holds {bad.flat[0]}; expected 0..{last}, a label for each of "
                             f"{len(self.names)} classes")  # fmt: skip
        dtype = object if isinstance(self.names[0], str) else None
        return np.asarray(self.names, dtype=dtype)[found.astype(np.int64)]


@dataclass(frozen=True)
class Numbers(Encoder):
    """A target of one or more numbers: learnt as (y - mean) / scale, given back in its own unit.

    >>> price = Numbers("price", (100.0,), (50.0,))
    >>> price.standardised([150.0]).tolist(), price.values([[1.0]]).tolist()
    ([[1.0]], [150.0])
    """

    name: str
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        kind = type(self).__name__
        self._set(
            name=plain.text(kind, "name", self.name),
            means=plain.several(kind, "means", self.means, plain.number),
            scales=plain.several(kind, "scales", self.scales, plain.positive),
        )
        if len(self.means) != len(self.scales) or not self.means:
            raise InputError(f"{kind}: {len(self.means)} means and {len(self.scales)} scales; "
                             "expected one of each for every number")  # fmt: skip

    def standardised(self, values: Any, where: str = "the target", numbers: Any = None) -> Any:
        """Return targets for the network, float64 `(n, k)`; `numbers` are those of the rows."""
        found = numbers_of(values, where, numbers)
        if found.shape[1] != len(self.means):
            raise InputError(f"{where} has {found.shape[1]} numbers for each row; expected "
                             f"{len(self.means)}")  # fmt: skip
        return (found - np.asarray(self.means)) / np.asarray(self.scales)

    def values(self, y_hat: Any) -> Any:
        """Return predictions in the target's unit, float64 `(..., n, k)`; `(..., n)` of one."""
        found = np.asarray(y_hat, dtype=np.float64) * self.scales + self.means
        return found[..., 0] if len(self.means) == 1 else found


def array_of(values: Any, where: str, numbers: Any = None) -> Any:
    """Return classes `(n,)` as an array of texts (objects), numbers or booleans, none missing."""
    found = array(values, where)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.dtype.kind not in "bui":
        found = raw.column(found, where, numbers)
        refuse_missing(found, where, numbers)
    if found.ndim != 1:
        raise InputError(f"{where} has shape {found.shape}; expected one class for each row")
    return found


def numbers_of(values: Any, where: str, numbers: Any = None) -> Any:
    """Return numbers `(n, k)` as float64, none missing."""
    found = array(values, where)
    if found.ndim == 2 and found.dtype.kind in "buif":
        found = found.astype(np.float64)
        bad = np.argwhere(~np.isfinite(found))
        if len(bad):
            at, k = bad[0].tolist()
            raise InputError(f"{where}: {row(at, numbers)} is {found[at, k]}; leave such rows out")
        return found
    found = raw.column(found, where, numbers)
    refuse_missing(found, where, numbers)
    if found.dtype.kind != "f":
        raise InputError(f"{where} holds texts, such as {shown(found[0])} in {row(0, numbers)}; "
                         "expected numbers")  # fmt: skip
    return found[:, None]


def refuse_missing(found: Any, where: str, numbers: Any = None) -> None:
    """Raise `InputError` that names the first row whose target is missing."""
    rows = np.flatnonzero(raw.missing(found))
    if len(rows):
        others = f", and {len(rows) - 1:,} other rows" if len(rows) > 1 else ""
        raise InputError(f"{where}: {row(rows[0], numbers)} has no entry{others}; leave out rows "
                         "whose target is not known")  # fmt: skip


def is_classes(values: Any, where: str = "the target", numbers: Any = None) -> tuple[bool, str]:
    """Return whether a target holds classes rather than numbers, and by which rule.

    >>> is_classes([0.0, 1.0, 1.0, 0.0])
    (True, '2 different whole numbers')
    >>> is_classes([0.5, 1.0])
    (False, 'numbers that are not whole')
    """
    found = array(values, where)
    if found.ndim == 2 and found.shape[1] > 1:
        return False, "several numbers for each row"
    found = array_of(found, where, numbers)
    if found.dtype.kind in "Ob":
        return True, "texts" if found.dtype.kind == "O" else "yes or no"
    distinct = np.unique(found)
    if not (distinct == np.floor(distinct)).all():
        return False, "numbers that are not whole"
    count = len(distinct)
    gapless = distinct[0] in (0, 1) and distinct[-1] - distinct[0] == count - 1
    if found.dtype.kind in "ui" and gapless and count <= _LABELS and 2 * count <= len(found):
        return True, f"integers from {distinct[0]} to {distinct[-1]} without a gap"
    if count <= 2 or (count <= FEW and 5 * count <= len(found)):
        return True, f"{count} different whole numbers"
    return False, f"{count:,} different numbers in {len(found):,} rows"


def _name(kind: str, name: str, value: Any) -> Name:
    if isinstance(value, str):
        return plain.text(kind, name, value)
    if isinstance(value, bool):
        return value
    found = plain.number(kind, name, value)
    if isinstance(value, float):
        return found
    if abs(found) > 2.0**63:
        raise InputError(f"{kind}: {name} is {found:g}; expected a number that int64 can hold")
    return int(value)
