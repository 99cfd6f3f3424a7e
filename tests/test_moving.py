"""A network goes to another device and back, and nobody can tell from its bits."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest

import gpubp
from gpubp import layers
from gpubp.backend import Backend
from gpubp.backends.standard import StandardBackend

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 2
BODY = gpubp.Sequential(
    gpubp.Linear(4), layers.BatchNorm(), gpubp.Activation("tanh"), layers.Dropout(0.2),
    gpubp.Linear(2),
)  # fmt: skip


def trained(**chosen: Any) -> gpubp.Network:
    net = gpubp.Network(BODY, inputs=3, seed=3, **chosen)
    net.freeze("0.b")
    net.fit(X, Y, optimizer=gpubp.AdamW(0.01), batch_size=8, epochs=2)
    return net


def all_of(net: gpubp.Network) -> dict[str, bytes]:
    """Every array of a network as it is."""
    be, steps = net.be, net.steps
    named = {**net.state_dict(), **{f"slot {k}": a for k, a in steps.slots.arrays.items()}}
    named |= {"theta": net.theta, "keys": net._pass.key()}
    found = {name: np.asarray(be.to_numpy(array)).tobytes() for name, array in named.items()}
    return found | {"lost": steps.lost.tobytes(), "halted": steps.halted.tobytes()}


@pytest.fixture
def away(precision: str) -> Backend:
    return StandardBackend(array_api_strict, array_api_strict.Device("device1"), precision)


@pytest.mark.parametrize("members", [None, 3])
def test_there_and_back_to_the_bit(away: Backend, precision: str, members: int | None) -> None:
    net, twin = (trained(dtype=precision, members=members) for _ in range(2))
    before = all_of(net)
    assert net.to(away) is net
    assert net.be is away
    assert away.owns(net.theta)
    assert away.owns(net.steps.slots.arrays["m"])
    assert all_of(net) == before
    there = net.predict(X)
    assert net.to("cpu").be.device == "cpu"
    assert all_of(net) == before
    assert isinstance(there, np.ndarray)
    assert (net.epochs, net.updates, net.frozen) == (twin.epochs, twin.updates, twin.frozen)
    assert net.steps.rates() == twin.steps.rates()
    for each in (net, twin):
        each.fit(X, Y, optimizer=gpubp.AdamW(0.01), batch_size=8, epochs=1)
    assert all_of(net) == all_of(twin)
    assert net.history["loss"] == twin.history["loss"]


def test_it_goes_on_training_there(away: Backend, precision: str) -> None:
    net, twin = trained(dtype=precision), trained(dtype=precision)
    net.to(away)
    for each in (net, twin):
        each.fit(X, Y, optimizer=gpubp.AdamW(0.01), batch_size=8, epochs=2)
    assert all_of(net) == all_of(twin)  # the strict namespace computes with NumPy


def test_gradients_that_wait_for_their_step_go_along(away: Backend, precision: str) -> None:
    net, twin = trained(dtype=precision), trained(dtype=precision)
    for each in (net, twin):
        y_hat, ctx = each.forward(X[:4])
        each.backward(ctx, gpubp.CrossEntropy()(y_hat, Y[:4])[1])
    net.to(away)
    for each in (net, twin):
        each.step(gpubp.SGD(0.1))
    assert all_of(net.to("cpu")) == all_of(twin)
    for each in (net, twin):
        y_hat, ctx = each.forward(X[:4])
        each.backward(ctx, np.full((4, 2), np.inf))
    with pytest.raises(gpubp.NonFiniteError):
        net.to(away).step(gpubp.SGD(0.1))


def test_a_device_that_cannot_be_used_changes_nothing() -> None:
    net = trained()
    before, be = all_of(net), net.be
    for device in ("cuda:99", "tpu", 3):
        with pytest.raises(gpubp.DeviceError):
            net.to(device)  # type: ignore[arg-type]
    with pytest.raises(gpubp.InputError, match="float32 cannot be moved to float64"):
        net.to(StandardBackend(array_api_strict, dtype="float64"))
    assert net.be is be
    assert all_of(net) == before


def test_a_device_that_fails_half_way_changes_nothing(
    away: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = trained(dtype=away.precision)
    before, be, zeros = all_of(net), net.be, away.zeros
    left = iter(range(3))

    def full(shape: tuple[int, ...]) -> Any:
        if next(left, None) is None:
            raise MemoryError("the device is full")
        return zeros(shape)

    monkeypatch.setattr(away, "zeros", full)
    with pytest.raises(MemoryError):
        net.to(away)
    assert net.be is be
    assert all_of(net) == before


def test_averaged_weights_do_not_travel() -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    net.fit(X, Y, optimizer=gpubp.EMA(gpubp.Adam()), epochs=1)
    with net.averaged(), pytest.raises(gpubp.InputError, match="averaged"):
        net.to("cpu:0")
    net.to("cpu:0")
