"""Which features of a layer's input are categories, told from those inside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import InputError
from ..storage import Shape, Spec


def merged(what: str, several: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What layers with the same input say of it together; a number for one may be a category.

    >>> merged("Sum", [(0, 4), (), (3, 0)])
    (3, 4)
    >>> merged("Sum", [(3,), (4,)])
    Traceback (most recent call last):
    gpubp.errors.InputError: Sum: feature 0 is a category 0..2 for one layer and 0..3 for another
    """
    found: tuple[int, ...] = ()
    for categories in filter(any, several):
        for i, (a, b) in enumerate(zip(found, categories, strict=False)):
            if a and b and a != b:
                raise InputError(
                    f"{what}: feature {i} is a category 0..{a - 1} for one layer "
                    f"and 0..{b - 1} for another"
                )
        found = tuple(map(max, found, categories)) if found else categories
    return found


def chained(what: str, specs: Sequence[Spec], inputs: Shape) -> tuple[tuple[int, ...], ...]:
    """Return `categories` and `selects` of layers that follow each other."""
    shapes = [inputs, *(spec.shape for spec in specs)]
    categories: tuple[int, ...] = ()
    for i, spec in reversed(list(enumerate(specs))):
        if categories and not spec.selects:
            raise InputError(
                f"{what}: a layer behind layer {i} takes categories, and layer {i} puts out "
                "numbers of its own; only layers that select may stand before it, such as Columns"
            )
        wider = [0] * math.prod(shapes[i])
        for source, n in zip(spec.selects, categories, strict=False):
            wider[source] = n
        categories = merged(what, [tuple(wider), spec.categories])
    selects = tuple(range(math.prod(inputs)))
    for spec in specs:
        selects = tuple(selects[source] for source in spec.selects) if selects else ()
    return categories, selects
