"""Write functions of 64-bit numbers as LLVM's intermediate code: loops, choices, calls.

Addresses are numbers too. What is written here becomes machine code by `gpubp.backends.native`,
without LLVM's passes, which take most of a compiler's time: loops are written with vectors as they
are to run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

ir: Any = import_module("llvmlite.ir")

WORD = ir.IntType(64)
_SHORT = ir.IntType(32)


class Number:
    """A number that the code will have: Python's signs on it write what computes a new one.

    Division rounds towards 0, and there is no sign of equality but `is_zero`.
    """

    def __init__(self, code: Code, value: Any) -> None:
        self._code, self.value = code, value

    def _do(self, op: str, a: Any, b: Any) -> Number:
        code = self._code
        return Number(code, getattr(code.builder, op)(code.number(a).value, code.number(b).value))

    def __add__(self, other: Any) -> Number:
        return self._do("add", self, other)

    def __sub__(self, other: Any) -> Number:
        return self._do("sub", self, other)

    def __mul__(self, other: Any) -> Number:
        return self._do("mul", self, other)

    def __floordiv__(self, other: Any) -> Number:
        return self._do("sdiv", self, other)

    def __lt__(self, other: Any) -> Any:
        return self._code.builder.icmp_signed("<", self.value, self._code.number(other).value)

    def __gt__(self, other: Any) -> Any:
        return self._code.builder.icmp_signed(">", self.value, self._code.number(other).value)

    @property
    def is_zero(self) -> Any:
        return self._code.builder.icmp_signed("==", self.value, WORD(0))


class Code:
    """A function `name` of so many numbers, written from top to bottom; it `gives` one, or none.

    >>> module = ir.Module()
    >>> code = Code(module, "fill", 2)
    >>> where, count = code.given
    >>> with code.loop(0, count) as i:
    ...     code.store(where + i * 8, i.value)
    >>> code.end()
    >>> "define void @\\"fill\\"(i64" in str(module)
    True
    """

    def __init__(
        self, module: Any, name: str, count: int, internal: bool = False, gives: bool = False
    ) -> None:
        kind = ir.FunctionType(WORD if gives else ir.VoidType(), [WORD] * count)
        self.module, self.function = module, ir.Function(module, kind, name)
        if internal:
            self.function.linkage = "internal"
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.given = [Number(self, a) for a in self.function.args]

    def end(self, number: Any = None) -> None:
        """Return from the function."""
        if number is None:
            self.builder.ret_void()
        else:
            self.builder.ret(self.number(number).value)

    # -- numbers -------------------------------------------------------------------------------

    def number(self, x: Any) -> Number:
        return x if isinstance(x, Number) else Number(self, WORD(x))

    def either(self, condition: Any, a: Any, b: Any) -> Number:
        """a where the condition holds, else b."""
        both = self.number(a).value, self.number(b).value
        return Number(self, self.builder.select(condition, *both))

    def least(self, a: Any, b: Any) -> Number:
        a = self.number(a)
        return self.either(a < b, a, b)

    # -- memory --------------------------------------------------------------------------------

    def pointer(self, where: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.number(where).value, kind.as_pointer())

    def load(self, where: Any, kind: Any, align: int) -> Any:
        return self.builder.load(self.pointer(where, kind), align=align)

    def further(self, pointer: Any, count: Any, kind: Any) -> Any:
        """A pointer so many numbers on, as a pointer to `kind`; quicker inside a loop than a sum
        of addresses, which LLVM sees through less well."""
        moved = self.builder.gep(pointer, [self.number(count).value])
        return self.builder.bitcast(moved, kind.as_pointer())

    def word(self, where: Any) -> Number:
        """The number that lies there."""
        return Number(self, self.load(where, WORD, 8))

    def store(self, where: Any, value: Any, align: int = 8) -> None:
        value = value.value if isinstance(value, Number) else value
        self.builder.store(value, self.pointer(where, value.type), align=align)

    # -- the way through -----------------------------------------------------------------------

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1) -> Iterator[Number]:
        """`for i in range(start, stop, step)`, for a step above 0."""
        with self.carried(start, stop, step, []) as (i, _, _):
            yield i

    @contextmanager
    def carried(
        self, start: Any, stop: Any, step: Any, values: Sequence[Any]
    ) -> Iterator[tuple[Number, list[Any], list[Any]]]:
        """A loop that hands `values` from turn to turn: the count, what they are, and the place
        for what they become; behind the loop the second list has what they are in the end."""
        build, function = self.builder, self.function
        start, stop, step = (self.number(x) for x in (start, stop, step))
        before = build.block
        head, body, behind = (function.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        count = build.phi(WORD)
        count.add_incoming(start.value, before)
        held = [build.phi(v.type) for v in values]
        for phi, value in zip(held, values, strict=True):
            phi.add_incoming(value, before)
        build.cbranch(build.icmp_signed("<", count, stop.value), body, behind)
        build.position_at_end(body)
        become: list[Any] = []
        yield Number(self, count), list(held), become
        count.add_incoming(build.add(count, step.value), build.block)
        for phi, value in zip(held, become, strict=True):
            phi.add_incoming(value, build.block)
        build.branch(head)
        build.position_at_end(behind)
        become[:] = held

    @contextmanager
    def forever(self) -> Iterator[Any]:
        """A loop without an end but the one that is written inside it: `leave(condition)`."""
        build = self.builder
        body, behind = (self.function.append_basic_block() for _ in range(2))

        def leave(condition: Any) -> None:
            further = self.function.append_basic_block()
            build.cbranch(condition, behind, further)
            build.position_at_end(further)

        build.branch(body)
        build.position_at_end(body)
        yield leave
        build.branch(body)
        build.position_at_end(behind)

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """What is written inside is done where the condition holds."""
        with self.builder.if_then(condition):
            yield

    @contextmanager
    def choice(self, condition: Any) -> Iterator[tuple[Any, Any]]:
        """Two context managers: what is done where the condition holds, and where not."""
        with self.builder.if_else(condition) as both:
            yield both

    def call(self, function: Any, *numbers: Any) -> Number:
        """Call another function of numbers; what it gives."""
        given = [self.number(x).value for x in numbers]
        return Number(self, self.builder.call(function, given))

    def outer(self, name: str, count: int, gives: bool = False) -> Any:
        """A function of so many numbers that is found by its name when the code is loaded."""
        kind = ir.FunctionType(WORD if gives else ir.VoidType(), [WORD] * count)
        return self.module.globals.get(name) or ir.Function(self.module, kind, name)

    def pick(self, which: Any, functions: Sequence[Any], *numbers: Any) -> None:
        """Call that of the functions, counted from 0, of which `which` is the number."""
        build = self.builder
        behind = self.function.append_basic_block()
        switch = build.switch(self.number(which).value, behind)
        for number, function in enumerate(functions):
            block = self.function.append_basic_block()
            switch.add_case(WORD(number), block)
            build.position_at_end(block)
            self.call(function, *numbers)
            build.branch(behind)
        build.position_at_end(behind)

    def intrinsic(self, name: str, result: Any, *arguments: Any) -> Any:
        """Call a function that LLVM knows."""
        kind = ir.FunctionType(result, [a.type for a in arguments])
        known = self.module.globals.get(name) or ir.Function(self.module, kind, name)
        return self.builder.call(known, list(arguments))

    # -- vectors -------------------------------------------------------------------------------

    def spread(self, x: Any, lanes: int) -> Any:
        """A vector of one number, so many times; the number itself for one lane."""
        if lanes == 1:
            return x
        kind = ir.VectorType(x.type, lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), x, _SHORT(0))
        picked = ir.Constant(ir.VectorType(_SHORT, lanes), None)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), picked)

    def below(self, lanes: int, count: Any) -> Any:
        """For each lane whether its number is below `count`."""
        numbers = ir.Constant(ir.VectorType(WORD, lanes), list(range(lanes)))
        count = self.spread(self.number(count).value, lanes)
        return self.builder.icmp_signed("<", numbers, count)

    def masked_load(self, where: Any, kind: Any, mask: Any, align: int) -> Any:
        """A vector, 0 in the lanes that are not in the mask, where memory is not touched."""
        given = self._place(where, kind), _SHORT(align), mask, ir.Constant(kind, None)
        return self.intrinsic(f"llvm.masked.load.{suffix(kind)}.p0", kind, *given)

    def masked_store(self, where: Any, value: Any, mask: Any, align: int) -> None:
        """Store the lanes of a vector that are in the mask."""
        name = f"llvm.masked.store.{suffix(value.type)}.p0"
        given = value, self._place(where, value.type), _SHORT(align), mask
        self.intrinsic(name, ir.VoidType(), *given)

    def store_first(self, where: Any, value: Any, count: int, align: int) -> None:
        """Store so many lanes of a vector, in parts of 8, 4, 2, 1: some processors take dozens of
        cycles for a store with a mask."""
        done, short = 0, ir.VectorType
        pointer = self._place(where, value.type.element)
        pointer = self.builder.bitcast(pointer, value.type.element.as_pointer())
        while done < count:
            size = 1 << ((count - done).bit_length() - 1)
            picked = ir.Constant(short(_SHORT, size), list(range(done, done + size)))
            if size == 1:
                part = self.builder.extract_element(value, _SHORT(done))
            else:
                undefined = ir.Constant(value.type, ir.Undefined)
                part = self.builder.shuffle_vector(value, undefined, picked)
            self.builder.store(part, self.further(pointer, done, part.type), align=align)
            done += size

    def _place(self, where: Any, kind: Any) -> Any:
        """An address as a pointer; a pointer as it is."""
        return self.pointer(where, kind) if isinstance(where, Number) else where

    def fetch(self, where: Any) -> None:
        """Tell the processor that this will be written soon."""
        pointer = self.pointer(where, ir.IntType(8))
        self.intrinsic("llvm.prefetch.p0", ir.VoidType(), pointer, _SHORT(1), _SHORT(3), _SHORT(1))


def suffix(kind: Any) -> str:
    """What LLVM calls a type in the names of its functions.

    >>> suffix(ir.VectorType(ir.FloatType(), 8)), suffix(WORD)
    ('v8f32', 'i64')
    """
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    if isinstance(kind, ir.IntType):
        return f"i{kind.width}"
    return "f32" if isinstance(kind, ir.FloatType) else "f64"
