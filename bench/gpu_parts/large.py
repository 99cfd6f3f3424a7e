"""A network bound by its matrix products, in bf16 and TF32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..gpu_contenders import Setting
from . import Budget, Row
from .contest import contests
from .loads import LARGE, LARGE_PRECISIONS, multiply_adds, tiny


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Hold the contest in each precision; rates count the matrix products alone."""
    flops = multiply_adds((tiny(LARGE) if setting.tiny else LARGE).load)
    for number, precision in enumerate(LARGE_PRECISIONS):
        share = budget.share(len(LARGE_PRECISIONS) - number)
        for name, row in contests([LARGE], replace(setting, precision=precision), share):
            if us := row.get("us_a_step"):
                row |= {"precision": precision, "flop": flops, "tflop_per_s": flops / us / 1e6}
            yield name, row
