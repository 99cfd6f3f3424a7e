"""Initial weights: their distribution, and what they depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.initializers import INITIALIZERS, Initializer
from tests.conftest import rng

N_IN, N_OUT = 300, 500
VARIANCES = [
    (gpubp.GlorotUniform(), 2 / (N_IN + N_OUT)),
    (gpubp.GlorotNormal(), 2 / (N_IN + N_OUT)),
    (gpubp.HeUniform(), 2 / N_IN),
    (gpubp.HeNormal(), 2 / N_IN),
    (gpubp.GlorotUniform(gain=3.0), 9 * 2 / (N_IN + N_OUT)),
    (gpubp.HeNormal(gain=0.5), 0.25 * 2 / N_IN),
    (gpubp.Normal(0.02), 0.0004),
]


@pytest.mark.parametrize(("init", "variance"), VARIANCES, ids=repr)
def test_mean_and_variance(init: Initializer, variance: float) -> None:
    w = init(rng(), (N_IN, N_OUT))
    assert w.shape == (N_IN, N_OUT)
    assert w.dtype == np.float64
    n = w.size
    # five standard errors; that of a normal's variance is sqrt(2 / n), a uniform's is less
    assert abs(w.mean()) < 5 * math.sqrt(variance / n)
    assert abs(w.var() / variance - 1) < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize(("init", "variance"), VARIANCES, ids=repr)
def test_only_the_uniform_ones_have_a_bound(init: Initializer, variance: float) -> None:
    largest = np.abs(init(rng(), (N_IN, N_OUT))).max()
    bound = math.sqrt(3 * variance)
    if "Uniform" in type(init).__name__:
        assert 0.999 * bound < largest <= bound  # of 150,000 numbers one comes that close
    else:
        assert largest > bound


@pytest.mark.parametrize(("name", "value"), [("zeros", 0.0), ("ones", 1.0)])
def test_constants(name: str, value: float) -> None:
    drawn = INITIALIZERS[name](rng(), (3, 2))
    assert np.array_equal(drawn, np.full((3, 2), value))
    assert np.array_equal(gpubp.Constant(-0.25)(rng(), (4,)), np.full(4, -0.25))


def weights(layer: gpubp.Layer, **how: Any) -> dict[str, Any]:
    net = gpubp.Network(layer, inputs=6, **how)
    return {path: net.be.to_numpy(w) for path, w in net.state_dict().items()}


def test_a_wider_or_deeper_network_leaves_the_other_weights_as_they_are() -> None:
    small = weights(gpubp.MLP([5], 2))
    deep = weights(gpubp.MLP([5, 7, 4], 3))
    assert np.array_equal(small["0.W"], deep["0.W"])


def test_paths_and_seeds_give_different_weights() -> None:
    same = gpubp.Sequential(*[gpubp.Linear(6, b="normal") for _ in range(3)])
    drawn = [w for seed in (0, 1) for w in weights(same, seed=seed).values()]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert not np.isin(first, second).any()


def test_no_device_and_no_precision_changes_a_weight(backend: Backend) -> None:
    expected = weights(gpubp.MLP([5], 2), dtype="float64", seed=3)
    given = weights(gpubp.MLP([5], 2), device=backend, seed=3)
    for path, w in expected.items():
        assert given[path].dtype == backend.precision
        assert np.array_equal(given[path], w.astype(backend.precision))


@pytest.mark.parametrize(("seed", "seeds"), [(4, [4, 5, 6]), ([9, 0, 4], [9, 0, 4])])
def test_a_member_begins_as_the_network_of_its_seed(
    backend: Backend, seed: Any, seeds: list[int]
) -> None:
    together = weights(gpubp.MLP([5], 2), device=backend, seed=seed, members=3)
    for k, own in enumerate(seeds):
        for path, w in weights(gpubp.MLP([5], 2), device=backend, seed=own).items():
            assert np.array_equal(together[path][k], w)
