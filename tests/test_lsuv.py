"""First weights from data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from tests.conftest import as_alone, rng

X = rng(3).normal(1.0, 3.0, (300, 7))


def deep(**how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([24] * 12, 3, activation="tanh", init="normal"), 7, **how)


def outputs(net: gpubp.Network, x: Any) -> list[Any]:
    """What each Linear of a perceptron puts out, computed by hand."""
    w, found, a = {p: net.be.to_numpy(v) for p, v in net.state_dict().items()}, [], x
    for i in range(0, 26, 2):
        found.append(a @ w[f"{i}.W"] + w[f"{i}.b"])
        a = np.tanh(found[-1])
    return found


def test_every_layer_has_unit_variance(backend: Backend) -> None:
    net = deep(device=backend)
    told = gpubp.lsuv(net, X.astype(backend.precision))
    assert list(told) == [f"{i}.W" for i in range(0, 26, 2)]
    for z in outputs(net, X):
        assert abs(z.std() - 1.0) < 0.06


def test_the_matrices_are_orthogonal_but_for_their_scale() -> None:
    net = deep(dtype="float64")
    gpubp.lsuv(net, X)
    w = net.state_dict()["4.W"]
    product = w.T @ w
    assert np.abs(product / product[0, 0] - np.eye(24)).max() < 1e-12


def test_the_weights_there_are_can_be_scaled_alone() -> None:
    net, before = deep(dtype="float64"), deep(dtype="float64").state_dict()
    gpubp.lsuv(net, X, orthogonal=False, tolerance=0.001, passes=30)
    for path, w in net.state_dict().items():
        ratio = w[w != 0] / before[path][w != 0]
        assert np.ptp(ratio) < 1e-12 if ratio.size else True
    assert abs(outputs(net, X)[-1].std() - 1.0) < 0.002


def test_each_member_is_scaled_as_alone(backend: Backend) -> None:
    together = deep(device=backend, members=3, seed=5)
    x = X.astype(backend.precision)
    told = gpubp.lsuv(together, x, passes=2)
    for k in range(3):
        alone = deep(device=backend, seed=5 + k)
        gpubp.lsuv(alone, x, passes=2)
        assert len(told["0.W"]) == 3
        for path, w in alone.state_dict().items():
            member = backend.to_numpy(together.state_dict()[path])[k]
            assert as_alone(backend, member, backend.to_numpy(w), 300)


def test_outputs_without_variance_are_refused_and_nothing_is_changed() -> None:
    net = deep()
    before = net.state_dict()
    with pytest.raises(gpubp.InputError, match=r"layer '0' .*standard deviation 0"):
        gpubp.lsuv(net, np.zeros((5, 7)))
    with pytest.raises(gpubp.InputError, match="passes is 0"):
        gpubp.lsuv(net, X, passes=0)
    with pytest.raises(gpubp.InputError, match="is nan"):
        gpubp.lsuv(net, np.full((2, 7), np.nan))
    assert all(np.array_equal(before[path], w) for path, w in net.state_dict().items())
