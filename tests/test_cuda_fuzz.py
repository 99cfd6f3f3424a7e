"""Random stacks of layers as CUDA: its very texts, run on the CPU, beside the plain path."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

import numpy as np
import pytest

from gpubp.program.program import build
from gpubp.program.tensors import Untraceable
from tests.conftest import require
from tests.fuzz.cases import draw
from tests.fuzz.cuda import OnCuda, other_layouts, program_of, standing_in
from tests.fuzz.cuda import on_cuda as compared
from tests.fuzz.cuda_mutations import FAULTS, found
from tests.fuzz.paths import ByReplay, record

FEW = 2, 7, 19
"""Cases of one network and of several, with random bits, running state and tables."""

HALVES = {"bf16": 2.0**-7, "fp16": 2.0**-10}
"""The 16-bit numbers, and their rounding."""


def agree(numbers: Iterable[int], precision: str, seed: int = 0) -> None:
    require("g++")
    with standing_in():
        for number in numbers:
            try:
                compared(draw(seed, number, precision), number)
            except Untraceable:
                continue
            except AssertionError as wrong:
                told = f"python -m tests.fuzz --cuda --seed {seed} --first {number} --n 1"
                raise AssertionError(f"{told}: {wrong}") from wrong


def test_the_first_cases_are_the_plain_paths() -> None:
    agree(FEW, "float64")


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(4))
def test_more_cases_are_the_plain_paths(part: int) -> None:
    agree(range(10 * part, 10 * part + 10), "float64")


@pytest.mark.thorough
def test_cases_of_float32_are_the_plain_paths() -> None:
    agree(range(100, 112), "float32")


@pytest.mark.thorough
def test_cases_of_today_are_the_plain_paths() -> None:
    agree(range(10), "float64", datetime.date.today().toordinal())


@pytest.mark.gpu
@pytest.mark.parametrize("part", range(4))
def test_cases_on_a_gpu_are_the_plain_paths(part: int, a_gpu: str) -> None:
    for number in range(10 * part, 10 * part + 10):
        try:
            compared(draw(0, number), number)
        except Untraceable:
            continue


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("numbers", [(3,), pytest.param(range(12), marks=pytest.mark.thorough)])
def test_products_of_16_bits_are_what_numpy_makes_of_them(
    half: str, numbers: Iterable[int]
) -> None:
    """The rounding of one number may fall to the other side, and that of some behind it."""
    require("g++")
    with standing_in():
        for number in numbers:
            given = draw(0, number, "float32")
            recording = record(given)
            if given.spoilt or recording.passages:
                continue
            expected = ByReplay(given, recording, build(recording.phases, "float32", half=half))
            with other_layouts(number):
                path = OnCuda(given, recording, program_of(recording, half), False)
                scales = np.ones((path.members, 2)) if half == "fp16" else None
                path.scales = scales
                losses, bad = path.run(0, 1)
            wanted, also = expected.run(0, 1)
            assert (bad > 0).tolist() == (also > 0).tolist()
            if not bad.any():
                assert np.allclose(losses, wanted, rtol=HALVES[half], atol=HALVES[half])
                far = np.linalg.norm(path.arrays["grad"] - expected.arrays["grad"])
                assert far <= 8 * HALVES[half] * np.linalg.norm(expected.arrays["grad"])


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_faults_planted_in_cuda_are_found(fault: object) -> None:
    require("g++")
    assert found(fault) is not None  # type: ignore[arg-type]
