"""Gradient health: each figure against NumPy's, unchanged bits, and alarms true and false."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.data import digits
from gpubp.findings import Limits, judge
from gpubp.health import Health
from gpubp.watch import FLAT, MOSTLY, steepest
from tests.conftest import rng

X = rng(1).normal(size=(20, 5))
Y = np.arange(20) % 3
LOSS = gpubp.CrossEntropy()


@dataclass(frozen=True)
class Noise(gpubp.Layer):
    """x plus noise from random bits, and a running count."""

    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs, state={"seen": gpubp.Param((1,), gpubp.Constant(0.0))})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        run.put("seen", run.state.seen + 1.0)
        bits = run.bits((x.shape[-2], x.shape[-1]))
        return x + be.xp.astype(bits >> 8, x.dtype) * 2.0**-26, None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy


def network(be: Backend | str, **chosen: Any) -> gpubp.Network:
    body = gpubp.Sequential(
        gpubp.Activation("tanh"), gpubp.Linear(7), gpubp.Activation("relu"), Noise(),
        gpubp.Linear(6), gpubp.Activation("sigmoid"), gpubp.Linear(3),
    )  # fmt: skip
    return gpubp.Network(body, inputs=5, device=be, **chosen)


def norm(x: Any) -> float:
    return float(np.sqrt((np.asarray(x, dtype=np.float64) ** 2).sum()))


def by_hand(be: Backend, seed: int) -> dict[str, Any]:
    """The figures of the first update of one member, from its weights, in NumPy alone."""
    net = network(be, seed=seed)
    w = {path: be.to_numpy(v).astype(np.float64) for path, v in net.state_dict().items()}
    noise = be.to_numpy(net._run.children[3].bits((20, 7))).astype(np.float64)
    noise = np.floor(noise / 256) * 2.0**-26
    y0 = np.tanh(X)
    y1 = y0 @ w["1.W"] + w["1.b"]
    y2 = np.maximum(y1, 0)
    y3 = y2 + noise
    y4 = y3 @ w["4.W"] + w["4.b"]
    y5 = 1 / (1 + np.exp(-y4))
    y6 = y5 @ w["6.W"] + w["6.b"]
    p = np.exp(y6) / np.exp(y6).sum(axis=1, keepdims=True)
    d6 = (p - np.eye(3)[Y]) / 20
    d5 = d6 @ w["6.W"].T
    d4 = d5 * y5 * (1 - y5)
    d2 = d3 = d4 @ w["4.W"].T
    d1 = d2 * (y1 > 0)
    g = {"1.W": y0.T @ d1, "1.b": d1.sum(0), "4.W": y3.T @ d4, "4.b": d4.sum(0),
         "6.W": y5.T @ d6, "6.b": d6.sum(0)}  # fmt: skip
    slope5 = y5 * (1 - y5) < FLAT * 0.25
    return {
        "activation": [norm(y) for y in (y0, y1, y2, y3, y4, y5, y6)],
        "delta": [None, *(norm(d) for d in (d1, d2, d3, d4, d5, d6))],
        "input_delta": [None, None, *(norm(d) for d in (d1, d3, d3, d4, d5))],
        "dead": [None, None, float((y1 <= 0).all(axis=0).mean()), *[None] * 4],
        "saturated": [
            float(((1 - y0**2 < FLAT).mean(axis=0) >= MOSTLY).mean()), None,
            float((y1 <= 0).all(axis=0).mean()), None, None,
            float((slope5.mean(axis=0) >= MOSTLY).mean()), None,
        ],
        "gradient": [norm(v) for v in g.values()],
        "weights": [norm(w[path]) for path in g],
        "update": [0.5 * norm(v) for v in g.values()],
    }  # fmt: skip


def one_step(net: gpubp.Network, health: Health) -> None:
    with health.watch(net):
        y, context = net.forward(X)
        net.backward(context, LOSS(y, Y)[1])
        net.step(gpubp.SGD(0.5))


@pytest.mark.parametrize("members", [None, 2])
def test_every_figure_is_that_of_numpy(backend: Backend, members: int | None) -> None:
    net, health = network(backend, members=members, seed=3), Health()
    one_step(net, health)
    [record] = health.records
    for member in range(members or 1):
        expected = by_hand(backend, 3 + member)
        for part, names in (
            ("layers", ("activation", "delta", "input_delta", "dead", "saturated")),
            ("parameters", ("gradient", "weights", "update")),
        ):
            for name in names:
                found = [each[name] for each in record[part]]
                if members is not None:
                    found = [None if f is None else f[member] for f in found]
                assert [f is None for f in found] == [e is None for e in expected[name]], name
                known = [[v for v in values if v is not None] for values in (found, expected[name])]
                scale = max(expected["weights"]) if name == "update" else known[1]
                bound = tolerance(backend.precision, scale, k=140)
                assert error(*known) <= bound, (name, found, expected[name])
    sizes = [each["size"] for each in record["layers"]]
    assert sizes == [100, 140, 140, 140, 120, 120, 60]
    for each in (*record["layers"], *record["parameters"]):
        over, under, name = (
            (each["activation"], each["size"] ** 0.5, "rms") if "size" in each
            else (each["update"], each["weights"], "ratio")
        )  # fmt: skip
        if members is None:
            assert each[name] == (over / under if under else None)


def test_a_record_says_what_was_met(backend: Backend) -> None:
    health = Health()
    one_step(network(backend), health)
    [record] = health.records
    assert (record["step"], record["rows"]) == (1, 20)
    assert record["output_delta"] == record["layers"][-1]["delta"]
    assert [layer["path"] for layer in record["layers"]] == list("0123456")
    kinds = ["Activation", "Linear", "Activation", "Noise", "Linear", "Activation", "Linear"]
    assert [layer["kind"] for layer in record["layers"]] == kinds
    assert [(p["path"], p["kind"]) for p in record["parameters"]][:2] == [
        ("1.W", "weight"), ("1.b", "bias"),
    ]  # fmt: skip
    assert json.loads(json.dumps(health.records, allow_nan=False)) == health.records


@pytest.mark.parametrize("members", [None, 3])
def test_what_is_trained_is_the_same_to_the_bit(backend: Backend, members: int | None) -> None:
    nets = [network(backend, members=members) for _ in range(2)]
    health = Health(every=3)
    for net, callbacks in zip(nets, ([], [health]), strict=True):
        net.fit(X, Y, epochs=3, batch_size=4, callbacks=callbacks,
                optimizer=gpubp.Adam(0.01, clip=gpubp.ClipGlobalNorm(0.1)))  # fmt: skip
    plain, watched = (net.state_dict() for net in nets)
    assert all(
        np.array_equal(backend.to_numpy(plain[p]), backend.to_numpy(watched[p])) for p in plain
    )
    assert nets[0].history["loss"] == nets[1].history["loss"]
    assert [record["step"] for record in health.records] == [1, 3, 6, 9, 12, 15]
    assert nets[1].watch is None
    gradient = [p["gradient"] for p in health.records[0]["parameters"]]
    most = np.max([sum(np.square(member)) for member in np.transpose(gradient).reshape(-1, 6)])
    assert most > 0.1**2  # as backpropagation gave it, before the clip


def fail(be: Backend, callbacks: list[Any]) -> tuple[gpubp.Network, gpubp.NonFiniteError]:
    """Train with a rate that grows until a step is not finite."""
    net = gpubp.Network(gpubp.Linear(1, W="ones"), inputs=5, device=be)
    with pytest.raises(gpubp.NonFiniteError) as raised:
        net.fit(X, X[:, :1], loss="squared_error", optimizer=gpubp.SGD(1e4), epochs=99,
                batch_size=4, callbacks=callbacks)  # fmt: skip
    return net, raised.value


def test_an_error_is_the_same_and_is_kept(backend: Backend) -> None:
    health = Health(every=1)
    (plain, _), (watched, told) = fail(backend, []), fail(backend, [health])
    a, b = (backend.to_numpy(net.parameter("W")) for net in (plain, watched))
    assert np.array_equal(a, b)
    assert plain.updates == watched.updates == told.step - 1
    assert health.non_finite == {"step": told.step, "layer": told.layer, "message": str(told)}
    assert health.records[-1]["step"] <= told.step
    assert watched.watch is None
    assert str(told) in str(health)
    json.dumps(health.records, allow_nan=False)


def test_a_deferred_device_is_read_at_the_end_of_the_epoch(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpubp.backends.cuda import CudaBackend

    be, health = CudaBackend(0, "float32"), Health(every=1)
    net, reads = network(be), []
    real = be.to_numpy
    with health.watch(net):
        x, t = be.asarray(X), be.asarray(Y[:, None], "int64")
        monkeypatch.setattr(be, "to_numpy", lambda a: reads.append(tuple(a.shape)) or real(a))
        with be.activate():
            for _ in range(5):
                net.train_step(x, t, LOSS, gpubp.SGD(0.1))
        assert reads == []
        assert len(health.records) == 5
        assert len(reads) == 1
    assert health.records[4]["layers"][6]["delta"] > 0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_flat_units_of_every_activation(backend: Backend, name: str) -> None:
    """Against |f'| by central differences, for units around 0, far below and far above it."""
    centre = np.asarray([-40.0, -3.0, 0.0, 3.0, 40.0])
    z = centre + 0.9 * rng(2).uniform(-1, 1, size=(20, 5))
    net = gpubp.Network(gpubp.Sequential(gpubp.Activation(name), gpubp.Linear(1)), inputs=5,
                        device=backend)  # fmt: skip
    health = Health()
    with health.watch(net):
        y, context = net.forward(z)
        net.backward(context, y)
        net.step(gpubp.SGD(0.0))
    f, h = ACTIVATIONS[name].f, 1e-4
    slopes, curve = (
        np.abs(f(np, at + h) - f(np, at - h)) / (2 * h) for at in (z, np.linspace(-9, 9, 9001))
    )
    share = (slopes < 0.0099 * curve.max()).mean(axis=0)  # a leak of 0.01 is not below it
    needed = 1.0 if ACTIVATIONS[name].rectifier else MOSTLY
    row = health.records[0]["layers"][0]
    assert row["saturated"] == pytest.approx((share >= needed).mean())
    dead = (f(np, z.astype(backend.precision)) == 0).all(axis=0).mean()
    assert row["dead"] == (pytest.approx(dead) if ACTIVATIONS[name].rectifier else None)


def test_the_steepest_slopes_are_those_of_the_book() -> None:
    assert steepest(ACTIVATIONS["tanh"]) == 1.0
    assert steepest(ACTIVATIONS["identity"]) == 1.0
    assert steepest(ACTIVATIONS["silu"]) == pytest.approx(1.0998, abs=1e-4)


def test_small_gradients_are_not_lost_in_float32() -> None:
    net, health = gpubp.Network(gpubp.Linear(1, W="ones"), inputs=1), Health()
    with health.watch(net):
        _, context = net.forward([[1.0]])
        net.backward(context, [[1e-30]])
        net.step(gpubp.SGD(0.1))
    assert health.records[0]["output_delta"] == pytest.approx(1e-30, rel=1e-6)


# -- findings ----------------------------------------------------------------------------------

DATA = digits()


def train(layer: gpubp.Layer, optimizer: Any = None, epochs: int = 2, **chosen: Any) -> Health:
    net, health = gpubp.Network(layer, inputs=64, **chosen), Health(every=20)
    net.fit(DATA.x, DATA.y, epochs=epochs, optimizer=optimizer, callbacks=[health])
    return health


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "leaky_relu"])
@pytest.mark.parametrize("optimizer", [gpubp.Adam(1e-3), gpubp.Momentum(0.05)])
def test_a_healthy_network_raises_no_alarm(activation: str, optimizer: gpubp.Optimizer) -> None:
    layer = gpubp.MLP([128, 64], 10, activation=activation)
    assert train(layer, optimizer, epochs=4).findings == []


def test_weights_that_begin_at_zero_and_a_converged_network_raise_none() -> None:
    zero = gpubp.Sequential(gpubp.Linear(32), gpubp.Activation("tanh"), gpubp.Linear(10, W="zeros"))
    assert train(zero).findings == []
    net, health = gpubp.Network(gpubp.Linear(1), inputs=5), Health(every=10)
    net.fit(X, X[:, :1], loss="mean_squared_error", optimizer=gpubp.SGD(0.3), epochs=800,
            callbacks=[health])  # fmt: skip
    assert health.records[-1]["parameters"][0]["ratio"] < health.limits.small_update
    assert health.findings == []


def test_gradients_that_vanish_are_found() -> None:
    layer = gpubp.MLP([32] * 20, 10, activation="sigmoid", init=gpubp.Normal(0.1))
    health = train(layer, epochs=1)
    found = health.findings[0]
    assert (found.name, found.layer, found.step) == ("vanishing gradients", "0", 20)
    first = health.records[1]
    expected = first["layers"][0]["delta"] / first["output_delta"]
    assert found.figure == expected < 1e-12
    assert "use ReLU with He initialisation" in str(found)
    assert str(found) in str(health)


def test_gradients_that_explode_are_found_at_once() -> None:
    deep = train(gpubp.MLP([64] * 5, 10, init=gpubp.Normal(3.0)), epochs=1)
    wide = train(gpubp.MLP([64, 64], 10, init=gpubp.Normal(10.0)), epochs=1)
    for health in (deep, wide):
        assert (health.findings[0].name, health.findings[0].step) == ("exploding gradients", 1)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_dead_units_are_found(activation: str) -> None:
    net = gpubp.Network(gpubp.MLP([64, 32], 10, activation=activation), inputs=64)
    net.load_state_dict({"0.b": np.full(64, -10.0), "2.b": np.full(32, -10.0)}, strict=False)
    health = Health(every=20)
    net.fit(DATA.x, DATA.y, epochs=1, callbacks=[health])
    names = {found.name: found for found in health.findings}
    assert names["dead units"].figure == 1.0
    assert names["dead units"].layer in ("1", "3")
    assert "saturated units" not in names


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_saturated_units_are_found(activation: str) -> None:
    health = train(gpubp.MLP([64], 10, activation=activation, init=gpubp.Normal(300.0)))
    assert "saturated units" in [found.name for found in health.findings]


@pytest.mark.parametrize(("rate", "name"), [(1e-12, "update too small"), (5.0, "update too large")])
def test_updates_out_of_proportion_are_found(rate: float, name: str) -> None:
    net, health = gpubp.Network(gpubp.MLP([32], 10, activation="tanh"), inputs=64), Health(1)
    net.fit(DATA.x, DATA.y, epochs=1, optimizer=gpubp.Adam(rate), callbacks=[health])
    assert (name, 2) in [(found.name, found.step) for found in health.findings]


def test_a_frozen_layer_raises_no_alarm() -> None:
    net, health = gpubp.Network(gpubp.MLP([32], 10), inputs=64), Health(10)
    net.freeze("0")
    net.fit(DATA.x, DATA.y, epochs=2, callbacks=[health])
    assert health.records[0]["parameters"][0]["update"] == 0.0
    assert health.findings == []


def test_the_member_that_is_ill_is_named() -> None:
    net = gpubp.Network(gpubp.MLP([64], 10), inputs=64, members=3)
    biases = np.zeros((3, 64))
    biases[1] = -50.0
    net.load_state_dict({"0.b": biases}, strict=False)
    health = Health(every=10)
    net.fit(DATA.x, DATA.y, epochs=1, callbacks=[health])
    found = {each.name: each for each in health.findings}["dead units"]
    assert (found.layer, found.member) == ("1", 1)
    assert "of member 1" in str(found)


def test_limits_decide() -> None:
    health = train(gpubp.MLP([32], 10))
    assert health.findings == []
    strict = replace(health.limits, dead=0.0, large_update=1e-5)
    assert {f.name for f in judge(health.records, strict)} == {"dead units", "update too large"}
    few = replace(strict, rows=33)  # batches of 32 say nothing then
    assert {f.name for f in judge(health.records, few)} == {"update too large"}
    late = judge(health.records, replace(strict, samples=4))
    assert {f.step for f in late} == {health.records[3]["step"]}


# -- use ---------------------------------------------------------------------------------------


def test_bad_arguments_are_refused() -> None:
    for every in (0, -1, 2.5, True):
        with pytest.raises(gpubp.InputError, match="Health: every is"):
            Health(every=every)  # type: ignore[arg-type]
    with pytest.raises(gpubp.InputError, match="Health: limits is"):
        Health(limits=0.5)  # type: ignore[arg-type]
    with pytest.raises(gpubp.InputError, match="Limits: dead is"):
        Limits(dead=-1.0)
    with pytest.raises(gpubp.InputError, match="Limits: samples is"):
        Limits(samples=0)


def test_two_at_a_time_are_refused_and_the_first_goes_on() -> None:
    net, first, second = network("cpu"), Health(every=1), Health(every=1)
    with first.watch(net):
        with pytest.raises(gpubp.InputError, match="watched already"):
            net.fit(X, Y, epochs=1, callbacks=[second])
        net.fit(X, Y, epochs=1)
    assert (len(first.records), len(second.records)) == (1, 0)


def test_the_same_network_goes_on_and_another_begins_anew() -> None:
    net, health = network("cpu"), Health(every=2)
    for _ in range(2):
        net.fit(X, Y, epochs=2, callbacks=[health])
    assert [record["step"] for record in health.records] == [1, 2, 4]
    network("cpu").fit(X, Y, epochs=1, callbacks=[health])
    assert [record["step"] for record in health.records] == [1]


def test_a_layer_used_twice_has_a_row_for_each_use() -> None:
    @dataclass(frozen=True)
    class Twice(gpubp.Layer):
        body: gpubp.Layer

        def build(self, inputs: Any) -> gpubp.Spec:
            return gpubp.Spec(inputs, children={"body": self.body.build(inputs)})

        def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
            y, first = self.body.forward(be, w.body, x, run.body.use(0))
            z, second = self.body.forward(be, w.body, y, run.body.use(1))
            return z, (first, second)

        def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
            dy = self.body.backward(be, w.body, g.body, ctx[1], dy, run.body.use(1))
            return self.body.backward(be, w.body, g.body, ctx[0], dy, run.body.use(0))

    net, health = gpubp.Network(Twice(gpubp.Linear(5, b=None)), inputs=5), Health()
    weights = np.asarray(net.parameter("body.W"), dtype=np.float64)
    with health.watch(net):
        _, context = net.forward(X)
        net.backward(context, np.ones((20, 5)))
        net.step(gpubp.SGD(0.1))
    rows = health.records[0]["layers"]
    assert [row["path"] for row in rows] == ["body", "body"]
    assert rows[0]["delta"] == pytest.approx(norm(np.ones((20, 5)) @ weights.T), rel=1e-5)
    assert rows[1]["delta"] == pytest.approx(10.0)


def test_prediction_and_evaluation_are_not_met() -> None:
    net, health = network("cpu"), Health(every=1)
    with health.watch(net):
        net.predict(X)
        net.evaluate(X, Y, loss=LOSS)
    assert health.records == []
    assert "no update was sampled" in str(health)


def test_it_can_be_copied_and_sent() -> None:
    health = train(gpubp.MLP([8], 10), epochs=1)
    for other in (pickle.loads(pickle.dumps(health)), copy.deepcopy(health)):
        assert (other.records, str(other)) == (health.records, str(health))


def test_a_table_shows_the_last_sample() -> None:
    text = str(train(gpubp.MLP([8], 10), epochs=1, members=2))
    assert text.startswith("step 40: norms (median of the members)")
    for path in ("0", "1", "2", "0.W", "2.b"):
        assert any(line.split()[:1] == [path] for line in text.splitlines())
    assert text.endswith("no findings")
