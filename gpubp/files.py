"""Files, read and written so that neither a broken one nor a failed write does any harm."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import InputError

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe, which can be read only once",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
_STEM = 100  # bytes of a name in that of its temporary file: the least limit in use is 143


def faults() -> tuple[type[Exception], ...]:
    """Return what the standard library and NumPy raise for a file that is not what it should be.

    >>> UnicodeDecodeError in faults(), issubclass(UnicodeDecodeError, faults())
    (False, True)
    """
    import csv  # on use: most programs that import gpubp read no table
    import struct
    import zlib

    return (OSError, EOFError, ValueError, OverflowError, MemoryError, RecursionError,
            csv.Error, struct.error, zlib.error)  # fmt: skip


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
    with _open(path) as file:
        before = os.fstat(file.fileno())
        try:
            yield file
        except InputError as error:
            _check_unchanged(path, file, before, error)
            raise
        except faults() as error:
            _check_unchanged(path, file, before, error)
            raise InputError(f"{path} cannot be read: {_why(error)}") from error
        _check_unchanged(path, file, before, None)


def _open(path: str) -> BinaryIO:
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    flags = ("O_NONBLOCK", "O_BINARY", "O_CLOEXEC", "O_NOCTTY")  # not all systems have them
    try:
        _check_regular(path, os.stat(path))
        handle = os.open(path, sum((getattr(os, name, 0) for name in flags), os.O_RDONLY))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {_why(error)}") from error
    try:
        _check_regular(path, os.fstat(handle))  # what was there before may be gone
        return os.fdopen(handle, "rb")
    except InputError:
        os.close(handle)
        raise


def _check_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = (name for is_kind, name in _KINDS.items() if is_kind(status.st_mode))
        raise InputError(f"{path} is {next(kinds, 'none')}; expected a regular file")


def _check_unchanged(
    path: str, file: BinaryIO, before: os.stat_result, error: Exception | None
) -> None:
    after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise changed(path) from error


def changed(path: str | os.PathLike[str]) -> InputError:
    """Return the error for a file that is not what it was when its reading began.

    >>> print(changed("a.csv"))
    a.csv changed while it was read; read it when it is complete
    """
    return InputError(f"{path} changed while it was read; read it when it is complete")


def _why(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, whatever happens, either the old or the new one is there whole.

    Raises `InputError` where that cannot be; no temporary file is left then.
    """
    there, temporary = check_writable(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if there.exists():
            os.chmod(temporary, stat.S_IMODE(there.stat().st_mode))
        os.replace(temporary, there)
        _sync_folder(there.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return a file's real path and that of a temporary one beside it.

    Raises `InputError` unless a file can be made there: a folder, a pipe or a device is none.

    >>> check_writable("no-such-folder/net")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gpubp.errors.InputError: cannot write no-such-folder/net: there is no folder ...no-such-folder
    """
    try:
        there = Path(os.path.realpath(path))  # a link stays one
        if not there.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {there.parent}")
        if (mode := _mode(there)) is not None and not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise InputError(f"cannot write {path}: it is {what}")
        stem = os.fsencode(there.name)[:_STEM].decode(errors="ignore")
        temporary = there.with_name(f".{stem}.{os.getpid()}.{os.urandom(4).hex()}")
        with open(temporary, "xb"):
            pass
        temporary.unlink()
    except InputError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"cannot write {path!r}: {error}") from error
    return there, temporary


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file, or would if it were there.

    >>> same_file("net.st", "./net.st"), same_file("net.st", "net.onnx")
    (True, False)
    """
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of them is not there yet
        pass
    try:
        return os.path.realpath(one) == os.path.realpath(other)
    except (OSError, ValueError):
        return False


def _mode(path: Path) -> int | None:
    """What kind of file is there; None if none is. A name that no file can have is an error."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle for a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
