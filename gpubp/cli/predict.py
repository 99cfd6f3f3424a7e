"""`gpubp predict`: what a network that was saved makes of rows."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import numpy as np

from ..data import Arrays, Preprocessing, Table, digits
from ..data import read as read_data
from ..data.encoders import Categorical, Numeric
from ..data.raw import column, missing, place
from ..errors import InputError
from ..network import Network, load
from . import answers, options, output, predicting
from .predicting import Figures
from .task import DIGITS
from .telling import say, unknown_text


def add_to(commands: Any) -> None:
    """Add the sub-command and its options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="classes and their probabilities, or numbers, for the rows of a file",
        description="Rows are written in their order: predicted, and p_CLASS for each class. What "
        "went before the network in training is done again: columns go by name. Of an ensemble "
        "the probabilities, or the numbers, are averaged over the members.",
        formatter_class=options.Formatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a file that gpubp train --save wrote, or Network.save"
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a file or folder as for gpubp train; with the target in it, the figures are told too",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="a .csv, .npz or .parquet file, or - for CSV on standard output",
    )
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="where the targets are in a .npy or "
        ".npz file, and that they are no feature; of a table it is known",
    )
    parser.add_argument(
        "--part",
        choices=["train", "test"],
        default="train",
        help="which rows of data that have a test part of their own",
    )
    options.add_reading(parser)
    options.add_device(parser)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Predict, write, and tell how well where that can be known."""
    output.check(given.out, given.data, given.model, *([given.target] if given.target else []))
    if given.json and given.out == "-":
        raise InputError("--json and --out - would both write to standard output; take one")
    net = load(given.model, device=given.device)
    _check_widths(net)
    raw = _read(given, net.preprocessing)
    x, n = _features(net, raw, given.target)
    wanted = answers.wanted(net, raw)
    figures = None if wanted is None else Figures(answers.classes_of(net))
    with output.writing(given.out) as file:
        for rows in predicting.blocks(n):
            found = predicting.predict(net, x(rows))
            file.add(answers.columns(net, found))
            if figures is not None and wanted is not None:
                answers.compare(net, found, wanted[rows], figures)
    summary = {"rows": n, "out": given.out, **answers.tell(net, figures, n)}
    if given.out != "-":
        say(f"{n:,} rows in {given.out}")
    if given.json:
        print(json.dumps(summary))
    return 0


# -- what is read ------------------------------------------------------------------------------


def _read(given: argparse.Namespace, prep: Preprocessing | None) -> Table | Arrays:
    """Return what DATA holds, or its test part."""
    raw = Arrays(*digits(), DIGITS) if given.data == DIGITS else _read_file(given, prep)
    if given.part == "train":
        return raw
    if not isinstance(raw, Arrays) or raw.x_test is None:
        raise InputError(f"{raw.source} has no test part of its own; leave --part test away")
    return raw._replace(x=raw.x_test, y=raw.y_test)


def _read_file(given: argparse.Namespace, prep: Preprocessing | None) -> Table | Arrays:
    """Return what a file or folder holds, its columns read as they were in training."""
    how: dict[str, Any] = {
        "encoding": given.encoding, "delimiter": given.delimiter, "decimal": given.decimal,
    }  # fmt: skip
    if prep is None or not isinstance(prep.inputs, tuple):
        return read_data(given.data, target=given.target, **how)
    how |= {"text": prep.column_names(Categorical), "numeric": prep.column_names(Numeric)}
    if not how["text"] and not how["numeric"]:
        return read_data(given.data, **how)
    raw = read_data(given.data, **how)
    name, texts = str(prep.target), prep.classes is not None and isinstance(prep.classes[0], str)
    if not isinstance(raw, Table) or not texts or name not in raw.columns:
        return raw
    if column(raw[name], name).dtype.kind == "f":  # of classes that are called 1, 2, ...
        return read_data(given.data, **how | {"text": (*how["text"], name)})
    return raw


def _features(net: Network, raw: Table | Arrays, target: str | None) -> tuple[Any, int]:
    """Return a function from rows to their features, and how many rows there are."""
    prep, dtype = net.preprocessing, net.be.precision
    if prep is not None:
        for line in unknown_text(prep.unknown(raw)):
            say(line)
        n = len(raw) if isinstance(raw, Table) else len(raw.x)
        return lambda rows: prep.features(raw, np.arange(rows.start, rows.stop), dtype), n
    x = _columns_in_order(raw, target) if isinstance(raw, Table) else raw.x
    width = math.prod(net.inputs)
    if math.prod(x.shape[1:]) != width:
        raise InputError(f"{raw.source} has {math.prod(x.shape[1:])} features in each row; this "
                         f"network takes {width}, and was saved without preprocessing")  # fmt: skip
    return lambda rows: np.asarray(x[rows]).reshape(-1, *net.inputs), len(x)


def _columns_in_order(table: Table, target: str | None) -> Any:
    """The columns of a table as an array `(n, columns)`, all of numbers."""
    table = table if target is None else table.without(target)
    found = []
    for name in table.columns:
        entries = column(table[name], place(table, name))
        rows = np.flatnonzero(missing(entries))
        if entries.dtype.kind != "f" or len(rows):
            held = f"misses an entry in row {rows[0] + 1}" if len(rows) else "holds texts"
            raise InputError(f"{place(table, name)} {held}; this network was saved "
                             "without preprocessing and takes numbers as they are")  # fmt: skip
        found.append(entries)
    return np.stack(found, axis=1) if found else np.zeros((len(table), 0))


def _check_widths(net: Network) -> None:
    """See that the preprocessing in a file is for the network in it."""
    prep = net.preprocessing
    if prep is None:
        return
    if net.own_loss is not None:
        raise InputError(f"the model was trained with {net.own_loss}, a loss that is not gpubp's: "
                         "predict in Python, with gpubp.load(path, loss=...)")  # fmt: skip
    width, outputs = math.prod(net.inputs), net.spec.shape[-1]
    if prep.width != width:
        raise InputError(f"the model's preprocessing makes {prep.width} features; its network "
                         f"takes {width}")  # fmt: skip
    if net.loss is None or net.loss.classifies != (prep.task == "classification"):
        raise InputError(f"the model's preprocessing is for {prep.task}; its network's loss is not")
    if prep.classes is not None:
        expected = 2 if outputs == 1 else outputs
        if len(prep.classes) != expected:
            raise InputError(f"the model names {len(prep.classes)} classes; its network tells "
                             f"{expected} apart")  # fmt: skip
    elif net.loss.target_width(outputs) != len(prep.outputs.means):
        raise InputError(f"the model's target has {len(prep.outputs.means)} numbers; its network "
                         f"puts out {outputs}")  # fmt: skip
