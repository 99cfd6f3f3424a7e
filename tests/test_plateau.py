"""ReduceOnPlateau: torch's decisions, for each member by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.plateau import ReduceOnPlateau
from tests.conftest import require, rng

LR = 0.4
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"patience": 2},
    "at once": {"patience": 0, "factor": 0.5},
    "cooldown": {"patience": 1, "cooldown": 3, "factor": 0.7},
    "absolute": {"patience": 2, "relative": False, "threshold": 0.05},
    "share": {"patience": 2, "threshold": 0.1},
    "least": {"patience": 0, "factor": 0.3, "min_rate": 0.05},
    "largest": {"patience": 2, "mode": "max", "threshold": 0.02},
}


def figures(seed: int) -> Any:
    draw = rng(seed)
    return np.exp(-0.05 * np.arange(60)) + 0.2 * draw.uniform(size=60)


def run(values: Any, options: dict[str, Any], members: int | None = None) -> list[Any]:
    """The rates that such figures lead to, with a rate of `LR` before."""
    halted = np.zeros(() if members is None else (members,), dtype=bool)
    steps = SimpleNamespace(rate_scale=1.0, rate=LR, halted=halted)
    history = SimpleNamespace(names=("loss",))
    net = SimpleNamespace(steps=steps, members=members, history=history)
    callback, rates = ReduceOnPlateau("loss", **options), []
    callback.on_fit_begin(net)
    for value in values:
        callback.on_epoch_end(net, {"loss": value})
        steps.rate = LR * steps.rate_scale
        rates.append(steps.rate)
    return rates


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_rates_are_torchs(name: str, seed: int) -> None:
    torch = require("torch")
    options = OPTIONS[name]
    given = {k: v for k, v in options.items() if k not in ("relative", "min_rate")}
    given["threshold_mode"] = "rel" if options.get("relative", True) else "abs"
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optim, min_lr=options.get("min_rate", 0.0), eps=0.0, **given
    )
    expected = []
    for value in figures(seed):
        scheduler.step(value)
        expected.append(optim.param_groups[0]["lr"])
    assert np.allclose(run(figures(seed), options), expected, rtol=1e-14, atol=0)
    assert expected[-1] < LR


@pytest.mark.parametrize("name", OPTIONS)
def test_each_member_has_its_own(name: str) -> None:
    several = np.stack([figures(seed) for seed in (1, 2, 3)], axis=1)
    together = np.stack([np.broadcast_to(r, 3) for r in run(several.tolist(), OPTIONS[name], 3)])
    for k in range(3):
        assert np.array_equal(together[:, k], run(several[:, k], OPTIONS[name]))


def test_what_is_not_a_number_is_no_better() -> None:
    assert run([1.0, float("nan"), float("nan")], {"patience": 1})[-1] == LR * 0.1


def train(net: gpubp.Network, callbacks: Any, epochs: int, lr: Any = 0.1) -> gpubp.Network:
    x, y = rng(3).normal(size=(20, 3)), rng(4).normal(size=(20, 2))
    net.fit(
        x, y, loss="mean_squared_error", optimizer=gpubp.SGD(lr), epochs=epochs, callbacks=callbacks
    )
    return net


@pytest.mark.parametrize("members", [None, 2])
def test_fit_goes_on_with_the_lower_rate(members: int | None) -> None:
    """A loss that falls is never better where more is wanted: reduced after the second epoch."""
    plateau = ReduceOnPlateau("loss", factor=0.5, patience=0, mode="max")
    net, by_hand = (
        gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), 3, members=members) for _ in range(2)
    )
    train(net, [plateau], 3)
    train(by_hand, [], 2)
    train(by_hand, [], 1, 0.05)
    assert np.array_equal(net.theta, by_hand.theta)
    assert np.all(np.asarray(net.steps.rate_scale) == 0.25)
    assert np.all(np.asarray(net.steps.rate) == 0.05)


def test_a_figure_that_there_is_not_is_refused() -> None:
    net = gpubp.Network(gpubp.MLP([4], 2), 3)
    with pytest.raises(gpubp.InputError, match="no 'val_loss'; give validation="):
        train(net, [ReduceOnPlateau()], 1)
    assert net.updates == 0


@pytest.mark.parametrize(
    "options",
    [
        {"factor": 1.0},
        {"factor": -0.1},
        {"patience": -1},
        {"patience": 1.5},
        {"cooldown": -1},
        {"threshold": float("nan")},
        {"min_rate": "0"},
        {"mode": "least"},
    ],
    ids=str,
)
def test_bad_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(gpubp.InputError, match=f"{next(iter(options))} is"):
        ReduceOnPlateau(**options)
