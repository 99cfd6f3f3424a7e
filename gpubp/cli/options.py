"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import InputError


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults, where there are some."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool):
            return action.help
        return super()._get_help_string(action)


def add_reading(parser: Any) -> None:
    """Add what says how a file of text is read."""
    parser.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="of a file of text, such as latin-1 or utf-16",
    )
    parser.add_argument(
        "--delimiter", metavar="CHARACTER", help="of a file of text; seen from its first line"
    )
    parser.add_argument("--decimal", choices=[".", ","], default=".", help="of a file of text")


def add_device(parser: Any) -> None:
    """Add the device."""
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:N or auto")


def names(text: str | None) -> tuple[str, ...]:
    """Return names that commas part; a name with a comma in it is written in double quotes.

    >>> names('age,"town, street"'), names(None)
    (('age', 'town, street'), ())
    """
    if text is None:
        return ()
    import csv

    try:
        found = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise InputError(f"{text!r} is no list of names such as age,town: {error}") from error
    return tuple(name for name in found if name)


def part(text: str) -> float | int:
    """Return a share such as 0.2, or a whole number of rows.

    >>> part("0.2"), part("100"), part("0")
    (0.2, 100, 0)
    """
    try:
        return int(text) if text.strip().isdigit() else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a share such as 0.2 nor a number of rows"
        ) from error


def batch(text: str) -> int | str:
    """Return a batch size, or `full`.

    >>> batch("32"), batch("full")
    (32, 'full')
    """
    if text == "full":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor full") from error
