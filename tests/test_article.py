"""The article's worked example and its XOR program, in full precision through the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.check.tolerance import error, tolerance
from gpubp.diagnosis import instrument
from gpubp.layers.base import Layer

X_XOR = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]])
Y_XOR = np.asarray([[0], [1], [1], [0]])

# Six decimals each; the article prints three.
EXPECTED = {
    "a_h": [0.524979, 0.574443],
    "a_o": [0.549834],
    "loss": [0.101325],
    "delta_o": [-0.111424],
    "delta_h": [-0.011115, -0.016343],
    "dw_o": [-0.058495, -0.064006],
    "db_o": [-0.111424],
    "dw_h": [[-0.005557, -0.008892], [-0.008172, -0.013074]],  # a row for each hidden unit
    "db_h": [-0.011115, -0.016343],
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """One forward and backward pass of the article's 2-2-1 network, seen at every layer."""
    seen: dict[tuple[str, str], Any] = {}

    def report(way: str, path: str, leaf: Layer, given: Any, result: Any) -> Any:
        seen[way, path] = result
        return result

    body = gpubp.MLP([2], 1, activation="sigmoid", output="sigmoid")
    net = gpubp.Network(instrument(body, report), inputs=2, dtype="float64")
    a_h = 1 / (1 + np.exp(-np.asarray([0.1, 0.3])))
    net.load_state_dict(
        {
            "0.W": np.asarray([[0.04, 0.12], [0.10, 0.30]]),  # so that z_h = [0.1, 0.3]
            "0.b": np.zeros(2),
            "2.W": np.asarray([[0.4], [0.6]]),
            "2.b": np.asarray([0.2 - a_h @ [0.4, 0.6]]),  # so that z_o = 0.2
        }
    )
    y_hat, context = net.forward([[0.5, 0.8]])
    value, delta = gpubp.SquaredError()(y_hat, [[1.0]])
    net.backward(context, delta)
    gradients = net.gradients()
    return {
        "z_h": seen["forward", "0"][0],
        "z_o": seen["forward", "2"][0],
        "a_h": seen["forward", "1"][0],
        "a_o": y_hat[0],
        "loss": value[None],
        "delta_o": seen["backward", "3"][0],
        "delta_h": seen["backward", "1"][0],
        "dw_o": gradients["2.W"][:, 0],
        "db_o": gradients["2.b"],
        "dw_h": gradients["0.W"].T,  # ours is (n_in, n_out)
        "db_h": gradients["0.b"],
    }


@pytest.mark.parametrize("name", EXPECTED)
def test_the_worked_example_to_six_decimals(found: dict[str, Any], name: str) -> None:
    assert error(found[name], EXPECTED[name]) < 5e-7  # half of the last decimal given


@pytest.mark.parametrize(("name", "expected"), [("z_h", [0.1, 0.3]), ("z_o", [0.2])])
def test_the_worked_example_starts_from_its_weighted_inputs(
    found: dict[str, Any], name: str, expected: list[float]
) -> None:
    assert error(found[name], expected) <= tolerance("float64", expected, k=3)


def xor_network(**chosen: Any) -> gpubp.Network:
    """2-3-1 with N(0, 1) weights and zero biases; BinaryCrossEntropy holds the last sigmoid."""
    normal = gpubp.Normal()
    body = gpubp.Sequential(
        gpubp.Linear(3, W=normal), gpubp.Activation("sigmoid"), gpubp.Linear(1, W=normal)
    )
    return gpubp.Network(body, inputs=2, **chosen)


def train(net: gpubp.Network, epochs: int) -> None:
    # The article's dz2 = a2 - y is a sum over the four examples, ours a mean: four times the rate.
    rate = gpubp.SGD(4 * 0.1)
    net.fit(X_XOR, Y_XOR, loss="binary_cross_entropy", optimizer=rate, epochs=epochs,
            batch_size=None, shuffle=False)  # fmt: skip


def article_loop(w: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The article's program with the initial weights handed in."""
    W1, b1, W2, b2 = w["0.W"], w["0.b"][None, :], w["2.W"], w["2.b"][None, :]
    for _ in range(epochs):
        a1 = 1 / (1 + np.exp(-(X_XOR @ W1 + b1)))
        a2 = 1 / (1 + np.exp(-(a1 @ W2 + b2)))
        dz2 = a2 - Y_XOR
        dW2, db2 = a1.T @ dz2, dz2.sum(axis=0, keepdims=True)
        dz1 = (dz2 @ W2.T) * (a1 * (1 - a1))
        dW1, db1 = X_XOR.T @ dz1, dz1.sum(axis=0, keepdims=True)
        W2, b2, W1, b1 = W2 - 0.1 * dW2, b2 - 0.1 * db2, W1 - 0.1 * dW1, b1 - 0.1 * db1
    return {"0.W": W1, "0.b": b1[0], "2.W": W2, "2.b": b2[0]}


def test_fifty_updates_equal_the_articles_loop() -> None:
    net = xor_network(dtype="float64", seed=3)
    begun = net.state_dict()
    expected = article_loop(begun, 50)
    train(net, 50)
    for path, value in net.state_dict().items():
        assert error(value, expected[path]) <= tolerance("float64", expected[path], k=4 * 50)
        assert error(value, begun[path]) > 1e3 * tolerance("float64", begun[path])


def test_the_article_learns_xor_from_most_beginnings() -> None:
    net = xor_network(members=100)
    train(net, 10_000)
    right = (net.predict_class(X_XOR) == Y_XOR[:, 0]).all(axis=1)
    assert right.shape == (100,)
    assert right.sum() >= 90  # the others are caught in a local minimum, as the article warns
