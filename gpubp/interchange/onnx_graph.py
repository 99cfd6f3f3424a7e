"""An ONNX graph that is being written: tensors, nodes, and the arrays that they need."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..layers import Layer
from ..run import Run
from ..storage import Views

Converter = Callable[["Graph", Any, Views, "Tensor", Run], "Tensor"]
"""What writes a layer: `f(graph, layer, w, x, run) -> y`, as its `forward(be, w, x, run)`."""


class Rows:
    """The number of rows of a batch, or `times` as many: no number is known before it runs."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def __mul__(self, factor: Any) -> Rows:
        return Rows(self.times * operator.index(factor))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return "batch" if self.times == 1 else f"{self.times} batch"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and other.times == self.times

    def __hash__(self) -> int:
        return hash(("rows", self.times))


Shape = tuple[Any, ...]
ENDS = ("x", "y", "probabilities")
"""What goes in and what comes out."""


class Tensor:
    """A value of the graph: its name, its dtype by NumPy's name, and its shape where it is known.

    Operators and the functions of `gpubp.interchange.onnx_trace` add nodes to the graph.
    """

    __array_ufunc__ = None  # a number of NumPy's at the left leaves the operation to us
    __hash__ = object.__hash__

    def __init__(self, graph: Graph, name: str, dtype: str, shape: Shape | None = None) -> None:
        self.graph, self.name, self.dtype, self._shape = graph, name, dtype, shape

    @property
    def shape(self) -> Shape:
        """The lengths, the first of them `Rows` where it is the batch."""
        if self._shape is None:
            raise TypeError(f"the shape of {self.name} is not known")
        return self._shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def shaped(self, shape: Shape) -> Tensor:
        """Say what shape it has; returns itself."""
        self._shape = shape
        return self

    def __bool__(self) -> bool:
        raise TypeError("a layer cannot branch on a value; use xp.where")

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.dtype}, {self._shape})"


class Graph:
    """The nodes and arrays written so far; what a converter writes with.

    `float` is the network's floating type by name, `opset` the version of the operators.
    """

    def __init__(
        self,
        precision: str,
        opset: int,
        arrays: Mapping[str, Any],
        find: Callable[[Layer], Converter],
    ) -> None:
        from onnx import helper

        self.float, self.opset = precision, opset
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}
        self._helper, self._arrays, self._find = helper, arrays, find
        self._scalars: dict[tuple[str, Any], Tensor] = {}
        self._count: dict[str, int] = {}
        self._path = ""

    def apply(self, layer: Layer, w: Views, x: Tensor, run: Run) -> Tensor:
        """Write a layer at the place that `w` and `run` stand for; returns its output."""
        before, self._path = self._path, run.path
        try:
            y = self._find(layer)(self, layer, w, x, run)
        finally:
            self._path = before
        if not isinstance(y, Tensor):
            raise InputError(
                f"the converter of {type(layer).__name__} returned {y!r}; expected a tensor of "
                "the graph, as graph.node(...) returns it"
            )
        return y.shaped((Rows(), *run.spec.shape))

    def node(
        self,
        op: str,
        *operands: Any,
        dtype: str | None = None,
        shape: Shape | None = None,
        **attributes: Any,
    ) -> Tensor:
        """Add a node of the operator `op`; returns its output.

        Operands are tensors, or numbers and NumPy arrays, which become constants. The output has
        the dtype of the first operand where none is given.
        """
        inputs = [each if isinstance(each, Tensor) else self.constant(each) for each in operands]
        name = self._name(op)
        self.nodes.append(
            self._helper.make_node(
                op, [self._used(each) for each in inputs], [name], name=name, **attributes
            )
        )
        return Tensor(self, name, dtype or inputs[0].dtype, shape)

    def constant(self, value: Any, dtype: str | None = None) -> Tensor:
        """Return a number or array as a tensor; a float is of the network's floating type."""
        array = np.asarray(value)
        if array.dtype.kind == "f" and dtype is None:
            dtype = self.float
        with np.errstate(over="ignore", under="ignore"):
            array = np.asarray(array, dtype=dtype)
        key = (array.dtype.name, array.tobytes()) if array.ndim == 0 else None
        if key in self._scalars:
            return self._scalars[key]
        tensor = Tensor(self, self._name("constant"), array.dtype.name, array.shape)
        self.initialisers[tensor.name] = array
        if key is not None:
            self._scalars[key] = tensor
        return tensor

    def array(self, path: str, row: bool = False) -> Tensor:
        """Return a parameter or running state of the network by its path.

        With `row` a vector is a row `(1, n)`, as layers see it. It is written when it is used.
        """
        shape = self._arrays[path].shape
        return Weight(self, path, (1,) * (2 - len(shape)) + shape if row else shape)

    def vector(self, row: Tensor) -> Tensor:
        """Return a parameter that is seen as a row `(1, n)` as the vector `(n,)` that it is."""
        return self.array(row.name) if isinstance(row, Weight) else row

    def end(self, y: Tensor, name: str) -> None:
        """Make a tensor the output of the graph, under a name of its own."""
        if self.nodes and self.nodes[-1].output[0] == y.name:
            self.nodes[-1].output[0] = name
        else:  # the input itself, or what another node needs too
            self.nodes.append(self._helper.make_node("Identity", [self._used(y)], [name]))

    def _used(self, tensor: Tensor) -> str:
        if tensor.graph is not self:
            raise InputError(f"{tensor!r} belongs to another graph")
        if not isinstance(tensor, Weight):
            return tensor.name
        array = self._arrays[tensor.name]
        name = f"{tensor.name}:row" if tensor.shape != array.shape else tensor.name
        name = f"{name}:" if name in ENDS else name
        self.initialisers.setdefault(name, array.reshape(tensor.shape))
        return name

    def _name(self, what: str) -> str:
        """A name of a node's own that says where in the tree it stands; arrays have no slash."""
        name = f"{self._path}/{what}"
        self._count[name] = number = self._count.get(name, 0) + 1
        return name if number == 1 else f"{name}_{number}"


class Weight(Tensor):
    """An array of the network, by its path."""

    def __init__(self, graph: Graph, path: str, shape: Shape) -> None:
        super().__init__(graph, path, graph.float, shape)
