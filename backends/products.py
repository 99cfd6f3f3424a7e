"""Matrix products for compiled code: functions of our own, in machine code for this processor.

`product_float32` and `product_float64` are symbols that compiled code calls:

    product(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, work): C = op(A) op(B)

All matrices are row by row. `op(A)` is `(m, k)`: A as stored, or its transpose where `ta` is not 0;
`op(B)` is `(k, n)` likewise, and C is `(m, n)`. `a`, `b`, `c` and `work` are addresses; `lda`,
`ldb` and `ldc` are the elements from one stored row to the next; `work` is memory of `workspace`
bytes, which no other thread uses. All lengths are at least 1. The old C is not read. Nothing is
checked: a wrong size reads and writes memory of others. They work in the thread that calls them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module

from . import native
from .geometry import Geometry, geometry


@cache
def chosen(precision: str) -> Geometry:
    """Return how products are divided on this processor; needs llvmlite."""
    return geometry(precision, native.features())


def workspace(precision: str, sizes: Iterable[tuple[int, int, int]]) -> int:
    """Return the bytes of working memory for products of these sizes `(m, n, k)`."""
    return max((chosen(precision).workspace(*size) for size in sizes), default=0)


@cache
def address(precision: str) -> int:
    """Return where the machine code begins, which by then compiled code finds by its name."""
    g, name = chosen(precision), f"gpubp_product_{precision}"

    def text() -> str:
        return str(import_module(".product_code", __package__).module(g, name))

    found = native.address(name, text, f"product {g}")
    import_module("llvmlite.binding").add_symbol(name, found)
    return found
