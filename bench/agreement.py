"""Whether contenders compute the same: their losses, before anything is timed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .contenders import CONTENDERS, REFERENCE

STEPS = 8
"""How many steps are compared."""
FLOAT32, BFLOAT16 = 2e-4, 5e-2
"""Relative differences of losses that are put down to rounding, over the steps compared."""
AT_RANDOM = 0.1
"""The same where each contender draws its own random bits, at the first step alone."""


class DisagreementError(Exception):
    """A contender does not compute what the reference does; the message says which and where."""


def agree(losses: dict[str, list[Any]]) -> None:
    """Raise `DisagreementError` unless the losses of all contenders are the reference's."""
    for name, found in losses.items():
        same = name not in CONTENDERS or CONTENDERS[name].same_precision
        _compare(name, found, losses[REFERENCE], FLOAT32 if same else BFLOAT16)


def draws(still: dict[str, list[Any]], random: dict[str, list[Any]]) -> None:
    """Raise `DisagreementError` unless each contender's first loss is another with dropout.

    It may not be far away either: a mask that drops more, or scales otherwise, shows there.
    """
    for name, found in random.items():
        if name in still and np.array_equal(found[0], still[name][0]):
            raise DisagreementError(f"{name} has the same loss with dropout and without")
        _compare(f"{name}, with dropout,", found[:1], random[REFERENCE][:1], AT_RANDOM)


def _compare(name: str, found: list[Any], expected: list[Any], limit: float) -> None:
    a, b = (np.array(given, dtype=np.float64) for given in (found, expected))
    if a.shape != b.shape:
        raise DisagreementError(f"{name} has losses {a.shape}, {REFERENCE} {b.shape}")
    apart = np.abs(a - b) / np.abs(b)
    if not np.all(apart <= limit):  # so that NaN disagrees
        at = np.unravel_index(np.argmax(np.where(np.isnan(apart), np.inf, apart)), a.shape)
        raise DisagreementError(
            f"{name} has loss {a[at]:.7g} at step {at[0] + 1}, {REFERENCE} {b[at]:.7g}: "
            f"{apart[at]:.1e} apart, where {limit:.0e} is allowed"
        )
