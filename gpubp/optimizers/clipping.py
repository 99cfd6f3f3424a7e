"""Limits on the gradient, against explosion: applied to the whole gradient before the update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..activations import Array, Namespace
from ..backend import Backend
from ..errors import InputError, real
from ..groups import On, chosen, names
from ..storage import Layout
from .norms import norm


@dataclass(frozen=True)
class Clip:
    """The base: called with the flat parameters and gradients `(..., n)`, it changes the latter.

    Each member of an ensemble is clipped by its own norms.

    >>> import gpubp
    >>> adam = gpubp.Adam(1e-3, clip=gpubp.ClipGlobalNorm(1.0))
    >>> adam.clip
    ClipGlobalNorm(limit=1.0)
    """

    limit: float

    def __post_init__(self) -> None:
        for name, value in dict(vars(self)).items():
            if name == "on":
                continue
            number = real(value)
            if not 0 < number < math.inf:
                kind = type(self).__name__
                raise InputError(f"{kind}: {name} is {value!r}; expected a finite number > 0")
            object.__setattr__(self, name, number)

    def paths(self, layout: Layout) -> list[str]:
        """The parameters that it is for; `InputError` for a name that none has."""
        return list(layout.places)

    def __call__(self, be: Backend, layout: Layout, theta: Array, grad: Array) -> None:
        raise TypeError(f"{type(self).__name__} does not say how to clip")


def clamped(xp: Namespace, g: Array, limit: Any) -> Array:
    return xp.minimum(xp.maximum(g, -limit), limit)


class ClipValue(Clip):
    """g <- min(max(g, -limit), limit), element by element.

    >>> ClipValue(0.5)
    ClipValue(limit=0.5)
    """

    def __call__(self, be: Backend, layout: Layout, theta: Array, grad: Array) -> None:
        be.write(grad, be.map(clamped, grad, self.limit))


def scale_to(xp: Namespace, largest: Array, ratio: Array, limit: Any) -> Array:
    # limit / (norm + 1e-6), with torch's 1e-6, for norm = largest ratio, which may be too large
    scale = xp.minimum(limit / largest / (ratio + 1e-6 / largest), 1.0)
    # A gradient that is not finite is left as it is: the step is refused for it, and the gaps
    # between the arrays, which nobody writes again, stay zero.
    return xp.where(scale == scale, scale, 1.0)


class ClipGlobalNorm(Clip):
    """g <- g min(1, limit / ||g||), the norm over all parameters (Pascanu et al., 2013).

    A norm whose square is beyond the network's dtype is found all the same.

    >>> ClipGlobalNorm(1.0).limit
    1.0
    """

    def __call__(self, be: Backend, layout: Layout, theta: Array, grad: Array) -> None:
        largest, ratio = norm(be.xp, grad, axis=-1)
        be.write(grad, grad * be.map(scale_to, largest, ratio, self.limit))


class ClipNorm(Clip):
    """g <- g min(1, limit / ||g||) for each parameter array by itself.

    >>> ClipNorm(1.0).limit
    1.0
    """

    def __call__(self, be: Backend, layout: Layout, theta: Array, grad: Array) -> None:
        clip = ClipGlobalNorm(self.limit)
        for place in layout.places.values():
            clip(be, layout, theta, grad[..., place.start : place.stop])


def unit_scale(
    xp: Namespace, w_largest: Array, w_ratio: Array, g_largest: Array, g_ratio: Array,
    limit: Any, eps: Any,
) -> Array:  # fmt: skip
    most = limit * xp.maximum(w_largest * w_ratio, eps)
    # most / max(||g||, 1e-6)
    return xp.minimum(most / g_largest / xp.maximum(g_ratio, 1e-6 / g_largest), 1.0)


@dataclass(frozen=True)
class AdaptiveClip(Clip):
    """g_j <- g_j min(1, limit max(||w_j||, eps) / ||g_j||) for the weights w_j into unit j.

    The units of a matrix are its columns; a vector is one unit (Brock et al., 2021). `on` names
    the parameters: the authors leave out the output layer.

    >>> AdaptiveClip(0.01, on=("0", "2")).eps
    0.001
    """

    limit: float = 0.01
    eps: float = 1e-3
    on: On = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = names("AdaptiveClip", self.on)
        object.__setattr__(self, "on", self.on if isinstance(self.on, str) else given)

    def paths(self, layout: Layout) -> list[str]:
        return chosen(layout, "AdaptiveClip", self.on)

    def __call__(self, be: Backend, layout: Layout, theta: Array, grad: Array) -> None:
        for path in self.paths(layout):
            w, g = layout.row(be, theta, path), layout.row(be, grad, path)
            axis = -2 if len(layout.places[path].param.shape) > 1 else -1
            of_g = norm(be.xp, g, axis)  # first: a recorded gradient may begin a new phase
            scale = be.map(unit_scale, *norm(be.xp, w, axis), *of_g, self.limit, self.eps)
            be.write(g, g * scale)
