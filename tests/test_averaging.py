"""Averages of the weights: torch's, through freezing, bounds, pickling and ensembles."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.optimizers import EMA, SWA, Averaging
from gpubp.schedules import CosineDecay
from tests.conftest import as_alone, require, rng

X, Y = rng(3).normal(size=(20, 3)), rng(4).normal(size=(20, 2))
ADAM = gpubp.Adam(0.05, weight_decay=0.1)
AVERAGES: dict[str, Averaging] = {
    "EMA": EMA(ADAM, 0.9),
    "SWA": SWA(ADAM, start=3, every=2),
    "EMA of SGD": EMA(gpubp.SGD(0.1, penalty=gpubp.L2(0.1), clip=gpubp.ClipGlobalNorm(0.5)), 0.8),
}
every = pytest.mark.parametrize("method", AVERAGES.values(), ids=AVERAGES)


def network(**how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, **how)


def train(net: gpubp.Network, method: gpubp.Optimizer, epochs: int = 2) -> gpubp.Network:
    net.fit(X, Y, loss="mean_squared_error", optimizer=method, epochs=epochs, batch_size=5)
    return net


def weights(net: gpubp.Network) -> Any:
    return net.be.to_numpy(net.theta)


def average(net: gpubp.Network) -> Any:
    with net.averaged():
        return weights(net)


def path_of(net: gpubp.Network, method: gpubp.Optimizer, count: int) -> list[Any]:
    """The weights after each of so many updates."""
    visited = []
    for _ in range(count):
        y, context = net.forward(X)
        net.backward(context, gpubp.MeanSquaredError()(y, net.be.asarray(Y))[1])
        net.step(method)
        visited.append(weights(net))
    return visited


@pytest.fixture
def double() -> Iterator[Any]:
    """torch with float64 for the share of a new weight in a mean, too."""
    torch = require("torch")
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_fifty_updates_are_torchs(kind: str, double: Any) -> None:
    torch = double
    utils = torch.optim.swa_utils
    net = network(dtype="float64")
    method = EMA(ADAM, 0.95) if kind == "ema" else SWA(ADAM)
    visited = path_of(net, method, 50)
    model = torch.nn.Linear(1, visited[0].size, bias=False).double()
    fn = utils.get_ema_multi_avg_fn(0.95) if kind == "ema" else utils.get_swa_multi_avg_fn()
    averaged = utils.AveragedModel(model, multi_avg_fn=fn)
    for theta in visited:
        with torch.no_grad():
            model.weight.copy_(torch.tensor(theta)[:, None])
        averaged.update_parameters(model)
    expected = averaged.module.weight.detach().numpy()[:, 0]
    assert error(average(net), expected) <= tolerance("float64", expected, 50)


def test_the_average_of_swa_is_of_the_updates_it_names() -> None:
    net = network(dtype="float64")
    visited = path_of(net, SWA(ADAM, start=4, every=3), 12)
    expected = np.mean([visited[3], visited[6], visited[9]], axis=0)
    assert error(average(net), expected) <= tolerance("float64", expected, 3)


@every
def test_training_itself_is_as_without(backend: Backend, method: Averaging) -> None:
    with_average = train(network(device=backend), method)
    without = train(network(device=backend), method.optimizer)
    assert np.array_equal(weights(with_average), weights(without))
    assert not np.array_equal(average(with_average), weights(with_average))


@every
def test_every_device_agrees(backend: Backend, method: Averaging) -> None:
    net, reference = network(device=backend), network(dtype=backend.precision)
    train(net, method, 1), train(reference, method, 1)
    expected = average(reference)
    assert error(average(net), expected) <= tolerance(backend.precision, expected, 64)


@every
def test_members_average_alone(backend: Backend, method: Averaging) -> None:
    together = train(network(device=backend, members=2, seed=3), method)
    for k in range(2):
        alone = train(network(device=backend, seed=3 + k), method)
        assert as_alone(backend, average(together)[k], average(alone), k=8 * 20)


@every
def test_a_second_fit_and_a_copy_go_on(method: Averaging) -> None:
    once, twice = train(network(), method, 4), train(network(), method)
    back: gpubp.Network = pickle.loads(pickle.dumps(twice))
    for net in (twice, back):
        assert np.array_equal(average(train(net, method)), average(once))


def test_another_optimizer_within_begins_anew() -> None:
    net = train(network(), EMA(gpubp.SGD(0.1)))
    train(net, EMA(gpubp.Adam(0.1)), 1)
    assert net.steps.slots.updates == 4
    train(net, EMA(gpubp.Adam(0.01), 0.5), 1)
    assert net.steps.slots.updates == 8


def test_frozen_weights_are_in_the_average() -> None:
    """Frozen from the first update on, or later: their average is that of constant weights."""
    net = network(dtype="float64")
    net.freeze("0")
    visited = path_of(net, EMA(ADAM, 0.9), 3)
    first = net.arrays.params.places["0.W"]
    part = slice(first.start, first.stop)
    assert np.array_equal(average(net)[part], visited[0][part])
    net.unfreeze()
    visited += path_of(net, EMA(ADAM, 0.9), 3)
    net.freeze("0")
    visited += path_of(net, EMA(ADAM, 0.9), 3)
    expected = visited[0]
    for theta in visited[1:]:
        expected = expected + 0.1 * (theta - expected)
    assert error(average(net), expected) <= tolerance("float64", expected, 9)


def test_the_average_is_of_weights_within_their_bound() -> None:
    net = network(dtype="float64")
    visited = path_of(net, SWA(gpubp.SGD(0.3, max_norm=0.5)), 6)
    expected = np.mean(visited, axis=0)
    assert error(average(net), expected) <= tolerance("float64", expected, 6)
    free = network(dtype="float64")
    path_of(free, SWA(gpubp.SGD(0.3)), 6)
    assert not np.allclose(average(free), expected)


def test_a_step_that_is_refused_leaves_the_average() -> None:
    net = train(network(), EMA(gpubp.SGD(0.1)))
    before = average(net)
    with pytest.raises(gpubp.NonFiniteError):
        train(net, EMA(gpubp.SGD(3e38)))
    assert np.array_equal(average(net), before)


# -- in and out --------------------------------------------------------------------------------


def test_the_weights_come_back_also_after_an_exception() -> None:
    net = train(network(), EMA(ADAM, 0.9))
    before, predicted = weights(net), net.predict(X)
    with net.averaged():
        inside = net.predict(X)
        with net.averaged():
            assert np.array_equal(net.predict(X), inside)
        assert np.array_equal(net.predict(X), inside)
    assert not np.array_equal(inside, predicted)
    assert np.array_equal(weights(net), before)
    with pytest.raises(ZeroDivisionError), net.averaged():
        raise ZeroDivisionError
    assert np.array_equal(weights(net), before)
    train(net, EMA(ADAM, 0.9))


def test_training_inside_is_refused() -> None:
    net = train(network(), EMA(ADAM, 0.9))
    with net.averaged(), pytest.raises(gpubp.InputError, match="averaged weights are in place"):
        train(net, EMA(ADAM, 0.9))


def test_the_average_can_be_kept() -> None:
    net = train(network(), EMA(ADAM, 0.9))
    expected = average(net)
    net.adopt_average()
    assert np.array_equal(weights(net), expected)
    assert net.steps.slots.updates == 0
    with pytest.raises(gpubp.InputError, match="no average"):
        net.adopt_average()


@pytest.mark.parametrize("method", [None, ADAM, SWA(ADAM, start=9)], ids=["none", "Adam", "late"])
def test_without_an_average_there_is_none(method: gpubp.Optimizer | None) -> None:
    net = network()
    if method is not None:
        train(net, method)  # eight updates
    before = weights(net)
    with pytest.raises(gpubp.InputError, match="train with EMA or SWA"), net.averaged():
        pass
    assert np.array_equal(weights(net), before)


# -- what is passed on, and what is refused ----------------------------------------------------


def test_the_options_are_those_of_the_optimizer_within() -> None:
    inner = gpubp.SGD(CosineDecay(0.1, 6), weight_decay=0.1, clip=gpubp.ClipNorm(1.0), max_norm=2.0)
    method = EMA(inner, 0.5)
    assert (method.lr, method.length, method.clip) == (inner.lr, 6, inner.clip)
    assert method == EMA(inner, 0.5) != EMA(inner, 0.6)
    with pytest.raises(gpubp.InputError, match="ends after 6 updates"):
        train(network(), method)
    unknown = EMA(gpubp.SGD(weight_decay=0.1, decay_on="7"))
    with pytest.raises(gpubp.InputError, match="'7'"):
        train(network(), unknown)


@pytest.mark.parametrize(
    "make",
    [
        lambda: EMA(EMA(ADAM)),
        lambda: EMA("adam"),  # type: ignore[arg-type]
        lambda: EMA(gpubp.optimizers.LBFGS()),
        lambda: EMA(ADAM, 1.0),
        lambda: SWA(ADAM, start=0),
        lambda: SWA(ADAM, every=1.5),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused(make: Any) -> None:
    with pytest.raises(gpubp.InputError):
        make()
