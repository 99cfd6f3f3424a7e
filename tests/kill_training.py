"""Kill a training that writes checkpoints, at random moments, and let it go on.

`python -m tests.kill_training --n 300` trains one network without a break, then n times the same
in a process of its own that is killed (SIGKILL) at a random moment, before each of which all its
files must be readable, until one comes to the end: with the bits of the first, or it counts as a
failure. The last line is one of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import gpubp

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 60


def train(folder: str, epochs: int = EPOCHS) -> str:
    """Train, or go on; return a digest of weights, slots and history."""
    draw = np.random.default_rng(5)
    x, y = draw.normal(size=(256, 12)), draw.integers(0, 4, 256)
    body = gpubp.Sequential(
        gpubp.Linear(64), gpubp.BatchNorm(), gpubp.Activation("relu"), gpubp.Dropout(0.2)
    )
    net = gpubp.Network(gpubp.Sequential(body, gpubp.Linear(4)), inputs=12, members=2)
    callbacks = [gpubp.EarlyStopping(50), gpubp.ReduceOnPlateau(patience=2), gpubp.Health(7)]
    net.fit(
        x, y, epochs=epochs, batch_size=64, validation=(x[:50], y[:50]), callbacks=callbacks,
        optimizer=gpubp.EMA(gpubp.AdamW(gpubp.CosineDecay(0.01, 4 * epochs)), decay=0.9),
        checkpoint=gpubp.Checkpoints(folder, 3, unit="updates", keep=2), resume=True,
    )  # fmt: skip
    return digest(net)


def digest(net: gpubp.Network) -> str:
    """A text that differs where a bit of what training left differs, times left out."""
    told = hashlib.sha256()
    slots = net.steps.slots
    for name, array in [*net.state_dict().items(), *slots.arrays.items()]:
        told.update(name.encode() + np.ascontiguousarray(net.be.to_numpy(array)).tobytes())
    records = [{k: v for k, v in r.items() if k != "seconds"} for r in net.history.records]
    told.update(json.dumps([records, slots.updates, net.updates, net.epochs]).encode())
    return told.hexdigest()


def unreadable(folder: Path) -> list[str]:
    """The files of a folder that `gpubp.load` does not take, with its reasons."""
    bad = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            gpubp.load(path)
        except gpubp.InputError as error:
            bad.append(str(error))
    return bad


def start(folder: str, epochs: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.kill_training", "--train", folder]
    command += ["--epochs", str(epochs)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=environment,
    )  # fmt: skip


def trial(number: int, wanted: str, seconds: float, seed: int, epochs: int) -> dict[str, Any]:
    """Train with one kill; return what was found."""
    moment = random.Random(f"{seed}-{number}").uniform(0.0, seconds)
    with tempfile.TemporaryDirectory() as folder:
        process = start(folder, epochs)
        time.sleep(moment)
        process.kill()
        process.communicate()
        bad, left = unreadable(Path(folder)), len(gpubp.Checkpoints(folder).files())
        again = start(folder, epochs)
        out, errors = again.communicate()
        hidden = [name for name in os.listdir(folder) if name.startswith(".")]
        same = out.strip() == wanted
    told = "" if same else f"{out.strip()} {errors[-500:]}"
    return {"killed": process.returncode == -9, "checkpoints": left, "unreadable": bad,
            "same": same, "temporaries": hidden, "told": told}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        print(train(options.train, options.epochs))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        wanted, _ = start(folder, options.epochs).communicate()
        seconds = time.perf_counter() - began
    assert wanted.strip(), "the training without a break failed"
    with ThreadPoolExecutor(options.workers) as pool:
        found = list(pool.map(
            lambda i: trial(i, wanted.strip(), seconds, options.seed, options.epochs),
            range(options.n),
        ))  # fmt: skip
    bad = [f for f in found if f["unreadable"] or not f["same"] or f["temporaries"]]
    for each in bad:
        print(each, file=sys.stderr)
    print(json.dumps({
        "trials": len(found), "killed": sum(f["killed"] for f in found),
        "with_checkpoints": sum(f["checkpoints"] > 0 for f in found),
        "unreadable_files": sum(len(f["unreadable"]) for f in found),
        "other_bits": sum(not f["same"] for f in found),
        "temporaries_left": sum(len(f["temporaries"]) for f in found),
    }))  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
