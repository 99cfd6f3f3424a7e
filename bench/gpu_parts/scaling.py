"""One network, from small batches to large ones: where launches end and arithmetic begins."""

from __future__ import annotations

from collections.abc import Iterator

from ..gpu_contenders import Setting
from . import Budget, Row
from .contest import contests
from .loads import SCALING


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Hold a contest for each batch size."""
    return contests(SCALING, setting, budget)
