"""Arrays as NumPy saves them: one in .npy, several in .npz. Nothing is ever unpickled."""

from __future__ import annotations

import io
import os
import re
from collections import deque
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError, nearest
from ..files import checked_path, opened
from .limits import check_size, quarter
from .npy_header import Header, read_header
from .stored_arrays import filled, mapped, paired
from .table import Arrays
from .zip_members import Member, members, unpack

Target = int | str | os.PathLike[str] | None

_KEYS = (("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train"),
         ("data", "target"), ("images", "labels"))  # fmt: skip
_TEST_KEYS = (("x_test", "y_test"), ("X_test", "y_test"))
_TARGETS = {"y", "target", "targets", "label", "labels"}  # in whatever case, of train or alone
_CHECKED = 1 << 26  # bytes of a member up to which its check sum is looked at before it is mapped


def read_npy(path: str | os.PathLike[str], target: Target = None) -> Arrays:
    """Return the array of a file, mapped; `target` is a column of it, or another .npy file.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.asarray([[1.0, 2.0, 7.0], [3.0, 4.0, 8.0]]))
    >>> read_npy(path, target=-1).y.tolist()
    [7.0, 8.0]
    """
    name = checked_path(path)
    x = _npy(name)
    if target is None:
        return paired(Arrays(x, source=name))
    column = _column(target)
    if column is not None:
        return paired(Arrays(*_split(x, column, name), source=name))
    other = checked_path(target)  # type: ignore[arg-type]
    if not other.lower().endswith(".npy"):
        raise InputError(
            f"target is {other!r}; for {name} give the number of a column, or a .npy file"
        )
    return paired(Arrays(x, _npy(other), source=name))


def _npy(name: str) -> Any:
    with opened(name) as file:
        header = read_header(file, name)
        there = os.fstat(file.fileno()).st_size - header.start
        if there != header.size:
            raise InputError(
                f"{name} has {there} bytes of data, and its header calls for {header.size}: "
                f"{header.shape} of {header.dtype}; it is not complete, or more than one array"
            )
        return mapped(file, header, header.start, name)


def _column(target: Target) -> int | None:
    if isinstance(target, str) and re.fullmatch(r"-?[0-9]{1,9}", target.strip(), re.ASCII):
        return int(target)
    return int(target) if isinstance(target, int) and not isinstance(target, bool) else None


def _split(x: Any, column: int, name: str) -> tuple[Any, Any]:
    """Return the other columns and this one; those stay mapped if it is the first or the last."""
    if x.ndim != 2 or x.shape[1] < 2:
        raise InputError(
            f"{name} has shape {x.shape}; to take a column as target it must be (n, 2) or wider"
        )
    width = x.shape[1]
    if not -width <= column < width:
        raise InputError(f"{name} has columns 0..{width - 1}; there is no column {column}")
    column %= width
    y = np.array(x[:, column])
    if column in (0, width - 1):
        return (x[:, 1:] if column == 0 else x[:, :-1]), y
    check_size(x.nbytes, quarter(), name, "make the target the first or the last column")
    return np.delete(x, column, axis=1), y


def read_npz(path: str | os.PathLike[str], target: str | None = None) -> Arrays:
    """Return the arrays x and y, x_train and so on of an archive; `target` names that of targets.

    Arrays that np.savez wrote are mapped, those of np.savez_compressed are read.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "data.npz"
    >>> np.savez(path, x=np.zeros((3, 2)), y=np.arange(3))
    >>> read_npz(path).y.tolist()
    [0, 1, 2]
    """
    name = checked_path(path)
    with opened(name) as file:
        found = {key.removesuffix(".npy"): m for key, m in members(file, name).items()
                 if key.endswith(".npy")}  # fmt: skip
        keys = _keys(name, set(found), target)
        total = sum(found[key].size for key in keys if key and not found[key].stored)
        check_size(total, quarter(), name, "save it by np.savez, whose arrays are mapped")
        x, y, x_test, y_test = (_member(file, found[key], name) if key else None for key in keys)
    return paired(Arrays(x, y, x_test, y_test, name))


def _keys(name: str, there: set[str], target: str | None) -> list[str | None]:
    """Return the names of x, y, x_test and y_test, None for what is not there."""
    some = sorted(sorted(there), key=len)[:8]
    listed = ", ".join(map(repr, some)) or "none"
    of_x = sorted({x for x, _ in _KEYS} & there)
    if target is not None and target not in there:
        raise InputError(f"{name} holds no array {target!r}; {nearest(target, some)}")
    if not of_x and target is not None and len(there) == 2:
        of_x = sorted(there - {target})
    if len(of_x) != 1 or of_x[0] == target:
        problem = "several arrays may be the examples" if len(of_x) > 1 else "it lacks examples"
        raise InputError(
            f"{name}: {problem}; it holds {listed}, expected x and y, x_train and y_train (and "
            "x_test, y_test), or data and target"
        )
    x = of_x[0]
    y = target or next((y for known, y in _KEYS if known == x and y in there), None)
    x_test, y_test = next((pair for pair in _TEST_KEYS if there & set(pair)), (None, None))
    unpaired = sorted(key for key in there if _bare(key) in _TARGETS)
    if y is None and unpaired:
        raise InputError(
            f"{name} holds {listed}: {x!r} without {dict(_KEYS).get(x, 'y')!r}; name its targets, "
            f"as in target={unpaired[0]!r} (--target {unpaired[0]})"
        )
    if target is not None and y != dict(_KEYS).get(x):
        return [x, y, None, None]  # the targets of the test are others
    return [x, y, *(key if key in there else None for key in (x_test, y_test))]


def _bare(key: str) -> str:
    return re.sub("train(ing)?", "", key.lower()).strip("_")


def _member(file: BinaryIO, member: Member, source: str) -> Any:
    name = f"{source}: {member.name}"
    if not member.stored:
        chunks = unpack(file, member, source)
        beginning = io.BytesIO(b"".join(islice(chunks, 1)))  # longer than any header
        header = read_header(beginning, name)
        _check_claim(header, member, name)
        return filled(chain([beginning.read()], chunks), header, name)
    file.seek(member.start)
    header = read_header(file, name)
    _check_claim(header, member, name)
    if member.size <= _CHECKED:
        deque(unpack(file, member, source), maxlen=0)
    return mapped(file, header, member.start + header.start, name)


def _check_claim(header: Header, member: Member, name: str) -> None:
    if header.start + header.size != member.size:
        raise InputError(
            f"{name} has {member.size} bytes, and its header calls for "
            f"{header.start + header.size}; save it again, as by np.savez"
        )
