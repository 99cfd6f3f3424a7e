"""Barriers: a replay in both orders shows where one is missing; none where all is one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp.program.barriers import ALL, FIRST, Access
from gpubp.program.calls import Barrier, Program
from gpubp.program.replay import Replay
from tests.program.recorded import Sheet


def access(parts: Any, writes: bool, start: int = 0, stop: int = 8) -> Access:
    return Access("m", start, stop, parts, writes)


@pytest.mark.parametrize(
    ("first", "second", "race"),
    [
        (access((4, 2), True), access((4, 2), False), False),  # each its own rows
        (access((4, 2), True), access((2, 4), False), True),  # rows of another length
        (access((4, 2), True), access((4, 2), False, 2, 10), True),  # one row further on
        (access((4, 2), True), access(ALL, False), True),
        (access(FIRST, True), access(FIRST, True), False),
        (access(FIRST, True), access((4, 2), False), True),
        (access(ALL, False), access((4, 2), False), False),  # nobody writes
        (access(ALL, True, 0, 4), access(ALL, True, 4, 8), False),  # apart
    ],
)
def test_who_meets_whom(first: Access, second: Access, race: bool) -> None:
    assert first.races(second) is race
    assert second.races(first) is race


def centred(threads: int) -> Sheet:
    rows = 8 * threads
    x = np.random.default_rng(0).normal(size=(rows, 3))
    sheet = Sheet(x=x, y=np.zeros(3 * rows))
    z = sheet["x"]
    mean = sheet.be.xp.mean(z, axis=-2, keepdims=True)
    sheet.recorder.write(sheet["y"].shaped((rows, 3)).region, z - mean)
    return sheet


@pytest.mark.parametrize("threads", [2, 3])
def test_a_sum_over_rows_takes_two_meetings(threads: int) -> None:
    calls = [type(call).__name__ for call in centred(threads).program(threads).calls]
    assert calls == ["Launch", "Barrier", "Total", "Barrier", "Launch", "Barrier"]


def run(sheet: Sheet, program: Program, order: list[int]) -> Any:
    held = {n: a.reshape(-1).copy() for n, a in sheet.memories.items()}
    Replay(program, held | sheet.recorder.constants, order).step({})
    return held["y"]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_barrier_that_is_missing_is_seen(missing: int) -> None:
    sheet = centred(2)
    program = sheet.program(2)
    x = sheet.memories["x"]
    expected = (x - x.mean(0)).reshape(-1)
    places = [n for n, call in enumerate(program.calls) if isinstance(call, Barrier)]
    for order in ([0, 1], [1, 0]):
        assert np.allclose(run(sheet, program, order), expected, rtol=1e-12, atol=1e-12)
    calls = tuple(c for n, c in enumerate(program.calls) if n != places[missing])
    spoilt = Program(calls, program.arena, program.own, 2, "float64")
    found = [run(sheet, spoilt, order) for order in ([0, 1], [1, 0])]
    assert not all(np.allclose(y, expected, rtol=1e-12, atol=1e-12) for y in found)


def test_what_each_thread_has_alone_takes_one_meeting() -> None:
    sheet = Sheet(x=np.ones((16, 3)), y=np.zeros(48))
    sheet.recorder.write(sheet["y"].shaped((16, 3)).region, sheet["x"] * 2.0)
    calls = [type(call).__name__ for call in sheet.program(2).calls]
    assert calls == ["Launch", "Barrier"]
