"""How matrices are divided in a product, so that each part lies in a cache when it is met."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """A tile of C is at most `rows` by `vectors` of `lanes` numbers, which are all in registers.

    `panel`, `block` and `wide` are bytes: of B's columns of a tile, which lie in the first cache
    along k; of A's rows that lie in the second; and of B's columns that are packed at once.
    """

    precision: str
    lanes: int
    rows: int
    vectors: int = 2
    panel: int = 24 << 10
    block: int = 160 << 10
    wide: int = 1280 << 10

    @property
    def item(self) -> int:
        return 4 if self.precision == "float32" else 8

    @property
    def cols(self) -> int:
        """The columns of a tile."""
        return self.lanes * self.vectors

    @property
    def depth(self) -> int:
        """The terms of a sum that are added in one go."""
        return self.panel // (self.cols * self.item)

    @property
    def height(self) -> int:
        """The rows of A that are packed at once."""
        return self.block // (self.depth * self.item)

    @property
    def width(self) -> int:
        """The columns of B that are packed at once."""
        return self.wide // (self.depth * self.item) // self.cols * self.cols

    def workspace(self, m: int, n: int, k: int) -> int:
        """Return how many bytes a product of that size takes beside its matrices.

        >>> Geometry("float32", lanes=8, rows=6).workspace(32, 10, 64)
        12544
        """
        depth, panels = min(k, self.depth), -(-min(n, self.width) // self.cols)
        return depth * (panels * self.cols + min(m, self.height)) * self.item + 256


def geometry(precision: str, features: Collection[str]) -> Geometry:
    """Return the geometry for a processor with these features, by LLVM's names.

    A tile's sums, two vectors of B and a number of A are to fill the registers, of which AVX-512
    and NEON have 32, the others 16; and there are to be enough sums to hide how long one takes.

    >>> g = geometry("float32", {"avx", "fma"})
    >>> g.lanes, g.rows, g.vectors
    (8, 6, 2)
    """
    item = 4 if precision == "float32" else 8
    if "avx512f" in features:
        return Geometry(precision, lanes=64 // item, rows=8)
    if "avx" in features:
        return Geometry(precision, lanes=32 // item, rows=6)
    return Geometry(precision, lanes=16 // item, rows=8 if "neon" in features else 6)
