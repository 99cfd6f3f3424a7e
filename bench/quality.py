"""What `gpubp train FILE` reaches with its defaults, beside scikit-learn's perceptrons with theirs.

    python -m bench.quality [--data breast_cancer,wine,diabetes] [--seeds 5] [--json] [--out FILE]
    python -m bench.quality --data fashion [--folder /usr/share/datasets/fashion-mnist] [--seeds 3]

Each data set is written as CSV, and the command line reads it; the other is a StandardScaler with
an MLPClassifier or MLPRegressor, on the same rows. Seed s draws split s and first weights s for
both. What is judged are the rows held out: accuracy, or r2 and the root mean squared error in the
target's unit. Fashion-MNIST (Debian's package dataset-fashion-mnist) has a test part of its own;
the seconds are those of the whole process.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from gpubp.cli import main as command
from gpubp.data import split

from .report import environment, write

SETS = ("breast_cancer", "wine", "diabetes")
FASHION = "/usr/share/datasets/fashion-mnist"
TARGET = "target"


def table(name: str) -> tuple[Any, Any, list[str]]:
    """Return features, the target (classes by name) and the names of the columns."""
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    y = data.target_names[data.target] if name != "diabetes" else data.target
    return data.data, y, [str(column) for column in data.feature_names]


def export(name: str, folder: str) -> Path:
    """Write a data set as CSV."""
    x, y, columns = table(name)
    path = Path(folder) / f"{name}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*columns, TARGET])
        rows.writerows([*features, y[i]] for i, features in enumerate(x.tolist()))
    return path


def ours(path: Path, seed: int) -> dict[str, Any]:
    """Return what `gpubp train` says of split and weights `seed`, with its own seconds."""
    said = io.StringIO()
    asked = ["train", str(path), "--target", TARGET, "--json"]
    asked += ["--split-seed", str(seed), "--seed", str(seed)]
    began = time.perf_counter()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = command(asked)
    if code:
        raise SystemExit(f"gpubp {' '.join(asked)} ended with {code}")
    told = json.loads(said.getvalue().splitlines()[-1])
    figures = {k[5:]: told[k] for k in ("test_accuracy", "test_r2", "test_rmse") if k in told}
    return {**figures, "rows": told["test_rows"], "seconds": time.perf_counter() - began}


def theirs(name: str, seed: int) -> dict[str, Any]:
    """The same of scikit-learn, on the same rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, _ = table(name)
    numbers = name == "diabetes"
    train, test = split(len(y) if numbers else np.unique(y, return_inverse=True)[1], seed=seed)
    kind = MLPRegressor if numbers else MLPClassifier
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make_pipeline(StandardScaler(), kind(random_state=seed)).fit(x[train], y[train])
    score = float(model.score(x[test], y[test]))
    figures = {"r2" if numbers else "accuracy": score}
    if numbers:
        figures["rmse"] = float(np.sqrt(((model.predict(x[test]) - y[test]) ** 2).mean()))
    return {**figures, "rows": len(test), "seconds": time.perf_counter() - began}


def compare(name: str, seeds: int) -> dict[str, Any]:
    """Return all runs of both on one data set, and their medians."""
    with tempfile.TemporaryDirectory() as folder:
        path = export(name, folder)
        runs = {"gpubp": [ours(path, seed) for seed in range(seeds)],
                "scikit-learn": [theirs(name, seed) for seed in range(seeds)]}  # fmt: skip
    for a, b in zip(*runs.values(), strict=True):
        assert a["rows"] == b["rows"]
    return {who: {**medians(of), "runs": of} for who, of in runs.items()}


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure, and its least and largest."""
    found: dict[str, Any] = {}
    for figure in (name for name in runs[0] if name != "rows"):
        values = [run[figure] for run in runs]
        found[figure] = statistics.median(values)
        found[f"{figure}_spread"] = [min(values), max(values)]
    return found


def fashion(folder: str, seeds: int) -> dict[str, Any]:
    """Return what `gpubp train FOLDER` reaches, each seed in a process of its own."""
    runs = []
    for seed in range(seeds):
        asked = [sys.executable, "-m", "gpubp", "train", folder, "--json", "--seed", str(seed)]
        began = time.perf_counter()
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        told = json.loads(done.stdout.decode().splitlines()[-1])
        runs.append({"accuracy": told["test_accuracy"], "rows": told["test_rows"],
                     "seconds": time.perf_counter() - began})  # fmt: skip
    return {"gpubp": {**medians(runs), "runs": runs}}


def text(name: str, found: dict[str, Any]) -> str:
    """Return a line for each contestant."""
    lines = []
    for who, figures in found.items():
        cells = []
        for figure in ("accuracy", "r2", "rmse", "seconds"):
            if figure in figures:
                low, high = figures[f"{figure}_spread"]
                cells.append(f"{figure} {figures[figure]:.4g} ({low:.4g} to {high:.4g})")
        lines.append(f"{name:14s} {who:13s} {'  '.join(cells)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", default=",".join(SETS), help="of these, or fashion")
    parser.add_argument("--folder", default=FASHION, help="of Fashion-MNIST")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--out")
    given = parser.parse_args()
    results = {}
    for name in given.data.split(","):
        if name == "fashion":
            results[name] = fashion(given.folder, given.seeds or 3)
        else:
            results[name] = compare(name, given.seeds or 5)
        print(text(name, results[name]), flush=True)
    told = {"benchmark": "quality", **environment(), "results": results}
    write(given.out, told)
    if given.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
