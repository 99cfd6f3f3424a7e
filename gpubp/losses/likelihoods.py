"""Negative log-likelihoods of distributions whose parameters the network puts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backend import Array, Backend
from ..errors import InputError
from .base import ElementWise, Loss

_TOP = 50.0  # exp(50) = 5e21: times an error of 1e4 squared it still is a float32


def slope(xp: Any, x: Array) -> Array:
    return xp.exp(xp.minimum(x, _TOP))


def exponential(xp: Any, x: Array) -> Array:
    """exp(x), which beyond x = 50 goes on as its tangent."""
    return slope(xp, x) * (1.0 + xp.maximum(x - _TOP, 0.0))


def poisson(xp: Any, z: Array, t: Array) -> Array:
    return exponential(xp, z) - t * z


def poisson_delta(xp: Any, z: Array, t: Array, share: Any) -> Array:
    return (slope(xp, z) - t) * share


@dataclass(frozen=True)
class Poisson(ElementWise):
    """L = mean of exp(z) - t z over outputs and batch: z is the logarithm of the expected count.

    As torch's `PoissonNLLLoss(log_input=True, full=False)`, without the log(t!) that does not
    depend on z; t >= 0, `(batch, n_out)`. `r2` is that of exp(z), which is also what to make of
    `predict`. Beyond z = 50 the exponential goes on as its tangent, so that float32 is enough.

    >>> import numpy as np
    >>> value, delta = Poisson()(np.asarray([[0.0]]), np.asarray([[3.0]]))
    >>> value.item(), delta.tolist()
    (1.0, [[-2.0]])
    """

    targets: ClassVar[str] = "count"
    term: ClassVar[Callable[..., Any]] = staticmethod(poisson)
    term_delta: ClassVar[Callable[..., Any]] = staticmethod(poisson_delta)

    def predicted(self, be: Backend, z: Array, columns: int | None = None) -> Array:
        return be.map(exponential, z)


def gaussian(xp: Any, mu: Array, s: Array, t: Array) -> Array:
    e = mu - t
    return 0.5 * (s + e * e * exponential(xp, -s))


def mean_delta(xp: Any, mu: Array, s: Array, t: Array, share: Any) -> Array:
    return (mu - t) * exponential(xp, -s) * share


def log_variance_delta(xp: Any, mu: Array, s: Array, t: Array, share: Any) -> Array:
    e = mu - t
    return 0.5 * (1.0 - e * e * slope(xp, -s)) * share


@dataclass(frozen=True)
class GaussianNLL(Loss):
    """L = mean of (s + (mu - t)^2 exp(-s)) / 2: a mean mu and a log-variance s for each target.

    The output is `(batch, 2 m)`, m means and then m log-variances; the target `(batch, m)`. As
    torch's `GaussianNLLLoss` with `var = exp(s)` (Nix and Weigend, 1994), without the constant
    log(2 pi) / 2. `r2` is that of the means. In place of torch's least variance of 1e-6, exp(-s)
    goes on as its tangent below s = -50. Taking the output apart, it is no loss that could be
    traced. Raises `InputError` for a network of odd output width.

    >>> import numpy as np
    >>> value, delta = GaussianNLL()(np.asarray([[3.0, 0.0]]), np.asarray([[1.0]]))
    >>> value.item(), delta.tolist()
    (2.0, [[2.0, -1.5]])
    """

    def check(self, width: int) -> None:
        if width % 2:
            raise InputError(
                f"GaussianNLL: the network has {width} outputs; expected an even number, a mean "
                "and a log-variance for each target"
            )

    def target_width(self, width: int) -> int:
        return width // 2

    def predicted(self, be: Backend, z: Array, columns: int | None = None) -> Array:
        return z[..., : z.shape[-1] // 2]

    def _terms_per_example(self, z: Array) -> int:
        return int(z.shape[-1]) // 2

    def _terms(self, be: Backend, z: Array, t: Array, share: Any) -> tuple[Array, Array]:
        m = z.shape[-1] // 2
        mu, s = z[..., :m], z[..., m:]
        terms = be.map(gaussian, mu, s, t)
        deltas = [be.map(formula, mu, s, t, share) for formula in (mean_delta, log_variance_delta)]
        return be.xp.sum(terms, axis=-1, keepdims=True), be.concat(deltas)
