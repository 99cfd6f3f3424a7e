"""Activations: against torch, against finite differences, and at the ends of the number line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS, Activation
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.cli import main
from gpubp.initializers import INITIALIZERS
from tests.conftest import require, rng

STEP = 1e-6
every = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


def points() -> Any:
    """Weighted inputs on both sides of all kinks, and no nearer to any than 1e-3."""
    z = rng().normal(0.0, 3.0, 400)
    for kink in {k for activation in ACTIVATIONS.values() for k in activation.kinks}:
        z = np.where(np.abs(z - kink) < 1e-3, kink + 1e-3, z)
    return z


def pulled_back(xp: Any, activation: Activation, z: Any, delta: Any) -> Any:
    kept = z if activation.keeps == "z" else activation.f(xp, z)
    return activation.pullback(xp, delta, kept)


def in_torch(name: str) -> Any:
    functional = require("torch").nn.functional
    special = {
        "identity": lambda z: 1.0 * z,
        "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh"),
        # torch's own hardsigmoid takes 1 / 6 in single precision on its way back
        "hard_sigmoid": lambda z: functional.relu6(z + 3.0) / 6.0,
        "hard_swish": functional.hardswish,
        # torch's own goes on as z from z = 20 on, where exp(-z) is 2e-9 still
        "softplus": lambda z: functional.softplus(z, threshold=40.0),
        "sigmoid": require("torch").sigmoid,
        "tanh": require("torch").tanh,
    }
    return special[name] if name in special else getattr(functional, name)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_and_pullback_are_torchs(name: str) -> None:
    torch = require("torch")
    z, delta = points(), rng(1).normal(size=400)
    z_torch = torch.tensor(z, requires_grad=True)
    a = in_torch(name)(z_torch)
    a.backward(torch.tensor(delta))
    ours, expected = ACTIVATIONS[name].f(np, z), a.detach().numpy()
    assert error(ours, expected) <= tolerance("float64", expected)
    slope = z_torch.grad.numpy()
    given = pulled_back(np, ACTIVATIONS[name], z, delta)
    assert error(given, slope) <= tolerance("float64", slope)


@every
def test_pullback_is_the_slope_times_delta(activation: Activation) -> None:
    z, delta = points(), rng(1).normal(size=400)
    f = activation.f
    slope = (f(np, z + STEP) - f(np, z - STEP)) / (2 * STEP)
    given = pulled_back(np, activation, z, delta)
    assert np.abs(slope * delta - given).max() / max(1.0, np.abs(given).max()) < 1e-7


@every
def test_every_device_agrees(backend: Backend, activation: Activation) -> None:
    z, delta = points().astype(backend.precision), rng(1).normal(size=400).astype(backend.precision)
    kept = z if activation.keeps == "z" else activation.f(np, z)
    pairs = [
        (backend.map(activation.f, backend.asarray(z)), activation.f(np, z)),
        (
            backend.map(activation.pullback, backend.asarray(delta), backend.asarray(kept)),
            activation.pullback(np, delta, kept),
        ),
    ]
    for given, expected in pairs:
        assert given.dtype == backend.dtype
        assert error(backend.to_numpy(given), expected) <= tolerance(backend.precision, expected)


@every
def test_single_precision_loses_no_more_than_rounding(activation: Activation) -> None:
    z, delta = points().astype("float32"), rng(1).normal(size=400).astype("float32")
    pairs = [
        (activation.f(np, z), activation.f(np, z.astype("float64"))),
        (
            pulled_back(np, activation, z, delta),
            pulled_back(np, activation, z.astype("float64"), delta.astype("float64")),
        ),
    ]
    for given, expected in pairs:
        assert given.dtype == "float32"
        assert error(given, expected) <= tolerance("float32", expected)


ENDS = [0.0, -0.0, 1.0, -1.0, 87.0, -87.0, 88.8, -88.8, 104.0, -104.0, 710.0, -710.0, 1e4, -1e4]


@every
def test_far_out_all_is_finite_and_nothing_warns(backend: Backend, activation: Activation) -> None:
    # No `backend.activate()` here: it would silence the very warnings that must not come.
    z = backend.asarray(ENDS)
    a = backend.map(activation.f, z)
    kept = z if activation.keeps == "z" else a
    slope = backend.map(activation.pullback, backend.asarray([1.0] * len(ENDS)), kept)
    for values in (backend.to_numpy(a), backend.to_numpy(slope)):
        assert np.isfinite(values).all()


@every
def test_far_out_values_are_those_of_the_limits(activation: Activation) -> None:
    limits = {
        "identity": (-1e4, 1e4), "relu": (0.0, 1e4), "leaky_relu": (-100.0, 1e4),
        "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softplus": (0.0, 1e4),
        "silu": (0.0, 1e4), "gelu": (0.0, 1e4), "gelu_tanh": (0.0, 1e4), "mish": (0.0, 1e4),
        "hard_swish": (0.0, 1e4), "elu": (-1.0, 1e4), "celu": (-1.0, 1e4),
        "selu": (-1.7580993408473766, 10507.009873554805), "hard_sigmoid": (0.0, 1.0),
        "softsign": (-1e4 / 10001, 1e4 / 10001),
    }  # fmt: skip
    expected = np.asarray(limits[activation.f.__name__])
    given = activation.f(np, np.asarray([-1e4, 1e4], dtype=np.float32))
    for a, limit in zip(given, expected, strict=True):  # beside 1e4 an error in 0 is not seen
        assert error(a, limit) <= tolerance("float32", limit)


@every
def test_a_nan_stays_a_nan(backend: Backend, activation: Activation) -> None:
    a = backend.to_numpy(backend.map(activation.f, backend.asarray([float("nan"), 1.0])))
    assert np.isnan(a).tolist() == [True, False]


def mean_square(activation: Activation) -> float:
    """E[f(Z)^2] for a unit normal Z, by Gauss and Legendre between whole numbers."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    z = np.arange(-30.0, 30.0)[:, None] + 0.5 + 0.5 * nodes
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return float((activation.f(np, z) ** 2 * density * (0.5 * weights)).sum())


TORCHS_GAINS = {
    "identity": "linear", "sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu",
    "leaky_relu": "leaky_relu", "selu": "selu",
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gains_are_torchs_or_keep_the_mean_square_of_a_normal(name: str) -> None:
    given = ACTIVATIONS[name].gain
    if name in TORCHS_GAINS:
        expected = require("torch").nn.init.calculate_gain(TORCHS_GAINS[name])
    else:
        expected = mean_square(ACTIVATIONS[name]) ** -0.5
    assert error(given, expected) <= tolerance("float64", expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_mlp_begins_with_what_suits_its_activation(name: str) -> None:
    suits = ACTIVATIONS[name].init
    drawn, expected = (
        gpubp.Network(gpubp.MLP([4], 2, name, init=init), 3).parameter("0.W")
        for init in (None, INITIALIZERS[suits])
    )
    assert np.array_equal(drawn, expected)
    saturating = {"identity", "sigmoid", "hard_sigmoid", "tanh", "softsign"}
    assert suits == (
        "lecun_normal" if name == "selu" else
        "glorot_uniform" if name in saturating else "he_normal"
    )  # fmt: skip


@every
def test_kinks_are_where_the_slopes_of_both_sides_differ(activation: Activation) -> None:
    grid = np.arange(-8.0, 8.5, 0.5)
    sides = [pulled_back(np, activation, grid + s, np.ones_like(grid)) for s in (-1e-9, 1e-9)]
    assert tuple(grid[np.abs(sides[1] - sides[0]) > 1e-3]) == activation.kinks


def test_a_self_normalising_activation_keeps_mean_and_variance() -> None:
    z = rng().normal(size=1_000_000)
    a = ACTIVATIONS["selu"].f(np, z)
    assert abs(a.mean()) < 5 * a.std() / 1e3  # five standard errors
    assert abs(mean_square(ACTIVATIONS["selu"]) - 1.0) <= tolerance("float64", 1.0)


def test_the_exact_gelu_and_its_approximation_differ_by_what_is_said() -> None:
    z = np.linspace(-6.0, 6.0, 1201)
    exact, approximate = (ACTIVATIONS[n].f(np, z) for n in ("gelu", "gelu_tanh"))
    assert 1e-4 < np.abs(exact - approximate).max() < 5e-4


def test_keeps_names_what_the_pullback_takes() -> None:
    kept = {name: activation.keeps for name, activation in ACTIVATIONS.items()}
    of_z = {"softplus", "silu", "hard_swish", "mish", "gelu", "gelu_tanh"}
    assert {name for name, keeps in kept.items() if keeps == "z"} == of_z
    assert set(kept.values()) == {"z", "a"}


def cube(xp: Any, z: Any) -> Any:
    return z * z * z


def cube_pullback(xp: Any, delta: Any, z: Any) -> Any:
    return delta * (3.0 * z * z)


def test_one_entry_makes_an_activation_known_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backend: Backend
) -> None:
    """In the layers, the checks, the kernels of each device and the command line."""
    monkeypatch.setitem(ACTIVATIONS, "cube", Activation(cube, cube_pullback))
    net = gpubp.Network(gpubp.MLP([4], 1, activation="cube"), inputs=2, device=backend)
    x = np.asarray([[0.5, -0.5], [1.0, 0.25]])
    history = net.fit(x, x[:, :1], loss="squared_error", epochs=20, optimizer=gpubp.SGD(0.01))
    assert history["loss"][-1] < history["loss"][0]
    assert gpubp.check.layer(gpubp.Activation("cube")).ok
    assert main(["train", "digits", "--activation", "cube", "--hidden", "8", "--epochs", "1"]) == 0
