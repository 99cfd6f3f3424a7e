"""A device that computes nothing: it records what it is asked to do.

Parameters, gradients, slots and running state are named memories, of which layers and optimizers
see windows. What is written is a sink of the graph; reading the same window gives the value that
was written, and reading one that lies across it begins a new phase, in which all that was written
before lies in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import Array, Backend, Formula
from ..bits import bits, words
from .tensors import Namespace, Tensor, Untraceable, Window, elementwise, product, settled
from .values import FLOAT, INTEGER, UNSIGNED, Graph, Region, Value, one

_KINDS = {"f": FLOAT, "i": INTEGER, "u": UNSIGNED}
_DTYPES = {"int64": INTEGER, "uint32": UNSIGNED, None: FLOAT}


@dataclass
class Phase:
    """What is computed from memory as it is, and what is written at the end of it.

    `guard` is a truth on which all that follows depends: where it is false, the step ends here.
    `effects` are the calls that must be made whatever becomes of their result, each with the
    regions into which it may write by itself.
    """

    graph: Graph = field(default_factory=Graph)
    sinks: dict[Region, Value] = field(default_factory=dict)
    guard: Value | None = None
    effects: dict[Value, tuple[Region, ...]] = field(default_factory=dict)

    @property
    def written(self) -> list[Region]:
        """All regions that hold something else behind this phase."""
        return [*self.sinks, *(region for regions in self.effects.values() for region in regions)]


class Recorder:
    """The phases of a computation as they come, and the constants they need.

    >>> recorder = Recorder()
    >>> w = recorder.memory("theta", 4)
    >>> recorder.write(w.region, w * 0.5)
    >>> [str(region) for region in recorder.phases[0].sinks]
    ['theta[0:4]']
    """

    def __init__(self) -> None:
        self.phases = [Phase()]
        self.constants: dict[str, Any] = {}
        self._read: dict[Region, int] = {}

    @property
    def graph(self) -> Graph:
        return self.phases[-1].graph

    @property
    def origin(self) -> str:
        """The path of the layer that is at work."""
        return self.graph.origin

    @origin.setter
    def origin(self, path: str) -> None:
        self.graph.origin = path

    def memory(self, name: str, size: int) -> Window:
        """A flat memory `(size,)` that can be read and written."""
        return Window(self, Region(name, 0, 1, size), (size,), None)

    def leaf(self, name: str, shape: tuple[int, ...], kind: str, rows: int | None = None) -> Window:
        """What is handed in: it is read and never written."""
        cols = math.prod(shape) // (rows or 1)
        return Window(self, Region(name, 0, rows or 1, cols), shape, rows, kind)

    def constant(self, array: Any) -> Window:
        """Numbers that are the same in every step, `(n,)`."""
        name = next((n for n, a in self.constants.items() if _same(a, array)), "")
        if not name:
            name = f"constant{len(self.constants)}"
            self.constants[name] = array
        return self.leaf(name, array.shape, _KINDS[array.dtype.kind])

    def read(self, region: Region, rows: int | None, kind: str = FLOAT) -> Value:
        """What a region holds now."""
        phase = self.phases[-1]
        if region in phase.sinks:
            return phase.sinks[region]
        if any(region.overlaps(written) for written in phase.written):
            self.cut()
        self._read[region] = len(self.phases)
        cols = region.cols if region.cols > 1 else None
        return self.graph.leaf(region, rows, cols, kind)

    def write(self, region: Region, tensor: Tensor) -> None:
        """Let a region hold something else from now on."""
        phase, value = self.phases[-1], tensor.value
        if value.number >= len(phase.graph.values) or phase.graph.values[value.number] is not value:
            raise Untraceable(f"{region} is written with what was computed before others were")
        if value.kind != FLOAT:
            raise TypeError(f"a value of kind {value.kind} was given for {region}")
        across = [r for r in (*phase.sinks, *self._read) if r != region and r.overlaps(region)]
        if any(r in phase.sinks or self._read[r] == len(self.phases) for r in across):
            raise Untraceable(f"{region} is written and {across[0]} used in one phase")
        if value.rows is not None and region.rows == 1:  # of a batch of one
            value = phase.graph.reduced("colsum", value)
        phase.sinks[region] = value

    def effect(self, value: Value, regions: Sequence[Region]) -> None:
        """Let a call be made for what it does; it may write into these regions."""
        met = [r for r in self.phases[-1].sinks if any(r.overlaps(region) for region in regions)]
        if met:
            raise Untraceable(f"{met[0]} is written twice in one phase")
        self.phases[-1].effects[value] = tuple(regions)

    def cut(self, guard: Value | None = None) -> None:
        """Begin a new phase; where the guard is false it is not come to."""
        self.phases[-1].guard = guard
        origin = self.origin
        self.phases.append(Phase())
        self.origin = origin


def _same(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b))


class RecordingBackend(Backend):
    """The contract of a device over recorded arrays; see there for what each method does.

    >>> be = RecordingBackend("float32")
    >>> x = be.recorder.leaf("x", (8, 3), FLOAT, rows=8)
    >>> y = be.map(lambda xp, x: xp.maximum(x, 0.0), x)
    >>> print(y.value)
    %2 = maximum %0 %1 : T r8x3
    """

    device = "recording"

    def __init__(self, precision: str) -> None:
        self.precision, self.dtype = precision, FLOAT
        self.recorder = Recorder()
        self.xp = Namespace(precision)

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        if isinstance(x, Tensor):
            return x
        kind = {FLOAT: self.precision, INTEGER: "int64", UNSIGNED: "uint32"}[_DTYPES[dtype]]
        return self.recorder.constant(np.ascontiguousarray(x, dtype=kind))

    def adopt(self, x: Any) -> Array:
        return np.asarray(x)

    def to_numpy(self, x: Array) -> Any:
        raise Untraceable("an array was asked back to the host")

    def owns(self, x: Any) -> bool:
        return isinstance(x, Tensor)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        graph = self.recorder.graph
        return Tensor(graph, graph.constant(0.0, FLOAT), shape)

    def arange(self, n: int, dtype: str) -> Array:
        graph, kind = self.recorder.graph, _DTYPES[dtype]
        if n == 1:
            return Tensor(graph, graph.constant(0, kind), (1,))
        return Tensor(graph, graph.add("arange", (), None, None, n, kind), (n,))

    def map(self, formula: Formula, *arguments: Any) -> Any:
        settled(*(x for x in arguments if isinstance(x, Tensor)))
        return formula(self.xp, *arguments)

    def matmul(self, a: Array, b: Array) -> Array:
        return product(a, b)

    def write(self, out: Array, value: Array) -> None:
        if not isinstance(out, Window):
            raise Untraceable("be.write to what is no parameter, gradient or state")
        self.recorder.write(out.region, value)

    def accumulate(self, out: Array, value: Array) -> None:
        self.write(out, out + value)

    def write_matmul(self, out: Array, a: Array, b: Array) -> None:
        self.write(out, product(a, b))

    def take(self, x: Array, rows: Array) -> Array:
        raise Untraceable("be.take; rows of parameters are taken with be.gather")

    def reshape(self, x: Array, rank: int, shape: tuple[int, ...]) -> Array:
        whole = (*x.shape[: len(x.shape) - rank], *shape)
        value = x.value
        if value.rows is None:
            raise Untraceable("be.reshape of what is no batch of examples")
        rows, cols = (math.prod(whole[:-1]), whole[-1]) if len(whole) > 1 else (whole[0], 1)
        if math.prod(whole) != value.size:
            raise Untraceable("be.reshape of numbers that stand for several")
        if rows != value.rows:
            graph = self.recorder.graph
            some = cols if cols > 1 else None
            value = graph.add("part", (value,), None, rows, some, value.kind)
        return Tensor(x.graph, value, whole)

    def concat(self, arrays: Sequence[Array]) -> Array:
        arrays = [x for x in arrays if x.shape[-1] > 0]
        if len(arrays) == 1:
            return arrays[0]
        values = tuple(x.value for x in arrays)
        widths = tuple(x.shape[-1] for x in arrays)
        rows = one(v.rows for v in values)
        lead = max((x.shape[:-1] for x in arrays), key=math.prod)
        shape = (*lead, sum(widths))
        graph = self.recorder.graph
        joined = graph.add("concat", values, widths, rows, sum(widths), values[0].kind)
        return Tensor(graph, joined, shape)

    def gather(self, table: Array, index: Array) -> Array:
        m, (n, d) = index.shape[-1], table.shape
        graph, cols = self.recorder.graph, d if d > 1 else None
        taken = graph.add("gather", (table.value, index.value), (n, d), m, cols, FLOAT)
        return Tensor(graph, taken, (m, d))

    def scatter(self, index: Array, rows: Array, n: int) -> Array:
        d = rows.shape[-1]
        graph, cols = self.recorder.graph, d if d > 1 else None
        values = index.value, rows.value
        added = graph.add("scatter", values, (n, d), n if n > 1 else None, cols, FLOAT)
        return Tensor(graph, added, (n, d))

    def bits(
        self, rows: int, columns: int, key: Array, stream: int, step: int, first_row: int = 0
    ) -> Array:
        graph = self.recorder.graph
        cols = columns if columns > 1 else None
        index = Tensor(graph, graph.add("iota", (), columns, rows, cols, UNSIGNED), (rows, columns))
        if first_row:
            index = index + (first_row * columns & 0xFFFFFFFF)
        # The stream lies in memory, so that the kernels of several layers are the same.
        held = self.recorder.constant(np.asarray([stream], dtype=np.uint32))
        first, second = words(self.xp, key, held, step)
        return bits(self.xp, index, first, second)

    def finite(self, flat: Array, value: Array, reach: Any) -> Any:
        norm = self.xp.sqrt(self.xp.sum(flat * flat, axis=-1, keepdims=True))
        largest = float(np.sqrt(np.finfo(self.precision).max))
        far = elementwise("maximum", reach, 1.0)
        return (norm * far < largest) & self.xp.isfinite(value)

    def update(
        self, formula: Formula, state: Sequence[Array], arrays: Sequence[Array],
        numbers: Sequence[Any], ok: Any,
    ) -> None:  # fmt: skip
        new = self.map(formula, *state, *arrays, *numbers)
        for out, value in zip(state, new if isinstance(new, tuple) else (new,), strict=True):
            self.write(out, value)

    def activate(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def synchronize(self) -> None:
        return None
