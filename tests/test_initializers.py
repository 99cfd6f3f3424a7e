"""Initial weights: their distribution, and what they depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.initializers import (
    INITIALIZERS,
    Initializer,
    LeCunNormal,
    LeCunUniform,
    Orthogonal,
    TruncatedNormal,
    gain,
)
from tests.conftest import rng

N_IN, N_OUT = 300, 500
VARIANCES = [
    (gpubp.GlorotUniform(), 2 / (N_IN + N_OUT)),
    (gpubp.GlorotNormal(), 2 / (N_IN + N_OUT)),
    (gpubp.HeUniform(), 2 / N_IN),
    (gpubp.HeNormal(), 2 / N_IN),
    (gpubp.GlorotUniform(gain=3.0), 9 * 2 / (N_IN + N_OUT)),
    (gpubp.HeNormal(gain=0.5), 0.25 * 2 / N_IN),
    (LeCunUniform(), 1 / N_IN),
    (LeCunNormal(), 1 / N_IN),
    (LeCunUniform(gain=0.75), 0.5625 / N_IN),
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


def test_a_truncated_normal_is_a_normal_within_its_bounds() -> None:
    w = TruncatedNormal(0.02)(rng(), (N_IN, N_OUT)) / 0.02
    assert w.shape == (N_IN, N_OUT)
    assert 1.99 < np.abs(w).max() <= 2.0
    # P(|Z| < s) / P(|Z| < 2), within five standard errors
    for s in (0.25, 0.5, 1.0, 1.5):
        p = math.erf(s / math.sqrt(2)) / math.erf(math.sqrt(2))
        assert abs((np.abs(w) < s).mean() - p) < 5 * math.sqrt(p * (1 - p) / w.size)
    assert abs(w.mean()) < 5 * w.std() / math.sqrt(w.size)
    cut = math.exp(-2.0) * math.sqrt(2 / math.pi) / math.erf(math.sqrt(2))
    assert abs(w.var() / (1 - 2 * cut) - 1) < 5 * math.sqrt(2 / w.size)
    assert TruncatedNormal()(rng(), ()).shape == ()


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 6), (3, 2, 4), (2, 1, 9)], ids=str)
def test_an_orthogonal_matrix_has_orthonormal_columns_or_rows(shape: tuple[int, ...]) -> None:
    w = Orthogonal(gain=1.5)(rng(), shape)
    assert w.shape == shape
    w = w.reshape(-1, shape[-1]) / 1.5
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    eye = np.eye(min(w.shape))
    assert error(product, eye) <= tolerance("float64", eye)


def test_orthogonal_matrices_are_spread_as_haars_measure_is() -> None:
    """Without the signs LAPACK's matrices have a trace that is not 0 in the mean."""
    draw, n, count = rng(), 3, 4000
    q = np.stack([Orthogonal()(draw, (n, n)) for _ in range(count)])
    # each element has mean 0 and variance 1 / n; the trace has mean 0 and variance 1
    assert np.abs(q.mean(0)).max() < 5 / math.sqrt(n * count)
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 5 / math.sqrt(count)
    assert abs(trace.var() - 1) < 5 * math.sqrt(2 / count)
    assert abs((np.linalg.det(q) > 0).mean() - 0.5) < 5 * 0.5 / math.sqrt(count)


def test_a_vector_cannot_be_orthogonal() -> None:
    with pytest.raises(gpubp.InputError, match=r"fills matrices.*shape \(3,\).*such as 'zeros'"):
        gpubp.Network(gpubp.Linear(3, b="orthogonal"), 2)


def test_a_gain_is_that_of_the_activation() -> None:
    assert {name: gain(name) for name in ACTIVATIONS} == {
        name: activation.gain for name, activation in ACTIVATIONS.items()
    }
    with pytest.raises(gpubp.InputError, match=r"unknown activation 'tanhh'.*nearest: 'tanh'"):
        gain("tanhh")


def test_orthogonal_layers_keep_lengths_however_many_there_are() -> None:
    layers = [gpubp.Linear(6, W="orthogonal") for _ in range(20)]
    net = gpubp.Network(gpubp.Sequential(*layers), 6, dtype="float64")
    x = rng().normal(size=(5, 6))
    before, after = (np.linalg.norm(v, axis=1) for v in (x, net.predict(x)))
    assert error(after, before) <= tolerance("float64", before, 20)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_each_name_fills_a_matrix_and_the_same_seed_the_same_one(name: str) -> None:
    drawn = [INITIALIZERS[name](rng(seed), (4, 3)) for seed in (0, 0, 1)]
    assert drawn[0].shape == (4, 3)
    assert drawn[0].dtype == np.float64
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2]) == (name in ("zeros", "ones"))


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
