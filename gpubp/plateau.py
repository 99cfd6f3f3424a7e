"""A lower rate where training gets no further."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import InputError, real, whole
from .history import Monitor, Record


class ReduceOnPlateau(Monitor):
    """Multiply the rate by `factor` after more than `patience` epochs without a better `monitor`.

    A figure improves on the best so far where it is better by more than the share `threshold` of
    it (`relative=False`: by more than `threshold` itself). After a reduction, `cooldown` epochs
    are not counted. The rate, whatever its schedule, falls to `min_rate` at the lowest. `mode` is
    `"min"`, `"max"`, or None: the largest for names that end in accuracy or r2, else the least.
    Each member of an ensemble has its own plateaus. This is torch's ReduceLROnPlateau.

    The factor stays with the network, in `net.steps.rate_scale`, for later calls of `fit`; set it
    to 1.0 there to begin afresh. Raises `InputError` for numbers out of range and for a figure
    that the records do not hold.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> plateau = ReduceOnPlateau(monitor="loss", factor=0.5, patience=1, mode="max")
    >>> data = {"x": [[1.0]], "y": [[2.0]], "loss": "squared_error"}
    >>> _ = net.fit(**data, optimizer=gpubp.SGD(0.1), epochs=5, callbacks=[plateau])
    >>> net.steps.rate_scale
    0.25
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        *,
        threshold: float = 1e-4,
        relative: bool = True,
        cooldown: int = 0,
        min_rate: float = 0.0,
        mode: str | None = None,
    ) -> None:
        numbers = {"factor": factor, "threshold": threshold, "min_rate": min_rate}
        for name, value in numbers.items():
            top = 1.0 if name == "factor" else math.inf
            if not 0 <= real(value) < top:
                raise InputError(f"ReduceOnPlateau: {name} is {value!r}; expected it in [0, {top})")
        for name, count in (("patience", patience), ("cooldown", cooldown)):
            if not whole(count) or count < 0:
                raise InputError(f"ReduceOnPlateau: {name} is {count!r}; expected 0, 1, 2, ...")
        super().__init__(monitor, mode)
        self.factor, self.patience = float(factor), patience
        self.threshold, self.relative, self.cooldown = float(threshold), relative, cooldown
        self.min_rate = float(min_rate)

    def on_fit_begin(self, net: Any) -> None:
        super().on_fit_begin(net)
        shape = () if net.members is None else (net.members,)
        self._best = np.full(shape, np.inf)
        self._bad, self._cooling = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)

    def on_epoch_end(self, net: Any, record: Record) -> None:
        figure = self.sign * np.asarray(record[self.monitor], dtype=float)
        better = figure < self._bar()
        self._best = np.where(better, figure, self._best)
        self._bad = np.where(better, 0, self._bad + 1)
        cooling = self._cooling > 0
        self._cooling = self._cooling - cooling
        self._bad = np.where(cooling, 0, self._bad)
        weary = (self._bad > self.patience) & ~net.steps.halted
        if weary.any():
            self._reduce(net, weary)
            self._cooling = np.where(weary, self.cooldown, self._cooling)
            self._bad = np.where(weary, 0, self._bad)

    def on_save(self, net: Any) -> dict[str, Any]:
        return {"best": self._best, "bad": self._bad, "cooling": self._cooling}

    def on_resume(self, net: Any, state: dict[str, Any]) -> None:
        self._best, self._bad, self._cooling = state["best"], state["bad"], state["cooling"]

    def _bar(self) -> Any:
        """What a figure must be below to be better."""
        if not self.relative:
            return self._best - self.threshold
        with np.errstate(invalid="ignore"):  # the first best is infinite
            bar = self._best - self.sign * self.threshold * self._best
        return np.where(np.isfinite(self._best), bar, np.inf)

    def _reduce(self, net: Any, weary: Any) -> None:
        scale, rate = np.asarray(net.steps.rate_scale, dtype=float), np.asarray(net.steps.rate)
        lowest = np.zeros_like(scale * rate)
        np.divide(self.min_rate * scale, rate, out=lowest, where=rate > 0)
        new = np.where(weary, np.minimum(np.maximum(scale * self.factor, lowest), scale), scale)
        net.steps.rate_scale = float(new) if new.ndim == 0 else new
