"""One case in every way: what the fuzzer does, and the suite with a few of its cases."""

from __future__ import annotations

import re

from gpubp.program.tensors import Untraceable
from tests.fuzz.cases import Given, draw
from tests.fuzz.comparison import at_once, compare
from tests.fuzz.paths import ByReplay, ByText, Compiled, build, record, small_parts


class Rejected(Exception):  # noqa: N818 - no fault of the case
    """A step that cannot be recorded."""


def check(seed: int, number: int, compiled: bool = False) -> None:
    """Raise `Wrong` where a path differs from the plain one, `Rejected` where there is none."""
    given = draw(seed, number)
    interpreted(given, number)
    if compiled:
        really_compiled(given, number)


def interpreted(given: Given, number: int) -> None:
    """By NumPy and by the text, in both orders of the threads."""
    try:
        recording = record(given)
    except Untraceable as reason:
        raise Rejected(_reason(str(reason))) from None
    with small_parts(given.small, number):
        program = build(given, recording)
        orders = [[0], [0]] if program.threads == 1 else [[0, 1], [1, 0]]
        for order in orders[: program.threads]:
            compare(given, ByReplay(given, recording, program, order))
        order = list(range(given.threads))[:: 1 if number % 2 else -1]
        shuffled = number % 3 == 0
        stepwise = ByText(given, recording, program, order, shuffled)
        compare(given, stepwise)
        if number % 4 == 0:
            at_once(given, stepwise, ByText(given, recording, program, order, shuffled))


def really_compiled(given: Given, number: int) -> None:
    """By numba, one step a call and all in one."""
    recording = record(given)
    shuffled = number % 3 == 0
    with small_parts(given.small, number):
        program = build(given, recording)
        stepwise = Compiled(given, recording, program, shuffled)
        compare(given, stepwise)
        at_once(given, stepwise, Compiled(given, recording, program, shuffled))


def _reason(told: str) -> str:
    """What was met, without the places and sizes that differ from case to case."""
    told = re.sub(r"layer '[^']*' ", "layer ", told)
    return re.sub(r"\d+", "n", told)
