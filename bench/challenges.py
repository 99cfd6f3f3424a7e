"""The troubles of training that every book names, and their remedies, on the digits and on XOR.

    python -m bench.challenges [--only NAMES] [--seeds 5] [--device cpu]
                              [--out FILE] [--picture FILE]

Prints a table in Markdown. Each row is an ensemble of `--seeds` networks trained at once; its
figures are medians over them. With `--picture` (needs matplotlib) the loss of every row is drawn.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gpubp
from gpubp.data import digits

from .report import environment, write

DEEP, WIDE = 30, 32
"""Hidden layers, and units in each, of the deep networks."""

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito (2008)


@dataclass
class Row:
    """One network under one remedy, or none; `losses` are those of each epoch."""

    trouble: str
    name: str
    figures: dict[str, Any]
    losses: list[float] = field(default_factory=list)


def median(values: Any) -> float:
    """The median over members."""
    return float(statistics.median(np.atleast_1d(values).tolist()))


def by_epoch(history: gpubp.History, name: str = "loss") -> list[float]:
    """The median over members of one figure, epoch by epoch."""
    return [median(figures) for figures in history[name]]


# -- vanishing gradients -----------------------------------------------------------------------


def deep(activation: str, init: str, norm: bool = False, residual: bool = False) -> gpubp.Layer:
    """30 hidden layers of 32 units."""
    layers: list[gpubp.Layer] = [gpubp.Linear(WIDE, W=init)]
    for _ in range(DEEP - 1):
        block: list[gpubp.Layer] = [gpubp.BatchNorm()] if norm else []
        block += [gpubp.Activation(activation), gpubp.Linear(WIDE, W=init)]
        layers += [gpubp.Residual(gpubp.Sequential(*block))] if residual else block
    return gpubp.Sequential(*layers, gpubp.Activation(activation), gpubp.Linear(10))


def first_to_last(net: gpubp.Network, x: Any, y: Any) -> float:
    """The norm of the gradient of the first matrix over that of the last, before training."""
    raw, context = net.forward(x)
    _, delta = gpubp.CrossEntropy()(raw, y)
    net.backward(context, delta)
    matrices = [net.be.to_numpy(g) for path, g in net.gradients().items() if path.endswith("W")]
    net.zero_grad()
    first, last = (np.sqrt((matrices[i] ** 2).sum(axis=(-2, -1))) for i in (0, -1))
    return median(first / last)


def vanishing(seeds: int, device: str) -> list[Row]:
    """A 30-layer sigmoid network does not train; four ways out."""
    data = digits()
    remedies = {
        "30 sigmoid layers, Glorot": deep("sigmoid", "glorot_uniform"),
        "ReLU and He initialisation": deep("relu", "he_normal"),
        "sigmoid with batch normalisation": deep("sigmoid", "glorot_uniform", norm=True),
        "sigmoid with residual connections": deep("sigmoid", "glorot_uniform", residual=True),
    }
    rows = []
    for name, layer in remedies.items():
        net = gpubp.Network(layer, inputs=64, seed=0, members=seeds, device=device)
        ratio = first_to_last(net, data.x[:256], data.y[:256])
        history = net.fit(data.x, data.y, optimizer=gpubp.Adam(1e-3), epochs=15)
        figures = {
            "gradient, first / last layer": ratio,
            "training loss": median(history["loss"][-1]),
            "test accuracy": median(net.evaluate(data.x_test, data.y_test)["accuracy"]),
        }
        rows.append(Row("vanishing gradients", name, figures, by_epoch(history)))
    return rows


# -- exploding gradients -----------------------------------------------------------------------


def exploding(seeds: int, device: str) -> list[Row]:
    """Ten layers whose weights are half as large again as they should be, under plain SGD."""
    data = digits()
    layer = gpubp.MLP([64] * 10, 10, init=gpubp.HeNormal(gain=1.5))
    remedies: dict[str, gpubp.Optimizer] = {
        "10 ReLU layers, weights 1.5 times He's": gpubp.SGD(0.1),
        "clipped at a global norm of 1": gpubp.SGD(0.1, clip=gpubp.ClipGlobalNorm(1.0)),
    }
    rows = []
    for name, method in remedies.items():
        accuracies, losses, refused = [], [], 0
        for seed in range(seeds):  # one by one: a step that is not finite ends a run
            net = gpubp.Network(layer, inputs=64, seed=seed, device=device)
            try:
                net.fit(data.x, data.y, optimizer=method, epochs=15)
            except gpubp.NonFiniteError:
                refused += 1
            losses.append(net.evaluate(data.x, data.y, loss="cross_entropy")["loss"])
            accuracies.append(net.evaluate(data.x_test, data.y_test)["accuracy"])
        figures = {
            "runs with a step that was not finite": f"{refused} of {seeds}",
            "training loss": median(losses),
            "test accuracy": median(accuracies),
        }
        rows.append(Row("exploding gradients", name, figures))
    return rows


# -- local minima ------------------------------------------------------------------------------


def minima(seeds: int, device: str) -> list[Row]:
    """XOR with two hidden units, from 200 first weights at once."""
    x = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.asarray([0.0, 1.0, 1.0, 0.0])
    count = 200
    net = gpubp.Network(gpubp.MLP([2], 1, activation="tanh"), 2, seed=0, device=device)
    how: dict[str, Any] = {"loss": "binary_cross_entropy", "optimizer": gpubp.Adam(0.05)}
    net.fit(x, y, epochs=1000, batch_size=4, restarts=count, **how)
    assert net.restarts is not None
    reached = [loss < 0.05 for loss in net.restarts.losses]
    share = sum(reached) / count
    one = {"share that reaches the optimum": share, "training loss": median(net.restarts.losses)}
    rows = [Row("local minima", "XOR, 2 hidden units, one start (of 200)", one)]
    for k in (2, 5):
        groups = [any(reached[i : i + k]) for i in range(0, count, k)]
        least = [min(net.restarts.losses[i : i + k]) for i in range(0, count, k)]
        figures = {
            "share that reaches the optimum": sum(groups) / len(groups),
            "training loss": median(least),
        }
        rows.append(Row("local minima", f"the best of {k} restarts", figures))
    return rows


# -- overfitting -------------------------------------------------------------------------------


def overfitting(seeds: int, device: str) -> list[Row]:
    """200 digits, a network with far more weights than it needs."""
    data = digits()
    chosen = np.random.default_rng(0).permutation(len(data.x))
    train, held_out = chosen[:200], chosen[200:400]
    x, y = data.x[train], data.y[train]
    plain = gpubp.MLP([256, 256], 10)

    def dropped(rate: float) -> gpubp.Layer:
        layers: list[gpubp.Layer] = [gpubp.Dropout(rate / 2)]
        for _ in range(2):
            layers += [gpubp.Linear(256, W="he_normal"), gpubp.Activation("relu")]
            layers += [gpubp.Dropout(rate)]
        return gpubp.Sequential(*layers, gpubp.Linear(10))

    remedies: dict[str, tuple[gpubp.Layer, gpubp.Optimizer, list[gpubp.Callback]]] = {
        "200 digits, 85,002 weights": (plain, gpubp.Adam(1e-3), []),
        "L2 (0.003)": (plain, gpubp.Adam(1e-3, penalty=gpubp.L2(0.003)), []),
        "L1 (0.0005)": (plain, gpubp.Adam(1e-3, penalty=gpubp.L1(0.0005)), []),
        "dropout (0.5)": (dropped(0.5), gpubp.Adam(1e-3), []),
        "early stopping": (plain, gpubp.Adam(1e-3), [gpubp.EarlyStopping(patience=10)]),
    }
    rows = []
    for name, (layer, method, callbacks) in remedies.items():
        net = gpubp.Network(layer, inputs=64, seed=0, members=seeds, device=device)
        held = data.x[held_out], data.y[held_out]
        history = net.fit(x, y, optimizer=method, epochs=200, validation=held, callbacks=callbacks)
        found = net.evaluate(data.x_test, data.y_test)
        figures = {
            "training loss": median(net.evaluate(x, y)["loss"]),
            "test loss": median(found["loss"]),
            "test accuracy": median(found["accuracy"]),
        }
        rows.append(Row("overfitting", name, figures, by_epoch(history, "val_loss")))
    return rows


# -- optimizers --------------------------------------------------------------------------------


def optimizers(seeds: int, device: str) -> list[Row]:
    """The same network from the same weights under three methods."""
    data = digits()
    methods: dict[str, gpubp.Optimizer] = {
        "SGD (0.1)": gpubp.SGD(0.1),
        "momentum (0.1, 0.9)": gpubp.Momentum(0.1, momentum=0.9),
        "Adam (0.001)": gpubp.Adam(1e-3),
    }
    rows = []
    for name, method in methods.items():
        net = gpubp.Network(
            gpubp.MLP([64, 32], 10), inputs=64, seed=0, members=seeds, device=device
        )
        history = net.fit(data.x, data.y, optimizer=method, epochs=20)
        losses = by_epoch(history)
        figures: dict[str, Any] = {f"loss, epoch {e}": losses[e - 1] for e in (1, 5, 20)}
        figures["test accuracy"] = median(net.evaluate(data.x_test, data.y_test)["accuracy"])
        rows.append(Row("optimizers", name, figures, losses))
    return rows


CHALLENGES: dict[str, Callable[[int, str], list[Row]]] = {
    "vanishing": vanishing,
    "exploding": exploding,
    "minima": minima,
    "overfitting": overfitting,
    "optimizers": optimizers,
}


def table(rows: Sequence[Row]) -> str:
    """One challenge as a table in Markdown."""
    names = list(rows[0].figures)
    lines = [f"| {rows[0].trouble} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [_cell(row.figures[name]) for name in names]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "not finite"
    if value != 0.0 and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.0e}"
    return f"{value:.3f}"


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as JSON takes them, which has no NaN."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in figures.items()}  # fmt: skip


def picture(found: dict[str, list[Row]], path: str) -> None:
    """Draw the loss of every row over its epochs, a panel for each challenge that has epochs."""
    from gpubp import plots

    figures: Any = importlib.import_module("matplotlib.figure")

    panels = [rows for rows in found.values() if rows[0].losses]
    figure = figures.Figure(figsize=(4.6 * len(panels), 4.0), layout="constrained")
    for axes, rows in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        which = "validation" if rows[0].trouble == "overfitting" else "training"
        axes.set_title(rows[0].trouble, loc="left", fontweight="bold")
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{which} loss")
        axes.set_yscale("log")
        for row, colour in zip(rows, COLOURS, strict=False):
            axes.plot(range(1, len(row.losses) + 1), row.losses, color=colour, label=row.name)
        axes.legend(frameon=False, fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    plots.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default=",".join(CHALLENGES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out")
    parser.add_argument("--picture", metavar="FILE")
    arguments = parser.parse_args()
    found: dict[str, list[Row]] = {}
    for name in arguments.only.split(","):
        found[name] = CHALLENGES[name](arguments.seeds, arguments.device)
        print(table(found[name]), end="\n\n", flush=True)
    if arguments.picture:
        picture(found, arguments.picture)
    results = {
        name: [{"name": row.name, **_plain(row.figures), "losses": row.losses} for row in rows]
        for name, rows in found.items()
    }
    write(arguments.out, {"benchmark": "challenges", **environment(), "results": results})


if __name__ == "__main__":
    main()
