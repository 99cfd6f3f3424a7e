"""Every loss in `fit`, `evaluate` and `predict`: the figures they give, and what is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import evaluation, losses
from gpubp.check.tolerance import error, tolerance
from gpubp.losses import LOSSES
from tests.conftest import rng

N = 10
X = rng(5).normal(size=(N, 3))
LABELS = np.arange(N) % 4
WEIGHTS = np.asarray([1.0, 0, 2, 0.5, 0, 0, 1, 3, 0, 1])
CLASS = (0.5, 2.0, 0.0, 1.5)


def mlp(n_out: int = 4, **chosen: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([8], n_out, "tanh"), inputs=3, dtype="float64", **chosen)


def close(given: Any, expected: Any) -> bool:
    return error(given, expected) <= tolerance("float64", expected, k=100)


def weighted_mean(raw: Any, smooth: float, w: Any) -> Any:
    """The cross-entropy with smoothing and class weights, as its formula stands."""
    log_p = raw - np.log(np.exp(raw).sum(axis=-1, keepdims=True))
    c = np.asarray(CLASS)
    own = -np.take_along_axis(log_p, LABELS[:, None], axis=-1)[..., 0] * c[LABELS]
    each = (1 - smooth) * own - smooth / 4 * (c * log_p).sum(axis=-1)
    w = np.ones(N) if w is None else w
    return (w * each).sum() / (w * c[LABELS]).sum()


@pytest.mark.parametrize("block", [4096, 1, 3])
@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_evaluate_weighs_blocks_by_their_classes(
    monkeypatch: pytest.MonkeyPatch, block: int, w: Any
) -> None:
    """With blocks of one there are some whose class weighs nothing."""
    monkeypatch.setattr(evaluation, "BLOCK", block)
    net, loss = mlp(), losses.CrossEntropy(0.2, CLASS)
    found = net.evaluate(X, LABELS, loss=loss, sample_weight=w)
    raw = net.predict(X)
    assert close(found["loss"], weighted_mean(raw, 0.2, w))
    right = np.average(raw.argmax(axis=1) == LABELS, weights=w)  # class weights are not in it
    assert close(found["accuracy"], right)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("w", [None, WEIGHTS])
def test_history_tells_the_mean_that_is_weighted_by_class(shuffle: bool, w: Any) -> None:
    net, loss = mlp(), losses.CrossEntropy(class_weight=CLASS)
    history = net.fit(X, LABELS, loss=loss, optimizer=gpubp.SGD(0.0), epochs=1, batch_size=3,
                      shuffle=shuffle, sample_weight=w)  # fmt: skip
    assert close(history["loss"], [weighted_mean(net.predict(X), 0.0, w)])


@pytest.mark.parametrize("members", [None, 2])
def test_a_set_whose_classes_weigh_nothing_has_no_loss(members: int | None) -> None:
    net = mlp(members=members)
    loss = losses.CrossEntropy(class_weight=(0.0, 1.0, 1.0, 1.0))
    found = net.evaluate(X, 0 * LABELS, loss=loss)
    assert np.shape(found["loss"]) == np.shape(found["accuracy"])
    assert np.isnan(found["loss"]).all()


def r2(predicted: Any, t: Any) -> Any:
    return 1 - ((predicted - t) ** 2).mean() / ((t - t.mean(axis=0)) ** 2).mean()


COUNTS = np.floor(8 * rng(6).uniform(size=(N, 4)))
REAL = rng(7).normal(size=(N, 4))
PREDICTED: dict[str, tuple[gpubp.Loss, Any, Any]] = {
    "counts": (losses.Poisson(), COUNTS, np.exp),
    "means": (losses.GaussianNLL(), REAL[:, :2], lambda raw: raw[:, :2]),
    "median": (losses.Quantile((0.1, 0.4, 0.7, 0.9)), REAL[:, 0], lambda raw: raw[:, 1:2]),
    "a target each": (losses.Quantile((0.1, 0.4, 0.7, 0.9)), REAL, lambda raw: raw),
    "numbers": (losses.LogCosh(), REAL, lambda raw: raw),
}


@pytest.mark.parametrize("name", PREDICTED)
@pytest.mark.parametrize("block", [4096, 3])
def test_r2_is_that_of_what_is_predicted(
    monkeypatch: pytest.MonkeyPatch, block: int, name: str
) -> None:
    monkeypatch.setattr(evaluation, "BLOCK", block)
    loss, t, of_raw = PREDICTED[name]
    net = mlp()
    expected = r2(of_raw(net.predict(X)), t if t.ndim == 2 else t[:, None])
    assert close(net.evaluate(X, t, loss=loss)["r2"], expected)


def target(loss: gpubp.Loss) -> Any:
    """A target that four outputs can learn from x."""
    unit = (X[:, :1] * np.asarray([[1.0, -1.0, 0.5, -0.5]]) > 0).astype(float)
    return {
        "labels": LABELS, "classes": LABELS, "soft": np.eye(4)[LABELS], "unit": unit,
        "binary": unit, "count": COUNTS, "real": REAL[:, : loss.target_width(4)],
    }[loss.targets]  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_loss_is_learned(name: str, dtype: str) -> None:
    net = gpubp.Network(gpubp.MLP([16], 4, "tanh"), inputs=3, dtype=dtype, members=2)
    t = target(LOSSES[name])
    history = net.fit(X, t, loss=name, optimizer=gpubp.Adam(0.02), epochs=80, batch_size=5,
                      validation=(X, t))  # fmt: skip
    figure = "val_accuracy" if LOSSES[name].classifies else "val_r2"
    first, last = history["val_loss"][0], history["val_loss"][-1]
    assert all(b < a for a, b in zip(first, last, strict=True))
    assert all(b > a for a, b in zip(history[figure][0], history[figure][-1], strict=True))


def test_three_quantiles_of_one_number_are_learned() -> None:
    y = rng(8).normal(size=400)
    net = gpubp.Network(gpubp.Linear(3), inputs=1, dtype="float64")
    loss = losses.Quantile((0.1, 0.5, 0.9))
    net.fit(np.zeros((400, 1)), y, loss=loss, optimizer=gpubp.Adam(0.02), epochs=60,
            batch_size=50)  # fmt: skip
    learned = net.predict(np.zeros((1, 1)))
    below = (y[:, None] <= learned).mean(axis=0)
    assert np.abs(below - loss.q).max() < 0.05


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "multi_class_hinge"])
def test_a_hinge_has_classes_and_no_probabilities(name: str) -> None:
    net = mlp()
    net.loss = name
    raw = net.predict(X)
    several = name != "multi_class_hinge"
    assert np.array_equal(net.predict_class(X), raw > 0 if several else raw.argmax(axis=1))
    with pytest.raises(gpubp.InputError, match="has no probabilities: use predict_class"):
        net.predict_proba(X)


@pytest.mark.parametrize("name", ["huber", "poisson", "gaussian_nll", "quantile"])
def test_a_loss_for_numbers_has_no_classes(name: str) -> None:
    net = mlp()
    net.loss = name
    for call in (net.predict_proba, net.predict_class):
        with pytest.raises(gpubp.InputError, match="is no classification loss: use predict"):
            call(X)


@pytest.mark.parametrize("name", LOSSES)
def test_a_network_with_any_loss_can_be_checked(name: str) -> None:
    net = mlp()
    net.loss = name
    report = gpubp.check.network(net, device="cpu")
    assert report.ok, report
