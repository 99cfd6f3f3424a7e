"""Cross-entropy and divergence of one class among several, on raw outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .. import inputs
from ..backend import Array, Backend
from ..errors import InputError
from .arguments import constant, one_for_each, several, smoothing
from .base import Loss

# softmax(z) = exp(z - m) / total, with m the largest of a row and total the sum of exp(z - m), and
# log softmax(z) = (z - m) - log(total). Adding m to the logarithm first would lose its digits where
# m is large.


def softmax(xp: Any, z: Array, m: Array, total: Array) -> Array:
    return xp.exp(z - m) / total


def label_terms(xp: Any, z: Array, m: Array, log_sum: Array, t: Array, j: Array) -> Array:
    return xp.where(j == t, log_sum - (z - m), 0.0)


def label_delta(xp: Any, z: Array, m: Array, total: Array, t: Array, j: Array, share: Any) -> Array:
    return (softmax(xp, z, m, total) - xp.astype(j == t, z.dtype)) * share


def soft_terms(xp: Any, z: Array, m: Array, log_sum: Array, t: Array) -> Array:
    return t * (log_sum - (z - m))


def soft_delta(
    xp: Any, z: Array, m: Array, total: Array, t: Array, mass: Array, share: Any
) -> Array:
    return (mass * softmax(xp, z, m, total) - t) * share


def shifted_exp(xp: Any, z: Array, m: Array) -> Array:
    return xp.exp(z - m)


def at_label(xp: Any, z: Array, t: Array, j: Array) -> Array:
    """The element of the labelled class, and 0 elsewhere."""
    return xp.where(j == t, z, 0.0)


def weighted_labels(xp: Any, c: Array, t: Array, j: Array, keep: Any, spread: Any) -> Array:
    return c * (keep * xp.astype(j == t, c.dtype) + spread)


def weighted_rows(xp: Any, c: Array, t: Array, keep: Any, spread: Any) -> Array:
    return c * (keep * t + spread)


def more_than_one(loss: Loss, width: int) -> None:
    """Raise `InputError` for a network without an output for each of two classes or more."""
    if width < 2:
        raise InputError(
            f"{type(loss).__name__}: the network has one output; give it one for each class, or "
            "use a loss for yes or no such as binary_cross_entropy"
        )


class Softmax(Loss):
    """A loss whose outputs are logits of classes: of a softmax, one term for each example."""

    def _terms_per_example(self, z: Array) -> int:
        return 1

    def probabilities(self, be: Backend, z: Array) -> Array:
        return be.map(softmax, z, *row_statistics(be, z))


def row_statistics(be: Backend, z: Array) -> tuple[Array, Array]:
    m = be.xp.max(z, axis=-1, keepdims=True)
    return m, be.xp.sum(be.map(shifted_exp, z, m), axis=-1, keepdims=True)


@dataclass(frozen=True)
class CrossEntropy(Softmax):
    """L = mean of -log softmax(z)[y], for integer labels `(batch,)` or soft rows `(batch, n_out)`.

    Soft rows need not sum to one; the gradient is exact for any. Stable for any finite `z`.

    `label_smoothing` e in [0, 1) makes of a target t the row (1 - e) t + e / n_out (Szegedy et
    al., 2016). `class_weight` has a number of at least 0 for each class, by which its term is
    multiplied; for labels the mean is sum(w c_y l) / sum(w c_y), for soft rows sum(w l) / sum(w).
    Both as in torch. Raises `InputError` for other numbers, and where a network has not as many
    outputs as there are class weights.

    >>> import numpy as np
    >>> value, delta = CrossEntropy()(np.asarray([[0.0, 0.0]]), np.asarray([1]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[0.5, -0.5]])
    >>> z, y = np.asarray([[0.0, 0.0], [2.0, 0.0]]), np.asarray([0, 1])
    >>> CrossEntropy(class_weight=(1, 3), label_smoothing=0.1)(z, y)[1].round(3).tolist()
    [[-0.1, 0.1], [0.626, -0.626]]
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None

    targets: ClassVar[str] = "labels"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", smoothing(self, self.label_smoothing))
        if self.class_weight is None:
            return
        least = "finite numbers of at least 0, one for each class"
        weights = several(self, "class_weight", self.class_weight, least, lambda c: c >= 0)
        if not any(weights):
            raise InputError(
                "CrossEntropy: class_weight is zero for every class; give one a weight"
            )
        object.__setattr__(self, "class_weight", weights)

    def check(self, width: int) -> None:
        one_for_each(self, "class_weight", self.class_weight, width)

    def example_weights(self, be: Backend, t: Array, w: Array | None) -> Array | None:
        if self.class_weight is None or not inputs.is_labels(be, t):
            return w
        j = be.arange(len(self.class_weight), "int64")
        of_label = be.map(at_label, constant(be, self.class_weight), t, j)
        each = be.xp.sum(of_label, axis=-1, keepdims=True)
        return each if w is None else each * w

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        xp = be.xp
        m, total = row_statistics(be, z)
        log_sum = xp.log(total)
        plain = self.class_weight is None and self.label_smoothing == 0.0
        if plain and inputs.is_labels(be, t):
            j = be.arange(z.shape[-1], "int64")
            terms = be.map(label_terms, z, m, log_sum, t, j)
            delta = be.map(label_delta, z, m, total, t, j, share)
        else:
            rows = t if plain else self._rows(be, t, int(z.shape[-1]))
            mass = xp.sum(rows, axis=-1, keepdims=True)
            terms = be.map(soft_terms, z, m, log_sum, rows)
            delta = be.map(soft_delta, z, m, total, rows, mass, share)
        return xp.sum(terms, axis=-1, keepdims=True), delta

    def _rows(self, be: Backend, t: Array, n: int) -> Array:
        """The target as rows in which smoothing and class weights are."""
        c = constant(be, self.class_weight or (1.0,) * n)
        keep, spread = 1.0 - self.label_smoothing, self.label_smoothing / n
        if inputs.is_labels(be, t):
            return be.map(weighted_labels, c, t, be.arange(n, "int64"), keep, spread)
        return be.map(weighted_rows, c, t, keep, spread)


def divergence(xp: Any, z: Array, m: Array, log_sum: Array, t: Array) -> Array:
    return t * (xp.log(xp.maximum(t, 1e-37)) + log_sum - (z - m))  # 0 log 0 = 0


@dataclass(frozen=True)
class KLDivergence(Softmax):
    """L = mean of sum_k t_k (log t_k - log softmax(z)_k) over the batch, 0 log 0 = 0.

    The divergence of the predicted from the target distribution (Kullback and Leibler, 1951), for
    soft rows `(batch, n_out)`; as torch's `KLDivLoss(reduction="batchmean")` on log softmax. The
    gradient is that of the cross-entropy, the value is 0 where the two are equal.

    >>> import numpy as np
    >>> value, delta = KLDivergence()(np.asarray([[0.0, 0.0]]), np.asarray([[0.0, 1.0]]))
    >>> round(value.item(), 6), delta.tolist()
    (0.693147, [[0.5, -0.5]])
    """

    targets: ClassVar[str] = "soft"

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        m, total = row_statistics(be, z)
        mass = be.xp.sum(t, axis=-1, keepdims=True)
        terms = be.map(divergence, z, m, be.xp.log(total), t)
        delta = be.map(soft_delta, z, m, total, t, mass, share)
        return be.xp.sum(terms, axis=-1, keepdims=True), delta
