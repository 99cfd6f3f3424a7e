"""Schedules: torch's rates over whole runs, where they end, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.check.tolerance import error, tolerance
from gpubp.schedules import (
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    LinearWarmup,
    MultiStepDecay,
    OneCycle,
    PolynomialDecay,
    Schedule,
    StepDecay,
)
from tests.conftest import require, rng

LR, N = 0.3, 60


def in_torch(make: Callable[[Any, Any], Any], n: int) -> list[float]:
    torch = require("torch")
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler, rates = make(torch.optim.lr_scheduler, optim), []
    for k in range(n):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        if k + 1 < n:
            scheduler.step()
    return rates


def sequence(s: Any, o: Any) -> Any:
    warm = s.LinearLR(o, start_factor=0.1, total_iters=10)
    return s.SequentialLR(o, [warm, s.StepLR(o, 20, 0.5)], milestones=[10])


PAIRS: dict[str, tuple[Schedule, Callable[[Any, Any], Any]]] = {
    "constant": (ConstantRate(LR), lambda s, o: s.ConstantLR(o, 1.0)),
    "step": (StepDecay(LR, 7, 0.6), lambda s, o: s.StepLR(o, 7, 0.6)),
    "milestones": (
        MultiStepDecay(LR, (3, 20, 21), 0.4),
        lambda s, o: s.MultiStepLR(o, [3, 20, 21], 0.4),
    ),
    "exponential": (ExponentialDecay(LR, 0.93), lambda s, o: s.ExponentialLR(o, 0.93)),
    "polynomial": (PolynomialDecay(LR, N, 2.5), lambda s, o: s.PolynomialLR(o, N, 2.5)),
    "cosine": (CosineDecay(LR, N, 0.01), lambda s, o: s.CosineAnnealingLR(o, N, 0.01)),
    "restarts": (
        CosineDecay(LR, 20, 0.01, cycles=3),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 20, 1, 0.01),
    ),
    "growing restarts": (
        CosineDecay(LR, 5, cycles=None, growth=2),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2),
    ),
    "warm-up": (LinearWarmup(LR, N, LR / 3), lambda s, o: s.LinearLR(o, total_iters=N)),
    "one cycle": (
        OneCycle(LR, N),
        lambda s, o: s.OneCycleLR(o, LR, N, cycle_momentum=False),
    ),
    "straight cycle": (
        OneCycle(LR, N, rise=0.45, divide=10, final=100, anneal="linear"),
        lambda s, o: s.OneCycleLR(
            o, LR, N, pct_start=0.45, div_factor=10, final_div_factor=100,
            anneal_strategy="linear", cycle_momentum=False,
        ),
    ),
    "one after another": (LinearWarmup(LR, 10, LR / 10).then(StepDecay(LR, 20, 0.5)), sequence),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch's own calls inside SequentialLR
@pytest.mark.parametrize("name", PAIRS)
def test_the_rates_are_torchs(name: str) -> None:
    ours, make = PAIRS[name]
    expected = in_torch(make, N)
    assert error(ours.values(N), expected) <= tolerance("float64", expected, N)


@pytest.mark.parametrize(
    ("schedule", "length"),
    [
        (LinearWarmup(0.1, 7), 7),
        (PolynomialDecay(0.1, 7), 7),
        (OneCycle(0.1, 7), 7),
        (CosineDecay(0.1, 3, cycles=2, growth=2), 9),
        (LinearWarmup(0.1, 7).then(CosineDecay(0.1, 5)), 12),
        (LinearWarmup(0.1, 7).then(CosineDecay(0.1, 5), after=3), 8),
    ],
    ids=repr,
)
def test_a_schedule_says_where_it_ends(schedule: Schedule, length: int) -> None:
    assert schedule.length == length
    assert len(schedule.values(length)) == length
    with pytest.raises(gpubp.InputError, match=rf"ends after {length} updates.*\.then"):
        schedule(length)
    assert schedule.then(0.5)(length) == 0.5
    assert schedule.then(0.5).length is None


def test_what_has_no_end_needs_one_to_be_followed() -> None:
    with pytest.raises(gpubp.InputError, match="after="):
        StepDecay(0.1, 3).then(0.1)
    assert StepDecay(0.1, 3).then(0.2, after=1).values(2) == [0.1, 0.2]
    with pytest.raises(gpubp.InputError, match="ends after 5"):
        LinearWarmup(0.1, 5).then(0.1, after=6)


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_a_short_cycle_is_finite(steps: int) -> None:
    assert max(OneCycle(1.0, steps).values(steps)) <= 1.0


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: ConstantRate(-1.0), "lr"),
        (lambda: ConstantRate(True), "lr"),
        (lambda: StepDecay(0.1, 0), "every"),
        (lambda: StepDecay(0.1, 2, float("nan")), "factor"),
        (lambda: MultiStepDecay(0.1, (3, 3)), "milestones"),
        (lambda: MultiStepDecay(0.1, 3), "milestones"),  # type: ignore[arg-type]
        (lambda: ExponentialDecay(0.1, 0.9, 0), "steps"),
        (lambda: ExponentialDecay(0.1, float("inf")), "factor"),
        (lambda: PolynomialDecay(0.1, 5, power=-1), "power"),
        (lambda: CosineDecay(0.1, 2.0), "steps"),  # type: ignore[arg-type]
        (lambda: CosineDecay(0.1, 2, growth=0), "growth"),
        (lambda: CosineDecay(0.1, 2, cycles=0), "cycles"),
        (lambda: LinearWarmup("0.1", 2), "lr"),  # type: ignore[arg-type]
        (lambda: OneCycle(0.1, 10, rise=1.5), "rise"),
        (lambda: OneCycle(0.1, 10, anneal="sine"), "anneal"),
        (lambda: OneCycle(0.1, 1), "steps"),
        (lambda: ConstantRate(0.1)(-1), "step"),
        (lambda: ConstantRate(0.1)(1.5), "step"),  # type: ignore[arg-type]
    ],
)
def test_bad_numbers_are_refused(make: Any, name: str) -> None:
    with pytest.raises(gpubp.InputError, match=name):
        make()


class Sinking(Schedule):
    def rate(self, step: int) -> float:
        return 0.1 - 0.06 * step


def network(**how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 1, activation="tanh"), inputs=3, **how)


def train(net: gpubp.Network, lr: Any, epochs: int = 2) -> gpubp.Network:
    x, y = rng(1).normal(size=(20, 3)), rng(2).normal(size=20)
    net.fit(
        x, y, loss="mean_squared_error", optimizer=gpubp.SGD(lr), epochs=epochs, batch_size=5
    )  # four updates an epoch
    return net


def weights(net: gpubp.Network) -> Any:
    return net.be.to_numpy(net.theta)


def test_a_network_is_trained_with_the_rate_of_each_update() -> None:
    scheduled, by_hand = network(), network()
    train(scheduled, MultiStepDecay(0.1, (4,), 0.5))
    train(by_hand, 0.1, 1)
    train(by_hand, 0.05, 1)
    assert np.array_equal(weights(scheduled), weights(by_hand))


def test_the_records_tell_the_last_rate_of_each_epoch() -> None:
    schedule = CosineDecay(0.1, 8)
    assert train(network(), schedule).history["lr"] == [schedule(3), schedule(7)]
    told = train(network(members=2), (0.1, schedule)).history["lr"]
    assert told == [[0.1, schedule(3)], [0.1, schedule(7)]]


def test_a_second_fit_goes_on_in_the_schedule() -> None:
    schedule = CosineDecay(0.1, 8)
    assert np.array_equal(
        weights(train(train(network(), schedule, 1), schedule, 1)),
        weights(train(network(), schedule, 2)),
    )


def test_fit_refuses_a_schedule_that_is_too_short_before_it_begins() -> None:
    net = network()
    before = weights(net)
    with pytest.raises(gpubp.InputError, match="ends after 7 updates; 0 were made and 8 more"):
        train(net, CosineDecay(0.1, 7))
    assert np.array_equal(weights(net), before)
    train(net, CosineDecay(0.1, 8))
    with pytest.raises(gpubp.InputError, match="8 were made"):
        train(net, CosineDecay(0.1, 8), 1)


def test_members_take_numbers_and_schedules_together() -> None:
    rates = (0.05, CosineDecay(0.1, 8), LinearWarmup(0.1, 8))
    together = train(network(members=3, seed=5), rates)
    for k, rate in enumerate(rates):
        assert np.array_equal(weights(together)[k], weights(train(network(seed=5 + k), rate)))


def test_a_rate_of_ones_own_below_zero_is_refused() -> None:
    with pytest.raises(gpubp.InputError, match=r"rate of -0\.0.* at step 2"):
        train(network(), Sinking())
