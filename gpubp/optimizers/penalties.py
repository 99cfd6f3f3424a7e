"""Penalties on large weights, added to what is minimised, and a bound on their norm.

The loss that training reports is that of the data; a penalty enters through its gradient. By
default penalties are for weights: biases, gains, shifts and slopes are left out (Goodfellow,
Bengio, Courville, "Deep Learning", 2016, section 7.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..activations import Array, Namespace
from ..backend import Backend
from ..errors import InputError, real
from ..groups import On, chosen, names, spread
from ..storage import Layout
from .norms import norm


@dataclass(frozen=True)
class Penalty:
    """The base: `l1` sum |w| + `l2` / 2 sum w^2 over the parameters that `on` names.

    >>> L1(0.5).l1, L2(0.1).l2, L2(0.1, on=("0", "*.b")).on
    (0.5, 0.1, ('0', '*.b'))
    """

    strength: float
    on: On = "weights"

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name, value in dict(vars(self)).items():
            if name == "on":
                continue
            if not 0 <= real(value) < math.inf:
                raise InputError(f"{kind}: {name} is {value!r}; expected a finite number >= 0")
            object.__setattr__(self, name, real(value))
        given = names(kind, self.on)
        object.__setattr__(self, "on", self.on if isinstance(self.on, str) else given)

    @property
    def l1(self) -> float:
        """The factor of sum |w|."""
        return 0.0

    @property
    def l2(self) -> float:
        """The factor of 1/2 sum w^2."""
        return 0.0

    def value(self, be: Backend, layout: Layout, theta: Array) -> Array:
        """Return the penalty of flat parameters `(..., n)`, per member."""
        mask = spread(be, layout, dict.fromkeys(chosen(layout, type(self).__name__, self.on), 1.0))
        held = theta * mask
        total = self.l1 * be.xp.sum(be.xp.abs(held), axis=-1)
        return total + (0.5 * self.l2) * be.xp.sum(held * held, axis=-1)


class L1(Penalty):
    """strength * sum |w|: gradient strength * sign(w), which drives weights to zero.

    >>> L1(1e-4)
    L1(strength=0.0001, on='weights')
    """

    @property
    def l1(self) -> float:
        return self.strength


class L2(Penalty):
    """strength / 2 * sum w^2: gradient strength * w, as `weight_decay` of torch.optim.SGD and Adam.

    >>> L2(1e-4, on="all")
    L2(strength=0.0001, on='all')
    """

    @property
    def l2(self) -> float:
        return self.strength


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """strength * (l1_ratio sum |w| + (1 - l1_ratio) / 2 sum w^2) (Zou and Hastie, 2005).

    >>> net = ElasticNet(0.1, l1_ratio=0.25)
    >>> net.l1, round(net.l2, 3)
    (0.025, 0.075)
    """

    l1_ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l1_ratio > 1:
            raise InputError(f"ElasticNet: l1_ratio is {self.l1_ratio!r}; expected it in [0, 1]")

    @property
    def l1(self) -> float:
        return self.strength * self.l1_ratio

    @property
    def l2(self) -> float:
        return self.strength * (1.0 - self.l1_ratio)


def penalised(xp: Namespace, g: Array, w: Array, l1: Array, l2: Array) -> Array:
    sign = xp.astype(w > 0, w.dtype) - xp.astype(w < 0, w.dtype)
    return g + l1 * sign + l2 * w


def shrunk(xp: Namespace, g: Array, w: Array, l2: Array) -> Array:
    return g + l2 * w


def coefficients(
    be: Backend, layout: Layout, penalties: Sequence[Penalty], frozen: Sequence[str] = ()
) -> tuple[Array | None, Array]:
    """Return the factors of |w| and of 1/2 w^2 for each element; None where no |w| counts.

    They are 0 for frozen parameters, whose gradient is not set to zero before each step.
    """
    ones: dict[str, float] = {}
    twos: dict[str, float] = {}
    for penalty in penalties:
        for path in chosen(layout, type(penalty).__name__, penalty.on):
            if path in frozen:
                continue
            ones[path] = ones.get(path, 0.0) + penalty.l1
            twos[path] = twos.get(path, 0.0) + penalty.l2
    l1 = spread(be, layout, ones) if any(ones.values()) else None
    return l1, spread(be, layout, twos)


@dataclass(frozen=True)
class MaxNorm:
    """After each update, the weights into each unit are scaled back to a norm of `limit` at most.

    The norm is that of a column of W `(n_in, n_out)` (Srivastava et al., 2014, section 5.1); `on`
    names the parameters, of which those that are no matrix are left alone.

    >>> MaxNorm(3.0)
    MaxNorm(limit=3.0, on='weights')
    """

    limit: float
    on: On = "weights"

    def __post_init__(self) -> None:
        if not 0 < real(self.limit) < math.inf:
            raise InputError(f"MaxNorm: limit is {self.limit!r}; expected a finite number > 0")
        object.__setattr__(self, "limit", real(self.limit))
        given = names("MaxNorm", self.on)
        object.__setattr__(self, "on", self.on if isinstance(self.on, str) else given)

    def paths(self, layout: Layout) -> list[str]:
        """The matrices that it is for."""
        named = chosen(layout, "MaxNorm", self.on)
        return [path for path in named if len(layout.places[path].param.shape) > 1]

    def project(
        self, be: Backend, layout: Layout, theta: Array, ok: Any = True, frozen: Sequence[str] = ()
    ) -> None:
        """Scale back, in place, what is too large; of members for which `ok` `(..., 1)` is true."""
        xp = be.xp
        for path in self.paths(layout):
            if path in frozen:
                continue
            w = layout.view(be, theta, path)
            scaled = w * be.map(_within, *norm(xp, w, axis=-2), self.limit)
            be.write(w, scaled if ok is True else xp.where(ok[..., None], scaled, w))


def _within(xp: Namespace, largest: Array, ratio: Array, limit: Any) -> Array:
    # 1 where the norm, largest ratio, is within the limit, so that such weights keep their bits
    return xp.minimum(limit / largest / ratio, 1.0)
