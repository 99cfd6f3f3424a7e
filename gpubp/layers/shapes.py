"""Layers that move or pick features and compute nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..backend import Array, Backend
from ..errors import InputError, whole
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import features
from .base import Layer


@dataclass(frozen=True)
class Identity(Layer):
    """y = x, for examples of any shape: the plain way through a `Sum` or a `Concatenate`.

    >>> import gpubp
    >>> gpubp.Network(Identity(), inputs=2).predict([[1.0, 2.0]]).tolist()
    [[1.0, 2.0]]
    """

    def build(self, inputs: Shape) -> Spec:
        return Spec(inputs, selects=tuple(range(math.prod(inputs))))

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, None]:
        return x, None

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: None, dy: Array, run: Run
    ) -> Array:
        return dy


@dataclass(frozen=True)
class Columns(Layer):
    """y = x[start:stop], some of the features of each row; dL/dx is zero in the others.

    Raises `InputError` unless 0 <= start < stop, and for rows of fewer than `stop` features.

    >>> import numpy as np
    >>> import gpubp
    >>> gpubp.Network(Columns(1, 3), inputs=4).predict(np.asarray([[1, 2, 3, 4]])).tolist()
    [[2.0, 3.0]]
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not (whole(self.start) and whole(self.stop) and 0 <= self.start < self.stop):
            raise InputError(
                f"Columns({self.start!r}, {self.stop!r}): expected whole numbers with "
                "0 <= start < stop"
            )
        object.__setattr__(self, "start", int(self.start))
        object.__setattr__(self, "stop", int(self.stop))

    def build(self, inputs: Shape) -> Spec:
        n = features("Columns", inputs)
        if n < self.stop:
            raise InputError(f"Columns({self.start}, {self.stop}): a row has {n} features")
        columns = range(self.start, self.stop)
        return Spec((len(columns),), inputs=inputs, selects=tuple(columns))

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, None]:
        return x[..., self.start : self.stop], None

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: None, dy: Array, run: Run
    ) -> Array:
        left, right = self.start, run.spec.inputs[0] - self.stop
        return be.concat([be.zeros((1, left)), dy, be.zeros((1, right))])


class _Reshaped(Layer):
    """A layer that gives an example another shape; `build` says which."""

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, None]:
        return be.reshape(x, len(run.spec.inputs), run.spec.shape), None

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: None, dy: Array, run: Run
    ) -> Array:
        return be.reshape(dy, len(run.spec.shape), run.spec.inputs)


@dataclass(frozen=True)
class Flatten(_Reshaped):
    """y holds all numbers of an example in one row, the last axis running fastest.

    >>> import gpubp
    >>> gpubp.Network(Flatten(), inputs=(2, 2)).predict([[[1.0, 2.0], [3.0, 4.0]]]).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """

    def build(self, inputs: Shape) -> Spec:
        size = math.prod(inputs)
        return Spec((size,), inputs=inputs, selects=tuple(range(size)))


@dataclass(frozen=True, init=False)
class Reshape(_Reshaped):
    """y holds the numbers of an example in the shape given, the last axis running fastest.

    One length may be -1: what is left for it. Raises `InputError` for lengths that are no whole
    numbers above 0, for a second -1 and where the numbers do not fill the shape.

    >>> import gpubp
    >>> gpubp.Network(Reshape(2, -1), inputs=4).predict([[1.0, 2.0, 3.0, 4.0]]).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    shape: Shape

    def __init__(self, *shape: int) -> None:
        lengths = all(whole(n) and (n >= 1 or n == -1) for n in shape)
        if not shape or not lengths or shape.count(-1) > 1:
            raise InputError(
                f"Reshape{shape}: expected the lengths of one example, at most one of them -1"
            )
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))

    def build(self, inputs: Shape) -> Spec:
        size, known = math.prod(inputs), math.prod(n for n in self.shape if n != -1)
        shape = tuple(size // known if n == -1 else n for n in self.shape)
        if math.prod(shape) != size:
            raise InputError(f"Reshape{self.shape}: an example has {size} numbers, shape {inputs}")
        return Spec(shape, inputs=inputs, selects=tuple(range(size)))
