"""`gpubp train`: a network on real data, from one line."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from ..activations import ACTIVATIONS
from ..errors import InputError
from ..files import check_writable
from ..history import EarlyStopping
from ..layers import MLP
from ..network import Network
from . import learning, options, output, predicting, task
from .parts import Part, Task
from .predicting import Figures
from .report import Report
from .telling import say


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a multi-layer perceptron and report how well it does on held-out rows",
        description="Options that are not given follow from the number of training rows, never "
        "from the rows of the test; what they are is said on standard error.",
        formatter_class=options.Formatter,
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="digits (1,797 handwritten digits shipped "
        "with gpubp), a .csv, .tsv, .parquet, .npz or .npy file, or a folder of "
        "IDX files",
    )
    task.add_to(parser)
    group = parser.add_argument_group("network")
    group.add_argument("--hidden", default="256,128", metavar="N,N", help="hidden widths")
    group.add_argument("--activation", default="relu", metavar="NAME", help=", ".join(ACTIVATIONS))
    group.add_argument(
        "--norm", metavar="KIND", help="normalise before each activation: batch, layer or rms"
    )
    group.add_argument(
        "--dropout", type=float, default=0.0, metavar="RATE", help="rate behind each activation"
    )
    group.add_argument("--dtype", default="float32", metavar="TYPE", help="float32 or float64")
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the weights and the shuffles"
    )
    options.add_device(group)
    learning.add_to(parser)
    group = parser.add_argument_group("what is written")
    group.add_argument("--save", metavar="FILE", help="write the network to a safetensors file")
    group.add_argument(
        "--report", metavar="FOLDER", help="write curves, gradient health and findings there"
    )
    group.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Train, report, and save if asked to."""
    widths, loss = _widths(given.hidden), learning.loss_of(given)
    stopping = None if given.early_stopping is None else EarlyStopping(given.early_stopping)
    if given.save is not None:
        output.check_apart("--save", given.save, *_files(given))
        check_writable(given.save)  # not after the training
    chooses = stopping is not None or (given.restarts is not None and given.data != task.DIGITS)
    data = task.load(given, chooses, loss is None or loss.targets != "count")
    if stopping is not None and data.validation is None:
        raise InputError("--early-stopping needs rows to judge by; leave --validation 0 away")
    plan = learning.plan(given, data, loss)
    net = Network(
        MLP(widths, plan.outputs, activation=given.activation, norm=given.norm,
            dropout=given.dropout),
        inputs=data.width, device=given.device, dtype=given.dtype, seed=given.seed,
    )  # fmt: skip
    net.preprocessing = data.prep
    report = None if given.report is None else Report(given.report, plan.updates)
    say(_introduction(given, data, net))
    if data.name != task.DIGITS:
        say(plan.text)
    return _train(given, data, net, plan, report, stopping)


def _train(
    given: argparse.Namespace,
    data: Task,
    net: Network,
    plan: learning.Plan,
    report: Report | None,
    stopping: EarlyStopping | None,
) -> int:
    began = time.perf_counter()
    interrupted = False
    try:
        net.fit(
            *data.train.arguments(), loss=plan.loss, optimizer=plan.optimizer,
            restarts=given.restarts, epochs=plan.epochs, batch_size=plan.batch_size,
            shuffle_seed=given.seed, validation=_shown(given, data), progress=True,
            callbacks=[c for c in (report, stopping) if c is not None],
            checkpoint=given.checkpoint, every=given.every, resume=given.resume,
            compile=learning.COMPILE[given.compile], threads=given.threads,
            precision=given.precision,
        )  # fmt: skip
    except KeyboardInterrupt:
        interrupted = True
        say(f"interrupted in epoch {net.epochs + 1}; the network is kept")
    finally:
        if report is not None and report.records:  # of a training that failed above all
            report.write(net.history, _told(given))
            say(f"report in {given.report}")
    seconds = time.perf_counter() - began
    say(_way(net))
    figures = None if data.test is None else figures_of(net, data.test)
    if given.save is not None:
        net.save(given.save)
        say(f"saved to {given.save}")
    print(_conclusion(data, net, figures, seconds))
    if given.json:
        print(json.dumps(_summary(given, data, net, figures, seconds)))
    return 1 if interrupted else 0


def figures_of(net: Network, part: Part) -> Figures:
    """Return how well a network does on some rows; numbers are in the unit of the target."""
    prep = net.preprocessing
    numbers = prep is not None and prep.classes is None
    found = Figures(None if numbers else net.spec.shape[-1] + (net.spec.shape[-1] == 1))
    for rows in predicting.blocks(len(part)):
        got, t = predicting.predict(net, part.features(rows)), part.t[rows]
        if numbers:
            found.add(prep.values(got.values), prep.values(t))
        else:
            found.add(got.labels, np.asarray(t).reshape(-1).astype(np.int64))
    return found


def _shown(given: argparse.Namespace, data: Task) -> Any:
    """The held-out rows whose loss is recorded.

    Those of the test only for the curve of a report, and where nothing chooses by it.
    """
    if data.validation is not None:
        return data.validation.source()
    shown = given.report is not None and given.restarts is None and data.test is not None
    return data.test.source() if shown and data.test is not None else None


def _introduction(given: argparse.Namespace, data: Task, net: Network) -> str:
    held = "" if data.validation is None else f", {len(data.validation)} to validate"
    tested = 0 if data.test is None else len(data.test)
    return (f"{given.data}: {len(data.train)} rows to train on{held}, {tested} to test, "
            f"{net.n_parameters:,} parameters on {net.be.device}")  # fmt: skip


def _conclusion(data: Task, net: Network, figures: Figures | None, seconds: float) -> str:
    after = f"after {net.epochs} epochs in {seconds:.1f} s"
    if figures is None:
        return f"trained on all rows, without a test, {after}"
    target = None if data.prep is None else data.prep.target
    return f"test {predicting.text(figures.result(), target)} {after}"


def _way(net: Network) -> str:
    """How steps were computed, and if they were not compiled why."""
    reason = f" ({net.history.reason})" if net.history.reason else ""
    return f"{net.history.path} path{reason}"


def _files(given: argparse.Namespace) -> list[str]:
    """What is read; a target may be a file, too, and its name that of a column."""
    target = [given.target] if str(given.target).lower().endswith(".npy") else []
    return target if given.data == task.DIGITS else [given.data, *target]


def _widths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"--hidden is {text!r}; expected widths such as 128,64") from error


def _told(given: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, without what was to be written where."""
    left_out = ("command", "run", "save", "report", "json", "checkpoint")
    return {name: value for name, value in vars(given).items() if name not in left_out}


def _summary(
    given: argparse.Namespace,
    data: Task,
    net: Network,
    figures: Figures | None,
    seconds: float,
) -> dict[str, Any]:
    found = {} if figures is None else predicting.as_json(figures.result())
    names = data.classes
    kinds = ("accuracy",) if names is not None else ("r2", "rmse")
    summary = {
        "task": given.data,
        "kind": "regression" if names is None else "classification",
        "device": net.be.device,
        "path": net.history.path,
        "path_reason": net.history.reason,
        "dtype": net.be.precision,
        "seed": given.seed,
        "parameters": net.n_parameters,
        "epochs": net.epochs,
        "train_rows": len(data.train),
        "validation_rows": 0 if data.validation is None else len(data.validation),
        "test_rows": 0 if data.test is None else len(data.test),
        "train_loss": net.history.records[-1]["loss"] if len(net.history) else None,
        **{f"test_{kind}": found.get(kind) for kind in kinds},
        "seconds": seconds,
    }
    if names is not None and figures is not None:
        trained = np.bincount(
            np.asarray(data.train.t).reshape(-1).astype(int), minlength=len(names)
        )
        rows = zip(names, trained.tolist(), figures.recalls(), strict=True)
        summary["classes"] = [
            {"class": name, "train_rows": n, "test_rows": tested, "recall": recall}
            for name, n, (tested, recall) in rows
        ]
    return summary
