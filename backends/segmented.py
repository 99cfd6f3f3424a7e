"""Compiled training steps with layers in their midst that are not: done piece by piece.

A step is cut at the layers that go the plain path. Each piece is compiled and done for one member
after the other; such a layer is given all members at once, as on the plain path, in the memory
where the piece before left them. So there is an arena for each member, and one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from gpubp.program.calls import Buffer, Call, Opaque, Program
from gpubp.program.halted import Halted

from . import products
from .linking import lanes, load
from .memories import DTYPES, aligned, by_member
from .native_code import Code, ir
from .step_code import MOVING, WORK, Calls, Module, written


class Passes(Protocol):
    """What makes the passes of layers that are not compiled: see `gpubp.passages`."""

    def begin(self, step: int) -> None: ...
    def do(self, passage: int, way: str, given: Any) -> Any: ...
    def settle(self) -> None: ...
    def end(self, step: int) -> None: ...


class Pieces(Module):
    """The code of a step in pieces, between which `cuts` are the calls that are not compiled."""

    def __init__(self, program: Program, members: int, lanes: int) -> None:
        super().__init__(replace(program, calls=()), members, 1, lanes)
        self._whole = program
        self.cuts = [call for call in program.calls if isinstance(call, Opaque)]
        split: list[list[Call]] = [[]]
        for call in program.calls:
            if isinstance(call, Opaque):
                split.append([])
            else:
                split[-1].append(call)
        self.empty = [not piece for piece in split]
        self._pieces = [self._entries(piece) for piece in split]

    def key(self, shuffled: bool = True) -> str:
        """What the code is a function of."""
        return f"{self._whole} in pieces, {super().key(True)}"

    def text(self, shuffled: bool = True) -> str:
        """Return the module; it is the same whether examples come in an order of their own.

        `run(piece, tables, bytes, going, sound, members)` does a piece for all members that are
        `going`, whose tables have so many bytes, and says 1 for each, 0 where it was not finite.
        """
        calls = Calls(self._program, 1, self._lanes)
        pieces = [
            written(
                Code(calls.module, f"piece_{n}", 3, internal=True, gives=True), calls, placed, 1
            )
            for n, placed in enumerate(self._pieces)
        ]
        code = Code(calls.module, "run", 6)
        piece, tables, length, going, sound, members = code.given
        with code.loop(0, members) as k:
            takes_part = code.load(going + k, ir.IntType(8), 1)
            with code.when(code.builder.icmp_unsigned("!=", takes_part, ir.IntType(8)(0))):
                for n, function in enumerate(pieces):
                    with code.when((piece - n).is_zero):
                        found = code.call(function, 0, 0, tables + k * length)
                        code.store(sound + k * 8, found)
        code.end()
        return str(calls.module)


class Segmented:
    """The steps of a program with layers that are not compiled; see `gpubp.backends.compiled`.

    `passes` makes the passes of those layers.
    """

    def __init__(
        self, program: Program, members: int | None, arrays: Mapping[str, Any], passes: Passes
    ) -> None:
        self.program, self.members, self._passes = program, members, passes
        self._many = members or 1
        self._pieces = Pieces(program, members or 0, lanes(program.precision))
        self._dtype = np.dtype(program.precision)
        self._memories = {name: by_member(a, members) for name, a in arrays.items()}
        own = {f"arena:{kind}": size for kind, size in program.arena.items()} | dict(program.own)
        for name, size in own.items():
            dtype = DTYPES.get(name.removeprefix("arena:"), self._dtype)
            self._memories[name] = aligned((self._many, size), dtype)
        work = products.workspace(program.precision, self._pieces.sizes)
        self._memories[WORK] = aligned((1, work), np.uint8)
        self._stages: dict[str, Any] = {}
        self._function: Any = None
        self._everyone, self._sound = np.ones(self._many, bool), np.ones(self._many, np.int64)

    def text(self, shuffled: bool = True) -> str:
        """The text of the module that is compiled, for LLVM."""
        return self._pieces.text(shuffled)

    @property
    def arena_bytes(self) -> int:
        """Memory beside that of the network itself."""
        return sum(a.nbytes for name, a in self._memories.items() if name.startswith("arena:"))

    def run(
        self, x: Any, t: Any, w: Any, order: Any, rows: int, start: int, step: int, numbers: Any,
        keys: Any, going: Any, stop_at_once: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Do as many steps as `numbers` `(steps, members, n)` has: see `Steps.run`.

        An error of a layer is raised as it is: its step has changed no weights. Where others came
        before it, `Halted` tells of them, and the error is its cause.
        """
        data = {"x": x, "t": t} if w is None else {"x": x, "t": t, "w": w}
        self._prepare(data, rows, numbers.shape[-1], keys)
        if self._function is None:
            precision = self.program.precision if self._pieces.sizes else None
            self._function = load(self.text, self._pieces.key(), 6, precision)
        losses = np.full((len(numbers), self._many), np.nan)
        bad = np.zeros(self._many, np.int64)
        loss, done = self._memories["loss"][:, 0], 0
        try:
            for done, given in enumerate(numbers):
                self._take(data, order, (start + done) * rows, rows)
                self._stages["numbers"][...] = given
                self._stages["step"][0] = (step + done) & 0xFFFFFFFF
                self._passes.begin(step + done)
                sound = self._one_step(going)
                np.copyto(losses[done], loss, where=going)
                if not sound:
                    failed = going & (self._sound == 0)
                    bad[failed] = done + 1
                    if stop_at_once or self.members is None:
                        break
                    going[failed] = False
        except BaseException as error:
            if not done:
                raise
            raise Halted(losses[:done], bad) from error
        finally:
            self._passes.end(step)
        return losses, bad

    def _one_step(self, going: Any) -> bool:
        """Whether it was finite for all. Only the last piece, which updates, is for those going."""
        pieces, sound = self._pieces, self._sound
        sound[...] = 1
        for piece, call in enumerate(pieces.cuts):
            if not pieces.empty[piece]:
                self._do(piece, self._everyone)
            given, out = self._views[piece]
            found = self._passes.do(call.passage, call.way, given)
            if out is not None:
                np.copyto(out, found, casting="same_kind")
        self._passes.settle()
        self._do(len(pieces.cuts), going)
        return bool(sound.all())

    def _do(self, piece: int, going: Any) -> None:
        """Do a piece for all members that are going, and note for which it was finite."""
        tables = self._tables
        self._function(
            piece, tables.ctypes.data, tables.strides[0], going.ctypes.data,
            self._sound.ctypes.data, len(tables),
        )  # fmt: skip

    # -- where things lie ----------------------------------------------------------------------

    def _take(self, data: Mapping[str, Any], order: Any, first: int, rows: int) -> None:
        """Copy a batch to where the step looks for it."""
        for name, array in data.items():
            stage = self._stages[name]
            if order is None:
                np.copyto(stage, array[first : first + rows])
            else:
                np.take(array, order[first : first + rows], axis=0, out=stage, mode="clip")

    def _prepare(self, data: Mapping[str, Any], rows: int, count: int, keys: Any) -> None:
        """Make the places for what is another in each step, and with them the tables; once."""
        wanted: dict[str, tuple[tuple[int, ...], Any]] = {
            n: ((rows, a.shape[1]), a.dtype) for n, a in data.items()
        }
        wanted |= {"numbers": ((self._many, count), np.dtype(np.float64)),
                   "key": ((self._many, 1), np.dtype(np.uint32)),
                   "step": ((1,), np.dtype(np.uint32))}  # fmt: skip
        if {n: (a.shape, a.dtype) for n, a in self._stages.items()} != wanted:
            self._stages = {n: np.zeros(shape, dtype) for n, (shape, dtype) in wanted.items()}
            self._tables = self._made_tables()
            self._views = [self._seen(call) for call in self._pieces.cuts]
        self._stages["key"][:, 0] = keys

    def _made_tables(self) -> Any:
        """For each member where everything lies, and how much there is of it."""
        which, offsets = self._pieces.which[0], self._pieces.offsets[0]
        begins = np.zeros((self._many, len(self._pieces.memories)), np.int64)
        for name, number in self._pieces.memories.items():
            if name == "w" and name not in self._stages:
                continue
            array = self._stages[name] if name in MOVING else self._memories[name]
            apart = name in ("numbers", "key") or (name not in MOVING and len(array) > 1)
            begins[:, number] = array.ctypes.data
            if apart:
                begins[:, number] += np.arange(self._many) * array.strides[0]
        return np.ascontiguousarray(np.where(which >= 0, begins[:, which], 0) + offsets)

    def _seen(self, call: Opaque) -> tuple[Any, Any]:
        """What a layer is given, and where that belongs which it returns."""
        made = call.made
        return self._view(call.given, call.taken), None if made is None else self._view(
            call.out, made
        )

    def _view(self, buffer: Buffer, shape: tuple[int, ...]) -> Any:
        """A batch `(members, rows, *shape)`; what all members share, and one network, has no
        axis of members."""
        shared = buffer.memory in MOVING
        rows = buffer.size // max(1, int(np.prod(shape)))
        flat = self._stages[buffer.memory].reshape(1, -1) if shared else (
            self._memories[buffer.memory])  # fmt: skip
        seen = flat[:, buffer.start : buffer.start + buffer.size]
        lead = () if shared or self.members is None else (self._many,)
        view = seen.reshape(*lead, rows, *shape)
        assert np.shares_memory(view, flat), "a batch does not lie in one piece"
        return view
