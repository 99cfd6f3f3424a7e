"""From DATA to what is trained on and what is held out, with every choice said aloud."""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from ..data import Arrays, Preprocessing, Table, digits, split
from ..data import read as read_data
from ..data.outcomes import Classes, is_classes
from ..data.raw import place
from ..errors import InputError, nearest
from . import options
from .parts import Part, Task
from .telling import say, unknown_text

DIGITS = "digits"


def add_to(parser: Any) -> None:
    """Add the options that say what the data are."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--target",
        metavar="COLUMN",
        help="what is to be predicted: a column of a "
        "table or a .npy file (a number; -1 is the last), a key of a .npz file",
    )
    group.add_argument(
        "--task",
        choices=["classification", "regression"],
        help="texts and few different whole numbers are classes if not given",
    )
    group.add_argument(
        "--test",
        type=options.part,
        metavar="PART",
        help="share or number of rows "
        "held out for the test, 0 for none; 0.2 if not given, or the file's own",
    )
    group.add_argument(
        "--validation",
        type=options.part,
        metavar="PART",
        help="share or number of "
        "the other rows by which --early-stopping and --restarts choose; 0.1 if "
        "these need it, else 0",
    )
    group.add_argument(
        "--split-seed", type=int, default=0, metavar="N", help="fixes which rows these are"
    )
    group.add_argument(
        "--impute",
        choices=["mean", "median", "most_frequent"],
        help="fill missing entries from the training rows; texts by the most frequent",
    )
    group.add_argument("--drop", metavar="COL,COL", help="columns to leave out")
    group.add_argument("--text", metavar="COL,COL", help="columns of numbers that name categories")
    group.add_argument("--numeric", metavar="COL,COL", help="columns that hold numbers alone")
    options.add_reading(group)


def load(given: argparse.Namespace, validate: bool, centre: bool) -> Task:
    """Return what the options ask for; `validate` says whether something chooses by held-out rows.

    Without `centre` the numbers of a target keep their sign.
    """
    if given.data == DIGITS:
        return _digits(given, validate)
    raw = read(given)
    y, where = target_of(raw, given.target)
    classes, rule = is_classes(y, where)
    kind = given.task or ("classification" if classes else "regression")
    if given.task is None:
        say(f"{where}: {rule}, hence {kind} (--task)")
    # The classes decide how rows are drawn; what they are called is for the training rows to say.
    codes = Classes.of("", y, where).places(y) if kind == "classification" else None
    train, test = _held_out(given, raw, len(y), codes)
    train, held = _validation(given, train, codes, validate)
    name = given.target if isinstance(raw, Table) else None  # of arrays it may be a path
    prep = Preprocessing.fit(raw, name, task=kind, impute=given.impute, rows=train, centre=centre)
    for line in unknown_text(prep.unknown(raw)):
        say(line)
    parts = [
        Part(prep, raw, rows, given.dtype) if len(rows) else None for rows in (train, held, test)
    ]
    if isinstance(raw, Arrays) and has_own_test(raw):
        own = raw._replace(x=raw.x_test, y=raw.y_test)
        parts[2] = Part(prep, own, np.arange(len(own.x)), given.dtype)
    assert parts[0] is not None
    return Task(given.data, parts[0], parts[1], parts[2], prep)


def read(given: argparse.Namespace) -> Table | Arrays:
    """Return what DATA holds, without the columns to drop."""
    if not os.path.lexists(given.data):
        raise InputError(f"there is no file {given.data!r}, and no data of that name; "
                         f"{nearest(given.data, [DIGITS])}")  # fmt: skip
    raw = read_data(
        given.data, target=given.target, encoding=given.encoding,
        delimiter=given.delimiter, decimal=given.decimal, text=options.names(given.text),
        numeric=options.names(given.numeric),
    )  # fmt: skip
    dropped = options.names(given.drop)
    if isinstance(raw, Table):
        for name in dropped:
            raw[name]  # says which there are
            if name == given.target:
                raise InputError(f"--drop {name}: this column is the target")
        return raw.without(*dropped)
    if dropped:
        raise InputError(f"{raw.source} has no columns with names; leave --drop away")
    return raw


def target_of(raw: Table | Arrays, name: str | None) -> tuple[Any, str]:
    """Return the raw target and what to call it; `InputError` where there is none."""
    if isinstance(raw, Arrays):
        if raw.y is None:
            raise InputError(f"{raw.source} holds no targets; say by --target where they are")
        return raw.y, f"{raw.source}: y"
    if name is None:
        known = ", ".join(map(repr, list(raw.columns)[:20]))
        raise InputError(f"say by --target which column of {raw.source} is to be predicted: {known}"
                         + (", ..." if len(raw.columns) > 20 else ""))  # fmt: skip
    return raw[name], place(raw, name)


def has_own_test(raw: Table | Arrays) -> bool:
    """Whether data have a test part of their own."""
    return isinstance(raw, Arrays) and raw.x_test is not None and raw.y_test is not None


def _digits(given: argparse.Namespace, validate: bool) -> Task:
    for name in ("target", "task", "test", "impute", "drop", "text", "numeric", "delimiter"):
        if getattr(given, name) is not None:
            raise InputError(f"--{name} is for data from a file; digits are as they are")
    data = digits()
    train, held = _validation(given, np.arange(len(data.y)), data.y, validate)
    return Task(
        DIGITS,
        Part.of(data.x[train], data.y[train]),
        Part.of(data.x[held], data.y[held]) if len(held) else None,
        Part.of(data.x_test, data.y_test),
        None,
    )


def _held_out(
    given: argparse.Namespace, raw: Table | Arrays, n: int, codes: Any
) -> tuple[Any, Any]:
    """The rows to train on and those to test on, none where the test has rows of its own."""
    if has_own_test(raw):
        if given.test is not None:
            raise InputError(f"{given.data} has a test part of its own; leave --test away")
        return np.arange(n), np.arange(0)
    share = 0.2 if given.test is None else given.test
    if not share:
        return np.arange(n), np.arange(0)
    return split(n if codes is None else codes, share, seed=given.split_seed)


def _validation(given: argparse.Namespace, train: Any, codes: Any, wanted: bool) -> Any:
    """The rows that are left to train on, and those to validate on."""
    share = (0.1 if wanted else 0) if given.validation is None else given.validation
    if not share:
        return train, np.arange(0)
    of = len(train) if codes is None else codes[train]
    left, held = split(of, share, seed=given.split_seed)
    return train[left], train[held]
