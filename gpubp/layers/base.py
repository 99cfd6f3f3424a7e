"""What a layer is, and the dialect of the array API in which it is written.

A layer is a frozen description that holds no arrays. It can be used twice, shared, checkpointed
and captured, for all that changes comes in and goes out. What it must obey to be traced:

1. functions and operators of `be.xp` only; shapes are Python ints; no branch on values;
2. axes counted from the end (-1 features, -2 rows), reductions with `keepdims=True`; leading
   dimensions are never read, and so an ensemble is one more leading axis; some of the features are
   `x[..., a:b]`, and what else moves numbers about is the backend's, which leaves leading axes
   alone: `be.reshape`, `be.concat`, `be.gather` and `be.scatter`. Where a layer takes examples of
   several axes, it finds their shape in `run.spec.inputs` if its `build` puts it there;
3. no in-place writes: gradients through `g.add`, running state through `run.put`;
4. one floating type in an expression; only Python numbers are weak;
5. random numbers only from `run.bits`;
6. labels enter as a comparison with `be.arange`;
7. a transpose (`x.mT`) only as an operand of a product;
8. in the context goes what is cheap to derive the rest from.

`gpubp.check.layer` names the rule that a layer breaks.
"""

from __future__ import annotations

from typing import Any

from ..backend import Array, Backend
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views


class Layer:
    """The base of all layers: a frozen dataclass with `build`, `forward` and `backward`.

    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> import gpubp
    >>> @dataclass(frozen=True)
    ... class Scale(gpubp.Layer):
    ...     factor: float
    ...     def build(self, inputs):
    ...         return gpubp.Spec(inputs)
    ...     def forward(self, be, w, x, run):
    ...         return x * self.factor, None
    ...     def backward(self, be, w, g, ctx, dy, run):
    ...         return dy * self.factor
    >>> net = gpubp.Network(gpubp.Sequential(Scale(2.0)), inputs=3)
    >>> net.predict(np.ones((1, 3))).tolist()
    [[2.0, 2.0, 2.0]]
    """

    def build(self, inputs: Shape) -> Spec:
        """Return what the layer needs and puts out, for one example of shape `inputs`."""
        raise TypeError(f"{type(self).__name__} has no build(inputs)")

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        """Return the output `(..., rows, *features)` and the context that `backward` needs."""
        raise TypeError(f"{type(self).__name__} has no forward(be, w, x, run)")

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        """Add the parameter gradients to `g` and return `dx = dL/dx` for `dy = dL/dy`.

        None may be returned where `run.wants_input_gradient` is false.
        """
        raise TypeError(f"{type(self).__name__} has no backward(be, w, g, ctx, dy, run)")
