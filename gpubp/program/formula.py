"""Trace a formula, written once over a namespace, into the body of a C loop over elements.

A formula is a Python function `f(xp, *arguments)` of element-wise operations. Called with NumPy
it computes; called with the recording namespace below it leaves one line of C for each operation.
`T` is the floating type of the kernel; a constant becomes `T(0.5)`, for a bare C++ literal is a
double and would make a float32 kernel compute in float64.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

FLOAT, UNSIGNED, INTEGER, BOOLEAN = "T", "U", "I", "bool"
"""Kinds of a value: the network's floating type, uint32, int64 and truth."""

# Names that a kernel has use for itself.
_RESERVED = re.compile(r"i|n|T|U|I|_.*|t[0-9]+|out[0-9]+")
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "truediv": "/"}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_BITWISE = {"and": "&", "or": "|", "xor": "^", "rshift": ">>", "lshift": "<<"}
_CALLS = {
    "exp": "exp", "expm1": "expm1", "log": "log", "log1p": "log1p", "tanh": "tanh", "erf": "erf",
    "cos": "cos", "sqrt": "sqrt", "abs": "fabs",
}  # fmt: skip


class Symbol:
    """A named C value; every operation on it appends one line to the trace."""

    __hash__ = object.__hash__

    def __init__(self, name: str, kind: str, lines: list[str]) -> None:
        self.name, self.dtype, self._lines = name, kind, lines

    def emit(self, expression: str, kind: str) -> Symbol:
        symbol = Symbol(f"t{len(self._lines)}", kind, self._lines)
        self._lines.append(f"const {kind} {symbol.name} = {expression};")
        return symbol

    def __neg__(self) -> Symbol:
        return self.emit(f"-{self.name}", self.dtype)

    def __bool__(self) -> bool:
        raise TypeError("a formula cannot branch on a value; use xp.where")


def _kind(*operands: Any) -> str:
    """The one kind of the symbols among `operands`; Python numbers are weak."""
    kinds = {x.dtype for x in operands if isinstance(x, Symbol)}
    if len(kinds) != 1:
        raise TypeError(f"a formula mixes the kinds {sorted(kinds)}; cast with xp.astype")
    return str(kinds.pop())


def _text(x: Any, kind: str) -> str:
    if isinstance(x, Symbol):
        return x.name
    if not math.isfinite(x):
        raise TypeError(f"the constant {x!r} cannot be written in C")
    if kind == FLOAT:
        return f"T({float(x)!r})"
    if x != int(x):
        raise TypeError(f"{x!r} meets a value of kind {kind}, which has no fractions")
    return f"{kind}({int(x)})"


def _real(x: Symbol, what: str) -> Symbol:
    if x.dtype != FLOAT:
        raise TypeError(f"{what} of a value of kind {x.dtype}; cast it with xp.astype first")
    return x


def _operator(sign: str, result: str | None, reflected: bool) -> Callable[[Symbol, Any], Symbol]:
    def method(self: Symbol, other: Any) -> Symbol:
        kind = _kind(self, other)
        if sign == "/":
            _real(self, "division")
        a, b = (other, self) if reflected else (self, other)
        return self.emit(f"{_text(a, kind)} {sign} {_text(b, kind)}", result or kind)

    return method


for _signs, _result in ((_ARITHMETIC, None), (_BITWISE, None), (_COMPARISONS, BOOLEAN)):
    for _name, _sign in _signs.items():
        setattr(Symbol, f"__{_name}__", _operator(_sign, _result, reflected=False))
        if _signs is not _COMPARISONS:
            setattr(Symbol, f"__r{_name}__", _operator(_sign, _result, reflected=True))


class Recorder:
    """The namespace that a formula sees while it is traced."""

    def __getattr__(self, name: str) -> Any:
        if name in _CALLS:
            return lambda x: _real(x, name).emit(f"{_CALLS[name]}({x.name})", FLOAT)
        known = ", ".join(sorted([*_CALLS, "where", "maximum", "minimum", "astype"]))
        raise AttributeError(f"a formula cannot use xp.{name}; it can use {known}")

    @staticmethod
    def where(condition: Symbol, a: Any, b: Any) -> Symbol:
        kind = _kind(a, b)
        return condition.emit(f"{condition.name} ? {_text(a, kind)} : {_text(b, kind)}", kind)

    @staticmethod
    def maximum(a: Any, b: Any) -> Symbol:
        return _extreme("<", a, b)

    @staticmethod
    def minimum(a: Any, b: Any) -> Symbol:
        return _extreme(">", a, b)

    @staticmethod
    def astype(x: Symbol, dtype: str) -> Symbol:
        return x.emit(f"{dtype}({x.name})", dtype)


def _extreme(sign: str, a: Any, b: Any) -> Symbol:
    # Not fmax or fmin: they drop a NaN, NumPy's maximum and minimum keep it.
    kind = _kind(a, b)
    symbol, left, right = (a if isinstance(a, Symbol) else b), _text(a, kind), _text(b, kind)
    unordered = f" || {right} != {right}" if isinstance(b, Symbol) else ""
    return symbol.emit(f"({left} {sign} {right}{unordered}) ? {right} : {left}", kind)


@dataclass(frozen=True)
class Kernel:
    """The C text of a formula: named, typed inputs and outputs and a body for one element."""

    name: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    body: str


@lru_cache(maxsize=4096)
def trace(formula: Callable[..., Any], kinds: tuple[str, ...]) -> Kernel:
    """Return the kernel of `formula(xp, *inputs)` whose inputs have the given kinds.

    Every result is held in a value of its own before the first is stored: an output may be the
    same memory as an input.

    >>> def halve(xp, z):
    ...     return 0.5 * z
    >>> print(trace(halve, ("T",)).body)
    const T t0 = T(0.5) * z;
    const T t1 = t0;
    out0 = t1;
    """
    names = _names(formula, len(kinds))
    lines: list[str] = []
    symbols = [Symbol(n, k, lines) for n, k in zip(names, kinds, strict=True)]
    results = formula(Recorder(), *symbols)
    results = results if isinstance(results, tuple) else (results,)
    held = [r.emit(r.name, r.dtype) for r in results]
    outputs = tuple((f"out{i}", h.dtype) for i, h in enumerate(held))
    stores = [f"{name} = {h.name};" for (name, _), h in zip(outputs, held, strict=True)]
    inputs = tuple(zip(names, kinds, strict=True))
    return Kernel(formula.__name__, inputs, outputs, "\n".join([*lines, *stores]))


def _names(formula: Callable[..., Any], count: int) -> list[str]:
    _, *parameters = inspect.signature(formula).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return [f"a{i}" for i in range(count)]
    if len(parameters) != count:
        raise TypeError(f"{formula.__name__} takes {len(parameters)} operands, got {count}")
    return [f"{p.name}_" if _RESERVED.fullmatch(p.name) else p.name for p in parameters]
