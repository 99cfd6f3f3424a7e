"""How a column or an array becomes features: frozen descriptions that a model file can hold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import InputError, shown
from . import plain, raw, statistics
from .chosen import row


class Encoder:
    """The base: plain data out, and in again by `rebuild`."""

    def plain(self) -> dict[str, Any]:
        """Return the type and the fields as JSON takes them."""
        told = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}  # type: ignore[call-overload]
        return {"type": type(self).__name__, **told}

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Numeric(Encoder):
    """A column of numbers: (x - mean) / scale, and `fill` for what is missing, if there is one.

    >>> out = np.empty((2, 1))
    >>> Numeric("age", 40.0, 10.0, 40.0).encode(np.asarray([45.0, np.nan]), "age", out)
    >>> out.ravel().tolist()
    [0.5, 0.0]
    """

    name: str
    mean: float
    scale: float
    fill: float | None = None
    width: ClassVar[int] = 1

    def __post_init__(self) -> None:
        kind, fill = type(self).__name__, self.fill
        self._set(
            name=plain.text(kind, "name", self.name),
            mean=plain.number(kind, "mean", self.mean),
            scale=plain.positive(kind, "scale", self.scale),
            fill=None if fill is None else plain.number(kind, "fill", fill),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def encode(self, column: Any, where: str, out: Any, numbers: Any = None) -> None:
        """Write the feature of each entry to `out` `(n, 1)`; `numbers` are those of the rows."""
        if column.dtype.kind != "f":
            texts = np.flatnonzero(~raw.missing(column))
            if len(texts):
                raise InputError(
                    f"{where}: {row(texts[0], numbers)} is the text {shown(column[texts[0]])}; in "
                    "training this column held numbers alone"
                )
            column = np.full(len(column), np.nan)
        if self.fill is not None:
            column = np.where(np.isnan(column), self.fill, column)
        standardise(column[:, None], self.mean, self.scale, where, out, numbers)


@dataclass(frozen=True)
class Categorical(Encoder):
    """A column of texts: a feature for each category, 1 in that of the entry and 0 elsewhere.

    An entry that is none of `categories` has zeros alone.

    >>> out = np.empty((2, 2))
    >>> Categorical("town", ("Bonn", "Ulm")).encode(np.asarray(["Ulm", "Rom"], object), "", out)
    >>> out.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    name: str
    categories: tuple[str, ...]
    fill: str | None = None

    def __post_init__(self) -> None:
        kind = type(self).__name__
        found = plain.several(kind, "categories", self.categories, plain.text)
        plain.distinct(kind, "categories", found)
        if not found:
            raise InputError(f"{kind}: column {shown(self.name)} has no category")
        if self.fill is not None and self.fill not in found:
            raise InputError(f"{kind}: fill is none of the categories of {shown(self.name)}")
        self._set(name=plain.text(kind, "name", self.name), categories=found)

    @property
    def width(self) -> int:
        return len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={category}" for category in self.categories)

    def encode(self, column: Any, where: str, out: Any, numbers: Any = None) -> None:
        """Write the features of each entry to `out` `(n, width)`."""
        place = {category: i for i, category in enumerate(self.categories)}
        codes = np.fromiter(
            (place.get(entry, -1) for entry in self._entries(column, where)), int, len(column)
        )
        known = np.flatnonzero(codes >= 0)
        out[...] = 0.0
        out[known, codes[known]] = 1.0

    def unknown(self, column: Any, where: str) -> dict[str, int]:
        """Return the entries that are no category, with how often each occurs."""
        known = set(self.categories)
        found: dict[str, int] = {}
        for entry in self._entries(column, where):
            if entry not in known:
                found[entry] = found.get(entry, 0) + 1
        return found

    def _entries(self, column: Any, where: str) -> list[Any]:
        if column.dtype.kind == "f" and not np.isnan(column).all():
            raise InputError(f"{where} holds numbers, and in training it held texts: read it as "
                             f"text (--text {shown(self.name)})")  # fmt: skip
        entries = [None] * len(column) if column.dtype.kind == "f" else column.tolist()
        return [self.fill if entry is None else entry for entry in entries]


@dataclass(frozen=True)
class Pixels(Encoder):
    """An array of whole numbers from 0 to `divisor`, such as images: x / divisor.

    >>> Pixels((2,), 255.0).encode(np.asarray([[0, 255]], dtype=np.uint8), "x", "float32").tolist()
    [[0.0, 1.0]]
    """

    shape: tuple[int, ...]
    divisor: float = 255.0

    def __post_init__(self) -> None:
        kind = type(self).__name__
        self._set(
            shape=plain.shape(kind, self.shape),
            divisor=plain.positive(kind, "divisor", self.divisor),
        )

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        return array_names(self.shape)

    def encode(self, x: Any, where: str, dtype: str, numbers: Any = None) -> Any:
        """Return features `(n, width)`; `InputError` unless they are what was trained on."""
        if x.dtype != np.uint8:
            self._check(x, where)
        flat = x.reshape(len(x), self.width).astype(dtype)
        flat /= flat.dtype.type(self.divisor)
        return flat

    def _check(self, x: Any, where: str) -> None:
        expected = f"in training these were whole numbers from 0 to {self.divisor:g}"
        if x.dtype.kind not in "bui":
            raise InputError(f"{where} has dtype {x.dtype}; {expected}")
        if x.size and not 0 <= (low := x.min()) <= (high := x.max()) <= self.divisor:
            raise InputError(f"{where} holds {low if low < 0 else high}; {expected}")


@dataclass(frozen=True)
class Standardised(Encoder):
    """An array of numbers: (x - mean) / scale for each feature, and fills for what is missing.

    >>> x = np.asarray([[3.0, 5.0]])
    >>> Standardised((2,), (1.0, 5.0), (2.0, 1.0)).encode(x, "x", "float64").tolist()
    [[1.0, 0.0]]
    """

    shape: tuple[int, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    fills: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        kind, fills = type(self).__name__, self.fills
        self._set(
            shape=plain.shape(kind, self.shape),
            means=plain.several(kind, "means", self.means, plain.number),
            scales=plain.several(kind, "scales", self.scales, plain.positive),
            fills=None if fills is None else plain.several(kind, "fills", fills, plain.number),
        )
        for name in ("means", "scales", *(() if fills is None else ("fills",))):
            if len(getattr(self, name)) != self.width:
                raise InputError(f"{kind}: {name} has {len(getattr(self, name))} numbers; an "
                                 f"example of shape {self.shape} has {self.width}")  # fmt: skip

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        return array_names(self.shape)

    def encode(self, x: Any, where: str, dtype: str, numbers: Any = None) -> Any:
        """Return features `(n, width)`; `numbers` are those of the rows, for messages."""
        out = np.empty((len(x), self.width), dtype=dtype)
        means, scales = np.asarray(self.means), np.asarray(self.scales)
        for start, block in statistics.blocks(x):
            if self.fills is not None:
                block = np.where(np.isnan(block), np.asarray(self.fills), block)
            stop = start + len(block)
            called = np.arange(start, stop) if numbers is None else numbers[start:stop]
            standardise(block, means, scales, where, out[start:stop], called)
        return out


def standardise(x: Any, means: Any, scales: Any, where: str, out: Any, numbers: Any = None) -> None:
    """Write (x - mean) / scale of `(n, features)` to `out`; `InputError` for what is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = (x - means) / scales
    if np.isfinite(out).all():
        return
    at, feature = np.argwhere(~np.isfinite(out))[0].tolist()
    place = row(at, numbers) + (f", feature {feature + 1}," if x.shape[1] > 1 else "")
    bad = x[at, feature]
    if np.isfinite(bad):
        raise InputError(f"{where}: {place} is {bad:g}, too far from all training data")
    hint = "; train with impute='mean' where entries may be missing" if np.isnan(bad) else ""
    raise InputError(f"{where}: {place} is {bad}; expected a finite number{hint}")


def array_names(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return a name for each number of an example.

    >>> array_names((2, 2))
    ('x[0, 0]', 'x[0, 1]', 'x[1, 0]', 'x[1, 1]')
    """
    return tuple(f"x[{', '.join(map(str, place))}]" for place in np.ndindex(*shape))
