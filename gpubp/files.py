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
_STEM = 100  # bytes of a name in that of its temporary file: the least limit in use is 143


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file; hand out it and its size in bytes.

    Raises `InputError` for what is no regular file (one of a pipe would wait for its writer),
    what cannot be read, and what another process changed in the meantime.

    >>> with reading("no-such-file") as (file, size):
    ...     pass
    Traceback (most recent call last):
    gpubp.errors.InputError: there is no file no-such-file
    """
    try:
        with os.fdopen(_open(path), "rb") as file:
            before = os.fstat(file.fileno())
            yield file, before.st_size
            after = os.fstat(file.fileno())
    except MemoryError as error:
        raise InputError(f"cannot read {path}: it does not fit into memory") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{path} was changed while it was read; read it again")


def _open(path: str | os.PathLike[str]) -> int:
    flags = ("O_NONBLOCK", "O_BINARY", "O_CLOEXEC", "O_NOCTTY")  # not all systems have them
    try:
        handle = os.open(path, sum((getattr(os, name, 0) for name in flags), os.O_RDONLY))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot read {path!r}: {error}") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(f"cannot read {path}: it is {what}")
    return handle


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
    with reading(path) as (file, size):
        header, metadata, entries = read_header(path, file, size)
        for name, entry in entries.items():
            _refuse_type(path, name, entry, widen)
        data = header + file.read(size - len(header) + 1)
        if len(data) != size:
            raise InputError(f"{path} was changed while it was read; read it again")
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
