"""Random stacks of layers, recorded, planned, replayed and compiled, beside the plain path."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest

from gpubp.layers import Linear
from tests.conftest import require
from tests.fuzz.__main__ import main
from tests.fuzz.check import Rejected, check, own_cache
from tests.fuzz.mutations import FEW, MUTATIONS, Mutation, of_code

MANY = 300
FOUND_ONCE = 77, 208, 573, 621, 663
"""Beyond the first cases: those in which a fault of the planner was found."""

OF_CODE = [
    "threads have one scratch", "a thread begins at a wrong element", "a thread ends too early",
    "a product begins at a wrong row", "a product begins at a wrong column",
    "the code does not ask the guard", "all steps draw the same random bits",
    "all steps have the first one's rate", "all members have the first one's memory",
    "all steps of a call have one batch", "threads draw the same random bits",
    "a part of the columns begins at the first", "lanes that are not there are added",
    "half of the lanes are added twice", "a sum over rows forgets what it was",
]  # fmt: skip
"""What `of_code` plants, which cannot be asked where llvmlite is missing."""

COMPILED = [
    (276, "float64"), (276, "float32"), (171, "float64"), (237, "float64"), (295, "float32"),
    (39, "float64"), (280, "float64"), (34, "float32"), (109, "float64"), (132, "float64"),
]  # fmt: skip
"""Small programs, of one thread and of two, of networks and of ensembles."""


def agree(seed: int, numbers: Iterable[int], compiled: bool) -> None:
    """Check cases; those that cannot be recorded are few."""
    rejected = 0
    for number in numbers:
        try:
            check(seed, number, compiled)
        except Rejected:
            rejected += 1
        except AssertionError as wrong:
            raise AssertionError(f"--seed {seed} --first {number} --n 1: {wrong}") from wrong
    assert rejected < FEW


def test_the_first_cases_are_the_plain_paths() -> None:
    agree(0, chain(range(FEW), FOUND_ONCE), False)


@pytest.mark.compiled
def test_more_cases_are_the_plain_paths() -> None:
    require("llvmlite")
    agree(0, range(FEW, MANY), False)


@pytest.mark.compiled
def test_compiled_cases_are_the_plain_paths() -> None:
    require("llvmlite")
    with own_cache():
        agree(0, range(FEW), True)
        agree(datetime.date.today().toordinal(), range(20), True)


@pytest.mark.compiled
@pytest.mark.parametrize(("number", "precision"), COMPILED)
def test_compiled_steps_are_the_plain_ones(number: int, precision: str) -> None:
    require("llvmlite")
    with own_cache():
        check(0, number, True, precision)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_planted_faults_are_found(mutation: Mutation) -> None:
    assert mutation.found()


@pytest.mark.compiled
@pytest.mark.parametrize("number", range(len(OF_CODE)), ids=OF_CODE.__getitem__)
def test_faults_planted_in_machine_code_are_found(number: int) -> None:
    require("llvmlite")
    assert of_code()[number].what == OF_CODE[number]
    command = [sys.executable, "-m", "tests.fuzz.mutations", str(number)]
    ran = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    crashed = ran.returncode < 0  # it wrote where it should not
    assert crashed or (ran.returncode == 1 and not ran.stderr), ran.stderr


@pytest.mark.compiled
def test_there_are_as_many_faults_in_machine_code() -> None:
    require("llvmlite")
    assert [mutation.what for mutation in of_code()] == OF_CODE


def test_the_long_run_tells_which_case_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--n", "2", "--seed", "0"]) == 0
    assert "2 stacks, 0 wrong, 0 rejected" in capsys.readouterr().out
    forward = Linear.forward
    recorded = "gpubp.program.tensors"

    def other(layer, be, w, x, run):  # type: ignore[no-untyped-def]
        y, context = forward(layer, be, w, x, run)
        return (y * 1.5 if type(x).__module__ == recorded else y), context

    monkeypatch.setattr(Linear, "forward", other)
    assert main(["--n", "2", "--seed", "0"]) == 1
    told = capsys.readouterr().out
    assert "python -m tests.fuzz --seed 0 --first 0 --n 1: replay, step 0: the loss" in told
    assert "Linear(n_out=" in told
