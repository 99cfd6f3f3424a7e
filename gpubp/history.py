"""What a training run tells: a record for each epoch, and callbacks that read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .errors import InputError, nearest, real, whole

_KEPT = "weights of "
Record = dict[str, Any]
"""One epoch: `epoch`, `loss`, `seconds`, `lr`, `val_...` figures; a list in an ensemble.

`lr` is the rate of the last update.
"""


@dataclass
class History:
    """The records of one `fit`, in order; `history["loss"]` is the list of one figure.

    `names` are the figures that each record holds, known before the first; `stopped` says why
    training ended before its last epoch, if it did, and `ended` why a member of an ensemble stood
    still from the end of some epoch on: member number, epoch and reason. `path` is how steps were
    computed, `"plain"` or `"compiled"`, and `reason` why they, or which layers in their
    midst, were not compiled.

    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"], len(history)
    ([0.5, 0.25], 2)
    """

    records: list[Record] = field(default_factory=list)
    names: tuple[str, ...] = ()
    stopped: str = ""
    ended: dict[int, tuple[int, str]] = field(default_factory=dict)
    path: str = "plain"
    reason: str = ""

    def __getitem__(self, name: str) -> list[Any]:
        known = self.records[0] if self.records else {}
        if name not in known:
            raise InputError(f"history has no {name!r}; {nearest(name, known)}")
        return [record[name] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


class Callback:
    """What is called during `fit` with the `Network` that is trained; override what you need.

    >>> import gpubp
    >>> class Print(Callback):
    ...     def on_epoch_end(self, net, record):
    ...         print("epoch", record["epoch"])
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> _ = net.fit([[1.0]], [[2.0]], loss="squared_error", epochs=2, callbacks=[Print()])
    epoch 1
    epoch 2
    """

    def __repr__(self) -> str:
        told = {k: v for k, v in vars(self).items() if not k.startswith("_") and k != "sign"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in told.items())})"

    def on_fit_begin(self, net: Any) -> None:
        """Before the first epoch."""

    def on_epoch_end(self, net: Any, record: Record) -> str | None:
        """After each epoch; return the reason to end training, or None to go on."""
        return None

    def on_fit_end(self, net: Any, history: History) -> None:
        """After the last epoch, also when training was interrupted."""

    def on_save(self, net: Any) -> dict[str, Any]:
        """For a checkpoint: return by name what to go on with, arrays or plain data."""
        return {}

    def on_resume(self, net: Any, state: dict[str, Any]) -> None:
        """After `on_fit_begin` of a training that goes on: take what `on_save` had returned.

        Plain data are as they come back from JSON, arrays are NumPy's.
        """


class Monitor(Callback):
    """A callback that follows one figure of the records; smaller is better after `sign`.

    `mode` is `"min"`, `"max"`, or None: the largest for names that end in accuracy or r2, else the
    least. Raises `InputError` for another mode and, when `fit` begins, for a figure that the
    records will not hold.

    >>> Monitor("val_accuracy").sign, Monitor("val_loss").sign
    (-1.0, 1.0)
    """

    def __init__(self, monitor: str, mode: str | None = None) -> None:
        if not isinstance(monitor, str):
            message = "expected the name of a figure such as 'val_loss'"
            raise InputError(f"{type(self).__name__}: monitor is {monitor!r}; {message}")
        if mode not in (None, "min", "max"):
            kind = type(self).__name__
            raise InputError(f"{kind}: mode is {mode!r}; expected 'min', 'max' or None")
        larger = monitor.endswith(("accuracy", "r2")) if mode is None else mode == "max"
        self.monitor, self.sign = monitor, -1.0 if larger else 1.0

    def on_fit_begin(self, net: Any) -> None:
        """See that the figure will be there."""
        self.check(net.history.names)

    def check(self, known: Sequence[str]) -> None:
        """Raise `InputError` unless the figure is among those that the records will hold."""
        if self.monitor not in known:
            hint = "; give validation=" if self.monitor.startswith("val_") else ""
            message = f"{type(self).__name__}: there will be no {self.monitor!r}{hint}"
            raise InputError(f"{message} ({nearest(self.monitor, known)})")


class EarlyStopping(Monitor):
    """End training when `monitor` has not improved by `min_delta` for `patience` epochs.

    The weights of the best epoch are restored, unless `restore_best` is false. `mode` is
    `"min"`, `"max"`, or None: the largest for names that end in accuracy or r2, else the least.
    In an ensemble each member stops by itself, as it would alone; training ends with the last.
    Raises `InputError` for a patience below 1 and a figure that the records do not hold.

    >>> EarlyStopping(patience=3).monitor
    'val_loss'
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        if not whole(patience) or patience < 1 or not 0 <= real(min_delta) < np.inf:
            raise InputError(f"EarlyStopping: patience {patience} and min_delta {min_delta}; "
                             "expected at least 1 and at least 0")  # fmt: skip
        super().__init__(monitor, mode)
        self.patience, self.min_delta, self.restore_best = patience, min_delta, restore_best

    def on_fit_begin(self, net: Any) -> None:
        super().on_fit_begin(net)
        self._several = net.members is not None
        self._best = np.full(net.members or 1, np.inf)
        self._epochs = np.full(net.members or 1, net.epochs)
        self._weights: dict[str, Any] | None = None

    @property
    def best_epoch(self) -> Any:
        """The epoch of the best figure; in an ensemble, that of each member."""
        return self._epochs.tolist() if self._several else int(self._epochs[0])

    def on_epoch_end(self, net: Any, record: Record) -> str | None:
        figures = self.sign * np.atleast_1d(np.asarray(record[self.monitor], dtype=float))
        going = ~np.atleast_1d(net.steps.halted)
        better = (figures < self._best - self.min_delta) & going
        self._best = np.where(better, figures, self._best)
        self._epochs = np.where(better, record["epoch"], self._epochs)
        if self.restore_best and better.any():
            self._keep(net, better)
        done = going & (record["epoch"] - self._epochs >= self.patience)
        if not done.any():
            return None
        if net.members is not None:
            for k in np.flatnonzero(done).tolist():
                net.history.ended[k] = record["epoch"], self._reason(self.best_epoch[k])
            net.steps.halt(done)
            if not net.steps.halted.all():
                return None
        return self._reason(self.best_epoch)

    def _reason(self, epoch: Any) -> str:
        return f"{self.monitor} has not improved since epoch {epoch}"

    def _keep(self, net: Any, better: Any) -> None:
        new = net.state_dict()
        if self._weights is None or better.all():
            self._weights = new
            return
        for k in np.flatnonzero(better).tolist():
            for path, array in new.items():
                self._weights[path][k, ...] = array[k, ...]

    def on_fit_end(self, net: Any, history: History) -> None:
        if self._weights is not None:
            net.load_state_dict(self._weights)

    def on_save(self, net: Any) -> dict[str, Any]:
        weights = {f"{_KEPT}{path}": array for path, array in (self._weights or {}).items()}
        return {"best": self._best, "epochs": self._epochs, **weights}

    def on_resume(self, net: Any, state: dict[str, Any]) -> None:
        self._best, self._epochs = state["best"], state["epochs"]
        kept = {n.removeprefix(_KEPT): a for n, a in state.items() if n.startswith(_KEPT)}
        be = net.be
        self._weights = {path: be.xp.asarray(be.asarray(a), copy=True) for path, a in kept.items()}
        self._weights = self._weights or None
