"""How the tests of the shim launch a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests import simt

SEEDS = range(12)


def run(
    text: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any, seed: int = 0,
    shared: int = 0, single: bool = False,
) -> None:  # fmt: skip
    """Launch the kernel `k` of a text on arrays and numbers."""
    given = [x.ctypes.data if isinstance(x, np.ndarray) else x for x in arguments]
    simt.function(text, "k", single).launch(grid, block, given, shared, seed)
