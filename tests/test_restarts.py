"""Restarts: K first weights trained at once, the best of them kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from tests.conftest import as_alone, rng
from tests.toys import Mask

X = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.asarray([0.0, 1.0, 1.0, 0.0])
LAYER = gpubp.Sequential(gpubp.MLP([4], 6, activation="tanh"), Mask(), gpubp.Linear(1))
HOW: dict[str, Any] = {
    "loss": "mean_squared_error", "optimizer": gpubp.Adam(0.05), "epochs": 6, "batch_size": 2,
}  # fmt: skip
COUNT = 5


def network(**how: Any) -> gpubp.Network:
    return gpubp.Network(LAYER, 2, **how)


def host(net: gpubp.Network) -> dict[str, Any]:
    return {path: net.be.to_numpy(array) for path, array in net.state_dict().items()}


def test_the_best_is_kept_and_each_is_what_it_is_alone(backend: Backend) -> None:
    net = network(device=backend, seed=3)
    history = net.fit(X, Y, restarts=COUNT, keep="all", **HOW)
    outcome = net.restarts
    assert outcome is not None
    assert outcome.seeds == [3, 4, 5, 6, 7]
    for k in range(COUNT):
        alone = network(device=backend, seed=3 + k)
        record = alone.fit(X, Y, **HOW)
        loss = alone.evaluate(X, Y)["loss"]
        assert as_alone(backend, outcome.losses[k], loss, k=8)
        together = host(outcome.networks)
        for path, array in host(alone).items():
            assert as_alone(backend, together[path][k], array, k=100)
        if k == outcome.best:
            assert loss == min(outcome.losses)
            assert as_alone(backend, history["loss"], record["loss"], k=8)
            for path, array in host(alone).items():
                assert as_alone(backend, host(net)[path], array, k=100)
    assert len(set(outcome.losses)) == COUNT


def test_the_best_goes_on_as_it_would_have_alone() -> None:
    net = network(seed=3)
    net.fit(X, Y, restarts=COUNT, **HOW)
    assert net.restarts is not None
    assert net.restarts.networks is None
    alone = network(seed=net.restarts.seeds[net.restarts.best])
    alone.fit(X, Y, **HOW)
    for each in (net, alone):
        each.fit(X, Y, **HOW)
    assert np.array_equal(net.theta, alone.theta)
    assert (net.seed, net.epochs, net.updates) == (alone.seed, alone.epochs, alone.updates)


def test_the_validation_loss_decides_where_there_is_one() -> None:
    draw = rng(1)
    held_out = draw.normal(size=(9, 2)), draw.normal(size=9)
    net = network()
    net.fit(X, Y, restarts=COUNT, validation=held_out, **HOW)
    assert net.restarts is not None
    assert net.restarts.losses[net.restarts.best] == net.evaluate(*held_out)["loss"]
    assert net.restarts.losses[net.restarts.best] == min(net.restarts.losses)


def test_a_member_that_explodes_is_left_out(backend: Backend) -> None:
    root = float(np.finfo(backend.precision).max) ** 0.5  # a square beyond it overflows
    layer = gpubp.Linear(1, W=gpubp.Normal(0.16 * root))
    net = gpubp.Network(layer, 1, device=backend)
    how: dict[str, Any] = {"loss": "squared_error", "optimizer": gpubp.SGD(0.0), "epochs": 1}
    net.fit([[2.0]], [[0.0]], restarts=20, **how)
    assert net.restarts is not None
    lost = [loss == float("inf") for loss in net.restarts.losses]
    assert any(lost)
    assert not all(lost)
    assert np.isfinite(net.restarts.losses[net.restarts.best])


def test_where_all_explode_the_error_says_so_and_nothing_is_changed() -> None:
    net = gpubp.Network(gpubp.Linear(1, W=gpubp.Constant(1e30)), 1)
    before = host(net)
    with pytest.raises(gpubp.NonFiniteError, match="no member is left"):
        net.fit([[2.0]], [[0.0]], loss="squared_error", restarts=3, epochs=2)
    assert all(np.array_equal(before[path], array) for path, array in host(net).items())
    assert net.updates == 0


@pytest.mark.parametrize("restarts", [0, -1, 2.0, True, "3"])
def test_a_count_that_is_none_is_refused(restarts: Any) -> None:
    net = network()
    with pytest.raises(gpubp.InputError, match=r"restarts is .*expected a whole number"):
        net.fit(X, Y, restarts=restarts, **HOW)
    assert net.updates == 0


def test_what_cannot_begin_anew_is_refused() -> None:
    net = network()
    with pytest.raises(gpubp.InputError, match="keep is 'some'"):
        net.fit(X, Y, restarts=2, keep="some", **HOW)
    net.fit(X, Y, **HOW)
    with pytest.raises(gpubp.InputError, match="was trained for 12 updates"):
        net.fit(X, Y, restarts=2, **HOW)
    with pytest.raises(gpubp.InputError, match="2 members already"):
        network(members=2).fit(X, Y, restarts=2, **HOW)
