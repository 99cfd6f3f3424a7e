"""A way around a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import sublayer
from .base import Layer
from .categories import merged
from .linear import Linear

_PROJECTION = Linear(1, b=None)  # of its width it tells `build` alone


@dataclass(frozen=True)
class Residual(Layer):
    """y = x + body(x); with a projection, y = projection(x) + body(x). He et al. (2016).

    `projection` is a layer such as `Linear(3, b=None)` for a body that maps to another width, or
    True for a Linear without bias to the width of the body. Parameters: `body.*` and
    `projection.*`. Raises `InputError` where the widths do not match.

    The delta comes back both ways: dL/dx = dy + (what comes back through the body).

    >>> import numpy as np
    >>> import gpubp
    >>> block = gpubp.layers.Residual(gpubp.Linear(2, W="ones"))
    >>> gpubp.Network(block, inputs=2).predict(np.asarray([[1.0, 2.0]])).tolist()
    [[4.0, 5.0]]
    """

    body: Layer
    projection: Layer | bool | None = None

    def __post_init__(self) -> None:
        sublayer("Residual", self.body)
        given = self.projection
        if not (given is None or isinstance(given, bool | Layer)):
            raise InputError(
                f"Residual: projection is {given!r}; expected a gpubp.Layer, True or None"
            )
        if given is False:
            object.__setattr__(self, "projection", None)

    def build(self, inputs: Shape) -> Spec:
        body = self.body.build(inputs)
        children = {"body": body}
        if self.projection is True:
            children["projection"] = Linear(body.shape[-1], b=None).build(inputs)
        elif isinstance(self.projection, Layer):
            children["projection"] = self.projection.build(inputs)
        around = children["projection"].shape if self.projection else inputs
        if around != body.shape:
            what, remedy = "body", "widths must match, or give projection=..."
            if self.projection:
                what, remedy = f"projection maps to {_shown(around)}, body", "they must match"
            raise InputError(
                f"Residual: {what} maps {_shown(inputs)} -> {_shown(body.shape)}; {remedy}"
            )
        categories = merged("Residual", [child.categories for child in children.values()])
        return Spec(body.shape, children=children, entry=tuple(children), categories=categories)

    @property
    def _around(self) -> Layer:
        return self.projection if isinstance(self.projection, Layer) else _PROJECTION

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        y, through = self.body.forward(be, w.body, x, run.body)
        if not self.projection:
            return x + y, (through, None)
        around, context = self._around.forward(be, w.projection, x, run.projection)
        return around + y, (through, context)

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        through, around = ctx
        dx = self.body.backward(be, w.body, g.body, through, dy, run.body)
        if self.projection:
            dy = self._around.backward(be, w.projection, g.projection, around, dy, run.projection)
        return dy + dx if run.wants_input_gradient else None


def _shown(shape: Shape) -> str:
    return str(shape[0]) if len(shape) == 1 else str(shape)
