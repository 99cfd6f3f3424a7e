"""Everything that the library has, in small instances: what `gpubp check digits` goes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from .. import layers as la
from ..activations import ACTIVATIONS
from ..errors import InputError, named
from ..layers import Layer, Linear
from ..losses import (
    LOSSES,
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Focal,
    Huber,
    Loss,
    MultiClassHinge,
    Quantile,
)
from ..optimizers import (
    L1,
    L2,
    OPTIMIZERS,
    SGD,
    AdaptiveClip,
    ClipGlobalNorm,
    ClipNorm,
    ClipValue,
    ElasticNet,
    Optimizer,
)
from ..storage import Shape
from .layers import layer
from .losses import loss
from .optimizers import optimizer
from .report import Report, Row
from .steps import compiled_steps

STEPS = 3
"""Training steps for each layer: one from its first state, and two from a state that it left."""

LAYERS: dict[str, tuple[Layer, int | Shape]] = {
    "Linear": (Linear(3), 5),
    "Linear without bias": (Linear(3, b=None), 5),
    "MLP": (la.MLP([4, 3], 2, activation="tanh", output="sigmoid"), 3),
    "Activation": (la.Activation("tanh"), 4),
    "PReLU": (la.PReLU(), 4),
    "PReLU, shared": (la.PReLU(shared=True), 4),
    "Softmax": (la.Softmax(), 4),
    "LogSoftmax": (la.LogSoftmax(), 4),
    "BatchNorm": (la.BatchNorm(), 4),
    "BatchNorm behind a bias": (la.Sequential(Linear(3), la.BatchNorm()), 4),
    "LayerNorm": (la.LayerNorm(), 5),
    "RMSNorm": (la.RMSNorm(), 5),
    "Dropout": (la.Dropout(0.4), 6),
    "GaussianDropout": (la.GaussianDropout(0.4), 6),
    "GaussianNoise": (la.GaussianNoise(0.5), (2, 3)),
    "Embedding": (la.Embedding(3, 2), 4),
    "Identity": (la.Identity(), 3),
    "Columns": (la.Columns(1, 3), 5),
    "Flatten": (la.Flatten(), (2, 3)),
    "Reshape": (la.Reshape(2, 3), 6),
    "Sequential": (la.Sequential(Linear(4), la.Activation("silu"), Linear(2)), 3),
    "Residual": (la.Residual(la.MLP([3], 4, activation="tanh")), 4),
    "Residual, projected": (la.Residual(Linear(2), projection=True), 4),
    "Sum": (la.Sum(Linear(4), la.Identity()), 4),
    "Concatenate": (la.Concatenate(la.Columns(0, 1), Linear(3)), 4),
    "Multiply": (la.Multiply(Linear(2), Linear(2)), 5),
    "Tied": (la.Tied(la.Sequential(Linear(4), la.Activation("tanh")), times=3), 4),
    "Checkpoint": (la.Checkpoint(la.Sequential(Linear(3), la.Dropout(0.4))), 4),
}
"""A small instance of every layer, and the features or the shape of its examples."""

LOSS_OPTIONS: dict[str, Loss] = {
    "Huber(0.3)": Huber(0.3),
    "Quantile of several": Quantile((0.1, 0.4, 0.75, 0.9)),
    "CrossEntropy with options": CrossEntropy(0.2, (0.5, 2.0, 0.0, 1.5)),
    "Focal with options": Focal(0.5, (0.5, 2.0, 0.0, 1.5)),
    "MultiClassHinge(2)": MultiClassHinge(2),
    "BinaryCrossEntropy with options": BinaryCrossEntropy(0.1, (0.5, 3.0, 1.0, 2.0)),
    "BinaryFocal without alpha": BinaryFocal(0.5, None),
}
"""Losses with other arguments than those of `LOSSES`."""

OPTIONS: dict[str, dict[str, Any]] = {
    "decay": {"weight_decay": 0.1, "decay_on": "all"},
    "L1": {"penalty": L1(0.1)},
    "L2": {"penalty": L2(0.1, on="all")},
    "ElasticNet": {"penalty": ElasticNet(0.1)},
    "ClipValue": {"clip": ClipValue(0.3)},
    "ClipNorm": {"clip": ClipNorm(0.3)},
    "ClipGlobalNorm": {"clip": ClipGlobalNorm(0.3)},
    "AdaptiveClip": {"clip": AdaptiveClip(0.05)},
    "MaxNorm": {"max_norm": 0.5},
    "everything": {
        "weight_decay": 0.1, "penalty": (L1(0.01), L2(0.1)), "clip": ClipGlobalNorm(0.3),
        "max_norm": 0.8,
    },
}  # fmt: skip
"""What every optimizer takes beside its own arguments."""


def optimizers() -> Iterator[tuple[str, Optimizer]]:
    """Yield every optimizer: plain, with everything added, and with each option of its own.

    An option of its own is an argument that is off (False or 0) unless it is asked for.

    >>> [name for name, _ in optimizers()][:2]
    ['SGD', 'SGD, decay']
    """
    common = {field.name for field in fields(Optimizer)}
    for kind in OPTIMIZERS.values():
        yield kind.__name__, kind()
        for name, given in OPTIONS.items():
            if kind is SGD or name == "everything":
                yield f"{kind.__name__}, {name}", kind(**given)
        for field in fields(kind):
            if field.name in common or not (field.default is False or field.default == 0.0):
                continue
            value: Any = True if field.default is False else 0.5
            try:
                yield f"{kind.__name__}, {field.name}={value}", kind(**{field.name: value})
            except InputError:  # not without another one
                continue


def _activations(device: str | None) -> Iterator[tuple[str, Report]]:
    for name in ACTIVATIONS:
        yield name, layer(la.Activation(name), 5, device=device, steps=STEPS)


def _layers(device: str | None) -> Iterator[tuple[str, Report]]:
    for name, (instance, inputs) in LAYERS.items():
        yield name, layer(instance, inputs, device=device, steps=STEPS)


def _losses(device: str | None) -> Iterator[tuple[str, Report]]:
    for name, instance in (LOSSES | LOSS_OPTIONS).items():
        yield name, loss(instance, device=device)


def _optimizers(device: str | None) -> Iterator[tuple[str, Report]]:
    for name, instance in optimizers():
        yield name, optimizer(instance, device=device)


PARTS: dict[str, Callable[[str | None], Iterator[tuple[str, Report]]]] = {
    "layers": _layers,
    "activations": _activations,
    "losses": _losses,
    "optimizers": _optimizers,
    "compiled steps": compiled_steps,
}
"""The parts of the library by name."""


def repertoire(*parts: str, device: str | None = None) -> Report:
    """Check all layers, activations, losses, optimizers and compiled steps, or parts by name.

    Raises `InputError` for a part that there is not.

    >>> report = repertoire("losses")
    >>> report.ok, report.rows[0].group, report.rows[0].what
    (True, 'losses', 'squared_error: delta')
    """
    rows: list[Row] = []
    remarks: dict[str, None] = {}
    for part in parts or tuple(PARTS):
        for name, found in named("part", part, PARTS)(device):
            rows += [replace(row, group=part, what=f"{name}: {row.what}") for row in found.rows]
            remarks |= dict.fromkeys(found.remarks)
            if found.broken_rule is not None:
                remarks[f"{name} is not traceable: {found.broken_rule}"] = None
    return Report(rows, list(remarks))
