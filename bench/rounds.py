"""Steps a second of several contenders, in rounds that give each of them its turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from .contenders import CONTENDERS, Contender

_QUIET = 0.05
"""Seconds before a call: threads of the last contender's pool spin for some 30 ms."""


def measure(contenders: Mapping[str, Contender], rounds: int, seconds: float) -> dict[str, Any]:
    """Return the steps a second of each contender: median, least, largest, and round by round.

    A turn is one call that was found to last about `seconds`; what compiles or fills caches
    happens before. Every other round goes the other way about, so that nobody always follows the
    same one.
    """
    turns = {name: _turn(who, seconds) for name, who in contenders.items()}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        order = list(contenders.items())
        for name, who in order if number % 2 == 0 else order[::-1]:
            rates[name].append(turns[name] / _seconds(who, turns[name]))
    return {
        name: {
            "steps_per_second": median(found), "least": min(found), "largest": max(found),
            "steps_in_a_turn": turns[name], "rounds": found,
        }
        for name, found in rates.items()
    }  # fmt: skip


def _turn(who: Contender, seconds: float) -> int:
    """How many steps last about `seconds`, a multiple of the contender's unit; warms it up."""
    steps = who.unit
    _seconds(who, steps)  # compiles
    while _seconds(who, steps) < seconds / 4:
        steps *= 2
    spent = min(_seconds(who, steps) for _ in range(2))
    return max(1, round(steps * seconds / spent / who.unit)) * who.unit


def _seconds(who: Contender, steps: int) -> float:
    time.sleep(_QUIET)
    began = time.perf_counter()
    who.run(steps)
    return time.perf_counter() - began


def compare(found: dict[str, Any]) -> None:
    """Put beside each of gpubp's figures its ratio to the best float32 peer and to the best jax.

    The best is the peer with the largest median; the range of a ratio is that of its rounds.
    """
    peers = [n for n in found if n in CONTENDERS and CONTENDERS[n].peer]
    for name, row in found.items():
        if not name.startswith("gpubp"):
            continue
        for what, group in (
            ("to_best_peer", peers),
            ("to_best_jax", [n for n in peers if n.startswith("jax")]),
        ):
            if group:
                best = max(group, key=lambda n: found[n]["steps_per_second"])
                row[what] = {"peer": best, **_ratio(row, found[best])}


def _ratio(row: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    each = [a / b for a, b in zip(row["rounds"], peer["rounds"], strict=True)]
    ratio = row["steps_per_second"] / peer["steps_per_second"]
    return {"ratio": ratio, "least": min(each), "largest": max(each)}
