"""Files opened to be read: regular ones only, whole, and the same at the end as at the beginning.

What can go wrong in a reader comes out as `InputError` that names the file.
"""

from __future__ import annotations

import csv
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ..errors import InputError

FAULTS = (
    OSError,
    EOFError,
    ValueError,  # and UnicodeError
    OverflowError,
    MemoryError,
    RecursionError,
    csv.Error,
    struct.error,
    zlib.error,
)
"""What the standard library and NumPy raise for a file that is not what it should be."""

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe, which can be read only once",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def checked_path(path: str | os.PathLike[str]) -> str:
    """Return a path as text; `InputError` unless it can be one.

    >>> checked_path(3)
    Traceback (most recent call last):
    gpubp.errors.InputError: a path is 3; expected text or a pathlib.Path
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"a path is {path!r}; expected text or a pathlib.Path")
    return text


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a regular file for reading; `InputError` for all that goes wrong until it is closed.

    A file whose size or time changed meanwhile is refused: half of it may be old.

    >>> with opened("no-such-file.csv") as file:
    ...     pass
    Traceback (most recent call last):
    gpubp.errors.InputError: there is no file no-such-file.csv
    """
    path = checked_path(path)
    file = _open(path)
    with file:
        before = os.fstat(file.fileno())
        try:
            yield file
        except InputError as error:
            _check_unchanged(path, file, before, error)
            raise
        except FAULTS as error:
            _check_unchanged(path, file, before, error)
            why = str(error) or type(error).__name__
            raise InputError(f"{path} cannot be read: {why}") from error
        _check_unchanged(path, file, before, None)


def _open(path: str) -> BinaryIO:
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_regular(path, os.stat(path))
        handle = os.open(path, flags)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {why}") from error
    try:
        _check_regular(path, os.fstat(handle))
        return os.fdopen(handle, "rb")
    except InputError:
        os.close(handle)
        raise


def _check_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _KINDS.items() if is_kind(status.st_mode)), "none")
        raise InputError(f"{path} is {kind}; expected a regular file")


def _check_unchanged(
    path: str, file: BinaryIO, before: os.stat_result, error: Exception | None
) -> None:
    after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        message = f"{path} changed while it was read; read it when it is complete"
        raise InputError(message) from error
