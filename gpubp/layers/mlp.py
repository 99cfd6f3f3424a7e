"""The multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..activations import ACTIVATIONS
from ..errors import InputError, named
from ..initializers import Initializer
from .activation import Activation
from .base import Layer
from .linear import Linear, width
from .sequential import Sequential


@dataclass(frozen=True, init=False)
class MLP(Sequential):
    """Linear layers of widths `hidden` with an activation behind each, and a Linear output.

    `hidden` is a sequence of widths, empty for a linear model; `n_out` the output width;
    `output` an activation behind the last layer (`"identity"` adds none: the losses take raw
    outputs). `init` fills the hidden weights: by default what suits the activation
    (`Activation.init`); the output layer begins with Glorot. Raises `InputError` for widths below
    1 and unknown names.

    >>> import gpubp
    >>> mlp = gpubp.MLP([128, 64], 10, activation="relu")
    >>> gpubp.Network(mlp, inputs=784).n_parameters
    109386
    """

    layers: tuple[Layer, ...] = field(repr=False)
    hidden: tuple[int, ...]
    n_out: int
    activation: str
    output: str
    init: str | Initializer | None

    def __init__(
        self,
        hidden: Iterable[int],
        n_out: int,
        activation: str = "relu",
        output: str = "identity",
        init: str | Initializer | None = None,
    ) -> None:
        if isinstance(hidden, str) or not isinstance(hidden, Iterable):
            raise InputError(f"MLP: hidden is {hidden!r}; expected a sequence such as [128, 64]")
        widths, n_out = tuple(width("MLP", n) for n in hidden), width("MLP", n_out)
        suits = named("activation", activation, ACTIVATIONS).init
        chosen = suits if init is None else init
        super().__init__(*_layers(widths, n_out, activation, output, chosen))
        for name, value in zip(
            ("hidden", "n_out", "activation", "output", "init"),
            (widths, n_out, activation, output, init),
            strict=True,
        ):
            object.__setattr__(self, name, value)


def _layers(
    hidden: tuple[int, ...], n_out: int, activation: str, output: str, init: str | Initializer
) -> list[Linear | Activation]:
    layers: list[Linear | Activation] = []
    for n in hidden:
        layers += [Linear(n, W=init), Activation(activation)]
    layers.append(Linear(n_out))
    if output != "identity":
        layers.append(Activation(output))
    return layers
