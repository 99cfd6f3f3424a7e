"""Files, read and written so that neither a broken one nor a failed write does any harm."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import InputError
from .headers import LONGEST, Entry, read_header

_NUMPY = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
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
        raise _changed(path) from error


def _changed(path: Any) -> InputError:
    return InputError(f"{path} changed while it was read; read it when it is complete")


def _why(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read_tensors(
    path: str | os.PathLike[str], *, widen: bool = False
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata of a safetensors file, and its arrays by name.

    All that the header says is held against the bytes that are there before anything is
    allocated. With `widen`, 16-bit floats (`F16`, `BF16`) become float32, which holds them all;
    without, `BF16`, which NumPy lacks, is refused as the floats of 8 bits are. Raises
    `InputError` that names the file and what is wrong with it.

    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> write_atomically(path, tensor_bytes({"W": np.eye(2)}, {"by": "me"}))
    >>> read_tensors(path)
    ({'by': 'me'}, {'W': array([[1., 0.],
           [0., 1.]])})
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        header, metadata, entries = read_header(path, file, size)
        for name, entry in entries.items():
            _refuse_type(path, name, entry, widen)
        data = header + file.read(size - len(header) + 1)
        if len(data) != size:
            raise _changed(path)
        return metadata, _arrays(path, data, widen)


def _refuse_type(path: Any, name: str, entry: Entry, widen: bool) -> None:
    if entry.dtype not in _NUMPY and not (widen and entry.dtype == "BF16"):
        known = [*_NUMPY, "BF16"] if widen else list(_NUMPY)
        raise InputError(
            f"{path}: the array {name!r} has dtype {entry.dtype}; expected one of "
            f"{', '.join(known)}: convert it to float32 where the file is written"
        )


def _arrays(path: Any, data: bytes, widen: bool) -> dict[str, Any]:
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    return {name: _array(part, widen) for name, part in sorted(found)}


def _array(part: Mapping[str, Any], widen: bool) -> Any:
    if part["dtype"] == "BF16":  # the upper half of a float32
        halves = np.frombuffer(part["data"], dtype="<u2").astype("<u4")
        return (halves << np.uint32(16)).view("<f4").reshape(part["shape"])
    array = np.frombuffer(part["data"], dtype=_NUMPY[part["dtype"]]).reshape(part["shape"])
    return array.astype("<f4") if widen and part["dtype"] == "F16" else array


def tensor_bytes(arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return NumPy arrays by name, and texts, as the bytes of a safetensors file.

    Raises `InputError` for a header longer than `read_tensors` reads.

    >>> len(tensor_bytes({}, {}))
    16
    """
    from safetensors.numpy import save

    # The library writes memory as it lies: rows in order, the low byte first.
    ordered = {
        name: np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C")
        for name, a in arrays.items()
    }
    data: bytes = save(ordered, dict(metadata) or None)
    if (length := int.from_bytes(data[:8], "little")) > LONGEST:
        raise InputError(
            f"names and description take {length:,} bytes; a file holds at most {LONGEST:,}"
        )
    return data


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
