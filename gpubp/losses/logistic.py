"""The cross-entropy of yes-or-no questions, on raw outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..activations import sigmoid
from ..backend import Array, Backend
from .arguments import Numbers, constant, is_several, number, one_for_each, several, smoothing
from .base import Loss


def logistic_terms(xp: Any, z: Array, t: Array) -> Array:
    return xp.maximum(z, 0.0) - z * t + xp.log1p(xp.exp(-xp.abs(z)))


def logistic_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (sigmoid(xp, z) - t) * share


# With a weight c of yes and a smoothed target u = keep t + spread: no term is below zero, so that
# none takes digits from another.


def weighted_terms(xp: Any, z: Array, t: Array, c: Any, keep: Any, spread: Any) -> Array:
    u = keep * t + spread
    yes, no = c * u, 1.0 - u
    far = yes * xp.maximum(-z, 0.0) + no * xp.maximum(z, 0.0)
    return far + (yes + no) * xp.log1p(xp.exp(-xp.abs(z)))


def weighted_delta(
    xp: Any, z: Array, t: Array, c: Any, keep: Any, spread: Any, share: Any
) -> Array:
    u = keep * t + spread
    yes, no = c * u, 1.0 - u
    return ((yes + no) * sigmoid(xp, z) - yes) * share


class Logistic(Loss):
    """A loss whose outputs are logits of yes-or-no questions, one sigmoid each."""

    def probabilities(self, be: Backend, z: Array) -> Array:
        return be.map(sigmoid, z)


@dataclass(frozen=True)
class BinaryCrossEntropy(Logistic):
    """L = mean over outputs and batch of -t log s(z) - (1 - t) log(1 - s(z)), s the sigmoid.

    Each output is a yes-or-no question of its own (multi-label); t in [0, 1], `(batch, n_out)`.

    `label_smoothing` e in [0, 1) makes of t the target (1 - e) t + e / 2, as in Keras.
    `pos_weight`, one number of at least 0 or one for each output, multiplies the first term, as in
    torch: above 1 a missed yes costs more than a false one. Raises `InputError` for other
    numbers, and where a network has not as many outputs as there are weights.

    >>> import numpy as np
    >>> value, delta = BinaryCrossEntropy()(np.asarray([[0.0]]), np.asarray([[1.0]]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[-0.5]])
    >>> BinaryCrossEntropy(pos_weight=3)(np.asarray([[0.0]]), np.asarray([[1.0]]))[1].tolist()
    [[-1.5]]
    """

    label_smoothing: float = 0.0
    pos_weight: Numbers | None = None

    targets: ClassVar[str] = "unit"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", smoothing(self, self.label_smoothing))
        if self.pos_weight is not None:
            read: Any = several if is_several(self.pos_weight) else number
            expected = "a finite number of at least 0, or one for each output"
            checked = read(self, "pos_weight", self.pos_weight, expected, lambda c: c >= 0)
            object.__setattr__(self, "pos_weight", checked)

    def check(self, width: int) -> None:
        one_for_each(self, "pos_weight", self.pos_weight, width)

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        if self.pos_weight is None and self.label_smoothing == 0.0:
            terms, delta = be.map(logistic_terms, z, t), be.map(logistic_delta, z, t, share)
        else:
            c = 1.0 if self.pos_weight is None else constant(be, self.pos_weight)
            numbers = c, 1.0 - self.label_smoothing, 0.5 * self.label_smoothing
            terms = be.map(weighted_terms, z, t, *numbers)
            delta = be.map(weighted_delta, z, t, *numbers, share)
        return be.xp.sum(terms, axis=-1, keepdims=True), delta
