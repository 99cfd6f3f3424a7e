"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..activations import ACTIVATIONS
from ..errors import InputError, named
from ..initializers import Initializer
from .activation import Activation
from .base import Layer
from .batch_norm import BatchNorm
from .dropout import Dropout
from .layer_norm import LayerNorm, RMSNorm
from .linear import Linear, width
from .sequential import Sequential

NORMS: dict[str, type[Layer]] = {"batch": BatchNorm, "layer": LayerNorm, "rms": RMSNorm}


@dataclass(frozen=True, init=False)
class MLP(Sequential):
    """Linear layers of widths `hidden` with an activation behind each, and a Linear output.

    `hidden` is a sequence of widths, empty for a linear model; `n_out` the output width;
    `output` an activation behind the last layer (`"identity"` adds none: the losses take raw
    outputs). `init` fills the hidden weights: by default what suits the activation
    (`Activation.init`); the output layer begins with Glorot. `norm` puts a normalisation between
    each hidden Linear and its activation: `"batch"`, `"layer"` or `"rms"`; `dropout` a Dropout of
    that rate behind each activation. Raises `InputError` for widths below 1, unknown names and a
    rate outside [0, 1).

    >>> import gpubp
    >>> mlp = gpubp.MLP([128, 64], 10, activation="relu")
    >>> gpubp.Network(mlp, inputs=784).n_parameters
    109386
    >>> [type(layer).__name__ for layer in MLP([8], 1, norm="batch", dropout=0.1).layers]
    ['Linear', 'BatchNorm', 'Activation', 'Dropout', 'Linear']
    """

    layers: tuple[Layer, ...] = field(repr=False)
    hidden: tuple[int, ...]
    n_out: int
    activation: str
    output: str
    init: str | Initializer | None
    norm: str | None
    dropout: float

    def __init__(
        self,
        hidden: Iterable[int],
        n_out: int,
        activation: str = "relu",
        output: str = "identity",
        init: str | Initializer | None = None,
        norm: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        if isinstance(hidden, str) or not isinstance(hidden, Iterable):
            raise InputError(f"MLP: hidden is {hidden!r}; expected a sequence such as [128, 64]")
        widths, n_out = tuple(width("MLP", n) for n in hidden), width("MLP", n_out)
        suits = named("activation", activation, ACTIVATIONS).init
        block: list[Layer] = [] if norm is None else [named("normalisation", norm, NORMS)()]
        block.append(Activation(activation))
        if Dropout(dropout).rate:
            block.append(Dropout(dropout))
        layers: list[Layer] = []
        for n in widths:
            layers += [Linear(n, W=suits if init is None else init), *block]
        layers.append(Linear(n_out))
        if output != "identity":
            layers.append(Activation(output))
        super().__init__(*layers)
        for name, value in zip(
            ("hidden", "n_out", "activation", "output", "init", "norm", "dropout"),
            (widths, n_out, activation, output, init, norm, float(dropout)),
            strict=True,
        ):
            object.__setattr__(self, name, value)
