"""Pictures: what is drawn, the same bytes each time, and nothing global touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import plots
from gpubp.health import Health
from tests.conftest import require

X = np.random.default_rng(5).normal(size=(48, 6))
Y = np.arange(48) % 3


def trained(depth: int = 2, members: int | None = None) -> tuple[gpubp.Network, Health]:
    net = gpubp.Network(gpubp.MLP([8] * depth, 3), inputs=6, members=members)
    health = Health(every=2)
    net.fit(X, Y, epochs=4, batch_size=16, validation=(X, Y), callbacks=[health])
    return net, health


def lines(figure: Any) -> dict[str, tuple[list[float], list[float]]]:
    """The points of each line with a label."""
    drawn = figure.axes[0].get_lines()
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in drawn
        if not line.get_label().startswith("_")
    }


def test_the_loss_of_each_epoch_is_drawn() -> None:
    require("matplotlib")
    net, _ = trained()
    for given in (net.history, net.history.records):
        found = lines(plots.loss_curves(given))
        assert found["training"] == ([1, 2, 3, 4], net.history["loss"])
        assert found["held out"] == ([1, 2, 3, 4], net.history["val_loss"])


def test_gradients_are_drawn_by_layer_and_updates_by_weight() -> None:
    require("matplotlib")
    _, health = trained()
    steps = [record["step"] for record in health.records]
    plain = json.loads(json.dumps(health.records))
    for given in (health, plain):
        figure = plots.gradient_norms(given)
        found = lines(figure)
        assert list(found) == ["0", "2", "4"]  # those with weights
        assert found["2"] == (steps, [r["layers"][2]["delta"] for r in health.records])
        assert figure.axes[0].get_yscale() == "log"
        found = lines(plots.update_ratios(given))
        assert list(found) == ["0.W", "2.W", "4.W"]
        assert found["4.W"] == (steps, [r["parameters"][4]["ratio"] for r in health.records])


def test_axes_are_labelled() -> None:
    require("matplotlib")
    net, health = trained()
    for figure, x in (
        (plots.loss_curves(net.history), "epoch"),
        (plots.gradient_norms(health), "update"),
        (plots.update_ratios(health), "update"),
    ):
        axes = figure.axes[0]
        assert axes.get_xlabel() == x
        assert axes.get_ylabel()
        assert axes.get_title(loc="left")


def test_many_layers_are_told_apart_by_a_colour_bar() -> None:
    require("matplotlib")
    _, health = trained(depth=29)
    figure = plots.gradient_norms(health)
    assert len(figure.axes) == 2  # the second is the bar
    assert figure.axes[0].get_legend() is None
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert len(set(colours)) == 30
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert (labels[0], labels[-1]) == ("0", "58")
    assert len(labels) <= 12


def test_of_an_ensemble_medians_are_drawn() -> None:
    require("matplotlib")
    net, health = trained(members=3)
    middle = [sorted(record["loss"])[1] for record in net.history]
    assert lines(plots.loss_curves(net.history))["training"][1] == middle
    expected = [sorted(r["layers"][0]["delta"])[1] for r in health.records]
    assert lines(plots.gradient_norms(health))["0"][1] == expected


def test_nothing_above_zero_can_be_drawn_too(tmp_path: Path) -> None:
    require("matplotlib")
    _, health = trained()
    for record in health.records:
        for each in record["parameters"]:
            each["ratio"] = 0.0
    plots.save(plots.update_ratios(health), tmp_path / "flat.png")


@pytest.mark.parametrize("draw", [plots.loss_curves, plots.gradient_norms, plots.update_ratios])
def test_nothing_to_draw_is_refused(draw: Any) -> None:
    require("matplotlib")
    with pytest.raises(gpubp.InputError, match="first"):
        draw(gpubp.History() if draw is plots.loss_curves else Health())


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_same_figures_give_the_same_bytes(tmp_path: Path, ending: str, magic: bytes) -> None:
    require("matplotlib")
    _, health = trained()
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{ending}"
        plots.save(plots.gradient_norms(health), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert written[0].startswith(magic)
    assert b"dc:date" not in written[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name in ("loss.jpeg", "loss"):
        with pytest.raises(gpubp.InputError, match=r"\.png or \.svg"):
            plots.save(None, tmp_path / name)
    matplotlib = require("matplotlib")
    assert matplotlib
    net, _ = trained()
    with pytest.raises(gpubp.InputError, match="no folder"):
        plots.save(plots.loss_curves(net.history), tmp_path / "none" / "loss.png")


def test_nothing_global_is_touched(tmp_path: Path) -> None:
    require("matplotlib")
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "import gpubp; from gpubp import plots\n"
        "figure = plots.loss_curves([{'epoch': 1, 'loss': 1.0}])\n"
        f"plots.save(figure, {str(tmp_path / 'loss.svg')!r})\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_matplotlib_is_not_needed_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, gpubp.plots, gpubp.health; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(plots.PlotsError, match=r"pip install 'gpubp\[plots\]'"):
        plots.loss_curves([{"epoch": 1, "loss": 1.0}])
