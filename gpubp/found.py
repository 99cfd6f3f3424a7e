"""A checkpoint as it is read: all of it is looked at before anything is made of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import io
from .errors import InputError, whole
from .history import History
from .optimizers import Optimizer
from .saved import Saved
from .training import Position

KEPT = "checkpoint:json"
"""The array that holds, as the bytes of a JSON text, what is no array of its own.

Records may be many, and hold NaN: the header of a file takes neither.
"""


class Found(NamedTuple):
    """What a training goes on with; `saved` is what a model file says of its network."""

    path: Path
    saved: Saved
    slots: dict[str, Any] | None
    slot_updates: int
    rate: Any
    rate_scale: Any
    loss_scale: Any
    halted: Any
    lost: Any
    tolerant: bool
    first_epoch: int
    position: Position
    stopped: str
    history: History
    callbacks: list[dict[str, Any]]
    best: float


class Way(NamedTuple):
    """How the training that wrote a checkpoint computed: its path, and the threads, if it said."""

    file: Path
    path: str
    threads: int | None


def path_of(files: Sequence[Path]) -> Way | None:
    """Return how the training computed that wrote these checkpoints; None where none tells.

    >>> path_of([])
    """
    for file in reversed(files):
        try:
            kept = json.loads(io.read(file)[1][KEPT].tobytes())["settings"]
            threads = kept.get("threads")
            return Way(file, str(kept["path"]), None if threads is None else int(threads))
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
            continue  # what is wrong is said where it is read in earnest
    return None


def newest(
    files: Sequence[Path], net: Any, optimizer: Optimizer, settings: Mapping[str, str]
) -> tuple[Found, list[Path]]:
    """Return the newest checkpoint that can be read, and the newer ones, which cannot.

    These are warned of. Raises `InputError` where none can be read, and for one of another
    training.
    """
    faults: dict[Path, InputError] = {}
    for path in reversed(files):
        try:
            description, arrays = io.read(path)
        except InputError as error:
            faults[path] = error
            continue
        for fault in faults.values():
            warnings.warn(f"going on from {path}, for {fault}", stacklevel=5)
        return look(path, description, arrays, net, optimizer, settings), list(faults)
    raise InputError(f"no checkpoint can be read: {'; '.join(map(str, faults.values()))}")


def look(
    path: Path,
    description: dict[str, Any],
    arrays: dict[str, Any],
    net: Any,
    optimizer: Optimizer,
    settings: Mapping[str, str],
) -> Found:
    """Return what a file holds; `InputError` where it is wrong or of another training."""
    if KEPT not in arrays:
        raise InputError(f"{path} is a model and no checkpoint: load it with gpubp.load")
    try:
        kept = json.loads(arrays[KEPT].tobytes())
        moved = kept["device"] != net.be.device
        _compare(path, kept["settings"], settings, ("threads",) if moved else ())
        saved = io.restore((description, arrays), net.be, net.layer)
        found = _parse(path, saved, kept, arrays, net, optimizer)
    except InputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the checkpoint {path} is incomplete or wrong: {error!r}") from error
    if kept["device"] != net.be.device:
        warnings.warn(
            f"{path} was written on {kept['device']}: on {net.be.device} training goes on, but "
            "not with the same bits", stacklevel=6,
        )  # fmt: skip
    return found


def _compare(
    path: Path, theirs: Mapping[str, str], mine: Mapping[str, str], but: Sequence[str]
) -> None:
    other = [name for name in mine if theirs.get(name) != mine[name] and name not in but]
    if other:
        told = "; ".join(f"{n} {theirs.get(n)!r}, now {mine[n]!r}" for n in other)
        raise InputError(
            f"{path} was written by another training: {told}. Give the same, or begin in another "
            "folder"
        )


def _parse(
    path: Path, saved: Saved, kept: Any, arrays: Mapping[str, Any], net: Any, optimizer: Optimizer
) -> Found:
    slots = None
    if kept["slots"] is not None:  # else no update was made yet
        slots = {name: arrays[f"slot:{name}"] for name in kept["slots"]}
        if list(slots) != list(optimizer.slots):
            raise ValueError(f"slots {list(slots)}, not {list(optimizer.slots)}")
        for name, array in slots.items():
            if tuple(array.shape) != tuple(net.theta.shape):
                raise ValueError(f"slot {name} has shape {array.shape}, not {net.theta.shape}")
    scale, history, factors = kept["rate_scale"], kept["history"], kept.get("loss_scale")
    lead = () if net.members is None else (net.members,)
    return Found(
        path,
        saved,
        slots,
        _count(kept["slot_updates"]),
        None if kept["rate"] is None else np.asarray(kept["rate"], dtype=float),
        float(scale) if not isinstance(scale, list) else np.asarray(scale, dtype=float),
        None if factors is None else np.asarray(factors, dtype=float).reshape(net.members or 1, 2),
        np.asarray(kept["halted"], dtype=bool).reshape(lead),
        np.asarray(kept["lost"], dtype=bool).reshape(lead),
        bool(kept["tolerant"]),
        _count(kept["first_epoch"]),
        Position(_count(kept["batch"]), *kept["so_far"]),
        str(kept["stopped"]),
        History(
            list(history["records"]),
            tuple(history["names"]),
            str(history["stopped"]),
            {int(k): (int(epoch), str(why)) for k, epoch, why in history["ended"]},
        ),
        [_joined(state, arrays, i) for i, state in enumerate(kept["callbacks"])],
        float(kept["best"]),
    )


def _joined(plain: dict[str, Any], arrays: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The state of a callback: its plain part, and its arrays from among the others."""
    prefix = f"callback:{i}:"
    mine = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return {**plain, **mine}


def _count(value: Any) -> int:
    if not whole(value) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return int(value)
