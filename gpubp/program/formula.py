"""Trace a formula, written once over a namespace, into the body of a C loop over elements.

A formula is a Python function `f(xp, *arguments)` of element-wise operations. Called with NumPy
it computes; called with the namespace below it is recorded, as a training step is, and printed as
a kernel is: one line of C for each operation.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .c_expressions import NAMES, expression
from .kernels import Number, Operand
from .tensors import Namespace, Tensor, UnknownFunction, Untraceable
from .values import BOOLEAN, FLOAT, FUNCTIONS, INTEGER, UNSIGNED, Graph, Region, Value

__all__ = ["BOOLEAN", "FLOAT", "INTEGER", "UNSIGNED", "Kernel", "trace"]

_USABLE = (*FUNCTIONS, "isfinite", "where", "maximum", "minimum", "astype")

# Names that a kernel, the macros of C or C++ itself (ISO/IEC 14882:2020, 5.11) have use for.
_OWN = re.compile(r"i|n|T|U|I|D|t[0-9]+|out[0-9]+|_.*")
_FUNCTIONS = {name for names in NAMES.values() for name in names.values()}
_MACROS = {"INFINITY", "NAN", "NULL", "EOF", "errno", "signbit", "isnan", "isinf"}
_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class compl concept const consteval constexpr constinit const_cast continue co_await
    co_return co_yield decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires return
    short signed sizeof static static_assert static_cast struct switch template this thread_local
    throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
    xor xor_eq
"""
_TAKEN = _FUNCTIONS | _MACROS | set(_KEYWORDS.split())


class Elementwise:
    """The namespace that a formula sees while it is traced."""

    _recorded = Namespace("float32")  # no operation asks for the precision

    def __getattr__(self, name: str) -> Any:
        if name not in _USABLE:
            known = ", ".join(sorted(_USABLE))
            raise UnknownFunction(f"a formula cannot use xp.{name}; it can use {known}")
        function = getattr(self._recorded, name)

        def record(*arguments: Any) -> Tensor:
            if not any(isinstance(x, Tensor) for x in arguments):
                raise Untraceable(f"xp.{name} of numbers alone, without an operand of the formula")
            result: Tensor = function(*arguments)
            return result

        return record


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
    same memory as an input. What cannot be recorded raises `Untraceable`, a `TypeError`.

    >>> def halve(xp, z):
    ...     return 0.5 * z
    >>> print(trace(halve, ("T",)).body)
    const T t0 = T(0.5) * z;
    const T t1 = t0;
    out0 = t1;
    """
    names = _names(formula, len(kinds))
    graph = Graph()
    operands = [_operand(graph, n, k) for n, k in zip(names, kinds, strict=True)]
    results = formula(Elementwise(), *operands)
    results = results if isinstance(results, tuple) else (results,)
    for result in results:
        if not isinstance(result, Tensor):
            kind = type(result).__name__
            raise Untraceable(f"{formula.__name__} returned a {kind}, not what became of operands")
    lines, known = _lines(graph)
    held = [(f"t{len(lines) + i}", r.dtype, known[r.value]) for i, r in enumerate(results)]
    lines += [f"const {kind} {name} = {of};" for name, kind, of in held]
    lines += [f"out{i} = {name};" for i, (name, _, _) in enumerate(held)]
    inputs = tuple(zip(names, kinds, strict=True))
    outputs = tuple((f"out{i}", kind) for i, (_, kind, _) in enumerate(held))
    return Kernel(formula.__name__, inputs, outputs, "\n".join(lines))


def _operand(graph: Graph, name: str, kind: str) -> Tensor:
    """One element of an operand: a number without axes."""
    return Tensor(graph, graph.leaf(Region(name, 0, 1, 1), None, None, kind), ())


def _lines(graph: Graph) -> tuple[list[str], dict[Value, Any]]:
    """One line for each operation, and the names and constants that values go by."""
    lines: list[str] = []
    known: dict[Value, Operand] = {}
    for value in graph.values:
        if value.op == "leaf":
            known[value] = value.attr.memory
        elif value.op == "constant":
            known[value] = Number(value.attr, value.kind)
        else:
            given = [known[a] for a in value.args]
            name = known[value] = f"t{len(lines)}"
            text = expression(value.op, given, value.kind, "cuda")
            lines.append(f"const {value.kind} {name} = {text};")
    return lines, known


def _names(formula: Callable[..., Any], count: int) -> list[str]:
    """A name in C for each operand: its own where it is free."""
    _, *parameters = inspect.signature(formula).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return [f"a{i}" for i in range(count)]
    if len(parameters) != count:
        raise TypeError(f"{formula.__name__} takes {len(parameters)} operands, got {count}")
    own = {p.name for p in parameters}
    found: list[str] = []
    for i, p in enumerate(parameters):
        name = p.name
        if not name.isascii():
            name = f"a{i}"
        elif _OWN.fullmatch(name) or name in _TAKEN:
            name = f"{name.strip('_') or 'a'}_"
        while name != p.name and (name in own or name in found):
            name += "_"
        found.append(name)
    return found
