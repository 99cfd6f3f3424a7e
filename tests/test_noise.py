"""Dropout and noise: the right share, independent, repeatable and gone in inference."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.layers import Dropout, GaussianDropout, GaussianNoise, Reshape, Tied
from tests.conftest import rng
from tests.test_bits import chi_square_is_plausible

ROWS, WIDTH = 256, 128
N = ROWS * WIDTH
ONES = np.ones((ROWS, WIDTH))
NOISES: dict[str, gpubp.Layer] = {
    "dropout": Dropout(0.3),
    "noise": GaussianNoise(0.5),
    "multiplied": GaussianDropout(0.3),
}
every = pytest.mark.parametrize("layer", NOISES.values(), ids=NOISES)


def drawn(layer: gpubp.Layer, step: int = 0, seed: int = 0, **how: Any) -> Any:
    """What a layer makes of ones in a training pass of that step."""
    net = gpubp.Network(layer, WIDTH, seed=seed, **({"dtype": "float64"} | how))
    net.restore_updates(step)
    return net.be.to_numpy(net.forward(ONES)[0])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_it_should(rate: float) -> None:
    y = drawn(Dropout(rate))
    assert np.allclose(np.unique(y), [0.0, 1.0 / (1.0 - rate)], rtol=1e-12)
    kept = y > 0.0
    bound = 5.0 * math.sqrt(rate * (1.0 - rate) * N)
    assert abs(kept.sum() - (1.0 - rate) * N) < bound
    # in every column and row too: squared deviations in units of their variance
    for axis, n in ((0, ROWS), (1, WIDTH)):
        share = (kept.sum(axis=axis) - (1.0 - rate) * n) ** 2 / (rate * (1.0 - rate) * n)
        assert abs(share.sum() - share.size) < 5.0 * math.sqrt(2.0 * share.size)
    assert abs(y.mean() - 1.0) < bound / (1.0 - rate) / N  # the expectation is that of x


def test_the_rate_holds_to_the_last_bit_of_a_word() -> None:
    """The threshold: a word of `rate 2^32` is kept, the one below is not."""
    from gpubp.layers.dropout import _masking

    for rate, threshold in ((0.3, 1288490189), (0.5, 2**31), (1.0 - 2.0**-40, 2**32 - 1)):
        words = np.asarray([0, threshold - 1, threshold, 2**32 - 1], dtype=np.uint32)
        _, kept = _masking(rate)(np, np.ones(4), words)
        assert (kept > 0.0).tolist() == [False, False, True, True]


@every
def test_draws_are_independent_of_their_neighbours_and_each_other(layer: gpubp.Layer) -> None:
    pair = gpubp.Sequential(gpubp.layers.Identity(), layer)  # another place, another stream
    behind = gpubp.Sequential(gpubp.Linear(WIDTH, W="zeros", b="ones"), layer)
    together = drawn(behind, seed=7, members=2)
    draws = {
        "first": drawn(layer),
        "step": drawn(layer, step=1),
        "seed": drawn(layer, seed=1),
        "place": drawn(pair),
        "member 0": together[0],
        "member 1": together[1],
    }
    first = draws["first"]
    pairs = list(itertools.combinations(draws.values(), 2))
    pairs += [(first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
    for a, b in pairs:
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 5.0 / math.sqrt(a.size)


def test_neighbouring_masks_have_all_patterns_equally_often() -> None:
    kept = (drawn(Dropout(0.5)) > 0.0).astype(int)
    for step in (1, WIDTH):  # four elements side by side, or below each other
        flat = kept.ravel()[: N - 3 * step].reshape(-1)
        cells = sum(kept.ravel()[i * step : i * step + flat.size] << i for i in range(4))
        chosen = cells[::4] if step == 1 else cells.reshape(-1, WIDTH)[::4].ravel()
        assert chi_square_is_plausible(np.bincount(chosen, minlength=16))


def test_the_noise_is_normal() -> None:
    z = (drawn(GaussianNoise(1.0)) - 1.0).ravel()
    moments = [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]
    for power, mean, variance in moments:
        assert abs((z**power).mean() - mean) < 5.0 * math.sqrt(variance / N), power
    # twenty cells that are equally likely
    uniform = np.asarray([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in z])
    assert chi_square_is_plausible(np.histogram(uniform, 20, (0.0, 1.0))[0])
    assert np.abs(z).max() <= math.sqrt(66.0 * math.log(2.0))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_farthest_noise_is_what_the_documentation_says(precision: str) -> None:
    from gpubp.layers.noise import normal

    x = np.ones(3, precision)
    words = np.asarray([0, 1, 2**32 - 1], np.uint32)
    z = normal(np, x, words, np.zeros(3, np.uint32))
    assert z.dtype == precision
    bound = tolerance(precision, z)
    assert error(z[0], math.sqrt(66.0 * math.log(2.0))) <= bound
    assert z[0] > z[1] > 5.0 > 1e-3 > z[2] >= 0.0


def test_the_noise_has_the_variance_it_should() -> None:
    for layer, std in (
        (GaussianNoise(0.25), 0.25),
        (GaussianDropout(0.2), 0.5),
        (GaussianDropout(0.5), 1.0),
    ):
        y = drawn(layer)
        assert abs(y.mean() - 1.0) < 5.0 * std / math.sqrt(N)
        assert abs(y.var() / std**2 - 1.0) < 5.0 * math.sqrt(2.0 / N)


@every
def test_every_device_draws_the_same(backend: Backend, layer: gpubp.Layer) -> None:
    given = drawn(layer, step=3, seed=2, device=backend, dtype=None)
    expected = drawn(layer, step=3, seed=2, dtype=backend.precision)
    assert given.dtype == backend.precision
    if isinstance(layer, Dropout):
        assert np.array_equal(given, expected)
    else:
        assert error(given, expected) <= tolerance(backend.precision, expected, 4)


@every
def test_the_backward_pass_has_the_draw_of_the_forward_pass(
    backend: Backend, layer: gpubp.Layer
) -> None:
    net = gpubp.Network(layer, WIDTH, device=backend)
    y, context = net.forward(ONES)
    net.forward(ONES)
    dx = net.backward(context, backend.asarray(ONES), input_gradient=True)
    expected = ONES if isinstance(layer, GaussianNoise) else backend.to_numpy(y)
    assert np.array_equal(backend.to_numpy(dx), expected)


@every
def test_inference_has_no_noise(backend: Backend, layer: gpubp.Layer) -> None:
    net, x = gpubp.Network(layer, 5, device=backend), rng().normal(size=(3, 5))
    x = x.astype(backend.precision)
    assert np.array_equal(backend.to_numpy(net.predict(backend.asarray(x))), x)
    y, context = net.forward(x, training=False)
    dx = net.backward(context, y, input_gradient=True)
    assert np.array_equal(backend.to_numpy(dx), x)


@pytest.mark.parametrize("layer", [Dropout(0.0), GaussianNoise(0.0), GaussianDropout(0)])
def test_no_noise_is_the_identity(layer: gpubp.Layer) -> None:
    assert np.array_equal(drawn(layer), ONES)


@every
def test_examples_of_any_shape_are_drawn_for_as_rows(backend: Backend, layer: gpubp.Layer) -> None:
    """The same words as for the flattened example, member by member."""
    shaped = gpubp.Sequential(Reshape(4, 2, WIDTH // 8), layer)
    flat = gpubp.Sequential(gpubp.layers.Identity(), layer)
    for members in (None, 2):
        a, b = (drawn(body, device=backend, dtype=None, members=members) for body in (shaped, flat))
        assert np.array_equal(a.reshape(b.shape), b)
        assert a.shape[-3:] == (4, 2, WIDTH // 8)


@every
def test_a_member_draws_what_it_would_alone(backend: Backend, layer: gpubp.Layer) -> None:
    together = drawn(layer, seed=4, device=backend, dtype=None, members=2)
    for k in range(2):
        assert np.array_equal(together[k], drawn(layer, seed=4 + k, device=backend, dtype=None))


def test_two_uses_of_one_layer_draw_twice_unless_told_otherwise() -> None:
    kept = {own: drawn(Tied(Dropout(0.5), 2, own_streams=own)) for own in (True, False)}
    bound = 5.0 * math.sqrt(N) / N
    assert set(np.unique(kept[False])) == set(np.unique(kept[True])) == {0.0, 4.0}
    assert abs((kept[True] > 0.0).mean() - 0.25) < bound  # two masks
    assert abs((kept[False] > 0.0).mean() - 0.5) < bound  # one


def test_a_long_training_draws_no_mask_twice() -> None:
    seen = {drawn(Dropout(0.5), step=step)[:1].tobytes() for step in range(50)}
    assert len(seen) == 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout(1.0), "Dropout: rate is 1.0; expected a number of at least 0 and below 1"),
        (lambda: Dropout(-0.1), "rate is -0.1"),
        (lambda: Dropout(float("nan")), "rate is nan"),
        (lambda: Dropout("half"), "rate is 'half'"),  # type: ignore[arg-type]
        (lambda: Dropout(True), "rate is True"),
        (lambda: GaussianDropout(1.0), "GaussianDropout: rate is 1.0"),
        (lambda: GaussianNoise(-1.0), "GaussianNoise: std is -1.0; expected a number of at least"),
        (lambda: GaussianNoise(math.inf), "std is inf"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=re.escape(message)):
        make()
