"""One workload, contender by contender: losses compared first, then rounds of all, interleaved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np

from .. import agreement
from ..contenders import build as build_reference
from ..gpu_contenders import CONTENDERS, Contender, Setting, UnavailableError, build, load
from ..kernel_texts import launched
from ..probes import first_line
from ..probes.clock import summary
from ..workloads import Problem, Workload, problem
from . import Budget, Result, Row, limited
from .loads import Contest, tiny

LIMITS = {"float32": agreement.FLOAT32, "tf32": 5e-3, "bf16": agreement.BFLOAT16}
"""Relative differences of losses that are put down to rounding."""
ROUNDS = 5
_TURN = 0.3  # seconds of one contender in a round, where there is time
_BUILDING = 0.6  # share of a contest's time for building and comparing


def contests(several: Sequence[Contest], setting: Setting, budget: Budget) -> Iterator[Row]:
    """Hold one contest after the other, each with its share of the time that is left."""
    for number, given in enumerate(several):
        held = tiny(given) if setting.tiny else given
        share = budget.share(len(several) - number)
        yield from contest(held, replace(setting, unroll=held.unroll), share)


def contest(given: Contest, setting: Setting, budget: Budget) -> Iterator[Row]:
    """Yield a result for each contender, anew after each round; one that fails has its error."""
    label = setting.label(given.load)
    load(given.who)
    building, found, ready = Budget(_BUILDING * budget.left()), {}, {}
    data, expected = _expected(given.load, given.compared)
    for name in given.who:
        try:
            with limited(building.left()):
                ready[name], found[name] = _entered(name, data, expected, setting)
        except Exception as error:  # of any library, in its own way
            found[name] = {"error": first_line(error)}
            if isinstance(error, UnavailableError):
                found[name] = {"left_out": str(error)}
        yield f"{label}: {name}", found[name]
    seconds = 0.002 if setting.tiny else min(_TURN, budget.left() / (2 * ROUNDS * len(given.who)))
    for figures in measure(ready, 2 if setting.tiny else ROUNDS, seconds):
        for name, row in figures.items():
            yield f"{label}: {name}", {**found[name], **row}


@lru_cache(maxsize=1)  # data may be large, and contests of one workload come together
def _expected(load: Workload, steps: int) -> tuple[Problem, Any]:
    """Data and first weights, and the losses of the first steps as textbook NumPy has them."""
    data = problem(load)
    losses = build_reference("textbook", data, 1).losses(steps)
    return data, np.asarray(losses, np.float64).reshape(steps, -1)


def _entered(name: str, data: Problem, expected: Any, setting: Setting) -> tuple[Contender, Result]:
    """Return a contender whose losses are as expected, and what is known of it."""
    with launched(setting.device) as kernels:
        who = build(name, data, setting)
        losses = who.losses(len(expected))
    apart = float(np.max(np.abs(losses - expected) / np.abs(expected)))
    allowed = LIMITS[setting.precision]
    if not apart <= allowed:  # so that NaN disagrees
        raise agreement.DisagreementError(
            f"losses are {apart:.1e} apart from textbook NumPy's, where {allowed:.0e} is allowed"
        )
    known: Result = {"losses_apart": apart, "losses_allowed": allowed, "loss": losses[-1].tolist()}
    if who.note:
        known["note"] = who.note
    if found := {**who.kernels(), **kernels}:
        known["kernels"] = found
    return who, known


def measure(
    contenders: dict[str, Contender], rounds: int, seconds: float
) -> Iterator[dict[str, Result]]:
    """Yield the figures of all after each round; every other round goes the other way about.

    A turn lasts about `seconds`, and until the device is done. One that fails drops out.
    """
    calls: dict[str, int] = {}
    times: dict[str, list[tuple[float, float | None]]] = {name: [] for name in contenders}
    failed: dict[str, Result] = {}
    for number in range(rounds):
        order = list(contenders)
        for name in order if number % 2 == 0 else order[::-1]:
            if name in failed:
                continue
            who = contenders[name]
            try:
                if name not in calls:
                    calls[name] = _turn(who, seconds)
                spent, device = who.timed(calls[name])
                steps = calls[name] * who.unit
                times[name].append((spent / steps, None if device is None else device / steps))
            except Exception as error:
                failed[name] = {"error": first_line(error)}
        figures = {name: _figures(contenders[name], calls[name], times[name])
                   for name in contenders if name not in failed}  # fmt: skip
        yield compared(figures) | failed


def _turn(who: Contender, seconds: float) -> int:
    """How many calls last about `seconds`; what compiles or fills caches happens here."""
    calls, spent = 1, 0.0
    who.timed(calls)
    while (spent := who.timed(calls)[0]) < seconds / 4:
        calls *= 2
    return max(1, round(calls * seconds / spent))


def _figures(who: Contender, calls: int, times: list[tuple[float, float | None]]) -> Result:
    wall = [1e6 * spent for spent, _ in times]
    device = [1e6 * spent for _, spent in times if spent is not None]
    middle = median(wall)
    return {
        **summary("us_a_step", wall), **summary("device_us_a_step", device),
        "steps_per_second": round(1e6 / middle, 2), "steps_a_call": who.unit,
        "steps_a_turn": calls * who.unit, "rounds": [round(us, 3) for us in wall],
    }  # fmt: skip


def compared(figures: dict[str, Result]) -> dict[str, Result]:
    """Put beside gpubp's figures how many times as fast it is as each peer, and as the best.

    The ratio is that of the medians, its range that of the rounds.
    """
    peers = {name: row for name, row in figures.items() if CONTENDERS[name].peer}
    for name, row in figures.items():
        if CONTENDERS[name].peer or not peers:
            continue
        ratios = row["ratio_to"] = {peer: _ratio(row, other) for peer, other in peers.items()}
        row["best_peer"] = min(ratios, key=lambda peer: ratios[peer]["ratio"])
        row["ratio_to_best_peer"] = ratios[row["best_peer"]]["ratio"]
    return figures


def _ratio(row: Result, peer: Result) -> Result:
    each = [b / a for a, b in zip(row["rounds"], peer["rounds"], strict=True)]
    ratio = peer["us_a_step"] / row["us_a_step"]
    return {"ratio": round(ratio, 3), "least": round(min(each), 3), "largest": round(max(each), 3)}
