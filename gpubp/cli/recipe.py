"""What `gpubp train` does where nobody says otherwise: by the number of training rows alone."""

from __future__ import annotations

import math
from typing import NamedTuple


class Recipe(NamedTuple):
    """Epochs, batch size, rate and its schedule, and the penalty on weights.

    >>> DIGITS.text("adam")
    '40 epochs in batches of 32, adam'
    """

    epochs: int
    batch_size: int | str
    lr: float | None = None
    schedule: str | None = None
    l2: float = 0.0

    def text(self, optimizer: str) -> str:
        """Say what it is."""
        size = "full batches" if self.batch_size == "full" else f"batches of {self.batch_size}"
        said = f"{self.epochs} epochs in {size}, {optimizer}"
        if self.lr is not None:
            said += f" at {self.lr:g}"
        if self.schedule not in (None, "none"):
            said += f" ({self.schedule})"
        return said + (f", L2 {self.l2:.3g}" if self.l2 else "")


DIGITS = Recipe(40, 32)
_EPOCHS, _LEAST = 40, 5
_UPDATES = 1000, 3000


def recipe(rows: int) -> Recipe:
    """Return what is done with so many training rows.

    Batches grow as the square root of the rows, from 32 to 1024. There are 40 epochs, or as many
    more or fewer as make 1,000 to 3,000 updates, at least 5. The penalty is for small data sets:
    it falls as the square of the rows, from 0.1 at 350 of them. These numbers were chosen on data
    sets of 100 to 60,000 rows, over other splits than those that `bench.quality` draws.

    >>> recipe(455).text("adam")
    '67 epochs in batches of 32, adam at 0.003 (cosine), L2 0.0584'
    >>> recipe(60_000).text("adam")
    '13 epochs in batches of 256, adam at 0.003 (cosine), L2 3.36e-06'
    """
    size = 2 ** min(max(round(math.log2(max(rows, 1)) / 2), 5), 10)
    batches = -(-rows // size)
    least, most = (-(-updates // batches) for updates in _UPDATES)
    epochs = max(least, min(_EPOCHS, max(most, _LEAST)))
    return Recipe(epochs, size, 0.003, "cosine", min(0.1, (110.0 / rows) ** 2))
