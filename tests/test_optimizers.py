"""Optimizers: torch.optim's arithmetic, slots that last, rates for each member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.backends.cpu import CpuBackend
from gpubp.check.tolerance import error, tolerance
from gpubp.optimizers import (
    LBFGS,
    OPTIMIZERS,
    Adadelta,
    Adagrad,
    Adamax,
    AMSGrad,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSProp,
)
from tests.conftest import as_alone, require, rng

METHODS: dict[str, Optimizer] = {
    "SGD": gpubp.SGD(0.05),
    "Momentum": gpubp.Momentum(0.05, momentum=0.8),
    "Nesterov": gpubp.Nesterov(0.05, momentum=0.8),
    "Adam": gpubp.Adam(0.01, beta1=0.8, beta2=0.95, eps=1e-6),
    "AdamW": gpubp.AdamW(0.01, weight_decay=0.1),
    "AMSGrad": AMSGrad(0.01, beta1=0.8, beta2=0.9, eps=1e-6),
    "Adamax": Adamax(0.01, beta1=0.8, beta2=0.95, eps=1e-6),
    "NAdam": NAdam(0.01, beta1=0.8, beta2=0.95, eps=1e-6, momentum_decay=0.01),
    "RAdam": RAdam(0.01, beta1=0.8, beta2=0.98, eps=1e-6),
    "RMSProp": RMSProp(0.01, rho=0.9, eps=1e-6),
    "RMSProp centered": RMSProp(0.01, rho=0.9, eps=1e-3, centered=True),
    "RMSProp momentum": RMSProp(0.01, rho=0.9, eps=1e-6, momentum=0.7),
    "RMSProp both": RMSProp(0.01, rho=0.9, eps=1e-3, momentum=0.7, centered=True),
    "Adagrad": Adagrad(0.05, lr_decay=0.1, initial=0.2, eps=1e-6),
    "Adadelta": Adadelta(0.5, rho=0.8, eps=1e-4),
    "Lion": Lion(0.01, beta1=0.8, beta2=0.95, weight_decay=0.1, decay_on="all"),
}
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def test_the_table_above_holds_every_optimizer() -> None:
    assert {type(method) for method in METHODS.values()} == set(OPTIMIZERS.values())


def steps(be: Backend, method: Optimizer, gradients: Any) -> list[Any]:
    """Weights and slots after an update with each gradient, from the same start."""
    n = gradients.shape[1]
    net = gpubp.Network(gpubp.Linear(n, b=None), 1, device=be)
    net.load_state_dict({"W": rng(5).normal(size=(1, n))})
    for g in gradients:
        net.arrays.g.add("W", be.asarray(g[None, :]))
        net.step(method)
    flat = [net.theta, *net.steps.slots.arrays.values()]
    return [be.to_numpy(array)[:n] for array in flat]


def in_torch(name: str, w: Any) -> Any:
    optim = require("torch").optim
    made = {
        "SGD": lambda: optim.SGD([w], lr=0.05),
        "Momentum": lambda: optim.SGD([w], lr=0.05, momentum=0.8),
        "Nesterov": lambda: optim.SGD([w], lr=0.05, momentum=0.8, nesterov=True),
        "Adam": lambda: optim.Adam([w], lr=0.01, betas=(0.8, 0.95), eps=1e-6),
        "AdamW": lambda: optim.AdamW([w], lr=0.01, weight_decay=0.1),
        "AMSGrad": lambda: optim.Adam([w], 0.01, (0.8, 0.9), 1e-6, amsgrad=True),
        "Adamax": lambda: optim.Adamax([w], 0.01, (0.8, 0.95), 1e-6),
        "NAdam": lambda: optim.NAdam([w], 0.01, (0.8, 0.95), 1e-6, momentum_decay=0.01),
        "RAdam": lambda: optim.RAdam([w], 0.01, (0.8, 0.98), 1e-6),
        "RMSProp": lambda: optim.RMSprop([w], 0.01, 0.9, 1e-6),
        "RMSProp centered": lambda: optim.RMSprop([w], 0.01, 0.9, 1e-3, centered=True),
        "RMSProp momentum": lambda: optim.RMSprop([w], 0.01, 0.9, 1e-6, momentum=0.7),
        "RMSProp both": lambda: optim.RMSprop([w], 0.01, 0.9, 1e-3, momentum=0.7, centered=True),
        "Adagrad": lambda: optim.Adagrad([w], 0.05, 0.1, initial_accumulator_value=0.2, eps=1e-6),
        "Adadelta": lambda: optim.Adadelta([w], 0.5, 0.8, 1e-4),
    }
    return made[name]()


@pytest.fixture
def double() -> Iterator[Any]:
    """torch with float64 for what an optimizer keeps beside the weights, too."""
    torch = require("torch")
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "Lion"])
def test_a_hundred_steps_are_torchs(name: str, double: Any) -> None:
    torch = double
    gradients = rng().normal(size=(100, 30))
    w = torch.tensor(rng(5).normal(size=30), requires_grad=True)
    method = in_torch(name, w)
    for g in gradients:
        w.grad = torch.tensor(g)
        method.step()
    expected = w.detach().numpy()
    given = steps(CpuBackend(0, "float64"), METHODS[name], gradients)[0]
    assert error(given, expected) <= tolerance("float64", expected, 100)


def test_a_hundred_steps_of_lion_are_those_of_the_paper() -> None:
    """Program 1 of Chen et al. (2023), line by line."""
    gradients = rng().normal(size=(100, 30))
    w, m = rng(5).normal(size=30), np.zeros(30)
    for g in gradients:
        update = np.sign(m * 0.8 + g * (1 - 0.8))
        m = m * 0.95 + g * (1 - 0.95)
        update = update + w * 0.1
        w = w - 0.01 * update
    given = steps(CpuBackend(0, "float64"), METHODS["Lion"], gradients)
    for array, expected in zip(given, (w, m), strict=True):
        assert error(array, expected) <= tolerance("float64", expected, 100)


def test_the_momenta_of_nadam_are_right_whatever_was_asked_for_before() -> None:
    method = NAdam(beta1=0.7, momentum_decay=0.02)
    factors = [0.7 * (1 - 0.5 * 0.96 ** (t * 0.02)) for t in range(1, 301)]
    for t in (300, 3, 40, 1, 299):
        expected = float(np.prod(factors[:t]))
        assert abs(method.product(t) - expected) <= max(1e-13 * expected, 1e-20)
    assert 0 < method.product(10**9) < 1e-19  # not a list of that length


def test_what_an_optimizer_keeps_depends_on_its_options() -> None:
    """Slots that an option adds do not fit where it is missing: they begin anew."""
    net = network()
    take(net, RMSProp(0.01, momentum=0.5), 2)
    assert list(net.steps.slots.arrays) == ["v", "b"]
    take(net, RMSProp(0.01, centered=True), 1)
    assert list(net.steps.slots.arrays) == ["v", "mean"]
    assert net.steps.slots.updates == 1
    take(net, RMSProp(0.02, rho=0.5, centered=True), 1)
    assert net.steps.slots.updates == 2


def test_a_constant_gradient_leaves_no_variance_below_zero() -> None:
    """Rounding makes v - mean^2 slightly negative, and its root would be NaN."""
    gradients = np.full((200, 20), 0.1, dtype=np.float32) * rng(1).uniform(0.5, 2, size=20)
    method = RMSProp(1e-6, rho=0.5, centered=True)
    for array in steps(CpuBackend(0, "float32"), method, gradients.astype(np.float32)):
        assert np.isfinite(array).all()


@every
@pytest.mark.parametrize("count", [1, 20])
def test_every_device_agrees(backend: Backend, method: Optimizer, count: int) -> None:
    gradients = rng().normal(size=(count, 50)).astype(backend.precision)
    expected = steps(CpuBackend(0, backend.precision), method, gradients)
    for given, reference in zip(steps(backend, method, gradients), expected, strict=True):
        assert error(given, reference) <= tolerance(backend.precision, reference, count)


def test_the_squared_gradient_keeps_its_digits_in_float32() -> None:
    """1 - beta2 taken in float32 would be off by 1e-5 of itself."""
    method = gpubp.Adam(beta2=0.9999)
    _, _, v = steps(CpuBackend(0, "float32"), method, np.ones((1, 4), dtype=np.float32))
    assert error(v, np.full(4, 1e-4)) <= tolerance("float32", [1e-4])


def data() -> tuple[Any, Any]:
    return rng(3).normal(size=(40, 3)), rng(4).normal(size=(40, 2))


def network(**how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([5], 2, activation="tanh"), inputs=3, **how)


def weights(net: gpubp.Network) -> Any:
    return net.be.to_numpy(net.theta)


@every
def test_slots_go_on_in_a_second_fit(method: Optimizer) -> None:
    x, y = data()
    twice, once = network(), network()
    for _ in range(2):
        twice.fit(x, y, loss="squared_error", optimizer=method, epochs=2)
    once.fit(x, y, loss="squared_error", optimizer=method, epochs=4)
    assert np.array_equal(weights(twice), weights(once))


def take(net: gpubp.Network, method: Optimizer, count: int) -> None:
    x, y = data()
    for _ in range(count):
        out, context = net.forward(x)
        _, delta = gpubp.MeanSquaredError()(out, y)
        net.backward(context, delta)
        net.step(method)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "SGD"])
def test_a_reset_forgets_slots_and_count(name: str) -> None:
    trained, fresh = network(), network()
    take(trained, METHODS[name], 3)
    fresh.load_state_dict(trained.state_dict())
    kept = network()
    take(kept, METHODS[name], 5)
    trained.reset_optimizer()
    take(trained, METHODS[name], 2)
    take(fresh, METHODS[name], 2)
    assert np.array_equal(weights(trained), weights(fresh))
    assert not np.array_equal(weights(trained), weights(kept))


@every
def test_each_member_has_its_rate(backend: Backend, method: Optimizer) -> None:
    x, y = data()
    rates = (0.1, 0.003, 0.0)
    several = replace(method, lr=rates)
    together = network(device=backend, members=3, seed=7)
    together.fit(x, y, loss="mean_squared_error", optimizer=several, epochs=2)
    for k, rate in enumerate(rates):
        alone = network(device=backend, seed=7 + k)
        alone.fit(x, y, loss="mean_squared_error", optimizer=replace(method, lr=rate), epochs=2)
        assert as_alone(backend, weights(together)[k], weights(alone), k=len(x) * alone.updates)


def test_the_number_of_rates_must_be_that_of_members() -> None:
    with pytest.raises(gpubp.InputError, match="2 rates were given for 3 members"):
        network(members=3).fit(*data(), loss="squared_error", optimizer=gpubp.SGD((0.1, 0.2)))


BAD = [-1.0, float("nan"), float("inf"), "0.1", None, True, (0.1, -0.1), [float("nan")], 1j]


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
@pytest.mark.parametrize("rate", BAD, ids=repr)
def test_a_rate_that_is_none_is_refused(kind: type[Optimizer], rate: Any) -> None:
    with pytest.raises(gpubp.InputError, match=f"{kind.__name__}: lr is .*expected"):
        kind(rate)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (gpubp.Momentum, "momentum", 1.0),
        (gpubp.Nesterov, "momentum", -0.1),
        (gpubp.Adam, "beta1", 1.0),
        (gpubp.Adam, "beta2", "0.9"),
        (gpubp.Adam, "eps", -1e-8),
        (gpubp.Adam, "eps", 0.0),  # 0 / 0 where there was no gradient yet
        (RMSProp, "rho", 1.0),
        (RMSProp, "centered", 1),
        (Adagrad, "initial", -1.0),
        (NAdam, "momentum_decay", -0.1),
        (Lion, "beta1", 1.5),
        (LBFGS, "memory", 0),
        (LBFGS, "c1", 0.95),
        (LBFGS, "lr", 0.0),
        (LBFGS, "weight_decay", 0.1),
        (LBFGS, "clip", gpubp.ClipNorm(1.0)),
        (LBFGS, "max_norm", 1.0),
        (gpubp.AdamW, "weight_decay", float("nan")),
    ],
)
def test_other_numbers_are_checked_too(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(gpubp.InputError, match=f"{name} is "):
        kind(**{name: value})
