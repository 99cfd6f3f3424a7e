"""Gradient health: what each layer puts out, what reaches it, and how far its weights move."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .backend import Array, Backend
from .errors import InputError, NonFiniteError, whole
from .findings import Finding, Limits, judge, over
from .history import Callback, History
from .watch import Watch

_SAMPLES = 64  # samples left on the device before they are read, where no epoch ends


class Health(Callback):
    """Look into every `every`-th training update, and the first; a callback of `fit`.

    `records` holds for each of these a dict of plain data, as JSON takes it (a list with one
    figure for each member in an ensemble; None for what is no finite number, or was not taken):

    - `step`, counted from 1, and `rows`, the examples in the batch; `output_delta`: |dL/dy_hat|;
    - `layers`, a dict for each leaf layer in the order of the forward pass (a shared layer once
      for each use): `path`; `kind`; `size`, how many numbers it puts out; `activation`, the norm
      of its output y over batch and units; `rms` = activation / sqrt(size); `delta` = |dL/dy|,
      the gradient that reaches it; `input_delta` = |dL/dx|, what it hands on; `dead`, of a
      rectifier: the share of units that are 0 for the whole batch; `saturated`, of an activation:
      the share of units with |f'(z)| below 1 % of its largest value for 90 % of the batch (of a
      rectifier, which is off for many examples: for all of it);
    - `parameters`, a dict for each: `path`, `kind`, the norms `gradient` (dL/dw as
      backpropagation gives it, before penalties and clipping), `update` (w after it minus w
      before it) and `weights` (before it), and `ratio` = update / weights.

    All norms are Euclidean, in float64. Of several passes before one update, layers are those of
    the last; of a batch that goes through in parts, those of the first part. `LBFGS`, whose steps
    are searched for, is not looked into. Figures stay on the device until the epoch ends or they
    are asked for. `findings` is the judgement of them by `limits`, and `print(health)` a table.
    Another network begins anew. Raises `InputError` for an `every` below 1.

    >>> import gpubp
    >>> from gpubp.data import digits
    >>> data, health = digits(), Health(every=20)
    >>> net = gpubp.Network(gpubp.MLP([16], 10), inputs=64)
    >>> _ = net.fit(data.x, data.y, epochs=1, callbacks=[health])
    >>> [record["step"] for record in health.records], health.findings
    ([1, 20, 40], [])
    """

    def __init__(self, every: int = 50, limits: Limits | None = None) -> None:
        if not whole(every) or every < 1:
            raise InputError(f"Health: every is {every!r}; expected a whole number of at least 1")
        if limits is not None and not isinstance(limits, Limits):
            raise InputError(f"Health: limits is {limits!r}; expected a gpubp.findings.Limits")
        self.every, self.limits = every, limits or Limits()
        self._forget()

    def _forget(self, net: Any = None) -> None:
        self._records: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []
        self._net: Any = None if net is None else weakref.ref(net)
        self.non_finite: dict[str, Any] | None = None
        """`step`, `layer` and `message` of the error that ended training, if one did."""

    # -- what it watches -----------------------------------------------------------------------

    @contextmanager
    def watch(self, net: Any) -> Iterator[Health]:
        """Look on inside a `with` block, for the explicit loop.

        Raises `InputError` for a network that is watched already.

        >>> import gpubp
        >>> net, loss = gpubp.Network(gpubp.MLP([3], 1), inputs=2), gpubp.SquaredError()
        >>> with Health(every=1).watch(net) as health:
        ...     y, ctx = net.forward([[1.0, 2.0]])
        ...     net.backward(ctx, loss(y, [[1.0]])[1])
        ...     net.step(gpubp.SGD())
        >>> [layer["path"] for layer in health.records[0]["layers"]]
        ['0', '1', '2']
        """
        self.on_fit_begin(net)
        try:
            yield self
        finally:
            self.on_fit_end(net, net.history)

    def on_fit_begin(self, net: Any) -> None:
        if net.watch is not None:
            raise InputError("this network is watched already; give it one Health at a time")
        if self._net is None or self._net() is not net:
            self._forget(net)
        self._records = [record for record in self._records if record["step"] <= net.updates]
        self.non_finite = None
        net.watch = Watch(net, self.every, self._take, self._fail)

    def on_epoch_end(self, net: Any, record: dict[str, Any]) -> str | None:
        self._read()
        return None

    def on_fit_end(self, net: Any, history: History) -> None:
        net.watch = None
        self._read()

    def on_save(self, net: Any) -> dict[str, Any]:
        return {"records": self.records, "non_finite": self.non_finite}

    def on_resume(self, net: Any, state: dict[str, Any]) -> None:
        self._records, self.non_finite = list(state["records"]), state["non_finite"]

    def _take(self, sample: dict[str, Any]) -> None:
        self._waiting.append(sample)
        if len(self._waiting) >= _SAMPLES:
            self._read()

    def _fail(self, error: NonFiniteError) -> None:
        # A device that works ahead was asked for steps which it then did not take.
        self._waiting = [sample for sample in self._waiting if sample["step"] <= error.step]
        self.non_finite = {"step": error.step, "layer": error.layer, "message": str(error)}

    def _read(self) -> None:
        """Bring all figures from the device at once, and derive the others from them."""
        samples, self._waiting = self._waiting, []
        net = None if self._net is None else self._net()
        if not samples or net is None:
            return
        places = [
            (holder, name)
            for sample in samples
            for holder in (sample, *sample["layers"], *sample["parameters"])
            for name, figure in holder.items()
            if hasattr(figure, "dtype")
        ]
        with net.be.activate():
            values = _on_host(net.be, [holder[name] for holder, name in places])
        for (holder, name), value in zip(places, values, strict=True):
            share = name in ("dead", "saturated")
            holder[name] = _plain(value) if share else _root(value)
        for sample in samples:
            for layer in sample["layers"]:
                root = math.sqrt(layer["size"])
                several = [root] * len(values[0]) if isinstance(values[0], list) else root
                layer["rms"] = over(layer["activation"], several)
            for parameter in sample["parameters"]:
                parameter["ratio"] = over(parameter["update"], parameter["weights"])
        self._records += samples

    # -- what it tells -------------------------------------------------------------------------

    @property
    def records(self) -> list[dict[str, Any]]:
        """A dict of plain data for each sampled update; see the class."""
        self._read()
        return self._records

    @property
    def findings(self) -> list[Finding]:
        """What is wrong by `limits`, in the order of the steps at which it began."""
        return judge(self.records, self.limits)

    def __getstate__(self) -> dict[str, Any]:
        self._read()
        return {**vars(self), "_net": None}

    def __repr__(self) -> str:
        return f"Health(every={self.every}): {len(self.records)} records"

    def __str__(self) -> str:
        """A table of the last sample, and the findings."""
        if not self.records:
            return f"{self!r}: no update was sampled yet"
        last = self.records[-1]
        lines = [f"step {last['step']}: norms" + (" (median of the members)" * _several(last)),
                 _row("layer", "", "rms", "delta", "dead", "saturated"),
                 *(_row(layer["path"], layer["kind"], *(_shown(layer[k]) for k in ("rms", "delta")),
                        *(_shown(layer[k], "%") for k in ("dead", "saturated")))
                   for layer in last["layers"]),
                 "",
                 _row("parameter", "", "weights", "gradient", "update", "ratio"),
                 *(_row(p["path"], p["kind"],
                        *(_shown(p[k]) for k in ("weights", "gradient", "update", "ratio")))
                   for p in last["parameters"])]  # fmt: skip
        told = [str(finding) for finding in self.findings] or ["no findings"]
        if self.non_finite is not None:
            told.insert(0, self.non_finite["message"])
        return "\n".join([*lines, "", *told])


def _on_host(be: Backend, figures: list[Array]) -> list[Any]:
    """The figures as Python's numbers: of a device that works ahead, all with one wait."""
    if be.deferred:
        return be.to_numpy(be.xp.stack(figures)).tolist()  # type: ignore[no-any-return]
    return [(f if hasattr(f, "tolist") else be.to_numpy(f)).tolist() for f in figures]


def _plain(value: Any) -> Any:
    """A number, or a number for each member, with None for what JSON cannot hold."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if math.isfinite(value) else None


def _root(square: Any) -> Any:
    """The norm, or that of each member, of a sum of squares."""
    if isinstance(square, list):
        return [_root(each) for each in square]
    return _plain(math.sqrt(square))


def middle(figure: Any) -> float | None:
    """Return the figure, or the median of the members' figures; None where there is none.

    >>> middle(2.0), middle([3.0, None, 1.0, 2.0]), middle(None)
    (2.0, 2.0, None)
    """
    if not isinstance(figure, list):
        return figure  # type: ignore[no-any-return]
    known = sorted(each for each in figure if each is not None)
    return known[(len(known) - 1) // 2] if known else None


def _several(record: dict[str, Any]) -> bool:
    return isinstance(record.get("output_delta"), list)


def _shown(figure: Any, unit: str = "") -> str:
    value = middle(figure)
    if value is None:
        return "-"
    return f"{100 * value:.0f} %" if unit else f"{value:.2e}"


def _row(path: str, kind: str, *figures: str) -> str:
    return f"{path:<12} {kind:<12}" + "".join(f"{figure:>11}" for figure in figures)
