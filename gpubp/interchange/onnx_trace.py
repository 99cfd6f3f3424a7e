"""A namespace that computes nothing: what a formula asks of it becomes nodes of an ONNX graph.

The dialect in which formulas (`gpubp.activations`) and layers (`gpubp.layers.base`) are written
can be run with tensors of a graph in place of arrays. So what ONNX has no operator for, or its
runtimes none in float64, is written as gpubp computes it, and so is a layer of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .onnx_graph import Graph, Shape, Tensor

_UNARY = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "tanh": "Tanh", "sign": "Sign",
    "floor": "Floor", "ceil": "Ceil", "round": "Round", "sin": "Sin", "cos": "Cos",
    "negative": "Neg", "reciprocal": "Reciprocal",
}  # fmt: skip
_BINARY = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "pow": "Pow",
    "maximum": "Max", "minimum": "Min",
}  # fmt: skip
_COMPARE = {
    "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "equal": "Equal",
}  # fmt: skip
_TRUTH = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow",
    "and": "logical_and", "or": "logical_or", "xor": "logical_xor",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
    "ne": "not_equal",
}  # fmt: skip
_DTYPES = ("float32", "float64", "int64", "int32", "uint32", "bool")


def broadcast(*shapes: Shape) -> Shape:
    longest = max(map(len, shapes))
    columns = zip(*((1,) * (longest - len(s)) + tuple(s) for s in shapes), strict=True)
    found = []
    for column in columns:
        lengths = {n for n in column if n != 1} or {1}
        if len(lengths) > 1:
            raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
        found.append(lengths.pop())
    return tuple(found)


def _pair(a: Any, b: Any) -> tuple[Graph, list[Tensor]]:
    """Two operands as tensors of one dtype; Python's numbers are weak."""
    first: Tensor = a if isinstance(a, Tensor) else b
    both = [x if isinstance(x, Tensor) else first.graph.constant(x, first.dtype) for x in (a, b)]
    if both[0].dtype != both[1].dtype:
        raise TypeError(f"{both[0].dtype} meets {both[1].dtype}; cast with xp.astype")
    return first.graph, both


def _binary(op: str, dtype: str | None) -> Callable[[Any, Any], Tensor]:
    def function(a: Any, b: Any) -> Tensor:
        graph, both = _pair(a, b)
        return graph.node(op, *both, dtype=dtype, shape=broadcast(both[0].shape, both[1].shape))

    return function


def _unary(op: str) -> Callable[[Tensor], Tensor]:
    return lambda x: x.graph.node(op, x, shape=x.shape)


def _not(x: Tensor) -> Tensor:
    return x.graph.node("Not", x, shape=x.shape)


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True) -> Tensor:
    """Cast to a dtype by its name."""
    from onnx import helper

    if x.dtype == dtype:
        return x
    to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return x.graph.node("Cast", x, dtype=str(dtype), shape=x.shape, to=to)


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    """Choose element by element."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        raise TypeError("xp.where of two numbers has a type that depends on the library")
    graph, both = _pair(a, b)
    shape = broadcast(condition.shape, both[0].shape, both[1].shape)
    return graph.node("Where", condition, *both, dtype=both[0].dtype, shape=shape)


_AXES_FROM = {"ReduceSum": 13, "ReduceMax": 18, "ReduceMin": 18, "ReduceMean": 18, "ReduceProd": 18}
"""The opset from which on the axes are an input and no attribute."""


def _reduction(op: str) -> Callable[..., Tensor]:
    def function(x: Tensor, /, *, axis: int, keepdims: bool = False) -> Tensor:
        shape = list(x.shape)
        shape[axis] = 1
        if not keepdims:
            del shape[axis]
        later = x.graph.opset >= _AXES_FROM[op]
        more = [np.asarray([axis])] if later else []
        how: dict[str, Any] = {"keepdims": int(keepdims)} | ({} if later else {"axes": [axis]})
        return x.graph.node(op, x, *more, shape=tuple(shape), **how)

    return function


def _slice(x: Tensor, key: Any) -> Tensor:
    """`x[..., a:b]`, the one form of indexing that layers use."""
    plain = isinstance(key, tuple) and len(key) == 2 and key[0] is ...
    if not plain or not isinstance(key[1], slice) or key[1].step not in (None, 1):
        raise TypeError("of indexing there is x[..., a:b] alone")
    start, stop, _ = key[1].indices(x.shape[-1])
    return columns(x, start, stop)


def columns(x: Tensor, start: int, stop: int) -> Tensor:
    """Return the features `start` to `stop` of the last axis."""
    shape = (*x.shape[:-1], stop - start)
    ends = (np.asarray([n]) for n in (start, stop, -1))
    return x.graph.node("Slice", x, *ends, shape=shape)


def _transposed(x: Tensor) -> Tensor:
    last = x.ndim - 1
    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2])
    return x.graph.node("Transpose", x, shape=shape, perm=[*range(last - 1), last, last - 1])


def namespace(precision: str) -> Any:
    """The functions that layers and formulas call; `erf` where runtimes have it, in float32."""
    found: dict[str, Any] = {name: _unary(op) for name, op in _UNARY.items()}
    found |= {name: _binary(op, None) for name, op in _BINARY.items()}
    found |= {name: _binary(op, "bool") for name, op in (_COMPARE | _TRUTH).items()}
    found |= {name: _reduction(f"Reduce{name.title()}") for name in ("sum", "max", "min", "mean")}
    found |= {name: name for name in _DTYPES}
    found |= {
        "astype": astype,
        "where": where,
        "not_equal": lambda a, b: _not(found["equal"](a, b)),
        "logical_not": _not,
        "expm1": lambda x: found["exp"](x) - 1.0,
        "log1p": lambda x: found["log"](x + 1.0),
        "square": lambda x: x * x,
        "prod": _reduction("ReduceProd"),
    }
    if precision == "float32":
        found["erf"] = _unary("Erf")
    return SimpleNamespace(**found)


def _method(function: Callable[[Any, Any], Tensor], reflected: bool = False) -> Any:
    if reflected:
        return lambda self, other: function(other, self)
    return lambda self, other: function(self, other)


_XP = vars(namespace("float32"))
for _name, _function in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _method(_XP[_function]))
    setattr(Tensor, f"__r{_name}__", _method(_XP[_function], reflected=True))
for _name, _function in _COMPARISONS.items():
    setattr(Tensor, f"__{_name}__", _method(_XP[_function]))
_OWN: dict[str, Any] = {
    "__neg__": _XP["negative"], "__abs__": _XP["abs"], "__invert__": _not, "__getitem__": _slice,
    "mT": property(_transposed),
}  # fmt: skip
for _name, _function in _OWN.items():
    setattr(Tensor, _name, _function)
