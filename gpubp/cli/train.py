"""`gpubp train`: a network on real data, from one line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from ..activations import ACTIVATIONS
from ..data import digits
from ..errors import InputError, named
from ..files import check_writable
from ..layers import MLP
from ..network import Network
from ..optimizers import L1, L2, OPTIMIZERS, ClipGlobalNorm, Optimizer, optimizer
from ..schedules import CosineDecay, OneCycle
from .report import Report

_DATA = {"digits": digits}
_SCHEDULES = {"cosine": CosineDecay, "one-cycle": OneCycle}


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a multi-layer perceptron and report its test accuracy",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("data", help="digits: the 1,797 handwritten digits shipped with gpubp")
    parser.add_argument("--hidden", default="256,128", metavar="N,N", help="hidden widths")
    parser.add_argument("--activation", default="relu", help=", ".join(ACTIVATIONS))
    parser.add_argument("--norm", help="normalise before each activation: batch, layer or rms")
    parser.add_argument("--dropout", type=float, default=0.0, help="rate behind each activation")
    parser.add_argument("--optimizer", default="adam", help=", ".join(OPTIMIZERS))
    parser.add_argument("--lr", type=float, help="learning rate; the optimizer's own if not given")
    parser.add_argument("--schedule", choices=["cosine", "one-cycle"], help="of the rate")
    parser.add_argument("--l1", type=float, default=0.0, help="penalty on |w|, of weights alone")
    parser.add_argument("--l2", type=float, default=0.0, help="penalty on w^2 / 2, likewise")
    parser.add_argument("--weight-decay", type=float, help="decoupled, of weights alone")
    parser.add_argument("--clip", type=float, help="the most that the gradient's norm may be")
    parser.add_argument("--restarts", type=int, help="first weights trained at once, best kept")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto")
    parser.add_argument("--dtype", default="float32", help="float32 or float64")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the shuffles")
    parser.add_argument("--save", metavar="FILE", help="write the network to a safetensors file")
    parser.add_argument(
        "--report", metavar="FOLDER", help="write curves, gradient health and findings there"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, report, and save if asked to."""
    data = named("data", options.data, _DATA)()
    if options.save is not None:
        check_writable(options.save)  # not after the training
    batches = -(-len(data.x) // options.batch_size) if options.batch_size > 0 else 1
    report = None if options.report is None else Report(options.report, options.epochs * batches)
    net = Network(
        MLP(
            _widths(options.hidden), int(data.y.max()) + 1, activation=options.activation,
            norm=options.norm, dropout=options.dropout,
        ),
        inputs=data.x.shape[1],
        device=options.device,
        dtype=options.dtype,
        seed=options.seed,
    )  # fmt: skip
    # The curve of a report; restarts would choose by it, which is not what test data are for.
    shown = report is not None and options.restarts is None
    held_out = (data.x_test, data.y_test) if shown else None
    print(f"{options.data}: {len(data.x)} rows to train on, {len(data.x_test)} to test, "
          f"{net.n_parameters:,} parameters on {net.be.device}", file=sys.stderr)  # fmt: skip
    began = time.perf_counter()
    interrupted = False
    try:
        net.fit(
            data.x, data.y, optimizer=_optimizer(options, options.epochs * batches),
            restarts=options.restarts, epochs=options.epochs, batch_size=options.batch_size,
            shuffle_seed=options.seed,
            validation=held_out, progress=True,
            callbacks=[] if report is None else [report],
        )  # fmt: skip
    except KeyboardInterrupt:
        interrupted = True
        print(f"interrupted in epoch {net.epochs + 1}; the network is kept", file=sys.stderr)
    finally:
        if report is not None and report.records:  # of a training that failed above all
            report.write(net.history, _told(options))
            print(f"report in {options.report}", file=sys.stderr)
    seconds = time.perf_counter() - began
    accuracy = net.evaluate(data.x_test, data.y_test)["accuracy"]
    if options.save is not None:
        net.save(options.save)
        print(f"saved to {options.save}", file=sys.stderr)
    print(f"test accuracy {accuracy:.4f} after {net.epochs} epochs in {seconds:.1f} s")
    if options.json:
        print(json.dumps(_summary(options, net, accuracy, seconds)))
    return 1 if interrupted else 0


def _widths(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"--hidden is {text!r}; expected widths such as 128,64") from error


def _optimizer(options: argparse.Namespace, updates: int) -> Optimizer:
    given = optimizer(options.optimizer)
    kind, lr = type(given), given.lr if options.lr is None else options.lr
    if options.schedule is not None and updates > 0:
        lr = _SCHEDULES[options.schedule](float(lr), updates)  # type: ignore[arg-type]
    asked = options.weight_decay
    return kind(
        lr=lr,
        weight_decay=given.weight_decay if asked is None else asked,
        penalty=[p for p in (L1(options.l1), L2(options.l2)) if p.strength],  # type: ignore[arg-type]
        clip=None if options.clip is None else ClipGlobalNorm(options.clip),
    )


def _told(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, without what was to be written where."""
    left_out = ("command", "run", "save", "report", "json")
    return {name: value for name, value in vars(options).items() if name not in left_out}


def _summary(
    options: argparse.Namespace, net: Network, accuracy: float, seconds: float
) -> dict[str, Any]:
    return {
        "task": options.data,
        "device": net.be.device,
        "path": "plain",
        "dtype": net.be.precision,
        "seed": options.seed,
        "parameters": net.n_parameters,
        "epochs": net.epochs,
        "train_loss": net.history.records[-1]["loss"] if len(net.history) else None,
        "test_accuracy": accuracy,
        "seconds": seconds,
    }
