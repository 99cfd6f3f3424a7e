"""A line search for the strong Wolfe conditions, over numbers on the host.

Algorithms and equations are those of Nocedal and Wright, "Numerical Optimization", 2nd edition
(2006), chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Point(NamedTuple):
    """A length that was tried: the loss there and its slope along the direction."""

    a: float
    f: float
    slope: float


class Search:
    """A line search for `phi(a) -> (loss, slope)`, which is not finite where a is too large.

    `find` returns a point that satisfies both strong Wolfe conditions (3.7), or else the best one
    of sufficient decrease, or None.

    >>> search = Search(lambda a: ((a - 3.0) ** 2, 2.0 * (a - 3.0)), 1e-4, 0.9, 25)
    >>> search.find(Point(0.0, 9.0, -6.0), 1.0).a
    1.0
    """

    def __init__(
        self, phi: Callable[[float], tuple[float, float]], c1: float, c2: float, limit: int
    ) -> None:
        self._phi, self._c1, self._c2, self._left = phi, c1, c2, limit

    def find(self, start: Point, first: float) -> Point | None:
        """Algorithm 3.5: lengthen until an interval holds a good point, then zoom in on it."""
        low, a = start, first
        while self._left:
            point = self._try(a)
            if not self._falls(start, point) or (low.a > 0 and point.f >= low.f):
                return self._zoom(start, low, point)
            if self._flat(start, point):
                return point
            if point.slope >= 0:
                return self._zoom(start, point, low)
            a, low = _within(_cubic(low, point), 2.0 * point.a, 10.0 * point.a), point
        return low if low.a > 0 else None

    def _zoom(self, start: Point, low: Point, high: Point) -> Point | None:
        """Algorithm 3.6: `low` is the best so far; there is a good point between the two."""
        before = math.inf
        while self._left:
            width = high.a - low.a
            slow = abs(width) > 0.7 * before  # the interpolation is misled: halve instead
            before = abs(width)
            guess = 0.5 if slow else (_cubic(low, high) - low.a) / width
            a = low.a + width * _within(guess, 0.1, 0.9)
            if a in (low.a, high.a):
                break
            point = self._try(a)
            if not self._falls(start, point) or point.f >= low.f:
                high = point
                continue
            if self._flat(start, point):
                return point
            if point.slope * (high.a - low.a) >= 0:
                high = low
            low = point
        return low if low.a > 0 else None

    def _try(self, a: float) -> Point:
        self._left -= 1
        f, slope = self._phi(a)
        return Point(a, f, slope) if math.isfinite(f + slope) else Point(a, math.inf, math.nan)

    def _falls(self, start: Point, point: Point) -> bool:
        return point.f <= start.f + self._c1 * point.a * start.slope

    def _flat(self, start: Point, point: Point) -> bool:
        return abs(point.slope) <= -self._c2 * start.slope


def _within(a: float, least: float, most: float) -> float:
    """The number in the interval that is nearest; `least` for NaN."""
    return min(max(least, a), most)  # in this order: max keeps its first against NaN


def _cubic(p: Point, q: Point) -> float:
    """The least point of the cubic through two points with their slopes (3.59); NaN if none."""
    if not math.isfinite(q.f) or p.a == q.a:
        return math.nan
    d1 = p.slope + q.slope - 3.0 * (p.f - q.f) / (p.a - q.a)
    under = d1 * d1 - p.slope * q.slope
    if not under >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(under), q.a - p.a)
    below = q.slope - p.slope + 2.0 * d2
    return q.a - (q.a - p.a) * (q.slope + d2 - d1) / below if below else math.nan
