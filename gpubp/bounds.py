"""How large a network a description may ask for: looked at before anything is built of it.

A description of some bytes can ask for anything: a width of 10^12, an example doubled fifty
times, a body applied 10^9 times. What is bounded here is bounded by what the file holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .errors import InputError, shown
from .layers import (
    Checkpoint,
    Columns,
    Embedding,
    Flatten,
    Identity,
    Layer,
    Reshape,
    Residual,
    Sequential,
    Tied,
)
from .layers.joins import Branches
from .storage import Shape

LAYERS, DEPTH, VALUES, LETTERS = 10_000, 100, 200_000, 1_000
"""The most layers, layers in layers, values and letters in a text that are rebuilt."""
USES = 100_000
"""How often layers may be used in a pass, one in a `Tied` several times."""
AXES, NUMBERS = 32, 2**22
"""The most axes of an example; how many numbers it may have whatever a file holds."""
# Layers for whose every feature `build` notes something.
_NOTING = (Columns, Embedding, Flatten, Identity, Reshape)


def check_plain(described: Any) -> None:
    """Raise `InputError` for plain data of more values, or nested deeper, than is rebuilt.

    >>> check_plain({"type": "MLP", "hidden": [1] * 10**6})
    Traceback (most recent call last):
    gpubp.errors.InputError: the description has more than 200,000 values
    """
    level, depth, values = [described], 0, 0
    while level:
        depth, values = depth + 1, values + len(level)
        if values > VALUES:
            raise InputError(f"the description has more than {VALUES:,} values")
        if depth > 2 * DEPTH + 4:  # a mapping and perhaps a list for each layer
            raise InputError(f"the description has layers in layers more than {DEPTH} times")
        for value in level:
            _check_value(value)
        inside = (v.values() if isinstance(v, dict) else v for v in level if _holds(v))
        level = [value for values_ in inside for value in values_]


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _check_value(value: Any) -> None:
    texts: Iterable[Any] = value if isinstance(value, dict) else [value]
    for text in texts:
        if isinstance(text, str) and len(text) > LETTERS:
            raise InputError(f"the description holds a text of {len(text):,} letters {shown(text)}")


def check_growth(layer: Layer, inputs: Shape, held: int) -> None:
    """Raise `InputError` for a layer tree that is larger than `held` numbers in a file justify.

    Examples of shape `inputs` are followed through it; no array is made. What a class that is not
    gpubp's own builds is not looked into.

    >>> import gpubp
    >>> check_growth(gpubp.MLP([10**12], 1), (2,), 7)
    Traceback (most recent call last):
    gpubp.errors.InputError: Linear: an example of shape (1000000000000,) is too large for a file \
of 7 numbers
    """
    _Growth(held).through(layer, inputs)


class _Growth:
    """What is left of the layers, their uses and the notes that may be made."""

    def __init__(self, held: int) -> None:
        self.held, self.widest = held, max(NUMBERS, held)
        self.layers, self.uses, self.notes = LAYERS, USES, NUMBERS + 2 * held

    def through(
        self, layer: Layer, inputs: Shape, depth: int = 0, uses: int = 1
    ) -> tuple[Shape, bool]:
        """Return the shape of what comes out, and whether it is noted whence each of it came."""
        self.layers, self.uses = self.layers - 1, self.uses - uses
        if self.uses < 0:
            raise InputError(f"the network uses its layers more than {USES:,} times in a pass")
        if self.layers < 0 or depth > DEPTH:
            raise InputError(
                f"the network has more than {LAYERS:,} layers, or layers in layers more than "
                f"{DEPTH} times: no file holds it"
            )
        self.fits(layer, inputs)
        shape, noted = self._inside(layer, inputs, depth + 1, uses)
        self.fits(layer, shape)
        if noted:
            self.note(layer, math.prod(shape))
        return shape, noted

    def _inside(self, layer: Layer, inputs: Shape, depth: int, uses: int) -> tuple[Shape, bool]:
        if isinstance(layer, Sequential):
            self.note(layer, math.prod(inputs))  # if only to find that nothing is known of them
            shape, noted = inputs, True
            for inner in layer.layers:
                shape, also = self.through(inner, shape, depth, uses)
                noted = noted and also
            return shape, noted
        if isinstance(layer, Branches):
            each = [self.through(inner, inputs, depth, uses) for inner in layer.layers]
            return layer.joined([shape for shape, _ in each]), all(noted for _, noted in each)
        if isinstance(layer, Residual):
            if isinstance(layer.projection, Layer):
                self.through(layer.projection, inputs, depth, uses)
            return self.through(layer.body, inputs, depth, uses)[0], False
        if isinstance(layer, Checkpoint):
            return self.through(layer.body, inputs, depth, uses)
        if isinstance(layer, Tied):
            shape, noted = self.through(layer.body, inputs, depth, uses * layer.times)
            self.note(layer, math.prod(inputs) * (layer.times if noted else 1))
            return inputs, noted
        if isinstance(layer, _NOTING):
            self.note(layer, math.prod(inputs))
        return layer.build(inputs).shape, isinstance(layer, _NOTING)

    def fits(self, layer: Layer, shape: Shape) -> None:
        if len(shape) > AXES or math.prod(shape) > self.widest:
            what = f"{len(shape)} axes" if len(shape) > AXES else f"shape {shape}"
            raise InputError(
                f"{type(layer).__name__}: an example of {what} is too large for a file of "
                f"{self.held:,} numbers"
            )

    def note(self, layer: Layer, count: int) -> None:
        self.notes -= count
        if self.notes < 0:
            raise InputError(
                f"{type(layer).__name__}: the network asks for too much to be noted of its "
                f"features for a file of {self.held:,} numbers"
            )
