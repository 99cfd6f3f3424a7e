"""Numbers side by side in the registers of a processor, and Python's signs on them.

A sum of a product may be rounded once (`contract`); nothing else is allowed that would change what
is computed, so that NaN, infinities and signed zeros are as in the formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .native_code import Code, ir, suffix

_FLAGS = ("contract",)
_INTEGER = {
    "+": "add", "-": "sub", "*": "mul", "/": "udiv", "&": "and_", "|": "or_", "^": "xor",
    "<<": "shl", ">>": "lshr",
}  # fmt: skip
_REAL = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv"}


class Lanes:
    """A number or a vector of them in the code: of floating type, or whole and without a sign.

    The other operand of a sign may be a Python number, which is taken for one of the same type.

    >>> code = Code(ir.Module(), "f", 1)
    >>> x = constant(code, ir.VectorType(ir.FloatType(), 4), 2.0)
    >>> str((x * x + 1.0).value.type)
    '<4 x float>'
    """

    def __init__(self, code: Code, value: Any) -> None:
        self.code, self.value = code, value

    @property
    def type(self) -> Any:
        return self.value.type

    @property
    def element(self) -> Any:
        return self.type.element if isinstance(self.type, ir.VectorType) else self.type

    @property
    def count(self) -> int:
        return self.type.count if isinstance(self.type, ir.VectorType) else 1

    @property
    def is_real(self) -> bool:
        return not isinstance(self.element, ir.IntType)

    def like(self, x: Any) -> Lanes:
        """A Python number as one of this type; lanes as they are."""
        return x if isinstance(x, Lanes) else constant(self.code, self.type, x)

    def do(self, sign: str, other: Any) -> Lanes:
        """What a sign computes."""
        other, build = self.like(other), self.code.builder
        if self.is_real:
            found = getattr(build, _REAL[sign])(self.value, other.value, flags=_FLAGS)
        else:
            found = getattr(build, _INTEGER[sign])(self.value, other.value)
        return Lanes(self.code, found)

    def compared(self, sign: str, other: Any, signed: bool = False) -> Lanes:
        """Where a comparison holds; with a NaN none does but `!=`."""
        other, build = self.like(other), self.code.builder
        if not self.is_real:
            compare = build.icmp_signed if signed else build.icmp_unsigned
        else:
            compare = build.fcmp_unordered if sign == "!=" else build.fcmp_ordered
        return Lanes(self.code, compare(sign, self.value, other.value))

    def __add__(self, other: Any) -> Lanes:
        return self.do("+", other)

    def __sub__(self, other: Any) -> Lanes:
        return self.do("-", other)

    def __mul__(self, other: Any) -> Lanes:
        return self.do("*", other)

    def __truediv__(self, other: Any) -> Lanes:
        return self.do("/", other)

    def __rsub__(self, other: Any) -> Lanes:
        return self.like(other) - self

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other: Any) -> Lanes:
        return self.like(other) / self

    def __and__(self, other: Any) -> Lanes:
        return self.do("&", other)

    def __or__(self, other: Any) -> Lanes:
        return self.do("|", other)

    def __xor__(self, other: Any) -> Lanes:
        return self.do("^", other)

    def __lshift__(self, other: Any) -> Lanes:
        return self.do("<<", other)

    def __rshift__(self, other: Any) -> Lanes:
        return self.do(">>", other)

    def __lt__(self, other: Any) -> Lanes:
        return self.compared("<", other)

    def __gt__(self, other: Any) -> Lanes:
        return self.compared(">", other)

    def __neg__(self) -> Lanes:
        build = self.code.builder
        return Lanes(self.code, build.fneg(self.value) if self.is_real else build.neg(self.value))

    def __abs__(self) -> Lanes:
        return self.function("llvm.fabs")

    def function(self, name: str) -> Lanes:
        """A function of LLVM's on each of them."""
        found = self.code.intrinsic(f"{name}.{suffix(self.type)}", self.type, self.value)
        return Lanes(self.code, found)

    def each(self, name: str) -> Lanes:
        """A function of the C library on one after the other."""
        kind = ir.FunctionType(self.element, [self.element])
        known = self.code.module.globals.get(name) or ir.Function(self.code.module, kind, name)
        build = self.code.builder
        if self.count == 1:
            return Lanes(self.code, build.call(known, [self.value]))
        found = ir.Constant(self.type, ir.Undefined)
        for i in range(self.count):
            at = ir.IntType(32)(i)
            one = build.call(known, [build.extract_element(self.value, at)])
            found = build.insert_element(found, one, at)
        return Lanes(self.code, found)

    def seen_as(self, element: Any) -> Lanes:
        """The same bits as numbers of another type of the same width."""
        kind = of(element, self.count)
        return Lanes(self.code, self.code.builder.bitcast(self.value, kind))

    def cast(self, element: Any, signed: bool = False) -> Lanes:
        """The nearest numbers of another type; truth is 0 or 1."""
        build, kind, ours = self.code.builder, of(element, self.count), self.element
        if element == ours:
            return self
        if isinstance(ours, ir.IntType) and isinstance(element, ir.IntType):
            if element.width == 1:
                return self.compared("!=", 0)
            longer = build.sext if signed else build.zext
            change = longer if element.width > ours.width else build.trunc
        elif isinstance(ours, ir.IntType):
            change = build.sitofp if signed else build.uitofp
        elif isinstance(element, ir.IntType):
            if element.width == 1:
                return self.compared("!=", 0.0)
            change = build.fptosi if signed else build.fptoui
        else:
            change = build.fpext if isinstance(ours, ir.FloatType) else build.fptrunc
        return Lanes(self.code, change(self.value, kind))

    def either(self, a: Any, b: Any) -> Lanes:
        """a where this is true, else b; one of them at least is no Python number."""
        a = a if isinstance(a, Lanes) else b.like(a)
        return Lanes(self.code, self.code.builder.select(self.value, a.value, a.like(b).value))


def of(element: Any, count: int) -> Any:
    """The type of so many numbers side by side."""
    return element if count == 1 else ir.VectorType(element, count)


def constant(code: Code, kind: Any, number: Any) -> Lanes:
    """A number that is known, in every lane."""
    vector = isinstance(kind, ir.VectorType)
    element = kind.element if vector else kind
    if isinstance(element, ir.IntType):
        number = int(number) & ((1 << element.width) - 1) if element.width > 1 else int(number)
    else:
        number = float(number)
    return Lanes(code, ir.Constant(kind, [element(number)] * kind.count if vector else number))


def horner(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """The polynomial of x with these coefficients, the highest power's first."""
    found = x.like(coefficients[0])
    for other in coefficients[1:]:
        found = found * x + other
    return found


INFINITY, NAN = math.inf, math.nan
