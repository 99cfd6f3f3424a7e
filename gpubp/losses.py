"""Losses: the value to be minimised and its gradient with respect to the network's raw output.

Element-wise parts are formulas, so that on a GPU the gradient is one fused kernel. `z` is the raw
output `(..., batch, n_out)`, `t` the target, `share` the factor with which an example counts:
`1 / batch` for a mean, or `w / sum(w)` with example weights `w`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from . import inputs
from .activations import sigmoid
from .backend import Array, Backend, owner
from .errors import InputError, named


class Loss:
    """The base of all losses: frozen, called with the raw output and the target.

    `targets` says what the target is: `"real"` `(batch, n_out)`, `"labels"` (integers `(batch,)`
    or soft rows `(batch, n_out)`) or `"unit"` (numbers in [0, 1], `(batch, n_out)`).

    >>> import numpy as np
    >>> value, delta = SquaredError()(np.asarray([[0.549834]]), np.asarray([[1.0]]))
    >>> round(float(value), 6), delta.round(6).tolist()
    (0.101325, [[-0.450166]])
    """

    targets: ClassVar[str] = "real"
    is_mean: ClassVar[bool] = True

    def __call__(self, y_hat: Array, t: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Return the loss `(...,)` and `delta = dL/dy_hat`, on the device of `y_hat`."""
        be = owner(y_hat)
        if y_hat.ndim < 2:
            raise InputError(f"y_hat has shape {tuple(y_hat.shape)}; expected (..., batch, n_out)")
        n = int(y_hat.shape[-2])
        with be.activate():
            t = inputs.targets(be, t, self.targets, int(y_hat.shape[-1]), n)
            w = inputs.weights(be, sample_weight, n)
            return self.value_and_delta(be, y_hat, t, w)

    def value_and_delta(
        self, be: Backend, z: Array, t: Array, w: Array | None
    ) -> tuple[Array, Array]:
        """The same for a target and weights `(batch, 1)` that are on the device already."""
        share = self._share(be, z, w)
        per_example, delta = self._terms(be, z, t, share)
        return be.xp.sum(per_example * share, axis=-2, keepdims=True)[..., 0, 0], delta

    def _share(self, be: Backend, z: Array, w: Array | None) -> Any:
        if not self.is_mean:
            return 1.0 if w is None else w
        per_row = self._outputs_per_example(z)
        if w is None:
            return 1.0 / (z.shape[-2] * per_row)
        total = be.xp.sum(w, axis=-2, keepdims=True) * float(per_row)
        return w / be.xp.where(total > 0.0, total, 1.0)  # a batch may have no weight at all

    def _outputs_per_example(self, z: Array) -> int:
        return int(z.shape[-1])

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        """Return the loss of each example `(..., batch, 1)` and delta, which has `share` in it."""
        raise TypeError(f"{type(self).__name__} does not say what it measures")

    def probabilities(self, be: Backend, z: Array) -> Array:
        """Return class probabilities for raw outputs; `InputError` for a regression loss."""
        raise InputError(f"{type(self).__name__} is no classification loss: it has no classes")

    def classes(self, be: Backend, z: Array) -> Array:
        """Return the most probable class `(..., batch)`, or for two-valued outputs 0 or 1 each."""
        raise InputError(f"{type(self).__name__} is no classification loss: it has no classes")


def half_square(xp: Any, z: Array, t: Array) -> Array:
    e = z - t
    return 0.5 * e * e


def half_square_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (z - t) * share


@dataclass(frozen=True)
class SquaredError(Loss):
    """L = 1/2 ||y - a||^2, summed over outputs and over the batch: the article's form.

    >>> import numpy as np
    >>> SquaredError()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    2.5
    """

    is_mean: ClassVar[bool] = False

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        per_example = be.xp.sum(be.map(half_square, z, t), axis=-1, keepdims=True)
        return per_example, be.map(half_square_delta, z, t, share)


def square(xp: Any, z: Array, t: Array) -> Array:
    e = z - t
    return e * e


def square_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (z - t) * (2.0 * share)


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """L = mean of (a - y)^2 over outputs and batch, as in torch and scikit-learn.

    >>> import numpy as np
    >>> MeanSquaredError()(np.asarray([[1.0, 2.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    2.5
    """

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        per_example = be.xp.sum(be.map(square, z, t), axis=-1, keepdims=True)
        return per_example, be.map(square_delta, z, t, share)


# log softmax(z) = (z - m) - log_sum, with m the largest of a row and log_sum the logarithm of the
# sum of exp(z - m). Adding m to log_sum first would lose its digits where m is large.


def softmax(xp: Any, z: Array, m: Array, log_sum: Array) -> Array:
    return xp.exp(z - m - log_sum)


def label_terms(xp: Any, z: Array, m: Array, log_sum: Array, t: Array, j: Array) -> Array:
    return xp.where(j == t, log_sum - (z - m), 0.0)


def label_delta(
    xp: Any, z: Array, m: Array, log_sum: Array, t: Array, j: Array, share: Any
) -> Array:
    return (softmax(xp, z, m, log_sum) - xp.astype(j == t, z.dtype)) * share


def soft_terms(xp: Any, z: Array, m: Array, log_sum: Array, t: Array) -> Array:
    return t * (log_sum - (z - m))


def soft_delta(
    xp: Any, z: Array, m: Array, log_sum: Array, t: Array, mass: Array, share: Any
) -> Array:
    return (mass * softmax(xp, z, m, log_sum) - t) * share


def shifted_exp(xp: Any, z: Array, m: Array) -> Array:
    return xp.exp(z - m)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """L = mean of -log softmax(z)[y], for integer labels `(batch,)` or soft rows `(batch, n_out)`.

    Soft rows need not sum to one; the gradient is exact for any. Stable for any finite `z`.

    >>> import numpy as np
    >>> value, delta = CrossEntropy()(np.asarray([[0.0, 0.0]]), np.asarray([1]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[0.5, -0.5]])
    """

    targets: ClassVar[str] = "labels"

    def _outputs_per_example(self, z: Array) -> int:
        return 1

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        xp = be.xp
        m, log_sum = _row_statistics(be, z)
        if inputs.is_labels(be, t):
            j = be.arange(z.shape[-1], "int64")
            terms = be.map(label_terms, z, m, log_sum, t, j)
            delta = be.map(label_delta, z, m, log_sum, t, j, share)
        else:
            mass = xp.sum(t, axis=-1, keepdims=True)
            terms = be.map(soft_terms, z, m, log_sum, t)
            delta = be.map(soft_delta, z, m, log_sum, t, mass, share)
        return xp.sum(terms, axis=-1, keepdims=True), delta

    def probabilities(self, be: Backend, z: Array) -> Array:
        return be.map(softmax, z, *_row_statistics(be, z))

    def classes(self, be: Backend, z: Array) -> Array:
        return be.xp.argmax(z, axis=-1)


def _row_statistics(be: Backend, z: Array) -> tuple[Array, Array]:
    m = be.xp.max(z, axis=-1, keepdims=True)
    return m, be.xp.log(be.xp.sum(be.map(shifted_exp, z, m), axis=-1, keepdims=True))


def logistic_terms(xp: Any, z: Array, t: Array) -> Array:
    return xp.maximum(z, 0.0) - z * t + xp.log1p(xp.exp(-xp.abs(z)))


def logistic_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (sigmoid(xp, z) - t) * share


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """L = mean over outputs and batch of -t log s(z) - (1 - t) log(1 - s(z)), s the sigmoid.

    Each output is a yes-or-no question of its own (multi-label); t in [0, 1], `(batch, n_out)`.

    >>> import numpy as np
    >>> value, delta = BinaryCrossEntropy()(np.asarray([[0.0]]), np.asarray([[1.0]]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[-0.5]])
    """

    targets: ClassVar[str] = "unit"

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        per_example = be.xp.sum(be.map(logistic_terms, z, t), axis=-1, keepdims=True)
        return per_example, be.map(logistic_delta, z, t, share)

    def probabilities(self, be: Backend, z: Array) -> Array:
        return be.map(sigmoid, z)

    def classes(self, be: Backend, z: Array) -> Array:
        yes = be.xp.astype(z > 0, be.xp.int64)
        return yes[..., 0] if z.shape[-1] == 1 else yes


LOSSES: dict[str, Loss] = {
    "squared_error": SquaredError(),
    "mean_squared_error": MeanSquaredError(),
    "cross_entropy": CrossEntropy(),
    "binary_cross_entropy": BinaryCrossEntropy(),
}


def loss(given: str | Loss) -> Loss:
    """Return the loss of that name, or the one given.

    >>> loss("cross_entropy")
    CrossEntropy()
    """
    if isinstance(given, Loss):
        return given
    return named("loss", given, LOSSES)
