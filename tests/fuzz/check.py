"""One case in every way: what the fuzzer does, and the suite with a few of its cases."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from gpubp.program.tensors import Untraceable
from tests.fuzz.cases import Given, draw
from tests.fuzz.comparison import at_once, compare
from tests.fuzz.cuda import on_cuda
from tests.fuzz.paths import ByReplay, Compiled, build, other_lanes, record, small_parts

CAN_COMPILE = importlib.util.find_spec("llvmlite") is not None


class Rejected(Exception):  # noqa: N818 - no fault of the case
    """A step that cannot be recorded."""


def check(
    seed: int, number: int, compiled: bool = CAN_COMPILE, precision: str = "", cuda: bool = False
) -> None:
    """Raise `Wrong` where a path differs from the plain one, `Rejected` where there is none."""
    given = draw(seed, number, precision) if precision else draw(seed, number)
    replayed(given, number)
    if compiled:
        really_compiled(given, number)
    if cuda:
        on_cuda(given, number)


def replayed(given: Given, number: int) -> None:
    """By NumPy, in both orders of the threads."""
    try:
        recording = record(given)
    except Untraceable as reason:
        raise Rejected(_reason(str(reason))) from None
    with small_parts(given.small, number):
        program = build(given, recording)
        orders = [[0], [0]] if program.threads == 1 else [[0, 1], [1, 0]]
        for order in orders[: program.threads]:
            compare(given, ByReplay(given, recording, program, order))


def really_compiled(given: Given, number: int) -> None:
    """In machine code, one step a call and, of each fourth case, all in one."""
    recording = record(given)
    shuffled = number % 3 == 0
    with small_parts(given.small, number), other_lanes(number):
        program = build(given, recording)
        stepwise = Compiled(given, recording, program, shuffled)
        compare(given, stepwise)
        if number % 4 == 0:
            at_once(given, stepwise, Compiled(given, recording, program, shuffled))


@contextmanager
def own_cache() -> Iterator[None]:
    """Inside, machine code is kept in a folder of its own, which is gone behind."""
    folder = tempfile.TemporaryDirectory()
    with folder as name, mock.patch.dict("os.environ", GPUBP_CACHE=name):
        yield


def _reason(told: str) -> str:
    """What was met, without the places and sizes that differ from case to case."""
    told = re.sub(r"layer '[^']*' ", "layer ", told)
    return re.sub(r"\d+", "n", told)
