"""Inside a pass: each leaf reports, what is handed on may be replaced, and faults are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import pytest

import gpubp
from gpubp.backends.standard import StandardBackend
from gpubp.diagnosis import instrument

X = np.random.default_rng(6).normal(size=(4, 3))
T = np.zeros((4, 1))
BODY = gpubp.Sequential(
    gpubp.Sequential(gpubp.Linear(5), gpubp.Activation("tanh")), gpubp.Linear(1)
)


def network(layer: gpubp.Layer, **chosen: Any) -> gpubp.Network:
    return gpubp.Network(layer, inputs=3, dtype="float64", **chosen)


def one_pass(net: gpubp.Network) -> tuple[Any, Any]:
    y, context = net.forward(X)
    return y, net.backward(context, gpubp.SquaredError()(y, T)[1], input_gradient=True)


class Seen:
    """A report that keeps everything and replaces nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.given: dict[tuple[str, str], Any] = {}
        self.result: dict[tuple[str, str], Any] = {}

    def __call__(self, way: str, path: str, leaf: gpubp.Layer, given: Any, result: Any) -> Any:
        self.calls.append((way, path, type(leaf).__name__))
        self.given[way, path], self.result[way, path] = given, result
        return result


def test_every_leaf_reports_on_the_way_up_and_back() -> None:
    seen = Seen()
    one_pass(network(instrument(BODY, seen)))
    leaves = [("0.0", "Linear"), ("0.1", "Activation"), ("1", "Linear")]
    up = [("forward", *leaf) for leaf in leaves]
    assert seen.calls == up + [("backward", *leaf) for leaf in reversed(leaves)]


def test_what_one_leaf_puts_out_the_next_takes_in() -> None:
    seen = Seen()
    y, dx = one_pass(network(instrument(BODY, seen)))
    assert np.array_equal(seen.given["forward", "0.0"], X)
    assert seen.given["forward", "0.1"] is seen.result["forward", "0.0"]
    assert seen.result["forward", "1"] is y
    assert np.array_equal(seen.given["backward", "1"], y - T)
    assert seen.given["backward", "0.0"] is seen.result["backward", "0.1"]
    assert seen.result["backward", "0.0"] is dx


def test_a_probed_network_is_the_same_network() -> None:
    plain, probed = network(BODY), network(instrument(BODY, Seen()))
    for one, other in zip(one_pass(plain), one_pass(probed), strict=True):
        assert np.array_equal(one, other)
    for path, value in plain.gradients().items():
        assert np.array_equal(probed.gradients()[path], value)
    assert plain.gradients().keys() == probed.gradients().keys()


def test_the_layer_that_was_given_is_left_as_it_was() -> None:
    seen = Seen()
    before = repr(BODY)
    instrument(BODY, seen)
    network(BODY).predict(X)
    assert repr(BODY) == before
    assert seen.calls == []


def test_what_a_report_returns_is_handed_on() -> None:
    def silence(way: str, path: str, leaf: Any, given: Any, result: Any) -> Any:
        return result * 0.0 if path == "0.1" else result

    net = network(instrument(BODY, silence))
    y, dx = one_pass(net)
    assert np.array_equal(y, np.zeros((4, 1)))  # the biases begin at zero
    assert np.array_equal(dx, np.zeros((4, 3)))


@dataclass(frozen=True)
class Spoil(gpubp.Layer):
    """The identity, except that it makes NaN in the pass it is told to."""

    way: str

    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return x * (float("nan") if self.way == "forward" else 1.0), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy * (float("nan") if self.way == "backward" else 1.0)


@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize(
    ("way", "what"),
    [
        ("forward", "the output of layer '1.1' (Spoil)"),
        ("backward", "the input gradient of layer '1.1' (Spoil)"),
    ],
)
def test_the_layer_that_made_the_first_nan_is_named(
    way: str, what: str, members: int | None, device: str
) -> None:
    inner = gpubp.Sequential(gpubp.Activation("tanh"), Spoil(way))
    body = gpubp.Sequential(gpubp.Linear(4), inner, gpubp.Linear(1))
    be: Any = StandardBackend(array_api_strict, dtype="float64") if device == "strict" else device
    net = gpubp.Network(body, inputs=3, device=be, dtype="float64", members=members)
    with pytest.raises(gpubp.NonFiniteError) as raised:
        net.fit(X, T, loss="squared_error", epochs=1)
    assert raised.value.layer == "1.1"
    assert what in str(raised.value)
    assert net.updates == 0


def test_a_gradient_alone_that_overflows_is_named_by_its_layer() -> None:
    """dL/dW = x^T delta overflows in float32 where x and delta do not."""
    net = gpubp.Network(gpubp.Sequential(gpubp.Linear(1, W="zeros")), inputs=1)
    y, context = net.forward([[1e30]])
    net.backward(context, y + 1e30)
    with pytest.raises(gpubp.NonFiniteError, match=r"the gradient of '0\.W'") as raised:
        net.step(gpubp.SGD())
    assert (raised.value.layer, raised.value.step) == ("0", 1)


def test_a_gradient_of_the_loss_that_overflows_is_named_before_the_layers() -> None:
    net = gpubp.Network(gpubp.Linear(1, W=gpubp.Constant(3e38)), inputs=1)
    with pytest.raises(gpubp.NonFiniteError, match="the loss or its gradient") as raised:
        net.fit([[1.0]], [-3e38], loss="squared_error")
    assert raised.value.layer == "loss"
