"""Compiled steps: many in a call, in any order of the data, and steps that are not taken."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import seeds
from gpubp.program.program import build
from gpubp.recording import Shadow
from tests.conftest import require

require("llvmlite")

from gpubp.backends import compiled  # noqa: E402

ROWS, STEPS = 16, 4


class Trained:
    """A small network, its arrays, and steps over 64 examples."""

    def __init__(self, members: int | None = None, threads: int = 1) -> None:
        self.members, self.count = members or 1, 0
        layer = gpubp.Sequential(gpubp.Linear(3), gpubp.Activation("tanh"), gpubp.Linear(1))
        self.net = gpubp.Network(layer, inputs=2, dtype="float64", members=members)
        optimizer = gpubp.Momentum(0.1)
        shadow = Shadow(self.net, optimizer, ROWS)
        recorded = shadow.record(gpubp.SquaredError(), optimizer, (1, "T"), False)
        program = build(recorded.phases, "float64", 1 if members else threads)
        self.arrays = {
            "theta": self.net.theta, "grad": self.net.grad,
            "state": self.net.arrays._state,
        } | recorded.constants  # fmt: skip
        for name in optimizer.slots:
            self.arrays[f"slot:{name}"] = np.zeros_like(self.net.theta)
        self.steps = compiled.Steps(program, members, self.arrays, threads, "t")
        rng = np.random.default_rng(0)
        self.x, self.t = rng.normal(size=(64, 2)), rng.normal(size=(64, 1))
        rate = self.net.steps.numbers(optimizer, 1, 0.1)
        self.numbers = np.broadcast_to([0.1, *rate], (STEPS, self.members, 1 + len(rate))).copy()
        self.going = np.ones(self.members, bool)

    def run(self, order: Any = None, stop_at_once: bool = True) -> tuple[Any, Any]:
        keys = seeds.keys(self.net.seeds, self.net._lead).reshape(-1)
        return self.steps.run(
            self.x, self.t, None, order, ROWS, 0, 0, self.numbers, keys, self.going, stop_at_once
        )


@cache
def plain() -> tuple[Any, Any]:
    trained = Trained()
    losses, bad = trained.run()
    assert not bad.any()
    return losses, trained.net.theta.copy()


pytestmark = pytest.mark.compiled


def test_any_order_of_the_data_is_the_same() -> None:
    losses, theta = plain()
    order = np.random.default_rng(1).permutation(64)
    trained = Trained()
    trained.x, trained.t = (
        np.ascontiguousarray(a[np.argsort(order)]) for a in (trained.x, trained.t)
    )
    given, _ = trained.run(order)
    assert np.array_equal(given, losses)
    assert np.array_equal(trained.net.theta, theta)


def test_data_that_must_not_be_written_will_do() -> None:
    losses, theta = plain()
    trained = Trained()
    for a in (trained.x, trained.t):
        a.flags.writeable = False
    assert np.array_equal(trained.run()[0], losses)
    assert np.array_equal(trained.net.theta, theta)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e200])
def test_a_step_that_is_not_finite_ends_the_call(number: float) -> None:
    losses, _ = plain()
    trained = Trained()
    trained.t[2 * ROWS] = number
    given, bad = trained.run()
    assert bad.tolist() == [3]
    assert np.array_equal(given[:2], losses[:2])
    assert not np.isfinite(given[2, 0])
    assert np.isnan(given[3, 0])
    assert np.isfinite(trained.net.theta).all()


def test_a_member_may_be_lost_while_others_go_on() -> None:
    sound = Trained(members=2, threads=2)
    losses, bad = sound.run(stop_at_once=False)
    assert not bad.any()
    spoilt = Trained(members=2, threads=2)
    spoilt.numbers[1, 0, 0] = np.inf  # a rate: weights would not be finite
    before = spoilt.net.theta.copy()
    given, bad = spoilt.run(stop_at_once=False)
    assert bad.tolist() == [2, 0]
    assert spoilt.going.tolist() == [False, True]
    assert np.array_equal(given[:, 1], losses[:, 1])
    assert np.array_equal(spoilt.net.theta[1], sound.net.theta[1])
    assert np.isfinite(spoilt.net.theta[0]).all()
    assert not np.array_equal(spoilt.net.theta[0], before[0])  # by the first step


def test_a_member_that_is_lost_ends_the_call_where_it_is_asked_for() -> None:
    spoilt = Trained(members=2, threads=2)
    spoilt.numbers[1, 0, 0] = np.inf
    given, bad = spoilt.run()
    assert bad.tolist() == [2, 0]
    assert np.isnan(given[2:]).all()
