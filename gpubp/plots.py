"""Pictures of training: curves of the loss, gradients by layer, and how far weights move.

They need Matplotlib: `pip install 'gpubp[plots]'`. A figure is made without pyplot, so that no
window opens and nothing global changes. Of an ensemble the median of the members is drawn.
"""

from __future__ import annotations

import importlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .errors import GpubpError, InputError
from .files import write_atomically
from .findings import Limits
from .health import middle

Figure: TypeAlias = Any
"""A `matplotlib.figure.Figure`."""

Point: TypeAlias = tuple[float, float]

# Okabe and Ito (2008): told apart with every sort of colour blindness.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY = "#6E6E6E"
_NAMED = 7  # layers that a legend can name; of more, a colour bar gives the depth


class PlotsError(GpubpError, ImportError):
    """Matplotlib, which draws the pictures, is not installed.

    >>> issubclass(PlotsError, GpubpError)
    True
    """


def matplotlib(part: str = "") -> Any:
    """Return a module of Matplotlib's; `PlotsError` that says how to install it."""
    try:
        return importlib.import_module(f"matplotlib{part}")
    except ImportError as error:
        raise PlotsError(
            f"pictures need Matplotlib ({error}); install it with pip install 'gpubp[plots]'"
        ) from error


def loss_curves(history: Any) -> Figure:
    """Draw the loss of each epoch, and the held-out loss where there is one.

    `history` is a `gpubp.History` or its records. Raises `InputError` where it is empty.

    >>> import gpubp
    >>> history = gpubp.History([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])
    >>> figure = loss_curves(history)  # doctest: +SKIP
    """
    records = list(history)
    figure, axes = _axes("Loss", "epoch", "mean loss per example")
    names = {"loss": "training", "val_loss": "held out"}
    drawn = {
        label: _points((record["epoch"], record.get(name)) for record in records)
        for name, label in names.items()
    }
    drawn = {label: points for label, points in drawn.items() if points}
    if not drawn:
        raise InputError("loss_curves: the history has no epoch yet; call fit first")
    for (label, points), colour in zip(drawn.items(), _COLOURS, strict=False):
        _line(axes, points, colour, label)
    values = [y for points in drawn.values() for _, y in points]
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    if len(drawn) > 1:
        axes.legend(frameon=False)
    _whole_steps(axes)
    return figure


def gradient_norms(health: Any) -> Figure:
    """Draw |dL/dy|, the gradient that reaches each layer with weights, over the updates.

    `health` is a `gpubp.Health` or its records. Raises `InputError` where it is empty.

    >>> import gpubp
    >>> from gpubp.health import Health
    >>> figure = gradient_norms(Health())  # doctest: +SKIP
    """
    records = _records(health, "gradient_norms")
    trained = {p["path"].rpartition(".")[0] for record in records for p in record["parameters"]}
    figure, axes = _axes("Gradient that reaches each layer", "update", "norm of dL/dy")
    series = _series(records, "layers", "delta", lambda layer: layer["path"] in trained)
    _by_depth(figure, axes, series or _series(records, "layers", "delta"), "layer")
    return figure


def update_ratios(health: Any, limits: Limits | None = None) -> Figure:
    """Draw the norm of each weight's update over that of the weight, over the updates.

    Below and above `limits` (those of the Health where it is given) lies what is a finding.
    `health` is a `gpubp.Health` or its records. Raises `InputError` where it is empty.

    >>> import gpubp
    >>> from gpubp.health import Health
    >>> figure = update_ratios(Health())  # doctest: +SKIP
    """
    records = _records(health, "update_ratios")
    chosen = limits or getattr(health, "limits", None) or Limits()
    figure, axes = _axes("Update of each weight", "update", "norm of the update / norm of weights")
    series = _series(records, "parameters", "ratio", lambda each: each["kind"] == "weight")
    _by_depth(figure, axes, series, "parameter")
    low, high = axes.get_ylim() if axes.get_yscale() == "log" else (math.inf, 0.0)
    for limit, text, side in (
        (chosen.large_update, "too large", "bottom"),
        (chosen.small_update, "too small", "top"),
    ):
        if low / 30 <= limit <= high * 30:
            axes.axhline(limit, color=_GREY, linewidth=1.0, linestyle=(0, (4, 3)))
            axes.annotate(text, (0.005, limit), xycoords=("axes fraction", "data"), color=_GREY,
                          xytext=(0, 3 if side == "bottom" else -3), textcoords="offset points",
                          verticalalignment=side, fontsize=9)  # fmt: skip
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to `path`, whose ending says how: `.png` (200 dots an inch) or `.svg`.

    The same figure gives the same bytes. Raises `InputError` for another ending, and for a path
    that cannot be written.

    >>> save(None, "loss.jpeg")
    Traceback (most recent call last):
    gpubp.errors.InputError: cannot write loss.jpeg: expected a name that ends in .png or .svg
    """
    ending = Path(path).suffix.lower()
    if ending not in (".png", ".svg"):
        raise InputError(f"cannot write {path}: expected a name that ends in .png or .svg")
    told = {"Date": None, "Creator": "gpubp"} if ending == ".svg" else {"Software": "gpubp"}
    file = io.BytesIO()
    with matplotlib().rc_context({"svg.hashsalt": "gpubp"}):
        figure.savefig(file, format=ending[1:], dpi=200, metadata=told)
    write_atomically(path, file.getvalue())


# -- what the pictures share -------------------------------------------------------------------


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = matplotlib(".figure").Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _records(health: Any, what: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = list(getattr(health, "records", health))
    if not records:
        raise InputError(f"{what}: no update was sampled yet; train with the Health first")
    return records


def _series(
    records: Sequence[dict[str, Any]], part: str, name: str, wanted: Any = None
) -> dict[str, list[Point]]:
    """The points of each layer or parameter by path, from the input to the output."""
    paths = dict.fromkeys(
        each["path"] for r in records for each in r[part] if wanted is None or wanted(each)
    )
    return {path: _points(_of(records, part, path, name)) for path in paths}


def _of(records: Sequence[dict[str, Any]], part: str, path: str, name: str) -> Iterator[Any]:
    for record in records:
        for each in record[part]:
            if each["path"] == path:  # of a layer that is used twice, the first use
                yield record["step"], middle(each[name])
                break


def _points(pairs: Iterable[tuple[Any, Any]]) -> list[Point]:
    found = ((x, middle(y)) for x, y in pairs)
    return [(float(x), float(y)) for x, y in found if y is not None]


def _line(
    axes: Any, points: list[Point], colour: Any, label: str | None = None, lines: int = 1
) -> None:
    x, y = zip(*points, strict=True)
    marker = "o" if len(points) <= (12 if lines <= _NAMED else 1) else None
    width = 1.6 if lines <= _NAMED else 1.1
    axes.plot(x, y, color=colour, label=label, linewidth=width, marker=marker, markersize=4)


def _by_depth(figure: Figure, axes: Any, series: dict[str, list[Point]], what: str) -> None:
    """One line for each path on a log scale: the colour is its depth, from input to output."""
    # A norm of 0 has no place on a log scale; a line that is 0 throughout is left out.
    drawn = {path: [(x, y) for x, y in points if y > 0] for path, points in series.items()}
    colours = matplotlib(".colors").LinearSegmentedColormap.from_list(
        "depth", ["#00204D", "#0072B2", "#56B4E9", "#E69F00", "#D55E00"]
    )
    last = max(1, len(drawn) - 1)
    for depth, (path, points) in enumerate(drawn.items()):
        if points:
            _line(axes, points, colours(depth / last), path or what, len(drawn))
    _whole_steps(axes)
    if not any(drawn.values()):
        axes.text(0.5, 0.5, "nothing above zero", transform=axes.transAxes, color=_GREY,
                  horizontalalignment="center")  # fmt: skip
        axes.set_yticks([])
        return
    axes.set_yscale("log")
    if len(drawn) > _NAMED:
        _depth_bar(figure, axes, colours, list(drawn), what)
    else:
        legend = axes.legend(frameon=False, title=f"{what}, input first", fontsize=9,
                             loc="center left", bbox_to_anchor=(1.0, 0.5))  # fmt: skip
        legend.get_title().set_fontsize(9)


def _depth_bar(figure: Figure, axes: Any, colours: Any, paths: list[str], what: str) -> None:
    scale = matplotlib(".colors").Normalize(0, len(paths) - 1)
    shades = matplotlib(".cm").ScalarMappable(norm=scale, cmap=colours)
    bar = figure.colorbar(shades, ax=axes, pad=0.02, aspect=30)
    step = -(-len(paths) // 10)
    ticks = list(range(0, len(paths) - step // 2, step))
    ticks = [*(t for t in ticks if t < len(paths) - 1 - step // 2), len(paths) - 1]
    bar.set_ticks(ticks, labels=[paths[t] or what for t in ticks])
    bar.set_label(f"{what}, from input (below) to output")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _whole_steps(axes: Any) -> None:
    axes.xaxis.set_major_locator(matplotlib(".ticker").MaxNLocator(integer=True))
