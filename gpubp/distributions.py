"""How parameters begin: the base of all initialisers, and those that look at no fan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError, real

Shape = tuple[int, ...]


class Initializer:
    """A frozen description of a distribution; `init(rng, shape)` draws a float64 array.

    >>> import numpy as np
    >>> Constant(0.5)(np.random.default_rng(0), (2,)).tolist()
    [0.5, 0.5]
    """

    def __post_init__(self) -> None:
        for name, value in dict(vars(self)).items():
            number = real(value)
            if not math.isfinite(number) or (name == "std" and number < 0):
                kind = type(self).__name__
                least = " of at least 0" if name == "std" else ""
                raise InputError(f"{kind}: {name} is {value!r}; expected a finite number{least}")
            object.__setattr__(self, name, number)

    def __call__(self, rng: Any, shape: Shape) -> Any:
        raise TypeError(f"{type(self).__name__} does not say how to draw")


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


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with mean 0 and standard deviation `std`.

    >>> import numpy as np
    >>> Normal(0.01)(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """

    std: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        return rng.normal(0.0, abs(self.std), shape)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal with mean 0 and standard deviation `std`, drawn again where beyond 2 `std`.

    As in Keras and JAX, `std` is that of the normal before the cut; what is drawn has 0.8796 of it.

    >>> import numpy as np
    >>> w = TruncatedNormal(0.01)(np.random.default_rng(0), (200, 500))
    >>> bool(abs(w).max() <= 0.02), float(w.std().round(4))
    (True, 0.0088)
    """

    std: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        drawn = rng.normal(0.0, 1.0, shape)
        beyond = abs(drawn) > 2.0
        while beyond.any():
            drawn[beyond] = rng.normal(0.0, 1.0, int(beyond.sum()))
            beyond = abs(drawn) > 2.0
        return self.std * drawn


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """`gain` times a random matrix Q with Q^T Q = 1 (Saxe, McClelland and Ganguli, 2014).

    Uniform (Haar) among all such matrices: the QR decomposition of a normal matrix, with the signs
    that make the diagonal of R positive (Mezzadri, 2007). If `n_in < n_out`, Q Q^T = 1 instead; of
    more than two axes, all but the last are `n_in`. Raises `InputError` for a vector.

    >>> import numpy as np
    >>> q = Orthogonal()(np.random.default_rng(0), (5, 3))
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True
    """

    gain: float = 1.0

    def __call__(self, rng: Any, shape: Shape) -> Any:
        if len(shape) < 2:
            raise InputError(
                f"Orthogonal fills matrices, a parameter has shape {shape}; give a vector another "
                "initialiser, such as 'zeros'"
            )
        n_in, n_out = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.normal(0.0, 1.0, (max(n_in, n_out), min(n_in, n_out))))
        q = q * np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        return np.reshape(self.gain * (q if n_in >= n_out else q.T), shape)
