"""What torch calls the arrays of a network, and how it lays them out.

The module of a layer stands where the layer stands: the k-th of a `Sequential` (or `MLP`) is the
k-th of torch's `nn.Sequential`, and activations, dropout and the like hold nothing but take an
index. Where torch has no module of the kind, gpubp's own paths are the names, as those of a
module with such attributes would be: `body` and `projection` of a `Residual`, `body` of a `Tied`
or a `Checkpoint`, and `0`, `1`, ... of a `Sum`, `Multiply` or `Concatenate`, as in a
`nn.ModuleList`. So the array `2.body.0.W` of gpubp is torch's `2.body.0.weight`.

| layer | torch | its arrays there |
|---|---|---|
| `Linear` | `nn.Linear` | `weight` `(n_out, n_in)`, the transpose of W; `bias` |
| `Embedding` | `nn.Embedding` | `weight` `(n, dim)` |
| `PReLU` | `nn.PReLU` | `weight` `(n,)` or `(1,)` |
| `LayerNorm`, `RMSNorm` | the same | `weight`, and `bias` of the first |
| `BatchNorm` | `nn.BatchNorm1d` | `weight`, `bias`, `running_mean`, `running_var`, \
`num_batches_tracked` |

`eps` and `momentum` are no arrays: they belong to the layer, and are to be given alike on both
sides (gpubp's defaults are torch's but for `RMSNorm`, where torch takes the machine epsilon).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..errors import InputError
from ..layers import (
    BatchNorm,
    Branches,
    Checkpoint,
    Concatenate,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Multiply,
    PReLU,
    Residual,
    RMSNorm,
    Sequential,
    Sum,
    Tied,
)
from ..storage import Shape, Spec
from . import tree

ARRAYS: dict[type[Layer], dict[str, str]] = {
    Linear: {"W": "weight", "b": "bias"},
    Embedding: {"W": "weight"},
    PReLU: {"a": "weight"},
    LayerNorm: {"gain": "weight", "shift": "bias"},
    RMSNorm: {"gain": "weight"},
    BatchNorm: {
        "gain": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var",
    },
}  # fmt: skip
"""The layers with arrays of their own, and what torch calls these."""

CONTAINERS = (Sequential, Residual, Tied, Checkpoint, Branches, Sum, Multiply, Concatenate)
COUNTER = "num_batches_tracked"


class Entry(NamedTuple):
    """One array: its path in gpubp, its name in torch, its shape there.

    `transposed` says that torch has the last two axes the other way round. The counter of a
    `nn.BatchNorm1d` has no path, for gpubp has no such thing.
    """

    path: str | None
    name: str
    shape: Shape
    transposed: bool = False


def entries(layer: Layer, spec: Spec, path: str = "") -> Iterator[Entry]:
    """Walk all arrays of a layer in torch's order.

    Raises `InputError` that names a layer of another's with arrays, which torch has no name for.

    >>> import gpubp
    >>> mlp = gpubp.MLP([4], 2, norm="layer")
    >>> [entry.name for entry in entries(mlp, mlp.build((3,)))]
    ['0.weight', '0.bias', '1.weight', '1.bias', '3.weight', '3.bias']
    """
    prefix = f"{path}." if path else ""
    kind = tree.known(layer, (*ARRAYS, *CONTAINERS))
    arrays = {**spec.params, **spec.state}
    names = ARRAYS.get(kind, {}) if kind else {}
    if arrays.keys() - names.keys() or (kind is None and _holds(spec)):
        raise InputError(
            f"{type(layer).__name__} at {path or 'the root'!r} has no counterpart in torch, which "
            "would say what its arrays are called; exchange those of the other layers by "
            "net.state_dict() and net.load_state_dict()"
        )
    for own, param in arrays.items():
        transposed = kind is Linear and own == "W"
        shape = param.shape[::-1] if transposed else param.shape
        yield Entry(prefix + own, prefix + names[own], shape, transposed)
    if kind is BatchNorm:
        yield Entry(None, prefix + COUNTER, ())
    if kind in CONTAINERS:
        for name, child in tree.children(layer, spec).items():
            yield from entries(child, spec.children[name], prefix + name)


def _holds(spec: Spec) -> bool:
    """Whether there is an array in it anywhere."""
    return bool(spec.params or spec.state) or any(map(_holds, spec.children.values()))
