"""Random trees of layers, drawn from all that there are.

Where a formula loses its digits, or training would run off, the draw keeps away. `eps` of the
normalisations is at least 1e-2, for a feature may be equal in all examples, and normalisations
behind each other would make something of the last bits of it. Of the factors of a product all but
the first are bounded, as gates are: products of products grow with a power of the input that
doubles from one to the next. So is a body that is used three times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

import gpubp
from gpubp import layers
from gpubp.activations import ACTIVATIONS
from gpubp.layers import Columns, Concatenate, Embedding, Flatten, Linear, Sequential

WIDTHS = (1, 2, 3, 5, 8)
DEPTH = 3
INITS = ("glorot_uniform", "he_normal", "lecun_normal", "orthogonal")
BOUNDED = ("sigmoid", "tanh", "softsign", "hard_sigmoid")
T = TypeVar("T")


class Draw:
    """What network `number` of a run draws; it begins each table at another place.

    So every row of a table comes up in one of as many networks as it has rows.
    """

    def __init__(self, seed: int, number: int) -> None:
        self.number, self.rng = number, np.random.default_rng((seed, number))
        self._begun: set[int] = set()

    def one(self, table: Sequence[T]) -> T:
        if id(table) in self._begun or not isinstance(table, Table):
            return table[int(self.rng.integers(len(table)))]
        self._begun.add(id(table))
        return table[self.number % len(table)]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def some(self, count: int, low: float, high: float) -> tuple[float, ...]:
        return tuple(self.rng.uniform(low, high, count).tolist())


class Table(list[T]):
    """Options that are taken in turn by the networks of a run."""


NAMES = Table(ACTIVATIONS)


def network(draw: Draw, n_out: int) -> tuple[gpubp.Layer, int | tuple[int, ...]]:
    """Return a tree of output width `n_out` with parameters in it, and its inputs."""
    first = draw.one(KINDS)
    if first is Embedding or draw.chance(0.1):
        inputs, entry = _table(draw)
        blocks = [entry]
    elif first is Flatten or draw.chance(0.1):
        inputs, blocks = (2, draw.one(WIDTHS)), [_shaped(draw), Flatten()]
    else:
        inputs, blocks = draw.one(WIDTHS), []
    n = blocks[-1].build(_one_axis(inputs, blocks)).shape[0] if blocks else inputs
    wanted = [first] if first in MAKERS else []
    wanted += [_kind(draw, DEPTH) for _ in range(int(draw.rng.integers(1, 4)))]
    for kind in draw.rng.permutation(len(wanted)):
        blocks.append(MAKERS[wanted[kind]](draw, n, DEPTH))
        n = blocks[-1].build((n,)).shape[0]
    if n != n_out or draw.chance(0.8) or not Sequential(*blocks).build(_shape(inputs)).trainable:
        blocks.append(_linear(draw, n_out))
    return Sequential(*blocks), inputs


def _shape(inputs: Any) -> tuple[int, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _one_axis(inputs: Any, blocks: Sequence[gpubp.Layer]) -> tuple[int, ...]:
    """The shape that the last of the blocks takes."""
    return Sequential(*blocks[:-1]).build(_shape(inputs)).shape if blocks[1:] else _shape(inputs)


def _table(draw: Draw) -> tuple[int, gpubp.Layer]:
    """Rows of categories, with numbers beside them or without."""
    n, dim = draw.one((1, 2, 5)), draw.one((1, 2, 3))
    of_categories, numbers = draw.one((1, 2, 3)), draw.one((0, 1, 3))
    vectors = [Embedding(n, dim, W=draw.one(INITS)), Flatten()]
    if not numbers:
        return of_categories, Sequential(*vectors)
    parts: list[gpubp.Layer] = [Sequential(Columns(0, of_categories), *vectors)]
    parts.append(Columns(of_categories, of_categories + numbers))
    if draw.chance(0.5):  # a second vector for the first of them
        parts.append(Sequential(Columns(0, 1), Embedding(n, 2), Flatten()))
    joined = Concatenate(*(parts[i] for i in draw.rng.permutation(len(parts))))
    whole = layers.Checkpoint(joined) if draw.chance(0.3) else joined
    return of_categories + numbers, whole


# -- layers that take rows of n numbers and put out rows ---------------------------------------


def _kind(draw: Draw, depth: int) -> type:
    return draw.one([kind for kind in MAKERS if depth > 1 or kind not in COMPOSITES])


def _body(draw: Draw, n: int, n_out: int | None, depth: int) -> gpubp.Layer:
    """One layer or two, and where it has to put out `n_out` perhaps a Linear behind."""
    found = []
    width = n
    for _ in range(1 + draw.chance(0.4)):
        found.append(MAKERS[_kind(draw, depth - 1)](draw, width, depth - 1))
        width = found[-1].build((width,)).shape[0]
    if n_out is not None and (width != n_out or draw.chance(0.3)):
        found.append(_linear(draw, n_out))
    return found[0] if len(found) == 1 else Sequential(*found)


def _linear(draw: Draw, n_out: int | None = None) -> Linear:
    n_out = draw.one(WIDTHS) if n_out is None else n_out
    return Linear(n_out, W=draw.one(INITS), b=None if draw.chance(0.25) else "normal")


def _mlp(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    hidden = [draw.one(WIDTHS) for _ in range(int(draw.rng.integers(0, 3)))]
    output, init = draw.one(NAMES), draw.one((None, "lecun_normal"))
    # its normalisations have an eps too small for rows that are nearly constant
    norm = draw.one((None, "layer", "rms")) if hidden and min(hidden) >= 3 else None
    dropout = draw.one((0.0, 0.0, 0.3))
    return gpubp.MLP(hidden, draw.one(WIDTHS), draw.one(NAMES), output, init, norm, dropout)


def _columns(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    start = int(draw.rng.integers(n))
    return Columns(start, int(draw.rng.integers(start, n)) + 1)


def _prelu(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    return layers.PReLU(draw.one((0.25, 0.1, "normal")), shared=draw.chance(0.5))


def _batch_norm(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    return layers.BatchNorm(draw.one((0.1, 0.3, 1.0)), draw.one((1e-2, 0.1)), draw.chance(0.6))


def _reshape(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    rows = draw.one([k for k in range(1, n + 1) if n % k == 0])
    return Sequential(layers.Reshape(rows, draw.one((-1, n // rows))), _shaped(draw), Flatten())


def _shaped(draw: Draw) -> gpubp.Layer:
    """A layer for examples of any shape, which keeps all axes but the last."""
    make = MAKERS[draw.one(SHAPELESS)]
    plain = make(draw, 0, 0)
    if draw.chance(0.5):
        join = draw.one((layers.Sum, layers.Multiply, Concatenate))
        return join(layers.Identity(), _gate(draw, plain) if join is layers.Multiply else plain)
    return layers.Residual(plain) if draw.chance(0.3) else plain


def _residual(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    sort = draw.one(("plain", "matrix", "layer"))
    if sort == "plain":
        return layers.Residual(_body(draw, n, n, depth))
    n_out = draw.one(WIDTHS)
    body = _body(draw, n, n_out, depth)
    return layers.Residual(body, True if sort == "matrix" else _body(draw, n, n_out, depth))


def _tied(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    body = _body(draw, n, n, depth)
    if draw.chance(0.4):  # drawn for a second time in the backward pass, for each use anew
        body = layers.Checkpoint(Sequential(layers.Dropout(0.4), body))
    times = draw.one((1, 2, 3))
    return layers.Tied(_gate(draw, body) if times == 3 else body, times, draw.chance(0.6))


def _gate(draw: Draw, layer: gpubp.Layer) -> gpubp.Layer:
    return Sequential(layer, layers.Activation(draw.one(BOUNDED)))


def _multiply(draw: Draw, n: int, depth: int) -> gpubp.Layer:
    n_out = draw.one(WIDTHS)
    first, *others = (_body(draw, n, n_out, depth) for _ in range(int(draw.rng.integers(1, 4))))
    factors = [first, *(_gate(draw, other) for other in others)]
    return layers.Multiply(*(factors[i] for i in draw.rng.permutation(len(factors))))


def _join(kind: type, same: bool) -> Any:
    def make(draw: Draw, n: int, depth: int) -> gpubp.Layer:
        n_out, count = draw.one(WIDTHS) if same else None, int(draw.rng.integers(1, 4))
        made: gpubp.Layer = kind(*(_body(draw, n, n_out, depth) for _ in range(count)))
        return made

    return make


Maker = Callable[[Draw, int, int], Any]
MAKERS: dict[type, Maker] = {
    layers.Linear: lambda draw, n, depth: _linear(draw),
    layers.Activation: lambda draw, n, depth: layers.Activation(draw.one(NAMES)),
    layers.PReLU: _prelu,
    layers.Softmax: lambda draw, n, depth: layers.Softmax(),
    layers.LogSoftmax: lambda draw, n, depth: layers.LogSoftmax(),
    layers.BatchNorm: _batch_norm,
    layers.LayerNorm: lambda draw, n, depth: layers.LayerNorm(
        draw.one((1e-2, 0.1)), draw.chance(0.6)
    ),
    layers.RMSNorm: lambda draw, n, depth: layers.RMSNorm(draw.one((1e-2, 0.1)), draw.chance(0.6)),
    layers.Dropout: lambda draw, n, depth: layers.Dropout(draw.one((0.0, 0.2, 0.5))),
    layers.GaussianDropout: lambda draw, n, depth: layers.GaussianDropout(draw.one((0.0, 0.3))),
    layers.GaussianNoise: lambda draw, n, depth: layers.GaussianNoise(draw.one((0.0, 0.5))),
    layers.Identity: lambda draw, n, depth: layers.Identity(),
    layers.Columns: _columns,
    layers.Reshape: _reshape,
    layers.MLP: _mlp,
    layers.Sequential: lambda draw, n, depth: Sequential(_body(draw, n, None, depth)),
    layers.Residual: _residual,
    layers.Tied: _tied,
    layers.Checkpoint: lambda draw, n, depth: layers.Checkpoint(_body(draw, n, None, depth)),
    layers.Sum: _join(layers.Sum, True),
    layers.Multiply: _multiply,
    layers.Concatenate: _join(layers.Concatenate, False),
}
"""A layer of each kind that takes rows of n numbers and puts out rows, at some depth."""

COMPOSITES = {
    layers.Sequential, layers.Residual, layers.Tied, layers.Checkpoint, layers.Sum,
    layers.Multiply, layers.Concatenate,
}  # fmt: skip
SHAPELESS = Table([
    layers.Activation, layers.Softmax, layers.LogSoftmax, layers.Dropout, layers.GaussianDropout,
    layers.GaussianNoise, layers.Identity,
])  # fmt: skip
KINDS = Table([*MAKERS, Embedding, Flatten])
