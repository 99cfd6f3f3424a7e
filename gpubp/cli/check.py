"""`gpubp check`: is backpropagation right here, and do the devices agree?"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import check
from ..backend import select
from ..check.repertoire import PARTS, repertoire
from ..data import digits
from ..errors import InputError
from ..layers import MLP
from ..losses import CrossEntropy
from ..network import Network, load

_EVERYTHING = "digits"


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="finite differences against backpropagation, and every device against the CPU",
        description="Each error is shown as a multiple of its tolerance; exit code 1 above 1.",
    )
    parser.add_argument(
        "what", nargs="?", default=_EVERYTHING, metavar=" | ".join([_EVERYTHING, *PARTS, "MODEL"]),
        help="digits: all of these and a network for handwritten digits; "
             "or a file that Network.save wrote",
    )  # fmt: skip
    parser.add_argument("--activation", default="relu", help="of the digits network")
    parser.add_argument("--device", help="compare this device alone, such as cuda or cuda:1")
    parser.add_argument("--verbose", action="store_true", help="show every comparison")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, print the table, and return 1 if anything disagrees."""
    if options.device is not None:
        select(options.device)  # an unknown or unusable one is refused before anything is run
    report = _report(options)
    many = options.what in (_EVERYTHING, *PARTS)
    print(report.summary() if many and not options.verbose else report)
    if options.json:
        rows = [row.as_dict() for row in report.rows]
        print(json.dumps({"ok": report.ok, "rows": rows, "remarks": list(report.remarks)}))
    return 0 if report.ok else 1


def _report(options: argparse.Namespace) -> check.Report:
    if options.what in PARTS:
        return repertoire(options.what, device=options.device)
    if options.what == _EVERYTHING:
        network, parts = _digits(options), repertoire(device=options.device)
        remarks = dict.fromkeys([*network.remarks, *parts.remarks])
        return check.Report((*network.rows, *parts.rows), list(remarks))
    if not Path(options.what).is_file():
        known = ", ".join([_EVERYTHING, *PARTS])
        raise InputError(f"there is no file {options.what!r}; give {known} or a model file")
    return check.network(load(options.what), device=options.device)


def _digits(options: argparse.Namespace) -> check.Report:
    data = digits()
    net = Network(MLP([64, 32], 10, activation=options.activation), inputs=data.x.shape[1])
    found = check.network(net, data.x, data.y, CrossEntropy(), options.device)
    return replace(found, rows=[replace(row, group=_EVERYTHING) for row in found.rows])
