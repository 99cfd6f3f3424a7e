"""What a loss is: the value to be minimised and its gradient for the network's raw output.

Element-wise parts are formulas, so that on a GPU the gradient is one fused kernel. `z` is the raw
output `(..., batch, n_out)`, `t` the target, `share` the factor with which an example counts:
`1 / batch` for a mean, or `w / sum(w)` with example weights `w`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

from .. import inputs
from ..backend import Array, Backend, owner
from ..errors import InputError


class Loss:
    """The base of all losses: frozen, called with the raw output and the target.

    `targets` says what the target is:

    - `"real"`: numbers, and `"count"`: numbers of at least 0, `(batch, target_width)`;
    - `"labels"`: integers `(batch,)` or soft rows in [0, 1] `(batch, n_out)`; `"classes"` and
      `"soft"`: the first or the second of these alone;
    - `"unit"`: numbers in [0, 1], and `"binary"`: 0 or 1, `(batch, n_out)`.

    >>> import numpy as np
    >>> import gpubp
    >>> value, delta = gpubp.SquaredError()(np.asarray([[0.549834]]), np.asarray([[1.0]]))
    >>> round(float(value), 6), delta.round(6).tolist()
    (0.101325, [[-0.450166]])
    """

    targets: ClassVar[str] = "real"
    is_mean: ClassVar[bool] = True

    @property
    def classifies(self) -> bool:
        """Whether the outputs stand for classes (`accuracy`) and not for numbers (`r2`)."""
        return self.targets not in ("real", "count")

    @property
    def one_column(self) -> bool:
        """Whether a target of one column will do for all outputs."""
        return False

    def check(self, width: int) -> None:
        """Raise `InputError` unless a network of output width `width` can be trained with this."""

    def target_width(self, width: int) -> int:
        """Return how many columns the target of a network of output width `width` has."""
        return width

    def __call__(self, y_hat: Array, t: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Return the loss `(...,)` and `delta = dL/dy_hat`, on the device of `y_hat`."""
        be = owner(y_hat)
        if y_hat.ndim < 2:
            raise InputError(f"y_hat has shape {tuple(y_hat.shape)}; expected (..., batch, n_out)")
        n, width = int(y_hat.shape[-2]), int(y_hat.shape[-1])
        self.check(width)
        with be.activate():
            t = self.read(be, t, width, n)
            w = inputs.weights(be, sample_weight, n)
            return self.value_and_delta(be, y_hat, t, w)

    def read(self, be: Backend, y: Any, width: int, n: int, name: str = "y") -> Array:
        """Return the target of `n` examples on the device; `InputError` unless it fits."""
        columns = self.target_width(width)
        return inputs.targets(be, y, self.targets, width, n, name, columns, self.one_column)

    def value_and_delta(
        self, be: Backend, z: Array, t: Array, w: Array | None, *, total: Any = None
    ) -> tuple[Array, Array]:
        """The same for a target and weights `(batch, 1)` that are on the device already.

        `total` is the `weight` of the whole batch that these examples are a part of: then values
        and deltas of the parts add up to those of the whole. None: they are all there is.

        >>> import numpy as np
        >>> import gpubp
        >>> be, loss = gpubp.select("cpu", "float64"), gpubp.MeanSquaredError()
        >>> z, t = np.asarray([[1.0], [2.0]]), np.zeros((2, 1))
        >>> whole, _ = loss.value_and_delta(be, z, t, None)
        >>> first, _ = loss.value_and_delta(be, z[:1], t[:1], None, total=2)
        >>> second, _ = loss.value_and_delta(be, z[1:], t[1:], None, total=2)
        >>> whole.item(), first.item(), second.item()
        (2.5, 0.5, 2.0)
        """
        share = self._share(be, z, t, w, total)
        per_example, delta = self._terms(be, z, t, share)
        return be.xp.sum(per_example * share, axis=-2, keepdims=True)[..., 0, 0], delta

    def weight(self, be: Backend, t: Array, w: Array | None) -> Any:
        """Return what these examples weigh together in a mean: a number or a device scalar."""
        each = self.example_weights(be, t, w)
        if each is None:
            return int(t.shape[-2])
        return be.xp.sum(each, axis=-2, keepdims=True)[..., 0, 0]

    def example_weights(self, be: Backend, t: Array, w: Array | None) -> Array | None:
        """Return what each example weighs in a mean, `(batch, 1)`; None where each weighs one."""
        return w

    def _share(self, be: Backend, z: Array, t: Array, w: Array | None, total: Any) -> Any:
        one_or_w = 1.0 if w is None else w
        if not self.is_mean:
            return one_or_w
        total = (self.weight(be, t, w) if total is None else total) * self._terms_per_example(z)
        if type(total) is int or isinstance(total, Real):  # the first is quicker
            number = float(total)  # one of NumPy's would make float64 of float32 arrays
            return one_or_w / (number if number > 0.0 else math.inf)
        return one_or_w / be.xp.where(total > 0.0, total, math.inf)  # no weight: nothing is said

    def _terms_per_example(self, z: Array) -> int:
        """How many terms an example brings into a mean: one for each output."""
        return int(z.shape[-1])

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        """Return the loss of each example `(..., batch, 1)` and delta, which has `share` in it."""
        raise TypeError(f"{type(self).__name__} does not say what it measures")

    def predicted(self, be: Backend, z: Array, columns: int | None = None) -> Array:
        """Return the numbers that raw outputs predict, `(..., batch, columns)`, for `r2`.

        `columns` is how many the target has, if that may differ.
        """
        return z

    def probabilities(self, be: Backend, z: Array) -> Array:
        """Return class probabilities for raw outputs; `InputError` where they are none."""
        if self.classifies:
            raise InputError(f"{type(self).__name__} has no probabilities: use predict_class, or "
                             "train with a cross-entropy")  # fmt: skip
        raise InputError(f"{type(self).__name__} is no classification loss: it has no classes")

    def classes(self, be: Backend, z: Array) -> Array:
        """Return the most probable class `(..., batch)`, or for two-valued outputs 0 or 1 each."""
        if self.targets in ("unit", "binary"):
            yes = be.xp.astype(z > 0, be.xp.int64)
            return yes[..., 0] if z.shape[-1] == 1 else yes
        if self.classifies:
            return be.xp.argmax(z, axis=-1)
        raise InputError(f"{type(self).__name__} is no classification loss: it has no classes")


class ElementWise(Loss):
    """A loss with one term for each output: two formulas, and the numbers that both take.

    `term(xp, z, t, *constants)` is the term and `term_delta(xp, z, t, *constants, share)` its
    derivative for z, times `share`.

    >>> import numpy as np
    >>> import gpubp
    >>> class Quartic(ElementWise):
    ...     term = staticmethod(lambda xp, z, t: (z - t) ** 4)
    ...     term_delta = staticmethod(lambda xp, z, t, share: 4.0 * (z - t) ** 3 * share)
    >>> value, delta = Quartic()(np.asarray([[2.0]]), np.asarray([[0.0]]))
    >>> value.item(), delta.tolist()
    (16.0, [[32.0]])
    """

    term: ClassVar[Callable[..., Any]]
    term_delta: ClassVar[Callable[..., Any]]

    def _constants(self, be: Backend) -> tuple[Any, ...]:
        """Numbers, or rows `(n_out,)` on the device."""
        return ()

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        constants = self._constants(be)
        terms = be.map(self.term, z, t, *constants)
        delta = be.map(self.term_delta, z, t, *constants, share)
        return be.xp.sum(terms, axis=-1, keepdims=True), delta
