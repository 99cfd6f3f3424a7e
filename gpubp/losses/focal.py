"""Focal losses: what is classified well already counts little (Lin et al., 2017).

With x the logit of the right answer, p = sigmoid(x), the loss is -(1 - p)^gamma log p. In terms
of x all of it is stable: -log p = softplus(-x) and (1 - p)^gamma = exp(-gamma softplus(x)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..activations import sigmoid, softplus
from ..backend import Array, Backend
from .arguments import constant, number, one_for_each, several
from .base import ElementWise
from .entropies import Softmax, at_label, more_than_one
from .logistic import Logistic


def focal(xp: Any, x: Array, gamma: Any) -> Array:
    return xp.exp(-gamma * softplus(xp, x)) * softplus(xp, -x)


def focal_delta(xp: Any, x: Array, gamma: Any) -> Array:
    hard = gamma * sigmoid(xp, x) * softplus(xp, -x) + sigmoid(xp, -x)
    return -xp.exp(-gamma * softplus(xp, x)) * hard


def _gamma(of: Any, value: Any) -> float:
    return number(of, "gamma", value, "a finite number of at least 0", lambda g: g >= 0)


# The classes other than the labelled one: m their largest output, `mass` the sum of their
# exp(z - m), so that the label's logit is x = z_y - m - log(mass).


def others(xp: Any, z: Array, t: Array, j: Array) -> Array:
    return xp.where(j == t, -1e38, z)  # far below any output, and z - m is no infinity


def others_exp(xp: Any, z: Array, m: Array, t: Array, j: Array) -> Array:
    return xp.exp(xp.minimum(z - m, 0.0)) * xp.astype(j != t, z.dtype)


def label_focal(xp: Any, x: Array, alpha: Any, gamma: Any) -> Array:
    return alpha * focal(xp, x, gamma)


def label_focal_delta(
    xp: Any,
    x: Array,
    alpha: Any,
    gamma: Any,
    e: Array,
    mass: Array,
    t: Array,
    j: Array,
    share: Any,
) -> Array:
    direction = xp.astype(j == t, x.dtype) - e / mass
    return alpha * focal_delta(xp, x, gamma) * direction * share


@dataclass(frozen=True)
class Focal(Softmax):
    """L = mean of -alpha_y (1 - p_y)^gamma log p_y, p = softmax(z), for labels y `(batch,)`.

    From Lin et al. (2017), for several classes. `gamma` >= 0: the larger, the less an example
    counts that is classified well; 0 is the cross-entropy. `alpha` has a weight of at least 0 for
    each class, or is None; the mean is over examples, whatever their alpha. Raises `InputError`
    for other numbers, and where a network has not as many outputs as alpha has numbers.

    >>> import numpy as np
    >>> z, y = np.asarray([[0.0, 0.0], [4.0, 0.0]]), np.asarray([0, 0])
    >>> Focal(gamma=2.0)(z, y)[1].round(4).tolist()
    [[-0.1491, 0.1491], [-0.0, 0.0]]
    """

    gamma: float = 2.0
    alpha: tuple[float, ...] | None = None

    targets: ClassVar[str] = "classes"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", _gamma(self, self.gamma))
        if self.alpha is not None:
            least = "finite numbers of at least 0, one for each class"
            checked = several(self, "alpha", self.alpha, least, lambda a: a >= 0)
            object.__setattr__(self, "alpha", checked)

    def check(self, width: int) -> None:
        more_than_one(self, width)
        one_for_each(self, "alpha", self.alpha, width)

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        xp, j = be.xp, be.arange(z.shape[-1], "int64")
        m = xp.max(be.map(others, z, t, j), axis=-1, keepdims=True)
        e = be.map(others_exp, z, m, t, j)
        mass = xp.sum(e, axis=-1, keepdims=True)
        x = xp.sum(be.map(at_label, z, t, j), axis=-1, keepdims=True) - m - xp.log(mass)
        alpha: Any = 1.0
        if self.alpha is not None:
            alpha = be.map(at_label, constant(be, self.alpha), t, j)
            alpha = xp.sum(alpha, axis=-1, keepdims=True)
        delta = be.map(label_focal_delta, x, alpha, self.gamma, e, mass, t, j, share)
        return be.map(label_focal, x, alpha, self.gamma), delta


def binary_focal(xp: Any, z: Array, t: Array, yes: Any, no: Any, gamma: Any) -> Array:
    return (yes * t + no * (1.0 - t)) * focal(xp, (2.0 * t - 1.0) * z, gamma)


def binary_focal_delta(
    xp: Any, z: Array, t: Array, yes: Any, no: Any, gamma: Any, share: Any
) -> Array:
    side = 2.0 * t - 1.0
    return (yes * t + no * (1.0 - t)) * side * focal_delta(xp, side * z, gamma) * share


@dataclass(frozen=True)
class BinaryFocal(Logistic, ElementWise):
    """L = mean over outputs and batch of -alpha_t (1 - p_t)^gamma log p_t, p = sigmoid(z).

    From Lin et al. (2017): p_t = p and alpha_t = alpha where the target is 1, 1 - p and 1 - alpha
    where it is 0; each output is a yes-or-no question, targets 0 and 1, `(batch, n_out)`. `gamma`
    >= 0, `alpha` in [0, 1], or None to weigh both alike with 1. Raises `InputError` for others.

    >>> import numpy as np
    >>> value, delta = BinaryFocal()(np.asarray([[0.0, 4.0]]), np.asarray([[0, 1]]))
    >>> round(value.item(), 6), delta.round(4).tolist()
    (0.064983, [[0.1119, -0.0]])
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    targets: ClassVar[str] = "binary"
    term: ClassVar[Callable[..., Any]] = staticmethod(binary_focal)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(binary_focal_delta)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", _gamma(self, self.gamma))
        if self.alpha is not None:
            unit = "a number in [0, 1], or None"
            checked = number(self, "alpha", self.alpha, unit, lambda a: 0 <= a <= 1)
            object.__setattr__(self, "alpha", checked)

    def _constants(self, be: Backend) -> tuple[Any, ...]:
        yes, no = (1.0, 1.0) if self.alpha is None else (self.alpha, 1.0 - self.alpha)
        return yes, no, self.gamma
