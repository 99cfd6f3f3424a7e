"""`gpubp explain`: what the compiled training step of a saved network consists of."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..compiling import PRECISIONS
from ..errors import InputError
from ..explained import of_program, step_of
from ..network import load
from ..optimizers import OPTIMIZERS
from ..program.c_program import unit
from ..program.tensors import Untraceable

_DESCRIPTION = """
Prints the program of one training step: kernels and matrix products in their order, which layer
each of them is of, floating-point operations, bytes read or written, and memory. Nothing is
compiled and nothing is trained.
"""


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain", help="kernels, products and memory of a training step", description=_DESCRIPTION
    )
    parser.add_argument("model", help="a model file, as `gpubp train --save` writes")
    parser.add_argument("--batch-size", type=int, default=32, help="examples in a step")
    parser.add_argument(
        "--optimizer", default="adam", choices=sorted(OPTIMIZERS), help="that makes the update"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="of matrix products; that of the network if not "
        "given"
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="threads that share a step")
    parser.add_argument(
        "--text", action="store_true", help="print the step of one thread as C++ too"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Explain the step of a model file."""
    for name in ("batch_size", "threads"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}; at least 1")
    net = load(options.model)
    method = OPTIMIZERS[options.optimizer]()
    if net.loss is None:
        raise InputError(f"{options.model} does not say what loss it was trained with")
    shared = 1 if net.members is not None else options.threads
    try:
        program = step_of(
            net, net.loss, method, options.batch_size, shared, precision=options.precision
        )
    except Untraceable as error:
        raise InputError(f"this network trains on the plain path: {error}") from error
    found = of_program(program, net, method, options.precision)
    print(json.dumps(asdict(found)) if options.json else found)
    if options.text and not options.json:
        print(unit(step_of(net, net.loss, method, options.batch_size), "one_step").text)
    return 0
