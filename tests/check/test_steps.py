"""Compiled steps are among what is checked, and a fault in them is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpubp.backends import cuda_steps, native
from gpubp.check.report import Report
from gpubp.check.steps import STEPS, compiled_steps
from tests.conftest import require

PRECISIONS = {"float64", "float32", "tf32", "bf16", "fp16"}


pytestmark = pytest.mark.thorough


def report(device: str | None) -> Report:
    [(name, found)] = compiled_steps(device)
    assert name == f"{STEPS} steps"
    return found


def test_steps_of_cuda_agree_in_every_precision(on_cuda: str) -> None:
    found = report(on_cuda)
    assert found.ok, str(found)
    assert {row.backend for row in found.rows} == {"cuda:0"}
    assert {row.dtype for row in found.rows} == PRECISIONS
    for precision in PRECISIONS:
        named = {row.what for row in found.rows if row.dtype == precision}
        assert named >= {"losses", "0.W", "1.gain", "1.mean", "1.variance", "5.b", "slot v"}
    assert found.remarks == []


def test_products_of_fewer_bits_are_made_in_them(on_cuda: str) -> None:
    """Else they would agree better than they can."""
    found = {row.dtype: row.error for row in report(on_cuda).rows if row.what == "0.W"}
    for precision in ("tf32", "bf16", "fp16"):
        assert found[precision] > 100 * found["float32"]
    assert found["bf16"] > 3 * max(found["tf32"], found["fp16"])


def test_the_graphs_of_cuda_are_what_is_checked(stand_in: Any) -> None:
    stand_in.counts.reset()
    assert report("cuda").ok
    unrolled, rest = divmod(STEPS, cuda_steps.UNROLL)
    assert (unrolled, rest) == (1, 4)  # a graph of many steps, and one of one
    assert stand_in.counts.graph_launches == len(PRECISIONS) * (unrolled + rest)


@pytest.mark.compiled
def test_steps_of_the_cpu_agree_and_other_devices_are_looked_for() -> None:
    require("llvmlite")
    found = report(None)
    assert found.ok, str(found)
    rows = [row for row in found.rows if row.backend == "cpu"]
    assert {row.dtype for row in rows} == {"float32", "float64"}
    assert {row.backend for row in found.rows} <= {"cpu", "cuda:0"}


def test_all_devices_are_compared(stand_in: Any) -> None:
    require("llvmlite")
    assert {row.backend for row in report(None).rows} == {"cpu", "cuda:0"}


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "available", lambda: "llvmlite is missing")
    found = report("cpu")
    assert (found.ok, found.rows) == (True, [])
    assert found.remarks == ["compiled steps were not compared on cpu: llvmlite is missing"]


def scaled(name: str, by: float) -> Callable[..., None]:
    """Multiply an array that steps have left."""

    def spoil(steps: Any, found: Any) -> None:
        array = steps._memory.arrays[name]
        array[...] = array * np.float32(by) if array.dtype == np.float32 else array * by

    return spoil


FAULTS: dict[str, tuple[Callable[..., None], str]] = {
    "a loss": (lambda steps, found: found[0].__setitem__((7, 0), found[0][7, 0] * 1.01), "losses"),
    "weights": (scaled("theta", 1.001), "5.W"),
    "running state": (scaled("state", 0.99), "1.variance"),
    "a slot": (scaled("slot:v", 0.9), "slot v"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_found_and_named(
    what: str, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, named = FAULTS[what]
    run = cuda_steps.Steps.run

    def spoiled(self: Any, *given: Any, **more: Any) -> Any:
        found = run(self, *given, **more)
        spoil(self, found)
        return found

    monkeypatch.setattr(cuda_steps.Steps, "run", spoiled)
    found = report("cuda")
    wrong = {row.dtype for row in found.rows if row.what == named and not row.ok}
    assert wrong >= {"float32", "float64"}


def test_random_bits_of_another_step_are_found(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With products of 16-bit numbers, too: it is more than rounding."""
    run = cuda_steps.Steps.run

    def shifted(self: Any, *given: Any, **more: Any) -> Any:
        given = (*given[:6], given[6] + 1, *given[7:])
        return run(self, *given, **more)

    monkeypatch.setattr(cuda_steps.Steps, "run", shifted)
    found = report("cuda")
    for precision in PRECISIONS:
        assert not all(row.ok for row in found.rows if row.dtype == precision)


def test_a_device_that_fails_is_a_row_that_says_so(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Any, *given: Any, **more: Any) -> Any:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(cuda_steps.Steps, "run", failing)
    found = report("cuda")
    assert not found.ok
    assert {row.note for row in found.rows} == {"RuntimeError: no kernel image is available"}
