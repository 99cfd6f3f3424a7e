"""One training that writes checkpoints, and may go on with one."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import io
from .arguments import record_names
from .checkpoints import BEST, Checkpoints
from .errors import InputError
from .files import write_atomically
from .found import KEPT, Found, newest
from .history import Callback, Monitor
from .settings import plain, settings
from .training import Position, Trainer


class Run:
    """A `fit` under way whose checkpoints lie in `where`; `found` is the one that it goes on with.

    A checkpoint of another training is refused, and what could never be written, before anything
    is changed.
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
        names = record_names(trainer.loss, held_out is not None)
        monitor = where.monitor or ("val_loss" if "val_loss" in names else "loss")
        self._monitor = Monitor(monitor, where.mode)
        self._monitor.check(names)
        self._settings = settings(net, trainer, held_out, callbacks, self._monitor)
        io.encode(net, trainer.loss, net.epochs)  # whether it can be written
        where.prepare()
        files = where.files()
        if files and not resume:
            raise InputError(
                f"{where.folder} holds checkpoints of an earlier training, {files[-1].name} the "
                "last: go on with it by resume=True (--resume), or give another folder"
            )
        self.found: Found | None = None
        self._unreadable: list[Path] = []
        if files:
            self.found, self._unreadable = newest(files, net, trainer.optimizer, self._settings)
            self._first = self.found.first_epoch
            self._check(self.found)

    def _check(self, found: Found) -> None:
        mine, theirs = self.net.preprocessing, found.saved.preprocessing
        if len(found.callbacks) != len(self.callbacks):
            raise InputError(
                f"the checkpoint {found.path} is incomplete or wrong: it holds the state of "
                f"{len(found.callbacks)} callbacks"
            )
        if mine is not None and theirs != mine:
            raise InputError(
                f"{found.path} was written by a training with another preprocessing: give the "
                "same, or begin in another folder"
            )

    def epochs_left(self, epochs: int) -> int:
        """Of so many epochs, those that are still to be trained."""
        if self.found is None:
            return epochs
        left: int = max(0, self._first + epochs - self.found.saved.epochs)
        return left

    def take(self) -> Position:
        """Make the network and the callbacks what they were; where the epoch was left."""
        found, net, steps = self.found, self.net, self.net.steps
        if found is None:
            return Position()
        net.load_state_dict(found.saved.options["weights"])
        net.unfreeze()
        found.saved.settle(net)
        found.history.path, found.history.reason = net.history.path, net.history.reason
        net.epochs, net.history = found.saved.epochs, found.history
        net.preprocessing = found.saved.preprocessing
        steps.slots.reset()
        if found.slots is not None:
            xp, asarray = net.be.xp, net.be.asarray
            steps.slots.kind = self.trainer.optimizer.kind
            steps.slots.updates = found.slot_updates
            steps.slots.arrays = {
                name: xp.asarray(asarray(a), copy=True) for name, a in found.slots.items()
            }
        steps.rate_scale, steps.rate = found.rate_scale, found.rate
        steps.loss_scale = found.loss_scale
        steps.tolerant, steps.lost = found.tolerant, found.lost
        steps.go_on()
        steps.halt(found.halted)
        self.trainer.stopped = found.stopped
        for callback, state in zip(self.callbacks, found.callbacks, strict=True):
            callback.on_resume(net, state)
        self._best, self._written = found.best, net.updates
        for path in self._unreadable:  # else they would count as the newest
            path.replace(path.with_suffix(".unreadable"))
        return found.position

    def after_batch(self) -> None:
        """Write one if that many updates were made since the last."""
        if self.where.unit == "updates" and self.net.updates - self._written >= self.where.every:
            self.write(self.trainer.position())

    def until_due(self) -> float:
        """Return how many updates there are before the next checkpoint between two epochs."""
        if self.where.unit != "updates":
            return math.inf
        return max(1.0, self.where.every - float(self.net.updates - self._written))

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
            "settings": self._settings,
            "device": net.be.device,
            "slots": None if used is None else list(used),
            "slot_updates": slots.updates,
            "rate": None if steps.rate is None else np.asarray(steps.rate).tolist(),
            "rate_scale": np.asarray(steps.rate_scale).tolist(),
            "loss_scale": None if steps.loss_scale is None else steps.loss_scale.tolist(),
            "halted": steps.halted.tolist(),
            "lost": steps.lost.tolist(),
            "tolerant": steps.tolerant,
            "first_epoch": self._first,
            "batch": batch,
            "so_far": so_far,
            "stopped": self.trainer.stopped,
            "history": {
                "records": _sound(history.records, "the records of the history hold something"),
                "names": list(history.names),
                "stopped": history.stopped,
                "ended": [[k, epoch, why] for k, (epoch, why) in history.ended.items()],
            },
            "callbacks": callbacks,
            "best": self._best,
        }
        arrays[KEPT] = np.frombuffer(json.dumps(kept).encode(), dtype=np.uint8)
        data = io.encode(net, net.loss, net.epochs, arrays)
        name = f"checkpoint-{net.epochs:06d}-{batch:06d}.safetensors"
        write_atomically(self.where.folder / name, data)
        self._written = net.updates
        for old in self.where.files()[: -self.where.keep]:
            old.unlink(missing_ok=True)


def _parted(callback: Callback, net: Any, arrays: dict[str, Any], i: int) -> dict[str, Any]:
    """The plain part of a callback's state; its arrays go among the others."""
    state, what = callback.on_save(net), f"{type(callback).__name__}: on_save returned"
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise InputError(f"{what} {state!r}; expected a dict of names and values")
    left = {}
    for name, value in state.items():
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            host = isinstance(value, np.ndarray | np.generic)
            array = np.asarray(value if host else net.be.to_numpy(value))
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise InputError(
                    f"{what} {name!r} of dtype {array.dtype}; a file holds numbers and truth "
                    "values of at most 64 bits"
                )
            arrays[f"callback:{i}:{name}"] = array
        else:
            left[name] = _sound(value, f"{what} {name!r}")
    return left


def _sound(value: Any, what: str) -> Any:
    """Plain data, or `InputError`."""
    try:
        return plain(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{what}, which a checkpoint cannot hold: {error}; give numbers, texts, lists, dicts "
            "or arrays"
        ) from error
