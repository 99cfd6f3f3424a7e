"""How several workers share one step: who does which rows, and what each has of its own.

Workers are threads of a processor, or blocks of a GPU. Those that share a kernel have each a part
of its sums and a row of scratch, one after the other in memory; the parts are added before they
are read.
"""

from __future__ import annotations

from typing import Any, Protocol

from .emit import Emit
from .plan import Step
from .values import Value


class Sharing(Protocol):
    """What a device decides of a kernel and of a product."""

    threads: int
    """How many run through all calls together, waiting for one another at barriers."""

    def kernel(self, step: Step, emit: Emit) -> tuple[str, int]:
        """What is divided, `"rows"`, `"cols"` or nothing, and among how many."""

    def product(self, value: Value) -> str:
        """What threads divide of a product; see `gpubp.program.calls.Product`."""

    def total(self, value: Value) -> str:
        """What is divided where the parts of a sum are added, `"cols"` or nothing."""


LEAST_ROWS = 8
"""Rows for each thread, below which one does all of them."""

LEAST_TOTAL = 512
"""Elements of a sum of parts, below which one thread adds them."""

MOST_PARTS = 1 << 15
"""Elements of a gradient, up to which each thread has one of its own.

They are added when all are there, so that threads wait for one another once in a backward pass and
not once for each layer; beyond, the memory that this takes is slower than waiting.
"""

LEAST_FLAT = 8192
"""Elements of a flat array, below which one thread does all of them."""


class Threads:
    """So many threads of a processor, which share rows, and flat arrays that are long."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def kernel(self, step: Step, emit: Any) -> tuple[str, int]:
        shared = ""
        if self.threads > 1:
            if step.rows is None:
                shared = "cols" if (step.cols or 0) >= LEAST_FLAT else ""
            elif step.rows >= LEAST_ROWS * self.threads:
                shared = "rows"
        return shared, self.threads if shared else 1

    def product(self, value: Value) -> str:
        """By rows, so that those of a batch stay with their thread."""
        rows, cols = value.rows or 1, value.cols or 1
        if self.threads == 1 or value.op != "product":
            return ""
        inner = value.args[0].size // rows
        summed = value.attr == (True, False) and inner >= LEAST_ROWS * self.threads
        if summed and value.size <= MOST_PARTS:
            return "inner"
        if rows >= LEAST_ROWS * self.threads:
            return "rows"
        return "cols" if cols >= LEAST_ROWS * self.threads else ""

    def total(self, value: Value) -> str:
        return "cols" if value.size >= LEAST_TOTAL else ""
