"""What layers are given, looked at when they are made and when they are built."""

from __future__ import annotations

import math
from typing import Any

from ..errors import InputError, real
from ..storage import Shape
from .base import Layer


def features(what: str, inputs: Shape) -> int:
    """Return the number of features of a row; `InputError` for examples of any other shape.

    >>> features("LayerNorm", (3,))
    3
    """
    if len(inputs) != 1:
        raise InputError(
            f"{what} takes rows of numbers, each example has shape {inputs}; "
            "put Flatten() before it"
        )
    return inputs[0]


def number(
    what: str, name: str, given: Any, least: float, below: float = math.inf, closed: bool = False
) -> float:
    """Return a number in `[least, below)`, or in `[least, below]` if `closed`; else `InputError`.

    >>> number("Dropout", "rate", 0.5, 0.0, 1.0)
    0.5
    """
    value = real(given)
    if not (least <= value < below or (closed and value == below)):
        upper = "" if below == math.inf else f" and {'at most' if closed else 'below'} {below:g}"
        raise InputError(
            f"{what}: {name} is {given!r}; expected a number of at least {least:g}{upper}"
        )
    return value


def flag(what: str, name: str, given: Any) -> None:
    """Raise `InputError` for anything but True and False.

    >>> flag("BatchNorm", "affine", "no")
    Traceback (most recent call last):
    gpubp.errors.InputError: BatchNorm: affine is 'no'; expected True or False
    """
    if not isinstance(given, bool):
        raise InputError(f"{what}: {name} is {given!r}; expected True or False")


def sublayer(what: str, given: Any) -> Layer:
    """Return the one layer that another is made of.

    >>> sublayer("Tied", None)
    Traceback (most recent call last):
    gpubp.errors.InputError: Tied: the body is None; expected a gpubp.Layer
    """
    if not isinstance(given, Layer):
        raise InputError(f"{what}: the body is {given!r}; expected a gpubp.Layer")
    return given


def sublayers(what: str, given: tuple[Any, ...]) -> tuple[Layer, ...]:
    """Return the several layers that another is made of.

    >>> sublayers("Sum", ())
    Traceback (most recent call last):
    gpubp.errors.InputError: Sum: give at least one layer
    """
    if not given:
        raise InputError(f"{what}: give at least one layer")
    for i, layer in enumerate(given):
        if not isinstance(layer, Layer):
            raise InputError(f"{what}: item {i} is {layer!r}; expected a gpubp.Layer")
    return given
