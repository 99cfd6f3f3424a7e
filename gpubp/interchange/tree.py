"""What a tree of layers is made of, for those who read it from outside."""

from __future__ import annotations

from collections.abc import Iterable

from ..layers import Branches, Checkpoint, Layer, Linear, Residual, Sequential, Tied
from ..storage import Spec


def known(layer: Layer, kinds: Iterable[type[Layer]]) -> type[Layer] | None:
    """Return which of the `kinds` a layer is, or None.

    A class derived from one of them counts as that one as long as it computes as that one does:
    one that only composes (`class Block(Sequential)`) does, one with a `forward` of its own is
    another layer.

    >>> import gpubp
    >>> known(gpubp.MLP([3], 2), [gpubp.Linear, gpubp.Sequential]).__name__
    'Sequential'
    """
    wanted = set(kinds)
    for kind in type(layer).__mro__:
        if kind in wanted:
            return kind
        if {"forward", "join"} & vars(kind).keys():
            return None
    return None


def children(layer: Layer, spec: Spec) -> dict[str, Layer]:
    """Return the layers inside one of gpubp's own containers, by the names `spec` has for them.

    >>> import gpubp
    >>> block = gpubp.Residual(gpubp.Linear(2), projection=True)
    >>> list(children(block, block.build((3,))))
    ['body', 'projection']
    """
    if isinstance(layer, Sequential | Branches):
        return dict(zip(spec.children, layer.layers, strict=True))
    if isinstance(layer, Residual):
        found: dict[str, Layer] = {"body": layer.body}
        if layer.projection is True:
            found["projection"] = Linear(spec.shape[-1], b=None)
        elif isinstance(layer.projection, Layer):
            found["projection"] = layer.projection
        return found
    return {"body": layer.body} if isinstance(layer, Tied | Checkpoint) else {}
