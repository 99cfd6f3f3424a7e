"""Memory for time: a layer that is computed again instead of kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..run import Run
from ..storage import Gradients, Shape, Spec, Views
from .arguments import sublayer
from .base import Layer


@dataclass(frozen=True)
class Checkpoint(Layer):
    """y = body(x), of which only x is kept; `backward` makes the forward pass once more.

    The second pass has the same random bits and gives the same numbers; what it hands in as
    running state does not count. (A layer of your own that computes with its running state in
    training, and is used several times inside, would see it in the second pass as it was before
    the step.) Where a tree is instrumented, layers inside report both passes, in order.
    Chen et al. (2016).

    >>> import numpy as np
    >>> import gpubp
    >>> body, x = gpubp.MLP([64, 64], 1), np.zeros((32, 8), dtype=np.float32)
    >>> for layer in (body, gpubp.layers.Checkpoint(body)):
    ...     _, context = gpubp.Network(layer, inputs=8).forward(x)
    ...     print(gpubp.layers.kept_bytes(context))
    17408
    1024
    """

    body: Layer

    def __post_init__(self) -> None:
        sublayer("Checkpoint", self.body)

    def build(self, inputs: Shape) -> Spec:
        body = self.body.build(inputs)
        return Spec(
            body.shape,
            children={"body": body},
            entry=("body",),
            categories=body.categories,
            selects=body.selects,
        )

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Array]:
        y, _ = self.body.forward(be, w.body, x, run.body)
        return y, x

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Array, dy: Array, run: Run
    ) -> Array | None:
        x = ctx
        with run.replay():
            _, context = self.body.forward(be, w.body, x, run.body)
        return self.body.backward(be, w.body, g.body, context, dy, run.body)


def kept_bytes(context: Any) -> int:
    """Return how many bytes of arrays a context holds; an array that is kept twice counts once.

    `context` is what `Network.forward` or a layer's `forward` returns beside the output.

    >>> import numpy as np
    >>> x = np.zeros((4, 2))
    >>> kept_bytes([x, (x, None)])
    64
    """
    held: dict[int, int] = {}

    def visit(item: Any) -> None:
        if hasattr(item, "dtype") and hasattr(item, "shape"):
            place = _place(item)
            held[place] = max(held.get(place, 0), _bytes(item))
        elif isinstance(item, list | tuple):
            for inner in item:
                visit(inner)

    visit(context)
    return sum(held.values())


def _place(x: Array) -> int:
    """Where in memory an array begins, or at least which object it is."""
    for name in ("__array_interface__", "__cuda_array_interface__"):
        found = getattr(x, name, None)
        if found and "data" in found:
            return int(found["data"][0])
    return id(x)


def _bytes(x: Array) -> int:
    if hasattr(x, "nbytes"):
        return int(x.nbytes)
    bits = re.search(r"\d+$", str(x.dtype))  # float32, array_api_strict.float32, torch.float32
    return int(math.prod(x.shape)) * (int(bits[0]) // 8 if bits else 1)
