"""How weights begin. Each draws on the host, in float64, from the generator it is handed.

Those that look at no fan stand in `gpubp.distributions`; the table here knows all.
`shape` is that of one parameter: `(n_in, n_out)` for a weight matrix, `(n,)` for a vector, whose
fan in and fan out are both `n`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .activations import ACTIVATIONS
from .distributions import Constant, Initializer, Normal, Orthogonal, Shape, TruncatedNormal
from .errors import named

__all__ = [
    "INITIALIZERS",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "LeCunUniform",
    "Normal",
    "Orthogonal",
    "TruncatedNormal",
    "fans",
    "gain",
]


def fans(shape: Shape) -> tuple[int, int]:
    """Return fan in and fan out; those of a single number are 1.

    >>> fans((3, 5)), fans(())
    ((3, 5), (1, 1))
    """
    return (shape[0], shape[-1]) if shape else (1, 1)


def gain(activation: str) -> float:
    """Return the gain that suits weights before an activation, by name: torch's where it has one.

    For Glorot's, LeCun's and orthogonal weights. He's have that of a rectifier in them already.
    Raises `InputError` for an unknown name.

    >>> round(gain("tanh"), 4), GlorotUniform(gain=gain("relu"))
    (1.6667, GlorotUniform(gain=1.4142135623730951))
    """
    return named("activation", activation, ACTIVATIONS).gain


def _glorot_variance(shape: Shape, gain: float) -> float:
    n_in, n_out = fans(shape)
    return gain * gain * 2.0 / (n_in + n_out)


def _he_variance(shape: Shape, gain: float) -> float:
    return gain * gain * 2.0 / fans(shape)[0]


def _lecun_variance(shape: Shape, gain: float) -> float:
    return gain * gain / fans(shape)[0]


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
class LeCunUniform(Initializer):
    """Uniform with variance `gain^2 / n_in` (LeCun, Bottou, Orr and Mueller, 1998).

    >>> import numpy as np
    >>> w = LeCunUniform()(np.random.default_rng(0), (300, 10))
    >>> bool(abs(w).max() <= 0.1)
    True
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _uniform(rng, shape, _lecun_variance(shape, self.gain))


@dataclass(frozen=True)
class LeCunNormal(Initializer):
    """Normal with variance `gain^2 / n_in` (LeCun et al., 1998; Klambauer et al., 2017).

    >>> import numpy as np
    >>> float(LeCunNormal()(np.random.default_rng(0), (100, 900)).std().round(2))
    0.1
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return _normal(rng, shape, _lecun_variance(shape, self.gain))


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": GlorotUniform(),
    "glorot_normal": GlorotNormal(),
    "he_uniform": HeUniform(),
    "he_normal": HeNormal(),
    "lecun_uniform": LeCunUniform(),
    "lecun_normal": LeCunNormal(),
    "normal": Normal(),
    "truncated_normal": TruncatedNormal(),
    "orthogonal": Orthogonal(),
    "zeros": Constant(0.0),
    "ones": Constant(1.0),
}
