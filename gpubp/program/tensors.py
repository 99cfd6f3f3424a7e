"""Arrays without numbers: layers, losses and optimizers run on them and are recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import GpubpError
from .values import (
    BOOLEAN,
    FLOAT,
    FUNCTIONS,
    INTEGER,
    UNSIGNED,
    Graph,
    Region,
    Value,
)  # fmt: skip

Shape = tuple[int, ...]


class Untraceable(GpubpError, TypeError):  # noqa: N818 - it names what was met, not a mishap
    """What was asked for cannot be recorded; the plain path can do it."""


_Operator = Callable[["Tensor", Any], "Tensor"]


def _operator(op: str) -> _Operator:
    return lambda a, b: elementwise(op, a, b)


def _reflected(op: str) -> _Operator:
    return lambda a, b: elementwise(op, b, a)


class Tensor:
    """A value that looks like an array of the array API.

    The last axis holds columns, all others together the rows.
    """

    __hash__ = object.__hash__
    __array_ufunc__ = None

    def __init__(self, graph: Graph, value: Value, shape: Shape, transposed: bool = False) -> None:
        self.graph, self._value, self.shape, self.transposed = graph, value, shape, transposed

    @property
    def value(self) -> Value:
        if self.transposed:
            raise Untraceable("a transpose is an operand of a product and nothing else")
        return self._value

    @property
    def operand(self) -> Value:
        """The value behind a transpose."""
        return self._value

    @property
    def dtype(self) -> str:
        return self._value.kind

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def mT(self) -> Tensor:  # noqa: N802 - the array API's own name
        if len(self.shape) != 2:
            raise Untraceable(f"the transpose of an array of shape {self.shape}")
        return Tensor(self.graph, self.operand, self.shape[::-1], not self.transposed)

    def __getitem__(self, key: Any) -> Tensor:
        keys = key if isinstance(key, tuple) else (key,)
        if keys[0] is not Ellipsis:
            raise Untraceable(f"indexing with {key!r}")
        rest = keys[1:]
        if len(rest) == 1 and isinstance(rest[0], slice):
            return self._columns(rest[0])
        zeros = all(type(k) is int and k == 0 for k in rest)
        if zeros and self.shape[len(self.shape) - len(rest) :] == (1,) * len(rest):
            return Tensor(self.graph, self.value, self.shape[: len(self.shape) - len(rest)])
        raise Untraceable(f"indexing an array of shape {self.shape} with {key!r}")

    def _columns(self, part: slice) -> Tensor:
        n, value = self.shape[-1], self.value
        start, stop, step = part.indices(n)
        if step != 1 or stop <= start:
            raise Untraceable(f"the part {part} of an array of shape {self.shape}")
        shape = (*self.shape[:-1], stop - start)
        if (start, stop) == (0, n) or value.cols is None:
            return Tensor(self.graph, value, shape)
        if stop - start == 1:
            return Tensor(self.graph, self._column(value, start), shape)
        taken = self.graph.add("slice", (value,), start, value.rows, stop - start, value.kind)
        return Tensor(self.graph, taken, shape)

    def _column(self, value: Value, number: int) -> Value:
        """One column: the sum over a row in which nothing else is left."""
        graph = self.graph
        columns = graph.add("arange", (), None, None, value.cols, INTEGER)
        at = graph.value("eq", (columns, graph.constant(number, INTEGER)))
        zero = graph.constant(0, value.kind)
        return graph.reduced("rowsum", graph.value("where", (at, value, zero)))

    __add__, __radd__ = _operator("add"), _reflected("add")
    __sub__, __rsub__ = _operator("sub"), _reflected("sub")
    __mul__, __rmul__ = _operator("mul"), _reflected("mul")
    __truediv__, __rtruediv__ = _operator("div"), _reflected("div")
    __and__, __rand__ = _operator("and"), _reflected("and")
    __or__, __ror__ = _operator("or"), _reflected("or")
    __xor__, __rxor__ = _operator("xor"), _reflected("xor")
    __rshift__, __rrshift__ = _operator("shr"), _reflected("shr")
    __lshift__, __rlshift__ = _operator("shl"), _reflected("shl")
    __lt__, __le__ = _operator("lt"), _operator("le")
    __gt__, __ge__ = _operator("gt"), _operator("ge")
    __eq__, __ne__ = _operator("eq"), _operator("ne")  # type: ignore[assignment]

    def __neg__(self) -> Tensor:
        return elementwise("neg", self)

    def __matmul__(self, other: Tensor) -> Tensor:
        if not isinstance(other, Tensor):
            raise Untraceable("a product with what is no traced array")
        return product(self, other)

    def __invert__(self) -> Tensor:
        return elementwise("eq", self, False)

    def __pow__(self, exponent: Any) -> Tensor:
        if type(exponent) not in (int, float) or exponent != int(exponent) or not 1 <= exponent < 9:
            raise Untraceable(f"a power of {exponent!r}; whole ones from 1 to 8 are recorded")
        result = self
        for _ in range(int(exponent) - 1):
            result = result * self
        return result

    def __bool__(self) -> bool:
        raise Untraceable("a branch on a value; use xp.where")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise Untraceable("an array was written in place")

    def _to_python(self, *_: Any, **__: Any) -> Any:
        raise Untraceable("a value was taken out of an array")

    __float__ = __int__ = __index__ = __iter__ = __len__ = __array__ = _to_python

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Untraceable(f"x.{name}")


def elementwise(op: str, *operands: Any, attr: Any = None) -> Tensor:
    """Apply an operation to tensors that broadcast and to Python numbers, which are weak."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    settled(*tensors)
    graph = tensors[0].graph
    typed = tensors
    if op == "where" and tensors[0] is operands[0]:
        typed = tensors[1:]
    kinds = {x.dtype for x in typed} or {FLOAT}
    if len(kinds) > 1:
        raise Untraceable(f"{op} of the kinds {sorted(kinds)}; cast with xp.astype")
    (kind,) = kinds
    if op in ("div", *FUNCTIONS, "isfinite") and kind != FLOAT:
        raise Untraceable(f"{op} of a value of kind {kind}; cast it with xp.astype first")
    values = tuple(_value(graph, x, kind) for x in operands)
    shape = _broadcast([(x.shape, x.value) for x in tensors])
    try:
        return Tensor(graph, graph.value(op, values, attr), shape)
    except (TypeError, ValueError) as error:
        raise Untraceable(f"{op}: {error}") from error


def settled(*tensors: Tensor) -> None:
    """Read all of them once: reading a window may begin a new phase, and with it a new graph."""
    for x in tensors:
        x.operand  # noqa: B018 - read for what it does


def _value(graph: Graph, x: Any, kind: str) -> Value:
    if isinstance(x, Tensor):
        return x.value
    if type(x) not in (int, float, bool):
        raise Untraceable(f"a {type(x).__module__}.{type(x).__name__} beside traced arrays")
    try:
        return graph.constant(x, kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise Untraceable(str(error)) from error


def _broadcast(given: list[tuple[Shape, Value]]) -> Shape:
    """The shape of a result; all that differs from row to row has the same rows."""
    rank = max(len(shape) for shape, _ in given)
    padded = [(1,) * (rank - len(shape)) + shape for shape, _ in given]
    for lengths in zip(*padded, strict=True):
        if len(set(lengths) - {1}) > 1:
            raise Untraceable(f"shapes {[shape for shape, _ in given]} do not broadcast")
    if len({shape[:-1] for shape, value in given if value.rows is not None}) > 1:
        raise Untraceable(f"shapes {[shape for shape, _ in given]} differ in their rows")
    return tuple(max(lengths) for lengths in zip(*padded, strict=True))


class Window(Tensor):
    """A part of a memory: reading it gives what was written last, in whatever phase it is read."""

    def __init__(
        self, memories: Any, region: Region, shape: Shape, rows: int | None, kind: str = FLOAT
    ) -> None:
        self.memories, self.region, self.shape, self._rows = memories, region, shape, rows
        self._kind, self.transposed = kind, False

    @property
    def graph(self) -> Graph:  # type: ignore[override]
        graph: Graph = self.memories.graph
        return graph

    @property
    def _value(self) -> Value:  # type: ignore[override]
        value: Value = self.memories.read(self.region, self._rows, self._kind)
        return value

    @property
    def dtype(self) -> str:
        return self._kind

    def __getitem__(self, key: Any) -> Tensor:
        flat = len(self.shape) == 1 and isinstance(key, tuple) and len(key) == 2
        if flat and key[0] is Ellipsis and isinstance(key[1], slice):
            start, stop, step = key[1].indices(self.shape[0])
            if step == 1:
                part = Region(self.region.memory, self.region.start + start, 1, stop - start)
                return Window(self.memories, part, (stop - start,), None)
        return super().__getitem__(key)

    def shaped(self, shape: Shape) -> Window:
        """The same memory in another shape; what has one row has no row axis."""
        cols = shape[-1] if shape else 1
        rows = math.prod(shape) // cols
        part = Region(self.region.memory, self.region.start, rows, cols)
        return Window(self.memories, part, shape, rows if rows > 1 else None)


class Namespace:
    """What traced code finds at `be.xp`."""

    int64, uint32 = INTEGER, UNSIGNED

    def __init__(self, precision: str) -> None:
        other = {"float32": "float64", "float64": "float32"}[precision]
        setattr(self, precision, FLOAT)
        setattr(self, "bool", BOOLEAN)  # noqa: B010 - its name is a type's
        setattr(self, other, other)  # equal to no kind of value

    def __getattr__(self, name: str) -> Any:
        if name in (*FUNCTIONS, "isfinite"):
            return lambda x: elementwise(name, x)
        if name in ("maximum", "minimum"):
            return lambda a, b: elementwise(name, a, b)
        if name in ("sum", "max", "min"):
            return _reduction(name)
        # `getattr` with a default may ask for what other namespaces have
        raise UnknownFunction(f"xp.{name} is not among the functions that can be recorded")

    @staticmethod
    def where(condition: Tensor, a: Any, b: Any) -> Tensor:
        return elementwise("where", condition, a, b)

    @staticmethod
    def astype(x: Tensor, dtype: str) -> Tensor:
        if dtype not in (FLOAT, UNSIGNED, INTEGER, BOOLEAN):
            raise Untraceable(f"a cast to {dtype}, which is not the network's floating type")
        return x if x.dtype == dtype else elementwise("cast", x, attr=dtype)

    @staticmethod
    def square(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def sign(x: Tensor) -> Tensor:
        above, below = elementwise("gt", x, 0), elementwise("lt", x, 0)
        return Namespace.astype(above, x.dtype) - Namespace.astype(below, x.dtype)

    @staticmethod
    def all(x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        """Of truths: the smallest of them as numbers."""
        if x.dtype != BOOLEAN:
            raise Untraceable("xp.all of what is no truth")
        least = _reduction("min")(Namespace.astype(x, FLOAT), axis=axis, keepdims=keepdims)
        return least > 0.5

    @staticmethod
    def mean(x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        return _reduction("sum")(x, axis=axis, keepdims=keepdims) * (1.0 / x.shape[axis])

    @staticmethod
    def matmul(a: Tensor, b: Tensor) -> Tensor:
        return product(a, b)

    @staticmethod
    def reshape(x: Tensor, shape: Shape, *, copy: Any = None) -> Tensor:
        if isinstance(x, Window):
            if -1 in shape:
                left = x.region.size // math.prod(n for n in shape if n != -1)
                shape = tuple(left if n == -1 else n for n in shape)
            return x.shaped(tuple(shape))
        if copy is None and -1 in shape and x.value.rows is None:  # of a row, all in one
            return Tensor(x.graph, x.value, (math.prod(x.shape),))
        raise Untraceable("xp.reshape; use be.reshape, which leaves leading axes alone")

    @staticmethod
    def asarray(x: Tensor, *, copy: bool = False) -> Tensor:
        return x


class UnknownFunction(Untraceable, AttributeError):  # noqa: N818
    """A name that the namespace lacks."""


def _reduction(name: str) -> Callable[..., Tensor]:
    def reduce(x: Tensor, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        if axis not in (-1, -2) or (axis == -2 and len(x.shape) < 2):
            raise Untraceable(f"xp.{name} along axis {axis}; axes -1 and -2 are recorded")
        if len(x.shape) > 2 and axis == -2:
            raise Untraceable(f"xp.{name} along axis -2 of an array of shape {x.shape}")
        if x.dtype not in (FLOAT, INTEGER):
            raise Untraceable(f"xp.{name} of a value of kind {x.dtype}")
        value = x.value
        axis_has = value.cols if axis == -1 else value.rows
        if axis_has is None and x.shape[axis] > 1:  # a number that stands for many
            if name == "sum":
                value = x.graph.value("mul", (value, x.graph.constant(x.shape[axis], value.kind)))
        else:
            value = x.graph.reduced(("row" if axis == -1 else "col") + name, value)
        shape = list(x.shape)
        shape[axis] = 1
        if not keepdims:
            del shape[axis]
        return Tensor(x.graph, value, tuple(shape))

    return reduce


def product(a: Tensor, b: Tensor) -> Tensor:
    """A matrix product; one with a single column of weights is a sum over each row."""
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
        raise Untraceable(f"a product of shapes {a.shape} and {b.shape}")
    settled(a, b)
    x, y, shape = a.operand, b.operand, (a.shape[0], b.shape[1])
    if x.kind != FLOAT or y.kind != FLOAT:
        raise Untraceable(f"a product of kinds {x.kind} and {y.kind}")
    if not a.transposed and b.transposed and y.rows is None:  # with a row of weights
        summed = a.graph.reduced("rowsum", a.graph.value("mul", (x, y)))
        return Tensor(a.graph, summed, shape)
    rows = x.cols if a.transposed else x.rows
    cols = y.rows if b.transposed else y.cols
    for v, wanted in ((x, a.shape), (y, b.shape)):
        if v.size != math.prod(wanted):
            raise Untraceable("a product with an array that is one number, or one row, repeated")
    made = a.graph.add("product", (x, y), (a.transposed, b.transposed), rows, cols, FLOAT)
    return Tensor(a.graph, made, shape)
