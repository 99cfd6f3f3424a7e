"""The backend that a layer sees while it is written in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .onnx_graph import Graph, Rows, Shape, Tensor
from .onnx_trace import astype, broadcast, namespace


class Tracing:
    """What a layer sees of a backend in inference, with tensors of a graph for arrays."""

    device, deferred = "onnx", True

    def __init__(self, graph: Graph) -> None:
        self._graph, self.precision, self.dtype = graph, graph.float, graph.float
        self.xp = namespace(graph.float)

    def map(self, formula: Callable[..., Any], *arguments: Any) -> Any:
        return formula(self.xp, *arguments)

    def asarray(self, x: Any, dtype: str | None = None) -> Tensor:
        dtype = dtype or self.precision
        return astype(x, dtype) if isinstance(x, Tensor) else self._graph.constant(x, dtype)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return self._graph.constant(np.zeros(shape))

    def arange(self, n: int, dtype: str) -> Tensor:
        return self._graph.constant(np.arange(n), dtype)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        lead = broadcast(a.shape[:-2], b.shape[:-2])
        return self._graph.node("MatMul", a, b, shape=(*lead, a.shape[-2], b.shape[-1]))

    def reshape(self, x: Tensor, rank: int, shape: Shape) -> Tensor:
        new = (*x.shape[: x.ndim - rank], *shape)
        # 0 keeps a length as it is, -1 is what is left
        kept = new[0] == x.shape[0]
        lengths = [(0 if kept else -1) if isinstance(n, Rows) else int(n) for n in new]
        return self._graph.node("Reshape", x, np.asarray(lengths), shape=new)

    def concat(self, arrays: Sequence[Tensor]) -> Tensor:
        *lead, _ = arrays[0].shape
        if any(a.shape[:-1] != tuple(lead) for a in arrays):
            raise ValueError("in ONNX arrays that are joined must not broadcast")
        width = sum(a.shape[-1] for a in arrays)
        return self._graph.node("Concat", *arrays, axis=-1, shape=(*lead, width))

    def gather(self, table: Tensor, index: Tensor) -> Tensor:
        shape = (*index.shape, table.shape[-1])
        return self._graph.node("Gather", table, index, shape=shape, axis=0)

    def bits(self, *_: Any, **__: Any) -> Any:
        raise TypeError("random bits are drawn in inference, and ONNX has none that are the same")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"in an ONNX graph there is no be.{name}")
