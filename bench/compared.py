"""One workload, contender by contender: losses compared first, then rounds of all."""

from __future__ import annotations

from typing import Any

from .agreement import STEPS, agree, draws
from .contenders import REFERENCE, Contender, UnavailableError, build
from .rounds import compare, measure
from .workloads import Workload, problem, without_dropout

Losses = dict[str, list[Any]]


def contest(
    load: Workload, names: list[str], threads: int, rounds: int, seconds: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the figures of each contender, and of each that is left out the reason.

    Raises `DisagreementError` before anything is timed. The reference is compared with even where
    it is not asked for. Dropout is left out of the comparison, as each library draws bits of its
    own, and is there when steps are timed.
    """
    asked = list(dict.fromkeys((*names, REFERENCE)))
    losses, contenders, left_out = _first_losses(without_dropout(load), asked, threads)
    agree(losses)
    if load.has_dropout:
        still = losses
        contenders.clear()  # before as many again are built
        random, contenders, left_out = _first_losses(load, asked, threads)
        draws(still, random)
    figures = measure({n: contenders[n] for n in names if n in contenders}, rounds, seconds)
    compare(figures)
    for who, row in figures.items():
        if who in losses:
            row["losses"] = [loss.tolist() for loss in losses[who]]
    return figures, {who: why for who, why in left_out.items() if who in names}


def _first_losses(
    load: Workload, names: list[str], threads: int
) -> tuple[Losses, dict[str, Contender], dict[str, str]]:
    given, contenders, left_out = problem(load), {}, {}
    for who in names:
        try:
            contenders[who] = build(who, given, threads)
        except UnavailableError as error:
            left_out[who] = str(error)
    return {who: found.losses(STEPS) for who, found in contenders.items()}, contenders, left_out
