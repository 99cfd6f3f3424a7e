"""Normalisation of each feature over the examples of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Array, Backend
from ..errors import InputError
from ..initializers import Constant
from ..run import Run
from ..storage import Gradients, Param, Shape, Spec, Views
from .arguments import features, flag, number
from .base import Layer


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = gain (x - mean) / sqrt(variance + eps) + shift, feature by feature, `(batch, n)`.

    In training, mean and (biased) variance are those of the batch; in inference the running ones,
    which move by `running <- (1 - momentum) running + momentum batch` in each step, the variance
    with the unbiased one of the batch: all of it as in `torch.nn.BatchNorm1d`. In ONNX `momentum`
    is 1 minus this one and the running variance gathers the biased one. `affine=False` leaves out
    the parameters `gain` and `shift`. Raises `InputError` for inputs that are not rows, for a
    `momentum` outside [0, 1], and in training for a batch of one example, which has no variance.

    With xn the normalised input, n the batch size and sums over the batch:
    dL/dx = gain / sqrt(variance + eps) * (dy - sum(dy) / n - xn sum(dy xn) / n).
    Ioffe and Szegedy (2015).

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(BatchNorm(), inputs=1, dtype="float64")
    >>> y, _ = net.forward(np.asarray([[1.0], [3.0]]))
    >>> y.round(3).tolist()
    [[-1.0], [1.0]]
    """

    momentum: float = 0.1
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        flag(type(self).__name__, "affine", self.affine)
        object.__setattr__(
            self, "momentum", number("BatchNorm", "momentum", self.momentum, 0.0, 1.0, closed=True)
        )
        object.__setattr__(self, "eps", number("BatchNorm", "eps", self.eps, 0.0))

    def build(self, inputs: Shape) -> Spec:
        features("BatchNorm", inputs)
        state = {"mean": Param(inputs, Constant(0.0)), "variance": Param(inputs, Constant(1.0))}
        return Spec(inputs, gain_and_shift(inputs) if self.affine else {}, state, least_rows=2)

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        if run.training:
            mean, centred, variance = self._of_the_batch(be, x, run)
        else:
            mean, variance = run.state.mean, run.state.variance
            centred = x - mean
        r = 1.0 / be.xp.sqrt(variance + self.eps)
        if not self.affine:
            return centred * r, (centred, r)
        return be.map(_scaled, centred, r * w.gain, w.shift), (centred, r)

    def _of_the_batch(self, be: Backend, x: Array, run: Run) -> tuple[Array, Array, Array]:
        xp, n, m = be.xp, x.shape[-2], self.momentum
        if n < 2:
            raise InputError(
                "BatchNorm: a training batch of one example has no variance; give at least two, "
                "or use LayerNorm"
            )
        mean = xp.sum(x, axis=-2, keepdims=True) * (1 / n)
        centred = x - mean
        variance = xp.sum(centred * centred, axis=-2, keepdims=True) * (1 / n)
        run.put("mean", (1 - m) * run.state.mean + m * mean)
        run.put("variance", (1 - m) * run.state.variance + (m * n / (n - 1)) * variance)
        return mean, centred, variance

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        centred, r = ctx
        total = be.xp.sum(dy, axis=-2, keepdims=True)
        total_xn = be.xp.sum(dy * centred, axis=-2, keepdims=True) * r
        if self.affine:
            g.add("gain", total_xn)
            g.add("shift", total)
        if not run.wants_input_gradient:
            return None
        scale = r * w.gain if self.affine else r
        if not run.training:  # mean and variance were no functions of x
            return dy * scale
        n = dy.shape[-2]
        return be.map(_pulled, dy, centred, scale, total * (1 / n), total_xn * r * (1 / n))


def gain_and_shift(shape: Shape) -> dict[str, Param]:
    """The parameters of a normalisation: it begins as the plain one."""
    return {
        "gain": Param(shape, Constant(1.0), kind="norm"),
        "shift": Param(shape, Constant(0.0), kind="norm"),
    }


def _scaled(xp: Any, centred: Array, scale: Array, shift: Array) -> Array:
    return centred * scale + shift


def _pulled(xp: Any, dy: Array, centred: Array, scale: Array, mean: Array, slope: Array) -> Array:
    return scale * (dy - mean - centred * slope)
