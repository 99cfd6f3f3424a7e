"""Progress of training on standard error."""

from __future__ import annotations

import sys
from typing import Any


class Bar:
    """A line for each epoch, and a bar where standard error is a terminal; or nothing.

    Of an ensemble the medians are shown.

    `total` is the number of batches, None where it is not known.

    >>> Bar(total=10, wanted=False).advance()
    """

    def __init__(self, total: int | None, wanted: bool) -> None:
        self._bar: Any = None
        if wanted:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="batch", disable=None)

    def advance(self, batches: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(batches)

    def show(self, record: dict[str, Any]) -> None:
        if self._bar is not None:
            figures = {k: v for k, v in record.items() if k not in ("epoch", "seconds")}
            shown = "  ".join(_shown(name, _middle(v)) for name, v in figures.items())
            self._bar.write(f"epoch {record['epoch']:3d}  {shown}", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _shown(name: str, figure: float) -> str:
    return f"{name} {figure:.3g}" if name == "lr" else f"{name} {figure:.4f}"


def _middle(figure: Any) -> float:
    """The figure, or of an ensemble's figures the median."""
    if not isinstance(figure, list):
        return float(figure)
    from statistics import median  # a tenth of the time of the whole import

    return float(median(figure))
