"""A device that rounds otherwise agrees; a device with a fault is found, and so is the place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import DTYPES
from gpubp.check.agreement import agreement
from gpubp.check.repertoire import repertoire
from gpubp.data import digits
from tests.check import devices
from tests.check.devices import only

NET = gpubp.Sequential(
    gpubp.Linear(5), gpubp.BatchNorm(), gpubp.Activation("tanh"), gpubp.Dropout(0.3),
    gpubp.Linear(3),
)  # fmt: skip


@pytest.mark.thorough
def test_rounding_is_no_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, devices.Otherwise)
    report = repertoire()
    assert report.ok, report.summary()
    moved = [row for row in report.rows if row.backend == "otherwise" and row.error > 0]
    assert len(moved) > 300  # it does round otherwise


@pytest.mark.parametrize(
    ("kind", "expected", "sound"),
    [
        (devices.WrongPullback, "input gradient of 2 (Activation)", "output of 2 (Activation)"),
        (devices.WrongSign, "update of 0.W (Adam)", "gradient of 0.W"),
        (devices.WrongSlots, "new value of slot v (Adam)", "update of 0.W (Adam)"),
        (devices.NoState, "new value of 1.mean (Adam)", "update of 0.W (Adam)"),
        (devices.WrongBits, "output of 3 (Dropout)", "output of 1 (BatchNorm)"),
        (devices.WrongSum, "output of 4 (Linear)", "output of 1 (BatchNorm)"),
        (devices.Failing, "a pass without an error", None),
    ],
)
def test_a_fault_is_found_and_named(
    kind: Any, expected: str, sound: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, kind)
    report = gpubp.check.network(gpubp.Network(NET, inputs=4))
    for dtype in DTYPES:
        ok = {row.what: row.ok for row in report.rows if row.dtype == dtype}
        assert not ok[expected]
        assert sound is None or ok[sound]


def test_a_fault_of_a_later_step_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, devices.WrongBits)
    wrong = [row for row in gpubp.check.layer(gpubp.Dropout(0.5), 6).rows if not row.ok]
    assert {row.note for row in wrong} == {"first in step 2"}


@pytest.mark.parametrize("part", ["layers", "activations", "losses", "optimizers"])
def test_every_part_finds_a_fault(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if part == "losses":
        right = gpubp.losses.Huber.term_delta
        monkeypatch.setattr(
            gpubp.losses.Huber, "term_delta", staticmethod(lambda xp, *on: -1.0 * right(xp, *on))
        )
    only(monkeypatch, {"activations": devices.WrongPullback}.get(part, devices.WrongSign))
    report = repertoire(part)
    assert not report.ok
    assert {row.group for row in report.rows} == {part}


def test_a_reference_that_diverges_is_no_disagreement() -> None:
    """Products of products: gradients of any size, from which a training soon runs away."""
    strong = gpubp.Multiply(*(gpubp.Linear(2, W=gpubp.Normal(3.0)) for _ in range(3)))
    report = gpubp.check.layer(gpubp.Sequential(strong, strong, strong), inputs=5)
    assert all(row.ok for row in report.rows if row.backend != "finite differences")
    assert gpubp.check.layer(gpubp.Multiply(gpubp.Linear(2), gpubp.Linear(2)), inputs=5).ok


def test_a_training_that_is_not_finite_ends_the_comparison_with_a_remark() -> None:
    net = gpubp.Network(gpubp.Linear(1, W=gpubp.Constant(1e30)), inputs=2)
    x = np.full((3, 2), 1e5)
    rows, remarks = agreement(net, gpubp.select("cpu"), x, np.zeros((3, 1)), gpubp.SquaredError())
    assert all(row.ok for row in rows)
    assert "step 1 and later were not compared in float32" in remarks[0]


@pytest.mark.parametrize("precision", DTYPES)
def test_a_gradient_that_is_zero_but_for_rounding(precision: str) -> None:
    """A bias in front of a normalisation: Adam makes whole steps of what is only rounding."""
    net = gpubp.Network(NET, inputs=4, dtype=precision)
    x, t = np.random.default_rng(0).normal(size=(2, 6, 4))
    rows, _ = agreement(net, devices.Otherwise(precision), x, t[:, :3], gpubp.MeanSquaredError())
    assert all(row.ok for row in rows), [row for row in rows if not row.ok]
    _, delta = gpubp.MeanSquaredError()(net.forward(x)[0], t[:, :3])
    net.backward(net.forward(x)[1], delta)
    assert 0 < np.abs(net.gradients()["0.b"]).max() < 1e-6


def test_a_network_that_has_learned_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, devices.Otherwise)
    data = digits()
    net = gpubp.Network(gpubp.MLP([32], 10), inputs=64)
    net.fit(data.x[:100], data.y[:100], optimizer=gpubp.Adam(0.01), epochs=100)
    report = gpubp.check.network(net, data.x[:100], data.y[:100])
    assert report.ok, str(report)
