"""What a loss is: the value to be minimised and its gradient for the network's raw output.

Element-wise parts are formulas, so that on a GPU the gradient is one fused kernel. `z` is the raw
output `(..., batch, n_out)`, `t` the target, `share` the factor with which an example counts:
`1 / batch` for a mean, or `w / sum(w)` with example weights `w`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import inputs
from ..backend import Array, Backend, owner
from ..errors import InputError


class Loss:
    """The base of all losses: frozen, called with the raw output and the target.

    `targets` says what the target is: `"real"` `(batch, n_out)`, `"labels"` (integers `(batch,)`
    or soft rows `(batch, n_out)`) or `"unit"` (numbers in [0, 1], `(batch, n_out)`).

    >>> import numpy as np
    >>> import gpubp
    >>> value, delta = gpubp.SquaredError()(np.asarray([[0.549834]]), np.asarray([[1.0]]))
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
