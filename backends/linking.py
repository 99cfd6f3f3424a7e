"""Load compiled steps, with what they call beside themselves."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from . import native, products


def lanes(precision: str) -> int:
    """Return how many numbers a kernel has side by side: two vectors, so that one's result need
    not be waited for."""
    return 2 * products.chosen(precision).lanes


def load(text: Callable[[], str], key: str, count: int, precision: str | None) -> Any:
    """Return `run` of a module, a function of `count` numbers.

    `precision` is that of its products, None where it has none. See `native.address`.
    """
    if precision is not None:
        products.address(precision)
    import_module(".barrier_code", __package__).name_yield()
    return native.function(native.address("run", text, key), count)
