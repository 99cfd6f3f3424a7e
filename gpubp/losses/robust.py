"""Losses that grow no faster than the error itself: an outlier pulls with a bounded force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backend import Array, Backend
from .arguments import Numbers, constant, is_several, number, one_for_each, several
from .base import ElementWise

# e = z - t, the error of an output.


def sign(xp: Any, e: Array) -> Array:
    """-1, 0 or 1; unlike a comparison it keeps a NaN. 1e-37 is a normal number in float32."""
    return e / xp.maximum(xp.abs(e), 1e-37)


def absolute(xp: Any, z: Array, t: Array) -> Array:
    return xp.abs(z - t)


def absolute_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return sign(xp, z - t) * share


@dataclass(frozen=True)
class AbsoluteError(ElementWise):
    """L = mean of |z - t| over outputs and batch; the network learns the median.

    Where z = t the gradient is taken as 0.

    >>> import numpy as np
    >>> value, delta = AbsoluteError()(np.asarray([[1.0, -2.0]]), np.asarray([[0.0, 0.0]]))
    >>> value.item(), delta.tolist()
    (1.5, [[0.5, -0.5]])
    """

    term: ClassVar[Callable[..., Any]] = staticmethod(absolute)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(absolute_delta)


def clipped(xp: Any, e: Array, limit: Any) -> Array:
    return xp.minimum(xp.maximum(e, -limit), limit)


def huber(xp: Any, z: Array, t: Array, limit: Any) -> Array:
    e = z - t
    c = clipped(xp, e, limit)
    return c * (e - 0.5 * c)


def huber_delta(xp: Any, z: Array, t: Array, limit: Any, share: Any) -> Array:
    return clipped(xp, z - t, limit) * share


@dataclass(frozen=True)
class Huber(ElementWise):
    """L = mean of e^2 / 2 where |e| <= delta, otherwise delta (|e| - delta / 2), e = z - t.

    From Huber (1964), as in torch. `delta` is in the units of the target: larger errors count as
    those of the absolute error do. Raises `InputError` unless it is a finite number above 0.

    >>> import numpy as np
    >>> Huber(delta=1.0)(np.asarray([[0.5, 3.0]]), np.asarray([[0.0, 0.0]]))[0].item()
    1.3125
    """

    delta: float = 1.0

    term: ClassVar[Callable[..., Any]] = staticmethod(huber)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(huber_delta)

    def __post_init__(self) -> None:
        checked = number(self, "delta", self.delta, "a finite number above 0", lambda d: d > 0)
        object.__setattr__(self, "delta", checked)

    def _constants(self, be: Backend) -> tuple[Any, ...]:
        return (self.delta,)


def log_cosh(xp: Any, z: Array, t: Array) -> Array:
    # cosh(a) = 1 + (1 - y)^2 / (2 y) with y = exp(-a): no digits are lost where a is small. From
    # a = 40 on log(cosh(a)) is a - log(2) to the last digit, and grows as a does.
    a = xp.abs(z - t)
    near = xp.minimum(a, 40.0)
    y = xp.exp(-near)
    return xp.log1p(0.5 * (1.0 - y) * (1.0 - y) / y) + (a - near)


def log_cosh_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return xp.tanh(z - t) * share


@dataclass(frozen=True)
class LogCosh(ElementWise):
    """L = mean of log(cosh(z - t)) over outputs and batch: e^2 / 2 near 0, |e| - log 2 far out.

    >>> import numpy as np
    >>> value, _ = LogCosh()(np.asarray([[1e-4], [1e4]]), np.asarray([[0.0], [0.0]]))
    >>> round(value.item(), 6)
    4999.653426
    """

    term: ClassVar[Callable[..., Any]] = staticmethod(log_cosh)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(log_cosh_delta)


def pinball(xp: Any, z: Array, t: Array, q: Any) -> Array:
    e = z - t
    return xp.maximum((1.0 - q) * e, -q * e)


def pinball_delta(xp: Any, z: Array, t: Array, q: Any, share: Any) -> Array:
    s = sign(xp, z - t)
    return (0.5 * s + (0.5 - q) * xp.abs(s)) * share


@dataclass(frozen=True)
class Quantile(ElementWise):
    """L = mean of max(q (t - z), (q - 1) (t - z)): the network learns the q-quantile.

    The pinball loss (Koenker and Bassett, 1978). `q` is one number in (0, 1) for all outputs, or
    one for each; a target of one column then counts for every output, so that a network of three
    outputs learns three quantiles of one number. `r2` is that of the output whose q is nearest
    to 1/2. Where z = t the gradient is taken as 0. Raises `InputError` for another q, or where
    their number is not that of the outputs.

    >>> import numpy as np
    >>> loss = Quantile((0.1, 0.5, 0.9))
    >>> value, delta = loss(np.asarray([[1.0, 2.0, 3.0]]), np.asarray([4.0]))
    >>> round(value.item(), 6), (3 * delta).round(6).tolist()
    (0.733333, [[-0.1, -0.5, -0.9]])
    """

    q: Numbers = 0.5

    term: ClassVar[Callable[..., Any]] = staticmethod(pinball)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(pinball_delta)

    def __post_init__(self) -> None:
        check: Any = several if is_several(self.q) else number
        checked = check(self, "q", self.q, "a number in (0, 1)", lambda q: 0 < q < 1)
        object.__setattr__(self, "q", checked)

    @property
    def one_column(self) -> bool:
        return isinstance(self.q, tuple)

    def check(self, width: int) -> None:
        one_for_each(self, "q", self.q, width)

    def predicted(self, be: Backend, z: Array, columns: int | None = None) -> Array:
        if not isinstance(self.q, tuple) or columns == z.shape[-1]:
            return z
        nearest = min(range(len(self.q)), key=[abs(q - 0.5) for q in self.q].__getitem__)
        return z[..., nearest : nearest + 1]

    def _constants(self, be: Backend) -> tuple[Any, ...]:
        return (constant(be, self.q),)
