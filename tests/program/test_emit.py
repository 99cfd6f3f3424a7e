"""Kernels: passes over a row, what is kept between them, and the order of loads and stores."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp
from gpubp.program.emit import Emit
from gpubp.program.kernels import Loop, Scratch, Store
from gpubp.program.plan import Plan
from gpubp.recording import Shadow
from tests.program.recorded import Sheet, recording


def test_a_softmax_is_three_passes_and_keeps_its_exponentials() -> None:
    x = np.random.default_rng(0).normal(size=(4, 3))
    sheet = Sheet(x=x, y=np.zeros(12))
    xp, z = sheet.be.xp, sheet["x"]
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    y = e / xp.sum(e, axis=-1, keepdims=True)
    sheet.recorder.write(sheet["y"].shaped((4, 3)).region, y)
    plan = Plan(sheet.recorder.phases[0])
    assert len(plan.steps) == 1
    emit = Emit(plan, 0)
    _, body, _ = emit.lines()
    assert sum(isinstance(line, Loop) for line in body) == 3
    assert [value.op for value in emit.keeps] == ["exp"]
    assert len(emit.scratch) == 1
    expected = np.exp(x - x.max(-1, keepdims=True))
    expected /= expected.sum(-1, keepdims=True)
    assert np.allclose(sheet.after()["y"].reshape(4, 3), expected, rtol=1e-15, atol=0.0)


def test_a_costly_row_is_made_once_before_the_rows() -> None:
    sheet = Sheet(x=np.ones((4, 3)), a=np.ones(3), y=np.zeros(12))
    y = sheet["x"] * sheet.be.xp.exp(sheet["a"].shaped((1, 3)))
    sheet.recorder.write(sheet["y"].shaped((4, 3)).region, y)
    before, body, _ = Emit(Plan(sheet.recorder.phases[0]), 0).lines()
    assert isinstance(before[0], Loop)
    stores = [line for line in before[0].body if isinstance(line, Store)]
    assert isinstance(stores[0].array, Scratch)
    assert len(body) == 1
    assert np.allclose(sheet.after()["y"], np.e, rtol=1e-15, atol=0.0)


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_names_are_given_before_they_are_used(name: str) -> None:
    for phase in recording(name).phases:
        plan = Plan(phase)
        for number, step in enumerate(plan.steps):
            if not step.call:
                known: set[str] = set()
                for lines in Emit(plan, number).lines():
                    _check(lines, known)


def _check(lines: tuple[object, ...], known: set[str]) -> None:
    for line in lines:
        if isinstance(line, Loop):
            _check(line.body, known)
            continue
        operands = [*getattr(line, "operands", ()), getattr(line, "operand", None)]
        assert all(x in known for x in operands if isinstance(x, str)), line
        known.add(getattr(line, "name", ""))


def test_a_column_that_dies_is_loaded_before_another_takes_its_place() -> None:
    """Of a batch normalisation of one feature, whose result two layers take in one kernel."""
    first = gpubp.Sequential(gpubp.layers.RMSNorm(0.1), gpubp.Linear(2))
    second = gpubp.Sequential(gpubp.layers.GaussianDropout(0.3), gpubp.Linear(2))
    layer = gpubp.Sequential(gpubp.layers.BatchNorm(), gpubp.layers.Sum(first, second))
    net, optimizer = gpubp.Network(layer, inputs=1), gpubp.SGD()
    shadow = Shadow(net, optimizer, 4)
    phases = shadow.record(gpubp.SquaredError(), optimizer, (2, "T"), False).phases
    plan = Plan(phases[0])
    for number, step in enumerate(plan.steps):
        if not step.call:
            _, body, _ = Emit(plan, number).lines()
            kinds = [type(x).__name__ for x in body if getattr(x, "index", "") == "column"]
            between = "".join("S" if kind == "Store" else "L" for kind in kinds)
            assert "SL" not in between
