"""Many networks at once: one launch for all members, beside stacked weights and vmap."""

from __future__ import annotations

from collections.abc import Iterator

from ..gpu_contenders import Setting
from . import Budget, Row
from .contest import contests
from .loads import ENSEMBLE


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Hold the one contest."""
    return contests([ENSEMBLE], setting, budget)
