"""Losses: value and delta against torch, finite differences, and each device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.losses import LOSSES
from tests.conftest import as_alone, require, rng

BATCH, WIDTH, STEP = 6, 4, 1e-6
CASES = ["squared_error", "mean_squared_error", "labels", "soft", "binary_cross_entropy"]
every = pytest.mark.parametrize("case", CASES)


def example(case: str, seed: int = 0) -> tuple[Any, Any, Any]:
    """Return a loss, raw outputs and targets for it; `soft` rows do not sum to one."""
    draw = rng(seed)
    z = draw.normal(0.0, 2.0, (BATCH, WIDTH))
    name = "cross_entropy" if case in ("labels", "soft") else case
    real = draw.normal(size=(BATCH, WIDTH))
    share = draw.uniform(size=(BATCH, WIDTH))
    t = {"labels": np.arange(BATCH) % WIDTH, "soft": share, "binary_cross_entropy": share}
    return LOSSES[name], z, t.get(case, real)


def in_torch(case: str, z: Any, t: Any, w: Any) -> Any:
    """The loss written with torch's own functions: w l summed, or divided by the sum of w."""
    f, t, w = require("torch").nn.functional, require("torch").tensor(t), require("torch").tensor(w)
    if case == "squared_error":
        return (w * 0.5 * f.mse_loss(z, t, reduction="none").sum(-1)).sum()
    if case == "mean_squared_error":
        each = f.mse_loss(z, t, reduction="none").mean(-1)
    elif case == "binary_cross_entropy":
        each = f.binary_cross_entropy_with_logits(z, t, reduction="none").mean(-1)
    else:
        each = f.cross_entropy(z, t, reduction="none")
    return (w * each).sum() / w.sum()


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_delta_are_torchs(case: str, weighted: bool) -> None:
    loss, z, t = example(case)
    w = rng(1).integers(0, 4, BATCH).astype(float) if weighted else np.ones(BATCH)
    z_torch = require("torch").tensor(z, requires_grad=True)
    expected = in_torch(case, z_torch, t, w)
    expected.backward()
    value, delta = loss(z, t, sample_weight=w if weighted else None)
    value_expected, delta_expected = expected.item(), z_torch.grad.numpy()
    assert error(value, value_expected) <= tolerance("float64", value_expected)
    assert error(delta, delta_expected) <= tolerance("float64", delta_expected)


@every
def test_delta_is_the_derivative_of_the_value(case: str) -> None:
    loss, z, t = example(case)
    w = np.asarray([1.0, 0.0, 2.0, 1.0, 0.5, 3.0])
    _, delta = loss(z, t, sample_weight=w)
    numeric = np.zeros_like(z)
    for index in np.ndindex(z.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = z.copy()
            moved[index] += sign * STEP
            ends.append(float(loss(moved, t, sample_weight=w)[0]))
        numeric[index] = (ends[0] - ends[1]) / (2 * STEP)
    assert np.abs(numeric - delta).max() / max(1.0, np.abs(delta).max()) < 1e-7


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_every_device_agrees(backend: Backend, case: str, weighted: bool) -> None:
    loss, z, t = example(case)
    z = z.astype(backend.precision)
    w = rng(1).uniform(0.5, 2.0, BATCH) if weighted else None
    expected = loss(z, t, sample_weight=w)
    z_here = backend.asarray(z)
    column = None if w is None else backend.asarray(w[:, None])
    here = backend.asarray(t[:, None], "int64") if t.ndim == 1 else backend.asarray(t)
    given = loss.value_and_delta(backend, z_here, here, column)
    for g, e in zip(given, expected, strict=True):
        assert g.dtype == backend.dtype
        assert error(backend.to_numpy(g), e) <= tolerance(backend.precision, e, BATCH * WIDTH)


FAR = [
    ("cross_entropy", [[1e4, -1e4, 0.0]], [1], 2e4, [[1.0, -1.0, 0.0]]),
    ("cross_entropy", [[1e4, 1e4, -1e4]], [[1.0, 0.0, 0.0]], np.log(2.0), [[-0.5, 0.5, 0.0]]),
    ("binary_cross_entropy", [[1e4, -1e4]], [[0.0, 1.0]], 1e4, [[0.5, -0.5]]),
    ("binary_cross_entropy", [[1e4, -1e4]], [[1.0, 0.0]], 0.0, [[0.0, 0.0]]),
    ("squared_error", [[1e4, -1e4]], [[0.0, 0.0]], 1e8, [[1e4, -1e4]]),
]


@pytest.mark.parametrize(("name", "z", "t", "value", "delta"), FAR)
def test_far_out_logits_give_the_limits(
    backend: Backend, name: str, z: Any, t: Any, value: float, delta: Any
) -> None:
    labels = np.ndim(t) == 1
    target = backend.asarray(np.asarray(t)[:, None], "int64") if labels else backend.asarray(t)
    given = LOSSES[name].value_and_delta(backend, backend.asarray(z), target, None)
    for g, expected in zip(given, (value, delta), strict=True):
        scale = [1.0, *np.ravel(expected)]
        assert error(backend.to_numpy(g), expected) <= tolerance(backend.precision, scale)


@every
def test_a_batch_without_weight_says_nothing(backend: Backend, case: str) -> None:
    loss, z, t = example(case)
    here = backend.asarray(t[:, None], "int64") if t.ndim == 1 else backend.asarray(t)
    nothing = backend.asarray(np.zeros((BATCH, 1)))
    value, delta = loss.value_and_delta(backend, backend.asarray(z), here, nothing)
    assert float(backend.to_numpy(value)) == 0.0
    assert not backend.to_numpy(delta).any()


@every
def test_each_member_has_the_loss_it_has_alone(backend: Backend, case: str) -> None:
    loss, _, t = example(case)
    z = np.stack([example(case, seed)[1] for seed in range(3)])
    here = backend.asarray(t[:, None], "int64") if t.ndim == 1 else backend.asarray(t)
    w = backend.asarray(np.arange(1.0, BATCH + 1)[:, None])
    values, deltas = loss.value_and_delta(backend, backend.asarray(z), here, w)
    assert tuple(values.shape) == (3,)
    for k in range(3):
        value, delta = loss.value_and_delta(backend, backend.asarray(z[k]), here, w)
        assert as_alone(backend, backend.to_numpy(values)[k], backend.to_numpy(value), BATCH)
        assert as_alone(backend, backend.to_numpy(deltas)[k], backend.to_numpy(delta), BATCH)


def test_probabilities_and_classes_follow_from_the_raw_output(backend: Backend) -> None:
    z = np.asarray([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])
    softmax = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    for name, expected in [
        ("cross_entropy", softmax),
        ("binary_cross_entropy", 1 / (1 + np.exp(-z))),
    ]:
        given = backend.to_numpy(LOSSES[name].probabilities(backend, backend.asarray(z)))
        assert error(given, expected) <= tolerance(backend.precision, expected, 3)
    here = backend.asarray(z)
    assert backend.to_numpy(LOSSES["cross_entropy"].classes(backend, here)).tolist() == [1, 0]
    yes = backend.to_numpy(LOSSES["binary_cross_entropy"].classes(backend, here))
    assert yes.tolist() == [[0, 1, 1], [1, 0, 0]]
