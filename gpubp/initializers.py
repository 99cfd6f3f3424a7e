"""How weights begin. Each draws on the host, in float64, from the generator it is handed.

`shape` is that of one parameter: `(n_in, n_out)` for a weight matrix, `(n,)` for a vector, whose
fan in and fan out are both `n`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .errors import InputError

Shape = tuple[int, ...]


class Initializer:
    """A frozen description of a distribution; `init(rng, shape)` draws a float64 array.

    >>> import numpy as np
    >>> Constant(0.5)(np.random.default_rng(0), (2,)).tolist()
    [0.5, 0.5]
    """

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Real) or not math.isfinite(value):
                kind = type(self).__name__
                raise InputError(f"{kind}: {name} is {value!r}; expected a finite number")

    def __call__(self, rng: Any, shape: Shape) -> Any:
        raise TypeError(f"{type(self).__name__} does not say how to draw")


def fans(shape: Shape) -> tuple[int, int]:
    """Return fan in and fan out.

    >>> fans((3, 5))
    (3, 5)
    """
    return shape[0], shape[-1]


def _glorot_variance(shape: Shape, gain: float) -> float:
    n_in, n_out = fans(shape)
    return gain * gain * 2.0 / (n_in + n_out)


def _he_variance(shape: Shape, gain: float) -> float:
    return gain * gain * 2.0 / fans(shape)[0]


def _uniform(rng: Any, shape: Shape, variance: float) -> Any:
    bound = math.sqrt(3.0 * variance)
    return rng.uniform(-bound, bound, shape)


def _normal(rng: Any, shape: Shape, variance: float) -> Any:
    return rng.normal(0.0, math.sqrt(variance), shape)


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """Uniform with variance `gain^2 * 2 / (n_in + n_out)` (Glorot and Bengio, 2010).

    >>> import numpy as np
    >>> w = GlorotUniform()(np.random.default_rng(0), (300, 300))
    >>> bool(abs(w).max() <= 0.1)
    True
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _uniform(rng, shape, _glorot_variance(shape, self.gain))


@dataclass(frozen=True)
class GlorotNormal(Initializer):
    """Normal with variance `gain^2 * 2 / (n_in + n_out)` (Glorot and Bengio, 2010).

    >>> import numpy as np
    >>> float(GlorotNormal()(np.random.default_rng(0), (300, 300)).std().round(3))
    0.058
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _normal(rng, shape, _glorot_variance(shape, self.gain))


@dataclass(frozen=True)
class HeUniform(Initializer):
    """Uniform with variance `gain^2 * 2 / n_in` (He et al., 2015).

    >>> import numpy as np
    >>> w = HeUniform()(np.random.default_rng(0), (600, 10))
    >>> bool(abs(w).max() <= 0.1)
    True
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _uniform(rng, shape, _he_variance(shape, self.gain))


@dataclass(frozen=True)
class HeNormal(Initializer):
    """Normal with variance `gain^2 * 2 / n_in` (He et al., 2015).

    >>> import numpy as np
    >>> float(HeNormal()(np.random.default_rng(0), (200, 500)).std().round(2))
    0.1
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _normal(rng, shape, _he_variance(shape, self.gain))


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with mean 0 and standard deviation `std`.

    >>> import numpy as np
    >>> Normal(0.01)(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """

    std: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _normal(rng, shape, self.std * self.std)


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element is `value`.

    >>> import numpy as np
    >>> Constant(1.0)(np.random.default_rng(0), (3,)).tolist()
    [1.0, 1.0, 1.0]
    """

    value: float

    def __call__(self, rng: Any, shape: Shape) -> Any:
        drawn = rng.uniform(0.0, 1.0, shape)  # an array of the host's kind, without naming it
        drawn[...] = self.value
        return drawn


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": GlorotUniform(),
    "glorot_normal": GlorotNormal(),
    "he_uniform": HeUniform(),
    "he_normal": HeNormal(),
    "normal": Normal(),
    "zeros": Constant(0.0),
    "ones": Constant(1.0),
}
