"""The figures of `evaluate` against their formulas, whatever the blocks of inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import evaluation
from gpubp.check.tolerance import error, tolerance

_RNG = np.random.default_rng(5)
X = _RNG.normal(size=(10, 3))
T = _RNG.normal(size=(10, 2))
LABELS = np.arange(10) % 2
SOFT = 0.2 + 0.6 * (T > 0)  # rows that do not add up to one


def mlp(**chosen: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2), inputs=3, dtype="float64", **chosen)


def close(given: Any, expected: Any) -> bool:
    return error(given, expected) <= tolerance("float64", expected, k=100)


WEIGHTS = np.asarray([1.0, 0, 2, 0.5, 0, 0, 1, 3, 0, 1])


@pytest.mark.parametrize("block", [4096, 1, 2, 3])
@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_evaluate_tells_loss_accuracy_and_r2(
    monkeypatch: pytest.MonkeyPatch, block: int, w: Any
) -> None:
    monkeypatch.setattr(evaluation, "BLOCK", block)
    net = mlp(seed=2)
    raw = net.predict(X)
    shifted = raw - raw.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    right = np.average(raw.argmax(axis=1) == LABELS, weights=w)
    found = net.evaluate(X, LABELS, loss="cross_entropy", sample_weight=w)
    assert 0 < right < 1
    assert close(found["loss"], np.average(-log_p[np.arange(10), LABELS], weights=w))
    assert close(found["accuracy"], right)

    spread = np.average((T - np.average(T, axis=0, weights=w)) ** 2, axis=0, weights=w).mean()
    error_ = np.average((raw - T) ** 2, axis=0, weights=w).mean()
    found = net.evaluate(X, T, loss="mean_squared_error", sample_weight=w)
    assert close(found["loss"], error_)
    assert close(found["r2"], 1 - error_ / spread)

    hits = np.average((raw > 0) == (T > 0), axis=0, weights=w).mean()
    found = net.evaluate(X, SOFT, loss="binary_cross_entropy", sample_weight=w)
    assert close(found["accuracy"], hits)
    found = net.evaluate(X, T, loss="squared_error", sample_weight=w)  # per example, as a mean
    assert close(found["loss"], np.average(((raw - T) ** 2).sum(axis=1) / 2, weights=w))


@pytest.mark.parametrize("block", [4096, 3])
def test_an_ensemble_is_told_member_by_member(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    whole = mlp(members=3).predict(X)
    monkeypatch.setattr(evaluation, "BLOCK", block)
    net = mlp(members=3)
    assert close(net.predict(X), whole)
    for y, loss in ((LABELS, "cross_entropy"), (T, "mean_squared_error")):
        found = net.evaluate(X, y, loss=loss)
        alone = [mlp(seed=k).evaluate(X, y, loss=loss) for k in range(3)]
        for name, figures in found.items():
            assert close(figures, [one[name] for one in alone])
