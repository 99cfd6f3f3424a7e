"""Random stacks of layers, recorded, planned, replayed and compiled, beside the plain path."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from itertools import chain

import pytest

from gpubp.layers import Linear
from tests.conftest import require
from tests.fuzz.__main__ import main
from tests.fuzz.cases import draw
from tests.fuzz.check import Rejected, check, really_compiled
from tests.fuzz.mutations import MUTATIONS, Mutation

FEW, MANY = 60, 300
"""Cases without numba and with it."""

FOUND_ONCE = 77, 208, 573, 621, 663
"""Beyond the first cases: those in which a fault of the planner was found."""

COMPILED = [
    (276, "float64"), (276, "float32"), (171, "float64"), (237, "float64"), (295, "float32"),
    (39, "float64"), (280, "float64"), (34, "float32"), (109, "float64"), (132, "float64"),
]  # fmt: skip
"""Small programs, of one thread and of two, of networks and of ensembles."""


def agree(seed: int, numbers: Iterable[int]) -> None:
    """Check cases; those that cannot be recorded are few."""
    rejected = 0
    for number in numbers:
        try:
            check(seed, number)
        except Rejected:
            rejected += 1
        except AssertionError as wrong:
            raise AssertionError(f"--seed {seed} --first {number} --n 1: {wrong}") from wrong
    assert rejected < FEW


def test_the_first_cases_are_the_plain_paths() -> None:
    agree(0, chain(range(FEW), FOUND_ONCE))


@pytest.mark.compiled
def test_more_cases_are_the_plain_paths() -> None:
    require("numba")
    agree(0, range(FEW, MANY))


@pytest.mark.compiled
def test_cases_of_today_are_the_plain_paths() -> None:
    require("numba")
    agree(datetime.date.today().toordinal(), range(20))


@pytest.mark.compiled
@pytest.mark.parametrize(("number", "precision"), COMPILED)
def test_compiled_steps_are_the_plain_ones(number: int, precision: str) -> None:
    require("numba")
    require("scipy")
    really_compiled(draw(0, number, precision), number)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.what)
def test_planted_faults_are_found(mutation: Mutation) -> None:
    others = (n for n in range(FEW) if n != mutation.case)
    with mutation.planted():
        assert any(is_wrong(n) for n in chain([mutation.case], others))


def is_wrong(number: int) -> bool:
    try:
        check(0, number)
    except Rejected:
        return False
    except Exception:  # numbers that differ, or a program that cannot run
        return True
    return False


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
