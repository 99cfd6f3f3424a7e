"""A batch that goes through in parts is the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.losses import LOSSES
from tests.conftest import rng
from tests.toys import Centre, Mask

N, WIDTH = 23, 4
NOISY = gpubp.Sequential(gpubp.Linear(9), Mask(), gpubp.Activation("tanh"), gpubp.Linear(3), Mask())


def data(precision: str = "float64") -> tuple[Any, Any, Any]:
    draw = rng(2)
    x = draw.normal(size=(N, WIDTH)).astype(precision)
    return x, draw.integers(0, 3, N), draw.uniform(0.0, 2.0, N)


def trained(micro_batch: int | None, **how: Any) -> gpubp.Network:
    net = gpubp.Network(NOISY, WIDTH, **how)
    x, y, w = data(net.be.precision)
    net.fit(x, y, sample_weight=w, batch_size=10, micro_batch=micro_batch, epochs=2,
            optimizer=gpubp.SGD(0.1))  # fmt: skip
    return net


@pytest.mark.parametrize("size", [1, 3, 4, 10, 50])
@pytest.mark.parametrize("members", [None, 2])
def test_parts_train_what_the_whole_batch_trains(
    backend: Backend, size: int, members: int | None
) -> None:
    whole = trained(None, device=backend, members=members)
    parts = trained(size, device=backend, members=members)
    expected, given = (backend.to_numpy(net.theta) for net in (whole, parts))
    assert error(given, expected) <= tolerance(backend.precision, expected, N * whole.updates)
    for name in ("loss", "epoch"):
        e, g = whole.history[name], parts.history[name]
        assert error(g, e) <= tolerance(backend.precision, e, N)
    if size >= 10:
        assert np.array_equal(given, expected)


@pytest.mark.parametrize("name", ["squared_error", "cross_entropy", "mean_squared_error"])
def test_sums_and_means_add_up(name: str) -> None:
    x, y, w = data()
    targets = y if name == "cross_entropy" else rng(3).normal(size=(N, 3))
    nets = [gpubp.Network(NOISY, WIDTH, dtype="float64") for _ in range(2)]
    for net, size in zip(nets, (None, 5), strict=True):
        net.fit(x, targets, loss=LOSSES[name], sample_weight=w, batch_size=None, micro_batch=size,
                epochs=1, optimizer=gpubp.SGD(0.01))  # fmt: skip
    expected, given = (net.theta for net in nets)
    assert error(given, expected) <= tolerance("float64", expected, N)


def test_running_state_goes_from_part_to_part() -> None:
    layer = gpubp.Sequential(Centre(rate=0.5), gpubp.Linear(3))
    net = gpubp.Network(layer, WIDTH, dtype="float64")
    x, y, _ = data()
    net.fit(x, y, batch_size=None, micro_batch=8, epochs=1, shuffle=False)
    mean = np.zeros(WIDTH)
    for start in (0, 8, 16):
        mean = mean + 0.5 * (x[start : start + 8].mean(axis=0) - mean)
    assert error(net.state_dict()["0.mean"], mean) <= tolerance("float64", mean, 8)


@pytest.mark.parametrize("size", [0, -3, 2.0, "4"])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    net = gpubp.Network(NOISY, WIDTH)
    x, y, _ = data()
    with pytest.raises(gpubp.InputError, match="micro_batch is"):
        net.fit(x, y, micro_batch=size)
    assert net.updates == 0
