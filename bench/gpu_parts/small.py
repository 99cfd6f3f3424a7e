"""Small networks in float32, where launches cost more than arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

from ..gpu_contenders import Setting
from . import Budget, Row
from .contest import contests
from .loads import SMALL


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Hold a contest for each of them."""
    return contests(SMALL, setting, budget)
