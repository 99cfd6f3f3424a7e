"""Parts of the library at work together, where each alone would not show a fault."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from tests.conftest import as_alone, rng

X, Y = rng(1).normal(size=(40, 4)), np.arange(40) % 2
HELD_OUT = rng(2).normal(size=(40, 4)), rng(3).integers(0, 2, 40)
LAYER = gpubp.MLP([6], 2, norm="batch", dropout=0.2)


def network(layer: gpubp.Layer = LAYER, **how: Any) -> gpubp.Network:
    return gpubp.Network(layer, 4, **how)


def host(net: gpubp.Network) -> dict[str, Any]:
    return {path: net.be.to_numpy(array) for path, array in net.state_dict().items()}


def how(**more: Any) -> dict[str, Any]:
    return {"validation": HELD_OUT, "epochs": 15, "batch_size": 10, **more}


def test_the_best_restart_goes_on_as_alone_though_it_stopped_early(backend: Backend) -> None:
    def callbacks() -> list[gpubp.Callback]:
        plateau = gpubp.ReduceOnPlateau(patience=0, factor=0.5)
        return [plateau, gpubp.EarlyStopping(patience=2)]

    method = gpubp.EMA(gpubp.Adam(0.05), decay=0.9)
    net = network(device=backend)
    net.fit(X, Y, restarts=5, optimizer=method, callbacks=callbacks(), **how())
    assert net.restarts is not None
    alone = network(device=backend, seed=net.restarts.seeds[net.restarts.best])
    alone.fit(X, Y, optimizer=method, callbacks=callbacks(), **how())
    assert (net.epochs, net.updates) == (alone.epochs, alone.updates)
    assert net.steps.slots.updates == alone.steps.slots.updates
    assert net.steps.rate_scale == alone.steps.rate_scale
    assert net.history.stopped == alone.history.stopped
    for name in ("epoch", "loss", "val_loss", "lr"):
        assert as_alone(backend, net.history[name], alone.history[name], k=40)
    for each in (net, alone):
        each.fit(X, Y, optimizer=method, epochs=2, batch_size=10)
    for path, array in host(alone).items():
        assert as_alone(backend, host(net)[path], array, k=1000), path


def test_frozen_parameters_come_through_restarts(backend: Backend) -> None:
    net = network(gpubp.MLP([4], 2), device=backend)
    w = net.parameter("0.W")
    backend.write(w, backend.asarray(np.full(tuple(w.shape), 0.5)))
    net.freeze("0")
    net.fit(X, Y, restarts=3, epochs=1)
    assert (host(net)["0.W"] == 0.5).all()


def test_weights_that_restarts_would_lose_are_refused() -> None:
    net = network(gpubp.MLP([4], 2))
    gpubp.lsuv(net, X)
    before = host(net)
    with pytest.raises(gpubp.InputError, match=r"'0.W' was set otherwise: freeze"):
        net.fit(X, Y, restarts=3, epochs=1)
    assert all(np.array_equal(before[path], array) for path, array in host(net).items())


def test_the_best_has_slots_of_its_own() -> None:
    net = network()
    net.fit(X, Y, restarts=3, keep="all", epochs=1)
    assert net.restarts is not None
    kept = net.restarts.networks.steps.slots.arrays
    before = {name: np.array(array) for name, array in kept.items()}
    net.fit(X, Y, epochs=1)
    assert all(np.array_equal(before[name], array) for name, array in kept.items())


def test_a_copy_knows_what_became_of_the_restarts() -> None:
    net = network()
    net.fit(X, Y, restarts=3, keep="all", epochs=1)
    assert net.restarts is not None
    net.restarts.networks.steps.lost[1] = True
    twin = copy.deepcopy(net)
    assert twin.restarts is not None
    assert twin.restarts.losses == net.restarts.losses
    steps = twin.restarts.networks.steps
    assert (steps.lost.tolist(), steps.tolerant) == ([False, True, False], True)


class Faulty(gpubp.Callback):
    def on_fit_end(self, net: Any, history: gpubp.History) -> None:
        raise RuntimeError("the disk is full")


def test_a_callback_that_fails_at_the_end_leaves_nothing_behind() -> None:
    net, health = network(members=2), gpubp.Health(every=1)
    stopping = gpubp.EarlyStopping(2, "loss", min_delta=10.0)
    with pytest.raises(RuntimeError, match="the disk is full"):
        net.fit(X, Y, callbacks=[Faulty(), health, stopping], epochs=5)
    assert net.watch is None
    assert not net.steps.halted.any()
    before = np.array(net.theta)
    net.fit(X, Y, callbacks=[health], epochs=1)
    assert (net.theta != before).any(axis=-1).all()  # each member moves again


def test_a_plateau_leaves_members_alone_that_stand_still() -> None:
    net = network(members=2)
    stopping = gpubp.EarlyStopping(1, "loss", min_delta=100.0)
    plateau = gpubp.ReduceOnPlateau("loss", patience=2)
    net.fit(X, Y, callbacks=[stopping, plateau], epochs=10)
    assert np.ndim(net.steps.rate_scale) == 0 or set(net.steps.rate_scale) == {1.0}


def test_running_state_that_overflows_is_named(backend: Backend) -> None:
    net = gpubp.Network(gpubp.Sequential(gpubp.BatchNorm(), gpubp.Linear(1)), 1, device=backend)
    top = float(np.finfo(backend.precision).max)
    x = np.asarray([[0.0], [top**0.75], [0.0]])  # its square is beyond the range
    with pytest.raises(gpubp.NonFiniteError, match=r"running state '0.variance'") as caught:
        net.fit(x, [0.0, 1.0, 0.0], loss="squared_error", batch_size=None, epochs=1)
    assert caught.value.layer == "0"


def test_lsuv_leaves_tables_and_frozen_parts_alone() -> None:
    table = gpubp.Sequential(gpubp.Columns(0, 1), gpubp.Embedding(3, 2), gpubp.Flatten())
    layer = gpubp.Sequential(
        gpubp.Concatenate(table, gpubp.Columns(1, 4)), gpubp.Linear(5), gpubp.Linear(2)
    )
    net = network(layer)
    net.freeze("2")
    x = np.concatenate([np.arange(40)[:, None] % 3, X[:, 1:]], axis=1)
    before = host(net)
    assert list(gpubp.lsuv(net, x)) == ["1.W"]
    changed = {path for path, w in host(net).items() if not np.array_equal(w, before[path])}
    assert changed == {"1.W"}
    with pytest.raises(gpubp.InputError, match="is a category"):
        gpubp.lsuv(net, x + 0.5)


def test_health_looks_at_the_first_part_of_a_batch() -> None:
    health = gpubp.Health(every=1)
    network(gpubp.MLP([4], 2)).fit(
        X, Y, batch_size=21, micro_batch=20, epochs=1, callbacks=[health]
    )
    assert [record["rows"] for record in health.records] == [20, 19]


def test_health_forgets_an_error_that_is_mended() -> None:
    net, health = network(gpubp.MLP([4], 2)), gpubp.Health(every=1)
    with pytest.raises(gpubp.NonFiniteError):
        net.fit(X, Y, optimizer=gpubp.SGD(3e38), epochs=1, callbacks=[health])
    assert health.non_finite is not None
    net.fit(X, Y, epochs=1, callbacks=[health])
    assert health.non_finite is None
    assert [record["step"] for record in health.records] == [1, 2]


@pytest.mark.thorough
def test_a_deferred_device_loses_no_digits_of_a_mean(backend: Backend) -> None:
    from gpubp.evaluation import Mean

    net = gpubp.Network(gpubp.Linear(1), 1, device=backend)
    mean, tenth = Mean(net), backend.asarray(np.asarray(0.1))
    for _ in range(20_000):
        mean.add(tenth, 1.0)
    assert abs(mean.result() - float(backend.to_numpy(tenth))) < 1e-10


def test_what_is_frozen_comes_back_from_a_file(tmp_path: Any) -> None:
    net = network()
    net.freeze("0")
    net.save(tmp_path / "net")
    assert gpubp.load(tmp_path / "net").frozen == ("0.W", "0.b")


SCALARS: list[Any] = [
    lambda f, i: gpubp.GaussianNoise(f(0.1)),
    lambda f, i: gpubp.BatchNorm(f(0.1), f(1e-5)),
    lambda f, i: gpubp.LayerNorm(f(1e-5)),
    lambda f, i: gpubp.RMSNorm(f(1e-5)),
    lambda f, i: gpubp.Dropout(f(0.1)),
    lambda f, i: gpubp.Adam(f(0.1), beta1=f(0.5), weight_decay=f(0.1), max_norm=f(1.0)),
    lambda f, i: gpubp.SGD(f(0.1), clip=gpubp.ClipValue(f(1.0)), penalty=gpubp.L2(f(0.1))),
    lambda f, i: gpubp.SGD(f(0.1), clip=gpubp.ClipGlobalNorm(f(1.0))),
    lambda f, i: gpubp.SGD(f(0.1), clip=gpubp.AdaptiveClip(f(1.0), f(0.1))),
    lambda f, i: gpubp.SWA(gpubp.SGD(f(0.1)), i(2), i(2)),
    lambda f, i: gpubp.SGD(gpubp.CosineDecay(f(0.1), i(50), f(0.01))),
    lambda f, i: gpubp.SGD(gpubp.StepDecay(f(0.1), i(5), f(0.5))),
]


@pytest.mark.parametrize("make", SCALARS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_of_numpys_are_numbers(backend: Backend, make: Any, kind: Any) -> None:
    made = make(kind, np.int64)
    is_layer = isinstance(made, gpubp.Layer)
    layer = gpubp.Sequential(*([made] if is_layer else []), gpubp.Linear(np.int64(2)))
    net = network(layer, device=backend)
    net.fit(X, Y, optimizer="sgd" if is_layer else made, batch_size=np.int64(10), epochs=1)
    assert net.be.to_numpy(net.theta).dtype == backend.precision


BAD: list[tuple[Any, str]] = [
    (lambda: gpubp.EarlyStopping(monitor=None), "monitor is None"),
    (lambda: gpubp.EarlyStopping(min_delta=None), "min_delta None"),
    (lambda: gpubp.EarlyStopping(min_delta=float("inf")), "min_delta inf"),
    (lambda: gpubp.CosineDecay(True, 3), "lr is True"),
    (lambda: gpubp.SGD(max_norm=True), "max_norm is True"),
    (lambda: gpubp.SGD(b"x"), "lr is b'x'"),
    (lambda: gpubp.Constant(True), "value is True"),
    (lambda: gpubp.Normal(-1.0), "std is -1.0"),
    (lambda: gpubp.GaussianNoise(10**400), "std is 1"),
    (lambda: gpubp.L2(10**400), "strength is 1"),
    (lambda: gpubp.BatchNorm(affine="no"), "affine is 'no'"),
    (lambda: gpubp.Then("x", 1, 2), "first is 'x'"),
    (lambda: network().fit(X, Y, keep="al"), "keep is 'al'"),
    (lambda: network().fit(X, Y, batch_size=np.array(3)), "batch_size is array"),
    (lambda: network().fit(X, Y, optimizer=gpubp.SGD((0.1, 0.2))), "2 rates .* one network"),
    (lambda: network().freeze([]), "freeze: parameters are named"),
    (lambda: network().parameter([]), "no parameter"),
    (lambda: gpubp.lsuv(network(), X, tolerance=None), "tolerance None"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_what_is_no_such_thing_is_refused_in_words(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        make()


def test_several_may_be_frozen_at_once() -> None:
    net = network()
    net.freeze(["0.W", "0.b"])
    assert net.frozen == ("0.W", "0.b")


@pytest.mark.parametrize(
    ("short", "name"), [("mse", "mean_squared_error"), ("ce", "cross_entropy")]
)
def test_losses_may_be_named_as_elsewhere(short: str, name: str) -> None:
    assert gpubp.losses.loss(short) == gpubp.losses.LOSSES[name]


def test_callbacks_can_be_read() -> None:
    assert repr(gpubp.EarlyStopping(3)).startswith("EarlyStopping(monitor='val_loss', patience=3")
