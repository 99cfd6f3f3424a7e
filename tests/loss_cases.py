"""Every loss with raw outputs and targets for it, and what it is by another hand.

`in_torch` writes the mean with torch's own functions, so that its gradient can be taken; where
torch has no such loss, `by_formula` gives the terms `(batch,)` of the mean with NumPy.
"""

from __future__ import annotations

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


IN_TORCH = {
    name for name in CASES
    if not name.startswith(("log_cosh", "quantile", "hinge", "squared_hinge"))
    and name not in ("focal", "focal, weighted", "binary_focal", "binary_focal, alike")
}  # fmt: skip


def in_torch(case: str, z: Any, t: Any, w: Any) -> Any:
    """The mean sum(w l) / sum(w), with class weights in both sums; or for `squared_error` a sum."""
    torch, loss = require("torch"), CASES[case].loss
    f = torch.nn.functional
    t, w = torch.tensor(t), torch.tensor(w)
    none: Any = {"reduction": "none"}
    if isinstance(loss, losses.SquaredError):
        return (w * 0.5 * f.mse_loss(z, t, **none).sum(-1)).sum()
    total = w.sum()
    if isinstance(loss, losses.CrossEntropy):
        c = None if loss.class_weight is None else torch.tensor(loss.class_weight).double()
        smooth = loss.label_smoothing
        each = f.cross_entropy(z, t, weight=c, label_smoothing=smooth, **none)
        total = total if c is None or t.ndim == 2 else (w * c[t]).sum()
    elif isinstance(loss, losses.Focal):  # gamma 0
        each = f.cross_entropy(z, t, **none)
    elif isinstance(loss, losses.KLDivergence):
        each = f.kl_div(f.log_softmax(z, -1), t, **none).sum(-1)
    elif isinstance(loss, losses.MultiClassHinge):
        each = f.multi_margin_loss(z, t, p=loss.p, **none)
    elif isinstance(loss, losses.BinaryCrossEntropy):
        c = 1.0 if loss.pos_weight is None else loss.pos_weight
        t = (1 - loss.label_smoothing) * t + loss.label_smoothing / 2
        weight = torch.tensor(c).double()
        each = f.binary_cross_entropy_with_logits(z, t, pos_weight=weight, **none).mean(-1)
    elif isinstance(loss, losses.GaussianNLL):
        half = z.shape[-1] // 2
        mu, var = z[:, :half], torch.exp(z[:, half:])
        each = f.gaussian_nll_loss(mu, t, var, **none).mean(-1)
    elif isinstance(loss, losses.Poisson):
        each = f.poisson_nll_loss(z, t, log_input=True, full=False, **none).mean(-1)
    elif isinstance(loss, losses.Huber):
        each = f.huber_loss(z, t, delta=loss.delta, **none).mean(-1)
    else:
        of = {"mean_squared_error": f.mse_loss, "absolute_error": f.l1_loss}[case]
        each = of(z, t, **none).mean(-1)
    return (w * each).sum() / total


def by_formula(loss: gpubp.Loss, z: Any, t: Any) -> Any:
    """The terms `(batch,)` of the mean as they stand in the papers; not for far-out outputs."""
    if isinstance(loss, losses.LogCosh):
        return np.log(np.cosh(z - t)).mean(-1)
    if isinstance(loss, losses.Quantile):
        q = np.asarray(loss.q)
        return np.where(t > z, q * (t - z), (1 - q) * (z - t)).mean(-1)
    if isinstance(loss, losses.Hinge | losses.SquaredHinge):
        short = np.where(t == 1, 1 - z, 1 + z).clip(0)
        return (short if isinstance(loss, losses.Hinge) else short**2).mean(-1)
    if isinstance(loss, losses.BinaryFocal):
        p = 1 / (1 + np.exp(-z))
        p_t = np.where(t == 1, p, 1 - p)
        alpha = 1.0 if loss.alpha is None else np.where(t == 1, loss.alpha, 1 - loss.alpha)
        return (-alpha * (1 - p_t) ** loss.gamma * np.log(p_t)).mean(-1)
    assert isinstance(loss, losses.Focal)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    p_t, alpha = p[np.arange(len(t)), t], np.asarray(loss.alpha or np.ones(z.shape[-1]))
    return -alpha[t] * (1 - p_t) ** loss.gamma * np.log(p_t)
