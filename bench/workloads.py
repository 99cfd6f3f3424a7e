"""The workloads of the CPU benchmark: what is trained, its data and its first weights.

A network is a tuple of nodes that says what is computed and nothing of how: every contender builds
it of its own library's parts. Weights come as one list, in the order in which a walk through the
network meets them: W `(n_in, n_out)` and b of a Linear, gain and shift of a LayerNorm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

LAYER_NORM_EPS = 1e-5
ADAM = (0.9, 0.999, 1e-8)
"""beta1, beta2 and eps of Adam and AdamW."""
DECAY = 0.01
"""Weight decay of AdamW, on the matrices alone."""


@dataclass(frozen=True)
class Linear:
    n_in: int
    n_out: int


@dataclass(frozen=True)
class LayerNorm:
    n: int


@dataclass(frozen=True)
class Activation:
    name: str
    """`"relu"`, `"sigmoid"` or `"gelu"` (the exact one)."""


@dataclass(frozen=True)
class Dropout:
    rate: float


@dataclass(frozen=True)
class Residual:
    body: tuple[Node, ...]


Node: TypeAlias = Linear | LayerNorm | Activation | Dropout | Residual
Net: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True)
class Workload:
    """What is trained: `batches` batches make an epoch, and come round after it."""

    says: str
    net: Net
    batch: int
    batches: int
    optimizer: str = "adam"
    loss: str = "cross_entropy"
    members: int | None = None

    @property
    def rate(self) -> float:
        return 0.1 if self.optimizer == "sgd" else 1e-3

    @property
    def has_dropout(self) -> bool:
        return any(isinstance(node, Dropout) and node.rate for node in walk(self.net))

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of a network of Linear layers, from input to output."""
        linear = [node for node in walk(self.net) if isinstance(node, Linear)]
        return (linear[0].n_in, *(node.n_out for node in linear))

    @property
    def hidden(self) -> str | None:
        """The activation behind the hidden layers of a plain MLP; None where it is none."""
        match self.net:
            case (Linear(), Activation(name), *_) if self.net == mlp(self.widths, name):
                return name
        return None


def mlp(widths: tuple[int, ...], hidden: str = "relu", output: str | None = None) -> Net:
    """Linear layers with an activation between them, and `output` behind the last."""
    nodes: list[Node] = []
    for n_in, n_out in pairwise(widths):
        nodes += [Linear(n_in, n_out), Activation(hidden)]
    return (*nodes[:-1], *([] if output is None else [Activation(output)]))


def residual(blocks: int, width: int, classes: int, dropped: float) -> Net:
    """Blocks x + dropout(relu(layernorm(x) W + b)) and a Linear head."""
    body = (LayerNorm(width), Linear(width, width), Activation("relu"), Dropout(dropped))
    return (*[Residual(body)] * blocks, Linear(width, classes))


def _normalised() -> Net:
    parts = [(Linear(n, 512), LayerNorm(512), Activation("gelu")) for n in (784, 512)]
    return (*parts[0], *parts[1], Linear(512, 10))


def _workloads() -> dict[str, Workload]:
    w2 = Workload("64-128-10, batch 32, Adam", mlp((64, 128, 10)), 32, 256)
    return {
        "W1": Workload("2-8-1 sigmoid, squares, batch 4, SGD",
                       mlp((2, 8, 1), "sigmoid", "sigmoid"), 4, 1024, "sgd", "squares"),
        "W2": w2,
        "W3": Workload("784-512-256-10, batch 128, Adam", mlp((784, 512, 256, 10)), 128, 32),
        "W4": Workload("1024-4096-4096-1024, squares, batch 512, Adam",
                       mlp((1024, 4096, 4096, 1024)), 512, 4, loss="squares"),
        "W5": Workload("20 residual blocks of LayerNorm, Linear(256), ReLU, Dropout 0.1, and a "
                       "Linear, batch 256, AdamW", residual(20, 256, 10, 0.1), 256, 8, "adamw"),
        "W6": replace(w2, says="64 copies of W2 at once", members=64, batches=64),
        "W7": Workload("784-512-512-10, LayerNorm and GELU, batch 256, Adam",
                       _normalised(), 256, 16),
    }  # fmt: skip


def walk(net: Net) -> Iterator[Node]:
    """Every node of a network, those inside others with them, in order."""
    for node in net:
        if isinstance(node, Residual):
            yield from walk(node.body)
        yield node


def without_dropout(load: Workload) -> Workload:
    """The same workload with no random bits in it, which all contenders must agree on."""

    def still(net: Net) -> Net:
        return tuple(
            Dropout(0.0) if isinstance(node, Dropout)
            else Residual(still(node.body)) if isinstance(node, Residual)
            else node
            for node in net
        )  # fmt: skip

    return replace(load, net=still(load.net))


WORKLOADS = _workloads()


@dataclass
class Problem:
    """A workload with its data and first weights, the same for every contender; float32.

    `x` is `(batches, batch, n_in)`, `y` `(batches, batch)` labels or `(batches, batch, n_out)`;
    the weights of an ensemble have its members as their first axis.
    """

    load: Workload
    x: Any
    y: Any
    weights: list[Any]


def problem(load: Workload) -> Problem:
    """Draw data and first weights."""
    rng = np.random.default_rng(0)
    lead = () if load.members is None else (load.members,)
    weights = [w for node in walk(load.net) for w in _first_weights(rng, node, lead)]
    n_in, n_out = load.widths[0], load.widths[-1]
    x = rng.standard_normal((load.batches, load.batch, n_in), dtype=np.float32)
    y: Any
    if load.loss == "cross_entropy":
        y = rng.integers(0, n_out, (load.batches, load.batch))
    else:
        y = rng.random((load.batches, load.batch, n_out), dtype=np.float32)
    return Problem(load, x, y, weights)


def _first_weights(rng: Any, node: Node, lead: tuple[int, ...]) -> list[Any]:
    if isinstance(node, Linear):
        n, m = node.n_in, node.n_out
        W = rng.standard_normal((*lead, n, m), dtype=np.float32) * np.float32((2 / (n + m)) ** 0.5)
        return [W, np.zeros((*lead, m), np.float32)]
    if isinstance(node, LayerNorm):
        return [np.ones((*lead, node.n), np.float32), np.zeros((*lead, node.n), np.float32)]
    return []
