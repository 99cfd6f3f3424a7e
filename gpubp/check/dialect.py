"""A namespace that refuses what a layer must not do to be traced (see `gpubp.layers.base`).

It computes with NumPy in float64, and raises `BrokenRule` where a layer leaves the dialect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import GpubpError

RULES = {
    1: "functions and operators of be.xp only; shapes are Python ints; no branch on values",
    2: "axes -1 and -2 only, reductions with keepdims=True; leading dimensions are never read",
    3: "no in-place writes: gradients through g.add, running state through run.put",
    4: "one floating type in an expression; only Python numbers are weak",
    5: "random numbers only from run.bits",
    6: "labels enter as a comparison with be.arange",
    7: "a transpose only as an operand of a product",
}


class BrokenRule(GpubpError):  # noqa: N818 - it names a rule, it is not a mishap
    """A layer left the dialect: `rule` is its number, the message says what it did.

    >>> str(BrokenRule(7, "x.mT + 1"))
    'rule 7 (a transpose only as an operand of a product): x.mT + 1'
    """

    def __init__(self, rule: int, what: str) -> None:
        super().__init__(f"rule {rule} ({RULES[rule]}): {what}")
        self.rule = rule


class _UnknownError(BrokenRule, AttributeError):
    """A name that the namespace lacks: `getattr` with a default may ask for one."""


class _Shape:
    """The shape of a dialect array, of which only the last two lengths may be read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape

    def __getitem__(self, index: int) -> int:
        if index not in (-1, -2):
            raise BrokenRule(2, f"shape[{index}] was read")
        return self._shape[index]

    def __getattr__(self, name: str) -> Any:
        raise BrokenRule(2, f"shape.{name} was used")

    def __iter__(self) -> Any:
        raise BrokenRule(2, "the whole shape was read")

    def __eq__(self, other: object) -> bool:  # the library itself may compare two of them
        return isinstance(other, _Shape) and self._shape == other._shape

    def __repr__(self) -> str:
        return repr(self._shape)

    __len__ = __iter__
    __hash__ = None  # type: ignore[assignment]


class DialectArray:
    """An array that knows only what the dialect allows."""

    __hash__ = object.__hash__

    def __init__(self, values: Any, transposed: bool = False) -> None:
        self.values, self.transposed = values, transposed

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    @property
    def shape(self) -> _Shape:
        return _Shape(self.values.shape)

    @property
    def mT(self) -> DialectArray:  # noqa: N802 - the array API's own name
        return DialectArray(self.values.mT, transposed=not self.transposed)

    def __getitem__(self, key: Any) -> DialectArray:
        keys = key if isinstance(key, tuple) else (key,)
        first = all(type(k) is int and k == 0 for k in keys[1:])
        if keys[0] is not Ellipsis or not (first or _some_features(keys[1:])):
            raise BrokenRule(1, f"indexing with {key!r}")
        return DialectArray(self.values[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        raise BrokenRule(3, "an array was written with x[...] = value")

    def __bool__(self) -> bool:
        raise BrokenRule(1, "a branch on a value")

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **_: Any) -> Any:
        for x in operands:
            _refuse_foreign(ufunc.__name__, x)
        raise BrokenRule(1, f"NumPy's own {ufunc.__name__} was used; take it from be.xp")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise BrokenRule(1, f"NumPy's own {function.__name__} was used; take it from be.xp")

    def _to_python(self, *_: Any, **__: Any) -> Any:
        raise BrokenRule(1, "a value was taken out of an array")

    __float__ = __int__ = __index__ = __iter__ = __len__ = __array__ = _to_python

    def __getattr__(self, name: str) -> Any:
        if name in ("T", "transpose"):
            raise BrokenRule(7, f"x.{name}; write x.mT as an operand of a product")
        if name in ("ndim", "size", "reshape", "ravel", "flatten"):
            raise BrokenRule(2, f"x.{name} was used")
        raise BrokenRule(1, f"x.{name} was used; functions are taken from be.xp")


def _some_features(keys: tuple[Any, ...]) -> bool:
    """Whether `x[..., *keys]` is a slice of the last axis between Python ints."""
    if len(keys) != 1 or not isinstance(keys[0], slice) or keys[0].step is not None:
        return False
    return all(end is None or type(end) is int for end in (keys[0].start, keys[0].stop))


def _operator(name: str) -> Callable[..., DialectArray]:
    def method(self: DialectArray, *others: Any) -> DialectArray:
        return _elementwise(f"operator {name}", lambda *v: getattr(v[0], name)(*v[1:]))(
            self, *others
        )

    return method


def _in_place(name: str) -> Callable[..., Any]:
    def method(self: DialectArray, other: Any) -> Any:
        raise BrokenRule(3, f"an array was changed by {name}; write x = x + y")

    return method


_BINARY = ("add", "sub", "mul", "truediv", "pow", "mod", "floordiv", "and", "or", "xor",
           "lshift", "rshift")  # fmt: skip
for _name in _BINARY:
    setattr(DialectArray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(DialectArray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(DialectArray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "invert"):
    setattr(DialectArray, f"__{_name}__", _operator(f"__{_name}__"))


def _refuse_foreign(what: str, x: Any) -> None:
    if isinstance(x, DialectArray) or type(x) in (int, float, bool):
        return
    kind = f"{type(x).__module__}.{type(x).__name__}"
    if isinstance(x, np.generic):
        raise BrokenRule(4, f"{what} with a {kind}; make it a Python number: float(c)")
    if isinstance(x, np.ndarray):
        raise BrokenRule(1, f"{what} with an array of NumPy's own; arrays are parameters, running "
                         "state, run.bits and be.arange")  # fmt: skip
    raise BrokenRule(4, f"{what} with a {kind}")


def _elementwise(what: str, function: Callable[..., Any]) -> Callable[..., DialectArray]:
    def apply(*operands: Any) -> DialectArray:
        arrays = [x for x in operands if isinstance(x, DialectArray)]
        for x in operands:
            if isinstance(x, DialectArray) and x.transposed:
                raise BrokenRule(7, f"{what} of a transpose")
            _refuse_foreign(what, x)
        values = arrays[1:] if what == "xp.where" and arrays[0] is operands[0] else arrays
        if len({x.dtype for x in values}) > 1:
            raise BrokenRule(4, f"{what} mixes {sorted(str(x.dtype) for x in values)}")
        if not values:
            raise BrokenRule(4, f"{what} of Python numbers alone is float64, whatever the network")
        return DialectArray(function(*[values_of(x) for x in operands]))

    return apply


def values_of(x: Any) -> Any:
    """The NumPy array behind a dialect array; anything else as it is."""
    return x.values if isinstance(x, DialectArray) else x


class Namespace:
    """What a layer finds at `be.xp`."""

    float64, float32, int64, uint32, bool = np.float64, np.float32, np.int64, np.uint32, np.bool_

    def __getattr__(self, name: str) -> Any:
        if name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "cos", "abs", "sign",
                    "isfinite", "where", "maximum", "minimum", "square", "floor"):  # fmt: skip
            return _elementwise(f"xp.{name}", getattr(np, name))
        if name in ("sum", "mean", "max", "min"):
            return self._reduction(name)
        raise _UnknownError(1, f"xp.{name} is not one of the functions that can be traced")

    @staticmethod
    def _reduction(name: str) -> Callable[..., DialectArray]:
        def reduce(x: DialectArray, *, axis: Any = None, keepdims: Any = False) -> DialectArray:
            if axis not in (-1, -2) or keepdims is not True:
                raise BrokenRule(2, f"xp.{name}(x, axis={axis}, keepdims={keepdims})")
            return _elementwise(
                f"xp.{name}", lambda v: getattr(np, name)(v, axis=axis, keepdims=True)
            )(x)

        return reduce

    @staticmethod
    def astype(x: DialectArray, dtype: Any) -> DialectArray:
        return DialectArray(x.values.astype(dtype))

    @staticmethod
    def matmul(a: DialectArray, b: DialectArray) -> DialectArray:
        return DialectArray(np.matmul(a.values, b.values))
