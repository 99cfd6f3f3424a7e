"""Which members of an ensemble go on, and the factor on the rate."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.backends import cuda
from gpubp.backends.cpu import CpuBackend
from tests.conftest import rng

X, Y = rng(3).normal(size=(20, 3)), rng(4).normal(size=(20, 2))
ADAM = gpubp.Adam(0.05, weight_decay=0.1)


@pytest.fixture(params=["cpu", "compiled"])
def device(request: pytest.FixtureRequest) -> Backend:
    """One device on which the host knows at once, and one that works ahead of it."""
    if request.param == "cpu":
        return CpuBackend(0, "float32")
    request.getfixturevalue("stand_in")
    return cuda.CudaBackend(0, "float32")


def network(device: Any = "cpu", **how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, device=device, **how)


def train(net: gpubp.Network, epochs: int = 1, method: gpubp.Optimizer = ADAM) -> gpubp.Network:
    net.fit(X, Y, loss="mean_squared_error", optimizer=method, epochs=epochs, batch_size=5)
    return net


def weights(net: gpubp.Network) -> Any:
    return net.be.to_numpy(net.theta)


def kept(net: gpubp.Network, k: int) -> list[bytes]:
    arrays = [net.theta, *net.steps.slots.arrays.values()]
    return [net.be.to_numpy(array)[k].tobytes() for array in arrays]


def test_a_halted_member_keeps_all_bits_while_the_others_go_on(device: Backend) -> None:
    net, free = network(device, members=3), network(device, members=3)
    train(net), train(free, 3)
    net.steps.halt([False, True, False])
    before = kept(net, 1)
    train(net, 2)
    assert kept(net, 1) == before
    assert kept(net, 0) == kept(free, 0)
    assert kept(net, 2) == kept(free, 2)
    assert net.updates == free.updates == 12
    net.steps.go_on()
    train(net)
    assert kept(net, 1) != before


def test_a_copy_knows_who_stands_still() -> None:
    net = train(network(members=2))
    net.steps.halt([True, False])
    twin = copy.deepcopy(net)
    before = kept(net, 0)
    assert kept(train(twin), 0) == before
    assert kept(twin, 1) == kept(train(net), 1)


RATES = gpubp.SGD((0.05, 3e38, 0.01))


def test_one_that_is_not_finite_stands_still_if_it_may(device: Backend) -> None:
    """The second member diverges at once; the others go on as if they were alone."""
    net = network(device, members=3, seed=5)
    net.steps.tolerant = True
    before = kept(net, 1)
    train(net, 3, RATES)
    assert net.steps.halted.tolist() == [False, True, False]
    assert kept(net, 1) == before
    for k, rate in ((0, 0.05), (2, 0.01)):
        alone = train(network(device, seed=5 + k), 3, gpubp.SGD(rate))
        assert np.array_equal(weights(net)[k], weights(alone))
    assert net.updates == net.steps.slots.updates == 12


def test_else_it_ends_training_and_is_named(device: Backend) -> None:
    net = network(device, members=3, seed=5)
    before = kept(net, 1)
    with pytest.raises(gpubp.NonFiniteError, match=r"step 1: .* of members \[1\]"):
        train(net, 3, RATES)
    assert kept(net, 1) == before
    assert not net.steps.halted.any()


def test_where_nobody_is_left_nothing_is_counted(device: Backend) -> None:
    net = network(device, members=2)
    net.steps.tolerant = True
    before = weights(net)
    with pytest.raises(gpubp.NonFiniteError, match="no member is left"):
        train(net, 2, gpubp.SGD(3e38))
    assert net.steps.halted.all()
    assert (net.updates, net.steps.slots.updates) == (0, 0)
    assert np.array_equal(weights(net), before)


def test_all_that_are_left_bad_are_not_counted_either(device: Backend) -> None:
    """One stands still and the other one's step is refused: no update was made."""
    net = network(device, members=2)
    net.steps.halt([True, False])
    with pytest.raises(gpubp.NonFiniteError, match=r"members \[1\]"):
        train(net, 1, gpubp.SGD(3e38))
    assert (net.updates, net.steps.slots.updates) == (0, 0)


def test_the_factor_on_the_rate(device: Backend) -> None:
    net, half = network(device), network(device)
    net.steps.rate_scale = 0.5
    assert np.array_equal(
        weights(train(net, 2, gpubp.SGD(0.1))), weights(train(half, 2, gpubp.SGD(0.05)))
    )
    assert net.steps.rate == 0.05


def test_each_member_has_its_factor(device: Backend) -> None:
    net = network(device, members=2, seed=3)
    net.steps.rate_scale = np.asarray([0.5, 0.25])
    train(net, 2, gpubp.SGD(0.2))
    for k, rate in enumerate((0.1, 0.05)):
        alone = train(network(device, seed=3 + k), 2, gpubp.SGD(rate))
        assert np.array_equal(weights(net)[k], weights(alone))


def test_a_copy_keeps_the_factor() -> None:
    net = network()
    net.steps.rate_scale = 0.5
    assert copy.deepcopy(net).steps.rate_scale == 0.5


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(gpubp.InputError, match=r"the optimizer is 0\.1"):
        network().steps.check(0.1)  # type: ignore[arg-type]
