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
from tests.conftest import require, rng

STEP = 1e-6
every = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


def points() -> Any:
    """Weighted inputs on both sides of zero, where the kinks are, and no nearer than 1e-3."""
    z = rng().normal(0.0, 3.0, 400)
    return np.where(np.abs(z) < 1e-3, 1e-3, z)


def pulled_back(xp: Any, activation: Activation, z: Any, delta: Any) -> Any:
    kept = z if activation.keeps == "z" else activation.f(xp, z)
    return activation.pullback(xp, delta, kept)


def in_torch(name: str) -> Any:
    functional = require("torch").nn.functional
    special = {
        "identity": lambda z: 1.0 * z,
        "gelu": lambda z: functional.gelu(z, approximate="tanh"),
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
        "silu": (0.0, 1e4), "gelu": (0.0, 1e4),
    }  # fmt: skip
    expected = np.asarray(limits[activation.f.__name__])
    given = activation.f(np, np.asarray([-1e4, 1e4], dtype=np.float32))
    assert error(given, expected) <= tolerance("float32", expected)


@every
def test_a_nan_stays_a_nan(backend: Backend, activation: Activation) -> None:
    a = backend.to_numpy(backend.map(activation.f, backend.asarray([float("nan"), 1.0])))
    assert np.isnan(a).tolist() == [True, False]


def test_keeps_names_what_the_pullback_takes() -> None:
    kept = {name: activation.keeps for name, activation in ACTIVATIONS.items()}
    assert {name for name, keeps in kept.items() if keeps == "z"} == {"softplus", "silu", "gelu"}
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
