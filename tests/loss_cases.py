"""Every loss with raw outputs and targets for it, and what it is by another hand.

`in_torch` writes the mean with torch's own losses, and with its functions where it has no such
loss: so its gradient can be taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp
from gpubp import losses
from gpubp.backend import Backend
from tests.conftest import require, rng

BATCH, WIDTH = 6, 4
CLASS = (0.5, 2.0, 0.0, 1.5)
POSITIVE = (0.5, 3.0, 1.0, 2.0)
QUANTILES = (0.1, 0.4, 0.75, 0.9)


@dataclass(frozen=True)
class Case:
    """A loss and the kind of its targets: how they are drawn."""

    loss: gpubp.Loss
    target: str

    def draw(self, seed: int = 0) -> tuple[Any, Any]:
        """Return raw outputs `(BATCH, WIDTH)` and targets; `soft` rows do not sum to one."""
        draw = rng(seed)
        z = draw.normal(0.0, 2.0, (BATCH, WIDTH))
        real, unit = draw.normal(size=(BATCH, WIDTH)), draw.uniform(size=(BATCH, WIDTH))
        targets = {
            "real": real,
            "unit": unit,
            "zeros": unit * (unit > 0.3),
            "labels": np.arange(BATCH) % WIDTH,
            "binary": (unit > 0.5).astype(float),
            "count": np.floor(8 * unit),
            "column": real[:, :1],
            "half": real[:, : WIDTH // 2],
        }
        return z, targets[self.target]


CASES = {
    "squared_error": Case(losses.SquaredError(), "real"),
    "mean_squared_error": Case(losses.MeanSquaredError(), "real"),
    "absolute_error": Case(losses.AbsoluteError(), "real"),
    "huber": Case(losses.Huber(), "real"),
    "huber, narrow": Case(losses.Huber(0.3), "real"),
    "log_cosh": Case(losses.LogCosh(), "real"),
    "quantile": Case(losses.Quantile(0.3), "real"),
    "quantiles": Case(losses.Quantile(QUANTILES), "real"),
    "quantiles of one": Case(losses.Quantile(QUANTILES), "column"),
    "poisson": Case(losses.Poisson(), "count"),
    "gaussian_nll": Case(losses.GaussianNLL(), "half"),
    "labels": Case(losses.CrossEntropy(), "labels"),
    "soft": Case(losses.CrossEntropy(), "unit"),
    "labels, smooth": Case(losses.CrossEntropy(0.2), "labels"),
    "soft, smooth": Case(losses.CrossEntropy(0.2), "unit"),
    "labels, weighted": Case(losses.CrossEntropy(class_weight=CLASS), "labels"),
    "soft, weighted": Case(losses.CrossEntropy(class_weight=CLASS), "unit"),
    "labels, both": Case(losses.CrossEntropy(0.2, CLASS), "labels"),
    "soft, both": Case(losses.CrossEntropy(0.2, CLASS), "unit"),
    "kl_divergence": Case(losses.KLDivergence(), "zeros"),
    "focal": Case(losses.Focal(), "labels"),
    "focal, weighted": Case(losses.Focal(0.5, CLASS), "labels"),
    "focal, gamma 0": Case(losses.Focal(0.0), "labels"),
    "multi_class_hinge": Case(losses.MultiClassHinge(), "labels"),
    "multi_class_hinge, squared": Case(losses.MultiClassHinge(2), "labels"),
    "binary_cross_entropy": Case(losses.BinaryCrossEntropy(), "unit"),
    "binary, smooth": Case(losses.BinaryCrossEntropy(0.2), "unit"),
    "binary, weighted": Case(losses.BinaryCrossEntropy(pos_weight=3.0), "unit"),
    "binary, both": Case(losses.BinaryCrossEntropy(0.1, POSITIVE), "unit"),
    "binary_focal": Case(losses.BinaryFocal(), "binary"),
    "binary_focal, alike": Case(losses.BinaryFocal(0.5, None), "binary"),
    "hinge": Case(losses.Hinge(), "binary"),
    "squared_hinge": Case(losses.SquaredHinge(), "binary"),
}


def on_device(be: Backend, t: Any) -> Any:
    """Targets as `value_and_delta` takes them."""
    return be.asarray(t[:, None], "int64") if t.ndim == 1 else be.asarray(t)


def in_torch(loss: gpubp.Loss, z: Any, t: Any, w: Any) -> Any:
    """The mean sum(w l) / sum(w), with class weights in both sums; or for `SquaredError` a sum."""
    torch = require("torch")
    t, w = torch.tensor(t), torch.tensor(w)
    each, total = _terms(torch, loss, z, t), w.sum()
    if isinstance(loss, losses.SquaredError):
        return (w * each).sum()
    if isinstance(loss, losses.CrossEntropy) and loss.class_weight and t.ndim == 1:
        total = (w * _numbers(torch, loss.class_weight)[t]).sum()
    return (w * each).sum() / total


def _numbers(torch: Any, given: Any) -> Any:
    return torch.tensor(given, dtype=torch.float64)


def _terms(torch: Any, loss: Any, z: Any, t: Any) -> Any:
    """What each example brings in, `(batch,)`."""
    f, none = torch.nn.functional, {"reduction": "none"}
    if isinstance(loss, losses.CrossEntropy):
        c = None if loss.class_weight is None else _numbers(torch, loss.class_weight)
        return f.cross_entropy(z, t, weight=c, label_smoothing=loss.label_smoothing, **none)
    if isinstance(loss, losses.Focal):
        alpha = _numbers(torch, loss.alpha or (1.0,) * z.shape[-1])[t]
        own = f.one_hot(t, z.shape[-1]) > 0
        logit = z[own] - z.masked_fill(own, -torch.inf).logsumexp(-1)
        return -alpha * (loss.gamma * f.logsigmoid(-logit)).exp() * f.logsigmoid(logit)
    if isinstance(loss, losses.MultiClassHinge):
        return f.multi_margin_loss(z, t, p=loss.p, **none)
    if isinstance(loss, losses.KLDivergence):
        return f.kl_div(f.log_softmax(z, -1), t, **none).sum(-1)
    if isinstance(loss, losses.SquaredError):
        return 0.5 * f.mse_loss(z, t, **none).sum(-1)
    if isinstance(loss, losses.GaussianNLL):
        mu, s = z.chunk(2, -1)
        return f.gaussian_nll_loss(mu, t, torch.exp(s), **none).mean(-1)
    return _terms_of_outputs(torch, loss, z, t).mean(-1)


def _terms_of_outputs(torch: Any, loss: Any, z: Any, t: Any) -> Any:
    f, none = torch.nn.functional, {"reduction": "none"}
    if isinstance(loss, losses.BinaryCrossEntropy):
        c = _numbers(torch, 1.0 if loss.pos_weight is None else loss.pos_weight)
        t = (1 - loss.label_smoothing) * t + loss.label_smoothing / 2
        return f.binary_cross_entropy_with_logits(z, t, pos_weight=c, **none)
    if isinstance(loss, losses.BinaryFocal):
        logit = (2 * t - 1) * z
        alpha = 1.0 if loss.alpha is None else loss.alpha * t + (1 - loss.alpha) * (1 - t)
        return -alpha * (loss.gamma * f.logsigmoid(-logit)).exp() * f.logsigmoid(logit)
    if isinstance(loss, losses.Poisson):
        return f.poisson_nll_loss(z, t, log_input=True, full=False, **none)
    if isinstance(loss, losses.Huber):
        return f.huber_loss(z, t, delta=loss.delta, **none)
    if isinstance(loss, losses.Quantile):
        q = _numbers(torch, loss.q)
        return torch.maximum(q * (t - z), (q - 1) * (t - z))
    plain = {
        losses.MeanSquaredError: lambda: f.mse_loss(z, t, **none),
        losses.AbsoluteError: lambda: f.l1_loss(z, t, **none),
        losses.LogCosh: lambda: (z - t).abs() + f.softplus(-2 * (z - t).abs()) - math.log(2),
        losses.Hinge: lambda: f.relu(1 - (2 * t - 1) * z),
        losses.SquaredHinge: lambda: f.relu(1 - (2 * t - 1) * z) ** 2,
    }
    return plain[type(loss)]()
