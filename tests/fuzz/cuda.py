"""Recorded steps as CUDA: on a device, or by the stand-in for CuPy, which runs the very texts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpubp.backends import cuda_layout
from gpubp.backends.cuda_layout import Blocks
from gpubp.program.calls import Program
from gpubp.program.program import build
from gpubp.recording import Recording
from tests import compiled, compiled_blas
from tests.fuzz.cases import Given
from tests.fuzz.comparison import at_once, compare
from tests.fuzz.paths import Path, record


@contextmanager
def standing_in() -> Iterator[None]:
    """Inside, the stand-ins for CuPy and for cuBLAS are in their places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", compiled)
        patch.setitem(sys.modules, "cupyx", compiled.cupyx)
        compiled_blas.install(patch)
        compiled.forget()
        yield


@contextmanager
def other_layouts(number: int) -> Iterator[None]:
    """Let rows have other threads, blocks and registers; by the number of the case.

    So that small networks go all the ways that large ones do.
    """
    lanes = cuda_layout._LANES
    given = {
        "_SMALL": (1 << 14, 64, 4)[number % 3],
        "_THREADS": (256, 64, 32)[number % 3],
        "MOST_BLOCKS": (528, 3, 2)[number % 3],
        "_REGISTERS": (128, 1024, 64)[number // 2 % 3],
        # as they are, as few as can be, a warp, a block of two warps, and none: all in memory
        "_LANES": (lanes, lanes, lanes[5:], lanes[6:], ())[number % 5],
        "_FEWEST": (32, 1, 1, 1, 1)[number % 5],
        "pack_of": (lambda precision: 4, lambda precision: 2, lambda precision: 1)[number % 3],
    }
    with ExitStack() as patched:
        for name, value in given.items():
            patched.enter_context(mock.patch.object(cuda_layout, name, value))
        yield


class OnCuda(Path):
    """By the steps of the CUDA backend, replayed from graphs or call by call."""

    name = "cuda"

    def __init__(
        self, given: Given, recording: Recording, program: Program, captured: bool,
        shuffled: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(given, recording, program)
        steps: Any = importlib.import_module("gpubp.backends.cuda_steps")
        self._cupy: Any = importlib.import_module("cupy")
        one = given.net.members is None
        self._there = {n: self._cupy.asarray(a[0] if one else a) for n, a in self.arrays.items()}
        self._steps = steps.Steps(
            program, given.net.members, self._there | self.constants, unroll=2, captured=captured
        )
        self._shuffled = shuffled
        self.scales: Any = None
        """What gradients of 16-bit floats are multiplied by, if they are."""

    def run(self, start: int, count: int) -> tuple[Any, Any]:
        x, t, w, order = self.arranged(self._shuffled)
        numbers = np.stack([self.numbers(start + i) for i in range(count)])
        more = {} if self.scales is None else {"scales": self.scales}
        on_device = (None if a is None else self._cupy.asarray(a) for a in (x, t, w))
        found: tuple[Any, Any] = self._steps.run(
            *on_device, order, self.given.rows, start, start, numbers, self.keys,
            np.ones(self.members, bool), True, **more,
        )  # fmt: skip
        for name, array in self.arrays.items():
            array[...] = self._there[name].get().reshape(array.shape)
        return found


def program_of(recording: Recording, half: str = "") -> Program:
    """The program of a step for the blocks of a GPU."""
    blocks = Blocks(recording.precision)
    return build(recording.phases, recording.precision, sharing=blocks, half=half)


def on_cuda(given: Given, number: int) -> None:
    """Call by call, one step a run, and of each third case from graphs, all steps in one run.

    Layers that are not compiled have no way on CUDA: such a case is passed over.
    """
    recording = record(given)
    if recording.passages:
        return
    with other_layouts(number):
        program = program_of(recording)
        stepwise = OnCuda(given, recording, program, False, number % 2 == 0)
        compare(given, stepwise)
        if number % 3 == 0:
            at_once(given, stepwise, OnCuda(given, recording, program, True, number % 2 == 0))
