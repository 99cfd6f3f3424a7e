"""Random losses with targets for them, optimizers with all that goes with them, frozen parts.

Where the loss is a sum, the gradient always has a limit, or some of the networks would run off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gpubp
from gpubp import losses, optimizers
from gpubp.storage import Layout, Spec
from tests.optimizers_in_torch import ROWS, Falling, Row
from tests.random_layers import WIDTHS, Draw, Table

LOSSES: Table[Callable[[Draw, int], gpubp.Loss]] = Table([
    lambda draw, n: losses.SquaredError(),
    lambda draw, n: losses.MeanSquaredError(),
    lambda draw, n: losses.AbsoluteError(),
    lambda draw, n: losses.Huber(draw.one((1.0, 0.3))),
    lambda draw, n: losses.LogCosh(),
    lambda draw, n: losses.Quantile(draw.one((0.5, 0.3, draw.some(n, 0.1, 0.9)))),
    lambda draw, n: losses.Poisson(),
    lambda draw, n: losses.GaussianNLL(),
    lambda draw, n: losses.CrossEntropy(draw.one((0.0, 0.2)), _weights(draw, n)),
    lambda draw, n: losses.CrossEntropy(draw.one((0.0, 0.1)), _weights(draw, n)),
    lambda draw, n: losses.KLDivergence(),
    lambda draw, n: losses.Focal(draw.one((2.0, 0.0, 0.5)), _weights(draw, n)),
    lambda draw, n: losses.MultiClassHinge(draw.one((1, 2))),
    lambda draw, n: losses.BinaryCrossEntropy(
        draw.one((0.0, 0.2)), draw.one((None, 3.0, draw.some(n, 0.2, 3.0)))
    ),
    lambda draw, n: losses.BinaryFocal(draw.one((2.0, 0.5)), draw.one((None, 0.25, 0.6))),
    lambda draw, n: losses.Hinge(),
    lambda draw, n: losses.SquaredHinge(),
])  # fmt: skip
TURNS = Table(ROWS)
RATES = 0.02, 0.005, Falling(0.02)


def _weights(draw: Draw, n: int) -> tuple[float, ...] | None:
    return draw.some(n, 0.2, 2.0) if draw.chance(0.5) else None


def loss(draw: Draw) -> tuple[gpubp.Loss, int]:
    """Return a loss and an output width for it."""
    make = draw.one(LOSSES)
    while True:
        width = draw.one(WIDTHS)
        made = make(draw, width)
        try:
            made.check(width)
        except gpubp.InputError:
            continue
        return made, width


def target(draw: Draw, loss: gpubp.Loss, n: int, width: int, soft: bool) -> Any:
    """Targets of one kind that the loss takes; soft rows where it may be either."""
    rng, columns = draw.rng, loss.target_width(width)
    if loss.targets == "classes" or (loss.targets == "labels" and not soft):
        return rng.integers(0, width, n)
    if loss.one_column and soft:
        columns = 1
    t = rng.uniform(size=(n, columns))
    kinds = {
        "real": rng.normal(size=(n, columns)),
        "count": (8.0 * t).round(),
        "binary": (t > 0.5).astype(float),
        "soft": t * (t > 0.3),
    }
    return kinds.get(loss.targets, t)


def optimizer(
    draw: Draw, spec: Spec, members: int | None, loss: gpubp.Loss
) -> tuple[Row, gpubp.Optimizer]:
    row = draw.one(TURNS)
    extra: dict[str, Any] = {}
    if draw.chance(0.4):
        extra["weight_decay"] = draw.one((0.1, 0.5))
        extra["decay_on"] = _on(draw, spec)
    if draw.chance(0.4):
        extra["penalty"] = tuple(_penalty(draw, spec) for _ in range(1 + draw.chance(0.3)))
    if draw.chance(0.5) or not loss.is_mean:
        extra["clip"] = _clip(draw, spec, adaptive=loss.is_mean)
    if draw.chance(0.3):
        extra["max_norm"] = optimizers.MaxNorm(draw.between(0.5, 2.0), _on(draw, spec))
    lr: Any = draw.one(RATES)
    if members is not None and draw.chance(0.5):
        lr = tuple(draw.one(RATES) for _ in range(members))
    return row, row.kind(lr, **row.arguments, **extra)


def _penalty(draw: Draw, spec: Spec) -> gpubp.Penalty:
    strength, on = draw.between(0.01, 0.2), _on(draw, spec)
    made: gpubp.Penalty = draw.one((
        optimizers.L1(strength, on),
        optimizers.L2(strength, on),
        optimizers.ElasticNet(strength, on, draw.one((0.5, 0.25))),
    ))  # fmt: skip
    return made


def _clip(draw: Draw, spec: Spec, adaptive: bool) -> gpubp.Clip:
    limit = draw.between(0.02, 1.0)
    plain = draw.one((optimizers.ClipValue, optimizers.ClipGlobalNorm, optimizers.ClipNorm))
    if not adaptive or draw.chance(0.75):
        return plain(limit)
    return optimizers.AdaptiveClip(limit, draw.one((1e-3, 0.5)), _on(draw, spec))


def _paths(spec: Spec) -> list[str]:
    return list(Layout(spec, "params").places)


def _on(draw: Draw, spec: Spec) -> Any:
    """Groups or paths: a group that may be empty, and names of something that is there."""
    paths = _paths(spec)
    path = draw.one(paths)
    groups = "weights", "biases", "norms", "slopes", "all"
    named = draw.one((path, path.rpartition(".")[0] or path, "*" + path.rpartition(".")[2]))
    return draw.one(("weights", draw.one(groups), named, (draw.one(groups), named)))


def frozen(draw: Draw, spec: Spec) -> tuple[str, ...]:
    """Some of the parameters, most often none and never all."""
    paths = _paths(spec)
    if not draw.chance(0.3):
        return ()
    chosen = [path for path in paths if draw.chance(0.5)]
    return tuple(chosen) if len(chosen) < len(paths) else ()
