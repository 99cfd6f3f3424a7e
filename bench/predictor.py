"""What predicting takes where nothing is installed but NumPy and two small packages.

A virtual environment gets gpubp, numpy, array-api-compat and safetensors, without what these would
bring along; there a model file is loaded that this process wrote, and must predict the same bits.

python -m bench.predictor [--runs 11] [--out bench/results/predictor.json]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import gpubp
from gpubp.data import digits

from .report import environment, write

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("numpy", "array-api-compat", "safetensors")
NOT_COUNTED = ("pip", "setuptools")
PREDICT = """
import sys
import numpy
import gpubp
found = gpubp.load(sys.argv[1], device="cpu").predict_proba(numpy.load(sys.argv[2]))
"""
STATEMENTS = {
    "import numpy": "import numpy",
    "first prediction": PREDICT,
    "import gpubp": "import gpubp",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.runs)
    for name, size in found["megabytes"].items():
        print(f"{name:20}{size:8.1f} MB")
    for name, seconds in found["seconds"].items():
        print(f"{name:20}{1000 * seconds:8.1f} ms")
    print(f"a process takes {found['prediction_over_numpy']:.2f}x import numpy to its first "
          f"prediction; the bits are {'the same' if found['same_bits'] else 'OTHERS'}")  # fmt: skip
    write(arguments.out, {"benchmark": "predictor", **environment(), "results": found})
    sys.exit(0 if found["same_bits"] else 1)


def measure(folder: Path, runs: int) -> dict[str, Any]:
    """Return sizes, seconds and whether the environment predicts what this process does."""
    x = digits().x_test[:100]
    net = gpubp.Network(gpubp.MLP([128, 64], 10, norm="batch"), inputs=64, seed=0)
    net.loss = gpubp.CrossEntropy()
    model, data, out = (str(folder / name) for name in ("net", "x.npy", "y.npy"))
    net.save(model)
    np.save(data, x)
    python = install(folder)
    run(python, f"{PREDICT}numpy.save(sys.argv[3], found)", model, data, out)
    same = np.load(out).tobytes() == net.predict_proba(x).tobytes()
    taken: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(runs):
        for name, statement in STATEMENTS.items():
            began = time.perf_counter()
            run(python, statement, model, data)
            taken[name].append(time.perf_counter() - began)
    pairs = zip(taken["first prediction"], taken["import numpy"], strict=True)
    return {
        "same_bits": same,
        "megabytes": sizes(python),
        "seconds": {name: statistics.median(times) for name, times in taken.items()},
        "prediction_over_numpy": statistics.median(a / b for a, b in pairs),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def install(folder: Path) -> Path:
    """Make an environment of the packages, in the versions that this process has."""
    source = folder / "source"  # building leaves files where it builds
    for name in ("gpubp", "backends"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = [f"{name}=={metadata.version(name)}" for name in PACKAGES]
    asked = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", str(source)]
    subprocess.run([str(python), "-I", "-m", "pip", *asked, *wanted], check=True)
    return python


def run(python: Path, statement: str, *arguments: str) -> None:
    """Run a statement in a process that sees nothing but its own environment."""
    subprocess.run([python, "-I", "-c", statement, *arguments], check=True)


def sizes(python: Path) -> dict[str, float]:
    """Return what each package takes on the disk, in megabytes, bytecode and all."""
    asked = [str(python), "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    found = {}
    for package in metadata.distributions(path=[site]):
        name = package.metadata["Name"]
        if name not in NOT_COUNTED:
            files = (Path(str(package.locate_file(file))) for file in package.files or ())
            found[name] = sum(f.stat().st_size for f in files if f.is_file()) / 1e6
    found = dict(sorted(found.items(), key=lambda entry: -entry[1]))
    return {**found, "together": sum(found.values())}


if __name__ == "__main__":
    main()
