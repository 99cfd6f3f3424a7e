"""The figure and the README's table of what `bench.cpu --out FILE` measured.

    python -m bench.cpu_figure FILE [--figure FILE.png] [--markdown FILE.md]

Without options the table goes to standard output and the figure beside FILE, as a .png.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from .cpu_table import largest, markdown, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("results", help="what bench.cpu --out wrote")
    parser.add_argument("--figure")
    parser.add_argument("--markdown")
    arguments = parser.parse_args()
    result = json.loads(Path(arguments.results).read_text())
    if arguments.markdown is None and arguments.figure is None:
        arguments.figure = str(Path(arguments.results).with_suffix(".png"))
        print(markdown(result), end="")
    if arguments.markdown is not None:
        Path(arguments.markdown).write_text(markdown(result))
    if arguments.figure is not None:
        draw(result, arguments.figure)


def draw(result: dict[str, Any], path: str) -> None:
    """Draw how many times as fast as the best of JAX each path of gpubp is, by workload."""
    figure_of: Any = importlib.import_module("matplotlib.figure")
    figure = figure_of.Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    run = largest(result)
    names = list(run["results"])
    shown = list(dict.fromkeys((ours(run), "gpubp plain")))
    width = 0.8 / len(shown)
    for k, who in enumerate(shown):
        found = [run["results"][n]["contenders"].get(who, {}).get("to_best_jax") for n in names]
        places = [(i + (k - (len(shown) - 1) / 2) * width, r) for i, r in enumerate(found) if r]
        if not places:
            continue
        heights = [r["ratio"] for _, r in places]
        # A ratio of medians may lie outside the range of the rounds' ratios, by a little.
        below = [max(0.0, r["ratio"] - r["least"]) for _, r in places]
        above = [max(0.0, r["largest"] - r["ratio"]) for _, r in places]
        at, lengths = [x for x, _ in places], [h - 1 for h in heights]
        # From 1: on a logarithmic scale a bar has no other end that means anything.
        bars = axes.bar(at, lengths, width, bottom=1.0, label=who)
        axes.errorbar(at, heights, (below, above), fmt="none", color="black", capsize=2)
        axes.bar_label(bars, [f"{h:.2f}" for h in heights], label_type="center", fontsize=8)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("steps a second, the best of JAX = 1")
    axes.set_title(f"{run['cpu']}, {run['threads']} threads, float32, {run['date'][:10]}")
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
