"""The command `gpubp` and its parts. Exit codes: 0, 1 failure, 2 bad usage or input."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import GpubpError, InputError
from . import check, explain, export, info, predict, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    >>> main(["train", "digits", "--epochs", "0"])
    2
    """
    parser = argparse.ArgumentParser(
        prog="gpubp", description="Neural networks by explicit backpropagation, on CPU and GPU."
    )
    parser.add_argument("--version", action="version", version=f"gpubp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (train, predict, check, export, explain, info):
        module.add_to(commands)
    try:
        options = parser.parse_args(arguments)
    except SystemExit as leaving:  # argparse has printed what it had to say
        return int(leaving.code or 0)
    try:
        code: int = options.run(options)
    except InputError as error:
        print(f"gpubp: {error}", file=sys.stderr)
        return 2
    except GpubpError as error:
        print(f"gpubp: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"gpubp: out of memory: {error}; ask for less", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("gpubp: interrupted", file=sys.stderr)
        return 1
    return code
