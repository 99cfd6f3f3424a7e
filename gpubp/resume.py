"""One training that writes checkpoints, and may go on with one."""

from __future__ import annotations

import json
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import io
from .arguments import record_names
from .checkpoints import BEST, Checkpoints
from .errors import InputError, whole
from .feeds import Feed
from .files import write_atomically
from .history import Callback, History, Monitor
from .saved import PATHS
from .training import Position, Trainer

_KEPT = "checkpoint:json"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of an object without a repr of its own


class _Found(NamedTuple):
    """A checkpoint that was read and looked at."""

    path: Path
    arrays: dict[str, Any]
    slots: dict[str, Any] | None
    updates: int
    slot_updates: int
    rate: Any
    rate_scale: Any
    halted: Any
    lost: Any
    tolerant: bool
    first_epoch: int
    epochs: int
    position: Position
    history: History
    callbacks: list[dict[str, Any]]
    best: float


class Run:
    """A `fit` under way whose checkpoints lie in `where`.

    A checkpoint of another training is refused, before anything is changed.
    """

    def __init__(
        self,
        where: Checkpoints,
        net: Any,
        trainer: Trainer,
        callbacks: Sequence[Callback],
        held_out: Any,
        resume: bool,
    ) -> None:
        self.where, self.net, self.trainer, self.callbacks = where, net, trainer, callbacks
        self._first, self._best, self._written = net.epochs, np.inf, net.updates
        given = {**_of_network(net), **_of_training(trainer, held_out)}
        self._settings = {name: _ADDRESS.sub("", text) for name, text in given.items()}
        names = record_names(trainer.loss, held_out is not None)
        self._monitor = Monitor(
            where.monitor or ("val_loss" if "val_loss" in names else "loss"), where.mode
        )
        self._monitor.check(names)
        where.prepare()
        files = where.files()
        if files and not resume:
            raise InputError(
                f"{where.folder} holds checkpoints of an earlier training, {files[-1].name} the "
                "last: go on with it by resume=True (--resume), or give another folder"
            )
        self.found = self._newest(files) if files else None
        if self.found is not None:
            self._first = self.found.first_epoch

    # -- going on ------------------------------------------------------------------------------

    def _newest(self, files: list[Path]) -> _Found:
        """The newest checkpoint that can be read; one that cannot be is warned of."""
        unreadable = []
        for path in reversed(files):
            try:
                description, arrays = io.read(path)
            except InputError as error:
                unreadable.append(str(error))
                continue
            for message in unreadable:
                warnings.warn(f"going on from {path}, for {message}", stacklevel=5)
            return self._look(path, description, arrays)
        raise InputError(f"no checkpoint can be read: {'; '.join(unreadable)}")

    def _look(self, path: Path, description: dict[str, Any], arrays: dict[str, Any]) -> _Found:
        try:
            return self._parse(path, description, arrays)
        except InputError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise InputError(f"the checkpoint {path} is incomplete or wrong: {error!r}") from error

    def _parse(self, path: Path, description: dict[str, Any], arrays: dict[str, Any]) -> _Found:
        net = self.net
        if _KEPT not in arrays:
            raise InputError(f"{path} is a model and no checkpoint: load it with gpubp.load")
        kept = json.loads(arrays[_KEPT].tobytes())
        self._compare(path, kept["settings"])
        if kept["device"] != net.be.device:
            warnings.warn(
                f"{path} was written on {kept['device']}: on {net.be.device} training goes on, "
                "but not with the same bits", stacklevel=6,
            )  # fmt: skip
        slots = None
        if kept["slots"] is not None:  # else no update was made yet
            slots = {name: arrays[f"slot:{name}"] for name in kept["slots"]}
        for name, array in (slots or {}).items():
            if tuple(array.shape) != tuple(net.theta.shape):
                raise ValueError(f"slot {name} has shape {array.shape}, not {net.theta.shape}")
        if slots is not None and list(slots) != list(self.trainer.optimizer.slots):
            raise ValueError(f"slots {list(slots)}")
        if len(kept["callbacks"]) != len(self.callbacks):
            raise ValueError(f"{len(kept['callbacks'])} callbacks")
        scale, history = kept["rate_scale"], kept["history"]
        lead = () if net.members is None else (net.members,)
        return _Found(
            path,
            {name: array for name, array in arrays.items() if ":" not in name},
            slots,
            _count(description["updates"]),
            _count(kept["slot_updates"]),
            None if kept["rate"] is None else np.asarray(kept["rate"], dtype=float),
            float(scale) if not isinstance(scale, list) else np.asarray(scale, dtype=float),
            np.asarray(kept["halted"], dtype=bool).reshape(lead),
            np.asarray(kept["lost"], dtype=bool).reshape(lead),
            bool(kept["tolerant"]),
            _count(kept["first_epoch"]),
            _count(description["epochs"]),
            Position(_count(kept["batch"]), *kept["so_far"]),
            History(
                list(history["records"]),
                tuple(history["names"]),
                str(history["stopped"]),
                {int(k): (int(epoch), str(why)) for k, epoch, why in history["ended"]},
            ),
            [_joined(state, arrays, i) for i, state in enumerate(kept["callbacks"])],
            float(kept["best"]),
        )

    def _compare(self, path: Path, theirs: dict[str, str]) -> None:
        mine = {**self._settings, "callbacks": _names(self.callbacks)}
        other = [name for name in mine if theirs.get(name) != mine[name]]
        if other:
            told = "; ".join(f"{n} {theirs.get(n)!r}, now {mine[n]!r}" for n in other)
            raise InputError(
                f"{path} was written by another training: {told}. Give the same, or begin in "
                "another folder"
            )

    def take(self) -> Position:
        """Make the network and the callbacks what they were; where the epoch was left."""
        found, net, steps = self.found, self.net, self.net.steps
        if found is None:
            return Position()
        net.load_state_dict(found.arrays)
        net.restore_updates(found.updates)
        net.epochs, net.history = found.epochs, found.history
        steps.slots.reset()
        if found.slots is not None:
            steps.slots.kind = self.trainer.optimizer.kind
            steps.slots.updates = found.slot_updates
            be = net.be
            steps.slots.arrays = {
                n: be.xp.asarray(be.asarray(a), copy=True) for n, a in found.slots.items()
            }
        steps.rate_scale, steps.rate = found.rate_scale, found.rate
        steps.tolerant, steps.lost = found.tolerant, found.lost
        steps.go_on()
        steps.halt(found.halted)
        for callback, state in zip(self.callbacks, found.callbacks, strict=True):
            callback.on_resume(net, state)
        self._best, self._written = found.best, found.updates
        return found.position

    # -- writing -------------------------------------------------------------------------------

    def epochs_left(self, epochs: int) -> int:
        """Of so many epochs, those that are still to be trained."""
        done = self.net.epochs if self.found is None else self.found.epochs
        left: int = max(0, self._first + epochs - done)
        return left

    def after_batch(self) -> None:
        """Write one if that many updates were made since the last."""
        if self.where.unit == "updates" and self.net.updates - self._written >= self.where.every:
            self.write(self.trainer.position())

    def after_epoch(self, record: dict[str, Any], last: bool) -> None:
        """Write one if that many epochs were trained, or this was the last."""
        due = (self.net.epochs - self._first) % self.where.every == 0
        if self._is_better(record):  # first: what is killed between the two is done once more
            data = io.encode(self.net, self.net.loss, self.net.epochs)
            write_atomically(self.where.folder / BEST, data)
        if last or (due and self.where.unit == "epochs"):
            self.write(Position())

    def _is_better(self, record: dict[str, Any]) -> bool:
        figure = self._monitor.sign * float(np.mean(record[self._monitor.monitor]))
        better = figure < self._best
        self._best = figure if better else self._best
        return better

    def leave(self) -> None:
        """Write one between two steps, before training is left."""
        self.write(self.trainer.position())

    def write(self, position: Position) -> None:
        """Write everything to a file of its own; then remove the oldest beyond `keep`."""
        net, steps, history = self.net, self.net.steps, self.net.history
        slots, arrays = steps.slots, dict[str, Any]()
        used = slots.arrays if slots.fits(self.trainer.optimizer) else None
        arrays |= {f"slot:{name}": net.be.to_numpy(a) for name, a in (used or {}).items()}
        callbacks = [_parted(c, net, arrays, i) for i, c in enumerate(self.callbacks)]
        batch, *so_far = position
        kept = {
            "settings": {**self._settings, "callbacks": _names(self.callbacks)},
            "device": net.be.device,
            "slots": None if used is None else list(used),
            "slot_updates": slots.updates,
            "rate": None if steps.rate is None else np.asarray(steps.rate).tolist(),
            "rate_scale": np.asarray(steps.rate_scale).tolist(),
            "halted": steps.halted.tolist(),
            "lost": steps.lost.tolist(),
            "tolerant": steps.tolerant,
            "first_epoch": self._first,
            "batch": batch,
            "so_far": so_far,
            "history": {
                "records": _sound(history.records, "the records of the history hold something"),
                "names": list(history.names),
                "stopped": history.stopped,
                "ended": [[k, epoch, why] for k, (epoch, why) in history.ended.items()],
            },
            "callbacks": callbacks,
            "best": self._best,
        }  # fmt: skip
        text = json.dumps(kept).encode()  # as bytes: records may be many, and hold NaN
        arrays[_KEPT] = np.frombuffer(text, dtype=np.uint8)
        data = io.encode(net, net.loss, net.epochs, arrays)
        name = f"checkpoint-{net.epochs:06d}-{batch:06d}.safetensors"
        write_atomically(self.where.folder / name, data)
        self._written = net.updates
        for old in self.where.files()[: -self.where.keep]:
            old.unlink(missing_ok=True)


def _of_network(net: Any) -> dict[str, str]:
    """What a network must have in common with that of a checkpoint."""
    return {
        "layer": repr(net.layer), "inputs": repr(net.inputs), "dtype": net.be.precision,
        "seeds": repr(net.seeds), "members": repr(net.members), "frozen": repr(net.frozen),
        "path": PATHS[0],
    }  # fmt: skip


def _of_training(trainer: Trainer, held_out: Any) -> dict[str, str]:
    """What a training must have in common with that of a checkpoint."""
    return {
        "loss": repr(trainer.loss), "optimizer": repr(trainer.optimizer),
        "batch_size": str(trainer.batch_size), "micro_batch": str(trainer.micro_batch),
        "shuffle_seed": str(trainer.shuffle_seed),
        "validation": "none" if held_out is None else f"{held_out.n} examples",
        "data": _fingerprint(trainer),
    }  # fmt: skip


def _fingerprint(trainer: Trainer) -> str:
    """The number of examples, and a checksum of some of them, or what a source says of itself."""
    if isinstance(trainer.data, Feed):
        return trainer.data.source.told()
    data, parts = trainer.data, [trainer.data.x, trainer.data.t, trainer.data.w]
    rows = np.unique(np.linspace(0, data.n - 1, 64).astype(np.int64))
    be, crc = trainer.net.be, 0
    for part in (p for p in parts if p is not None):
        if isinstance(part, np.ndarray):
            taken = part[rows]
        else:
            taken = be.to_numpy(be.take(part, be.asarray(rows, "int64")))
        crc = zlib.crc32(np.ascontiguousarray(taken).tobytes(), crc)
    return f"{data.n} examples, checksum {crc:08x}"


def _names(callbacks: Sequence[Callback]) -> str:
    return ", ".join(type(callback).__name__ for callback in callbacks) or "none"


def _parted(callback: Callback, net: Any, arrays: dict[str, Any], i: int) -> dict[str, Any]:
    """The plain part of a callback's state; its arrays go among the others."""
    plain = {}
    for name, value in callback.on_save(net).items():
        if hasattr(value, "dtype"):
            value = value if isinstance(value, np.ndarray | np.generic) else net.be.to_numpy(value)
            arrays[f"callback:{i}:{name}"] = np.asarray(value)
        else:
            plain[name] = _sound(value, f"{type(callback).__name__}: on_save returned {name!r}")
    return plain


def _sound(value: Any, what: str) -> Any:
    """Plain data, or `InputError`."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{what}, which a checkpoint cannot hold: {error}; give numbers, texts, lists, dicts "
            "or arrays"
        ) from error
    return value


def _joined(plain: dict[str, Any], arrays: dict[str, Any], i: int) -> dict[str, Any]:
    prefix = f"callback:{i}:"
    mine = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return {**plain, **mine}


def _count(value: Any) -> int:
    if not whole(value) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return int(value)
