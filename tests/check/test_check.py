"""The checks find what is wrong, and nothing where all is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS, Activation
from gpubp.backend import Backend
from gpubp.check import agreement, error, tolerance
from gpubp.check.gradients import FROM_KINKS, _distance, away_from_kinks
from gpubp.data import digits


def wrong_tanh_pullback(xp: Any, delta: Any, a: Any) -> Any:
    return delta * (1.0 - a)  # the square is missing


def test_a_wrong_pullback_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    net = gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3)
    assert gpubp.check.network(net).ok
    broken = Activation(ACTIVATIONS["tanh"].f, wrong_tanh_pullback)
    monkeypatch.setitem(ACTIVATIONS, "tanh", broken)
    assert not gpubp.check.network(net).ok
    assert not gpubp.check.layer(gpubp.Activation("tanh")).ok


def test_a_gradient_that_is_no_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Activation(ACTIVATIONS["tanh"].f, lambda xp, delta, a: delta * float("nan"))
    monkeypatch.setitem(ACTIVATIONS, "tanh", broken)
    for others in (True, False):  # with and without a backend to compare
        if not others:
            monkeypatch.setattr(agreement, "others", lambda precision: [])
        assert not gpubp.check.network(gpubp.Network(gpubp.MLP([4], 2, "tanh"), inputs=3)).ok
        assert not gpubp.check.layer(gpubp.Sequential(gpubp.Linear(2), gpubp.Activation("tanh"))).ok


@dataclass(frozen=True)
class Scaled(gpubp.Layer):
    """y = s x with one number s; `row` reads its shape as a user might not expect."""

    swapped: bool = False

    def build(self, inputs: tuple[int, ...]) -> gpubp.Spec:
        return gpubp.Spec(inputs, {"s": gpubp.Param((), gpubp.Normal())})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> tuple[Any, Any]:
        s = be.xp.reshape(w.s, (-1,))[0] if self.swapped else w.s  # the first member's for all
        return x * s, x

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        g.add("s", be.xp.sum(be.xp.sum(dy * ctx, axis=-1, keepdims=True), axis=-2, keepdims=True))
        return dy * w.s


def test_a_number_as_a_parameter_belongs_to_its_member() -> None:
    report = gpubp.check.layer(Scaled(), inputs=3)
    assert report.ok, str(report)
    assert report.broken_rule is None


def test_members_that_are_mixed_up_are_found() -> None:
    wrong = [
        row.what for row in gpubp.check.layer(Scaled(swapped=True), inputs=3).rows if not row.ok
    ]
    assert wrong[0] == "output of two members, each as alone"


def test_one_device_alone_can_be_named() -> None:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    report = gpubp.check.network(net, device="cpu")
    assert {row.backend for row in report.rows} == {"finite differences", "cpu"}


@dataclass(frozen=True)
class ForgetsTheBias(gpubp.Linear):
    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        g.add_matmul("W", ctx.mT, dy)
        return be.matmul(dy, w.W.mT)


def test_a_forgotten_gradient_is_found_and_named() -> None:
    report = gpubp.check.layer(ForgetsTheBias(2), inputs=3)
    wrong = {row.what for row in report.rows if not row.ok}
    assert "gradient of b" in wrong
    assert "gradient of W" not in wrong
    assert "backward adds nothing to it: g.add('b', ...)" in str(report)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_passes_as_a_layer(name: str) -> None:
    report = gpubp.check.layer(gpubp.Activation(name), inputs=5)
    assert report.ok, str(report)
    assert report.broken_rule is None


def test_digits_pass_with_every_precision_and_step_count() -> None:
    data = digits()
    net = gpubp.Network(gpubp.MLP([16, 8], 10), inputs=64)
    report = gpubp.check.network(net, data.x, data.y, gpubp.CrossEntropy())
    assert report.ok, str(report)
    rows = [row for row in report.rows if row.backend == "array_api_strict:device1"]
    assert {row.dtype for row in rows} == {"float32", "float64"}
    named = " ".join(row.what for row in rows)
    for part in (
        "output of 0 (Linear)",
        "input gradient of 4 (Linear)",
        "gradient of 2.W",
        "update of 0.b (Adam)",
        "update of 4.W (Adam)",
        "new value of slot v (Adam)",
        "delta of the loss",
    ):
        assert part in named


def test_an_ensemble_is_checked_by_its_first_member() -> None:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3, members=2, seed=5)
    before = net.state_dict()
    assert gpubp.check.network(net).ok
    assert all((net.state_dict()[p] == a).all() for p, a in before.items())


class Off(type(gpubp.select("cpu"))):  # type: ignore[misc]
    """A CPU whose matrix products are off by one part in a thousand."""

    def __init__(self) -> None:
        super().__init__(0, "float64")
        self.device = "off"

    def matmul(self, a: Any, b: Any) -> Any:
        return np.matmul(a, b) * 1.001


def test_a_backend_that_disagrees_is_found_layer_by_layer() -> None:
    net = gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, dtype="float64")
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    off: Backend = Off()
    rows, _ = agreement.agreement(net, off, x, t, gpubp.SquaredError())
    wrong = {row.what for row in rows if not row.ok}
    assert {"output of 0 (Linear)", "input gradient of 2 (Linear)"} <= wrong
    assert "output of 1 (Activation)" not in wrong  # it was handed the right input


def test_batches_keep_away_from_kinks() -> None:
    net = gpubp.Network(gpubp.MLP([8], 1, activation="relu"), inputs=3, dtype="float64")

    def batch(i: int) -> Any:
        return np.zeros((2, 3)) if i == 0 else np.random.default_rng(i).normal(size=(2, 3))

    chosen = away_from_kinks(net, batch)
    assert chosen > 0  # at x = 0 with zero biases every weighted input is on the kink
    assert _distance(net, batch(chosen)) >= FROM_KINKS


def test_tolerance_grows_with_the_sum_and_the_numbers() -> None:
    assert tolerance("float32", [1.0], 4) == 2 * tolerance("float32", [1.0], 1)
    assert tolerance("float32", [-3.0]) == pytest.approx(3 * tolerance("float32", [1.0]))
    assert tolerance("float64", [0.0]) == 1e-12
    assert tolerance("float64", [1.0], 10**6) < 1e-11


def test_error_sees_nan_and_refuses_other_shapes() -> None:
    nan = float("nan")
    assert error([nan], [nan]) == 0.0
    assert error([1.0], [nan]) == float("inf")
    with pytest.raises(ValueError, match="shapes"):
        error([1.0], [1.0, 2.0])
