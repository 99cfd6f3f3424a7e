"""Rows of what can be indexed, an array in a file say, read and transformed batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from typing import Any
from zlib import crc32

import numpy as np

from ..errors import InputError, whole
from ..seeds import shuffler
from ..source import Block, Check, Checked, Source
from .chosen import chosen
from .prefetch import ahead
from .table import Table

_FIRST = 32  # rows that are looked at before training
_KNOWN = 1 << 16  # targets that are looked at in one go
_MOST, _BYTES = 4096, 1 << 20  # rows and bytes that are read at once, unless a batch has more
Transform = Callable[[Any], Any]


class Rows(Source):
    """The rows of `x` `(n, ...)`, their targets `y` and weights `w`, never all in memory at once.

    Each of them has a `shape` and is indexed by rows: an array, a memory map, a data set of h5py or
    zarr (which is asked for rising indices alone), or as `x` a `Table`. `rows`, an index array or
    a mask `(n,)`, chooses some of them, in that order. `transform(x)` makes the features of some
    rows, `target_transform(y)` their targets: `Preprocessing.features` and `.targets` do.

    `fit`, `evaluate` and `predict` take it in place of arrays, `fit` and `evaluate` with no `y`
    beside it, and give the bits that the arrays would give; `r2` is equal to within rounding.
    Shuffling is exact, for 8 bytes a row. A thread reads and transforms `prefetch` batches ahead;
    0 leaves it out. Raises `InputError` for what does not fit together, before training where that
    can be known, or when it is met: what was learned until then is kept.

    >>> import numpy as np
    >>> import gpubp
    >>> x = np.asarray([[0, 0], [0, 255], [255, 0], [255, 255]], dtype=np.uint8)
    >>> source = Rows(x, [0, 1, 1, 0], rows=[0, 1, 3], transform=lambda pixels: pixels / 255)
    >>> net = gpubp.Network(gpubp.MLP([8], 2), inputs=2)
    >>> net.fit(source, epochs=2)["epoch"], net.predict(source).shape
    ([1, 2], (3, 2))
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        w: Any = None,
        rows: Any = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        prefetch: int = 2,
    ) -> None:
        self._x, self._y, self._w = _indexed(x, "x"), _indexed(y, "y"), _indexed(w, "w")
        total = len(self._x) if isinstance(self._x, Table) else int(self._x.shape[0])
        for name, array in (("y", self._y), ("w", self._w)):
            if array is not None and array.shape[0] != total:
                raise InputError(f"Rows: x has {total} rows and {name} has {array.shape[0]}")
        self._rows = None if rows is None else chosen(rows, total, "Rows: rows")
        self.n = total if self._rows is None else len(self._rows)
        if not self.n:
            raise InputError("Rows: there are no rows; give at least one example")
        self._transforms = check_transforms("Rows", transform, target_transform)
        self.prefetch = check_prefetch("Rows", prefetch)

    def __repr__(self) -> str:
        return f"Rows(n={self.n}, prefetch={self.prefetch})"

    def first(self, epoch: int) -> Block:
        return self._block(None, 0, min(self._n, _FIRST))

    def known(self) -> Iterator[Block]:
        own = type(self._y) is np.ndarray and self._transforms[1] is None
        y, w = self._y if own else None, self._w if type(self._w) is np.ndarray else None
        for start in range(0, self._n, _KNOWN):
            numbers = np.arange(start, min(start + _KNOWN, self._n))
            rows = numbers if self._rows is None else self._rows[numbers]
            if y is not None:
                yield Block(None, y[rows], None if w is None else w[rows], rows, "Rows")

    def told(self) -> str:
        """Their number, and a checksum of some of them as they are before any transform."""
        some = np.unique(np.linspace(0, self._n - 1, 64).astype(np.int64))
        parts = self._parts(some if self._rows is None else self._rows[some])
        checksum = 0
        for part in (p for p in parts if p is not None):
            columns = part.columns.values() if isinstance(part, Table) else [part]
            for array in columns:
                plain = array.tolist() if array.dtype.hasobject else array
                data = repr(plain).encode() if plain is not array else array.tobytes()
                checksum = crc32(data, checksum)
        return f"Rows, {self.n} examples, checksum {checksum:08x}"

    def batches(
        self, size: int, check: Check, epoch: int = 0, seed: int | None = None, start: int = 0
    ) -> Generator[Checked]:
        return ahead(self._read(size, check, epoch, seed, start), self.prefetch)

    @property
    def _n(self) -> int:
        assert self.n is not None
        return self.n

    def _read(
        self, size: int, check: Check, epoch: int, seed: int | None, start: int
    ) -> Generator[Checked]:
        order = None if seed is None else shuffler(seed, epoch).permutation(self._n)
        stride = size * max(1, min(_MOST // size, _BYTES // (size * self._row_bytes)))
        for begin in range(start * size, self._n, stride):
            x, t, w = check(self._block(order, begin, min(begin + stride, self._n)))
            if self._transforms != (None, None):  # it may write the next ones in the same place
                x, t = np.array(x), None if t is None else np.array(t)
            for first in range(0, len(x), size):
                rows = slice(first, first + size)
                yield x[rows], None if t is None else t[rows], None if w is None else w[rows]

    @property
    def _row_bytes(self) -> int:
        """Of a row in float64, before it is transformed; 1 at least."""
        if isinstance(self._x, Table):
            return 8 * max(1, len(self._x.columns))
        return 8 * max(1, int(math.prod(self._x.shape[1:])))

    def _block(self, order: Any, start: int, stop: int) -> Block:
        """The rows from `start` to `stop` of that order."""
        if order is None and self._rows is None:
            rows: Any = slice(start, stop)
            numbers = np.arange(start, stop)
        else:
            rows = numbers = np.arange(start, stop) if order is None else order[start:stop]
            if self._rows is not None:
                rows = numbers = self._rows[rows]
        x, y, w = self._parts(rows)
        return transformed(Block(x, y, w, numbers, "Rows"), *self._transforms)

    def _parts(self, rows: Any) -> tuple[Any, Any, Any]:
        x, y, w = (None if a is None else _read(a, rows) for a in (self._x, self._y, self._w))
        return x, y, w


def transformed(block: Block, x: Transform | None, y: Transform | None) -> Block:
    """Return the block with its parts as the transforms make them."""
    if x is not None:
        block = block._replace(x=_applied(x, block.x, block, "transform"))
    if y is not None and block.y is not None:
        block = block._replace(y=_applied(y, block.y, block, "target_transform"))
    if isinstance(block.x, Table):
        raise InputError(
            f"{block.where}: x is a table; make numbers of it with transform=, such as the "
            "features of a gpubp.data.Preprocessing"
        )
    return block


def _applied(transform: Transform, given: Any, block: Block, name: str) -> Any:
    rows = length(given, block.where)
    try:
        result = transform(given)
    except InputError as error:
        if isinstance(given, Table):  # which knows the numbers of its rows
            raise
        raise InputError(f"{block.where}: {name} of {_named(block.rows, rows)}: {error}") from error
    made = length(result, f"{block.where}, {name}")
    if made != rows:
        raise InputError(f"{block.where}: {name} made {made} rows of {rows}; expected one of each")
    return result


def _named(numbers: Any, n: int) -> str:
    """Which rows a transform was given, whose messages count from the first of them."""
    if numbers is None:
        return f"its {n} rows"
    listed = ", ".join(str(number + 1) for number in numbers[:3]) + (", ..." if n > 3 else "")
    return f"rows {listed} of all, the first of which is called row 1"


def length(rows: Any, where: str) -> int:
    """Return how many rows there are; `InputError` for what has none.

    >>> length([[1.0], [2.0]], "block 3")
    2
    """
    shape = getattr(rows, "shape", None)
    if shape is None and hasattr(rows, "__len__"):
        return len(rows)
    if not shape:
        raise InputError(f"{where} is a {type(rows).__name__}; expected an array of rows")
    return int(shape[0])


def check_transforms(where: str, *transforms: Transform | None) -> tuple[Transform | None, ...]:
    """Return them; `InputError` unless each is a function or None."""
    for name, given in zip(("transform", "target_transform"), transforms, strict=True):
        if given is not None and not callable(given):
            raise InputError(f"{where}: {name} is {given!r}; expected a function of some rows")
    return transforms


def check_prefetch(where: str, prefetch: Any) -> int:
    """Return it; `InputError` unless it is a whole number of at least 0."""
    if not whole(prefetch) or prefetch < 0:
        raise InputError(f"{where}: prefetch is {prefetch!r}; expected a whole number, 0 or more")
    return int(prefetch)


def _indexed(given: Any, name: str) -> Any:
    """Return what rows can be read of: as it is, unless it is in memory anyway."""
    if given is None and name == "x":
        raise InputError("Rows: x is None; expected an array of examples")
    in_memory = any(hasattr(given, sign) for sign in ("iloc", "__dlpack__"))  # pandas, torch
    by_rows = isinstance(given, np.ndarray | Table) or (hasattr(given, "shape") and not in_memory)
    if given is None or by_rows:
        array = given
    else:
        try:
            array = np.asarray(given)
        except Exception as error:  # each library refuses in its own way
            raise InputError(f"Rows: {name} cannot be read on the host ({error}); give arrays of a "
                             "device to fit itself") from error  # fmt: skip
    if array is not None and not isinstance(array, Table) and not len(array.shape):
        raise InputError(f"Rows: {name} has no rows; expected an array (n, ...)")
    return array


def _read(array: Any, rows: Any) -> Any:
    """Some rows, of a slice or of an index array, in memory."""
    if isinstance(array, Table):
        return array.rows(np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows)
    if isinstance(array, np.memmap):  # read here, and not when it is first used
        return np.array(array[rows])
    if isinstance(array, np.ndarray):
        return array[rows]
    if isinstance(rows, slice):
        return np.array(array[rows])
    rising, places = np.unique(rows, return_inverse=True)
    return np.asarray(array[rising])[places]
