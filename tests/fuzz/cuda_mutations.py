"""Faults planted in what prints and launches CUDA, for the fuzzer to find on the stand-in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from gpubp.backends import cuda_calls, cuda_code, cuda_text, cuda_writer
from tests.fuzz.cases import draw
from tests.fuzz.cuda import on_cuda, standing_in
from tests.fuzz.mutations import FEW, Mutation

_WRITER = cuda_writer.Writer


@dataclass(frozen=True)
class OfText:
    """In a text that kernels are made of, `old` becomes `new`."""

    what: str
    name: str
    old: str
    new: str
    case: int = 0

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Inside, the fault is there."""
        text = getattr(cuda_text, self.name)
        assert self.old in text, f"{self.name} has no {self.old!r} any more: plant it elsewhere"
        with mock.patch.object(cuda_text, self.name, text.replace(self.old, self.new)):
            yield


FAULTS: list[OfText | Mutation] = [
    OfText("half of the lanes are not asked", "_HEAD", "LANES / 2;", "LANES / 4;"),
    OfText("a warp reads what others have not written yet", "_HEAD",
           "    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;\n    __syncthreads();",
           "    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;"),
    OfText("the part of the last block is forgotten", "_TOTALS", "c < copies &&",
           "c < copies - 1 &&", case=5),
    OfText("parts are read before all threads added theirs", "_TOTALS",
           "    __syncthreads();\n    if (slice", "    if (slice", case=5),
    OfText("all steps have one batch", "_STAGE", "(book[START] + done) * rows",
           "book[START] * rows"),
    OfText("all steps draw the same random bits", "_STAGE", "U(book[STEP] + done)",
           "U(book[STEP])"),
    OfText("all steps have the first one's rate", "_STAGE", "book[NUMBERS] + done * count",
           "book[NUMBERS]"),
    OfText("a step that is not finite is taken", "_JUDGE", "fine = truth[m * apart]",
           "fine = true", case=15),
    OfText("a row of a table has what others are", "_SCATTER", "== row", ">= row", case=5),
    Mutation("threads of a row do not wait for each other", _WRITER, "_meet",
             '"__syncwarp();" if self.layout.lanes <= WARP else "__syncthreads();"', '""', case=7),
    Mutation("rows that are not there are counted", _WRITER, "_row",
             'self._there = "there"', 'self._there = "true"'),
    Mutation("all blocks leave their parts in one place", _WRITER, "_own",
             "a{n}[(long long)blockIdx.x * {stride} + {index}]", "a{n}[{index}]", case=5),
    Mutation("the last rows of a block are not added", _WRITER, "_put_sums",
             "g < {groups}", "g < {groups} - 1"),
    Mutation("what is behind the guard does not ask it", cuda_code, "printed",
             "guarded = guarded or isinstance(call, Guard)", "guarded = False"),
    Mutation("members have the first one's memory", _WRITER, "_body",
             'f"a{n} += blockIdx.y * m{n};"', '""', case=6),
    Mutation("the last columns of a row are passed over", _WRITER, "_pass",
             "i < {turns}", "i < {turns} - 1"),
    Mutation("rows are loaded side by side that do not begin so", _WRITER, "_side_by_side",
             "and not ragged", ""),
    Mutation("what is kept of a row is another column's", _WRITER, "_element",
             'f"i * {pack} + v"', 'f"i * {pack}"'),
    Mutation("each thread of a row adds what all of them have", _WRITER, "_ended",
             "self.layout.lanes > 1", "False"),
    Mutation("a group that has no row stores the last one's sum", _WRITER, "_guarded_by",
             'condition == "true"', "True"),
    Mutation("all members are multiplied by the first one's weights", cuda_calls.Memory,
             "operand", "self.apart(buffer.memory)", "0", case=6),
]  # fmt: skip
"""Each with the number of a case that finds it."""


def found(fault: OfText | Mutation, cases: Any = None) -> int | None:
    """The first case that is wrong with a fault; first its own, then the others."""
    others = [fault.case, *(n for n in range(FEW) if n != fault.case)]
    with standing_in(), fault.planted():
        return next((n for n in (others if cases is None else cases) if _is_wrong(n)), None)


def _is_wrong(number: int) -> bool:
    try:
        on_cuda(draw(0, number), number)
    except Exception:  # numbers that differ, or a kernel that cannot run
        return True
    return False


if __name__ == "__main__":
    for number in map(int, sys.argv[1:]) if sys.argv[1:] else range(len(FAULTS)):
        print(number, FAULTS[number].what, found(FAULTS[number]), flush=True)
