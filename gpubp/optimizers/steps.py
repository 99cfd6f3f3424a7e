"""What may be added to any optimizer's formula, so that an update stays one kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

Formula = Callable[..., Any]


@lru_cache(maxsize=1024)
def decaying(formula: Formula, states: int) -> Formula:
    """The formula after w <- w - decay mask w; it takes `mask` behind g and `decay` at the end."""

    def update(xp: Any, w: Any, *arguments: Any) -> Any:
        *slots, g, mask = arguments[: states + 1]
        *numbers, decay = arguments[states + 1 :]
        return formula(xp, w - decay * (mask * w), *slots, g, *numbers)

    update.__name__ = f"decaying_{formula.__name__}"
    return update


def towards(xp: Any, average: Any, w: Any, share: Any) -> tuple[Any]:
    """The average with the weights in it; at share 1 a zero becomes w to the last bit."""
    return (average + share * (w - average),)


@lru_cache(maxsize=1024)
def averaging(formula: Formula, states: int, arrays: int) -> Formula:
    """The formula, then a <- a + share (w - a) for one more slot; `share` is the last number."""
    before = states + 1 + arrays

    def update(xp: Any, *arguments: Any) -> Any:
        average = arguments[states]
        *numbers, share = arguments[before:]
        new = formula(xp, *arguments[:states], *arguments[states + 1 : before], *numbers)
        return (*new, *towards(xp, average, new[0], share))

    update.__name__ = f"averaging_{formula.__name__}"
    return update


@lru_cache(maxsize=1024)
def partly(formula: Formula, states: int, arrays: int) -> Formula:
    """The formula where `moves`, which it takes behind its arrays, is 1; elsewhere state stays."""
    before = states + arrays

    def update(xp: Any, *arguments: Any) -> Any:
        moves = arguments[before]
        new = formula(xp, *arguments[:before], *arguments[before + 1 :])
        old = arguments[:states]
        return tuple(xp.where(moves > 0, n, o) for n, o in zip(new, old, strict=True))

    update.__name__ = f"partly_{formula.__name__}"
    return update
