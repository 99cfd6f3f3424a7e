"""Forward passes over whole data sets, in blocks that fit the memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any

import numpy as np

from . import inputs
from .backend import Array, Rows
from .bound import Bound
from .losses import Loss

BLOCK = 4096
"""Examples in one forward pass of inference."""


def outputs(net: Bound, x: Array, last: Callable[[Array], Array]) -> Array:
    """Return `last(raw output)` for all examples, joined along the batch: where they are."""
    on_host = inputs.on_host(net.be, x)
    with closing(passed(net, _blocks(net, x))) as blocks:
        parts = [net.be.to_numpy(last(y)) if on_host else last(y) for y, _, _ in blocks]
    if len(parts) == 1:
        return parts[0]
    xp = np if on_host else net.be.xp
    return xp.concat(parts, axis=0 if net.members is None else 1)


def figures(net: Bound, x: Array, t: Array, w: Array | None, loss: Loss) -> dict[str, Any]:
    """Return the mean `loss` over examples, and `accuracy` for classes or `r2` for numbers.

    The loss is weighted as its mean is, class weights included, the others by `w` alone. A list
    of figures, one for each member, in an ensemble.
    """
    with closing(passed(net, _blocks(net, x, t, w))) as parts:
        return figures_of(net, parts, loss, lambda: _variance(net, t, w))


def figures_of(
    net: Bound,
    parts: Iterable[tuple[Array, Array, Array | None]],
    loss: Loss,
    variance: Callable[[], float],
) -> dict[str, Any]:
    """Return the same of raw outputs, targets and weights that come in parts.

    `variance` is that of all targets; it is asked for after the last part, and for `r2` alone.
    """
    be = net.be
    mean, right, errors = Mean(net), Mean(net), Mean(net)
    for y, t, w in parts:
        count = float(t.shape[0]) if w is None else float(be.xp.sum(w))
        weight = float(loss.weight(be, t, w))
        value, _ = loss.value_and_delta(be, y, t, w, total=1.0)  # the sum
        mean.add_sum(value, weight)
        if loss.classifies:
            right.add_sum(_sum(net, _hits(net, loss, y, t), w), count)
        else:
            e = loss.predicted(be, y, int(t.shape[-1])) - t
            errors.add_sum(_sum(net, e * e, w), count)
    if loss.classifies:
        return {"loss": mean.result(), "accuracy": right.result()}
    return {"loss": mean.result(), "r2": _r2(net, errors, variance())}


class Mean:
    """A weighted mean over batches; on a deferred device the sum stays there until it is read."""

    def __init__(self, net: Bound, total: Any = None, weight: float = 0.0) -> None:
        """Begin, or go on from the sum and the weight that `so_far` gave."""
        self._net, self._total, self._weight = net, total, weight
        if total is not None and net.be.deferred:
            self._total = net.be.asarray(np.asarray(total), "float64")
        elif total is not None:
            self._total = float(total) if net.members is None else np.asarray(total)

    def so_far(self) -> tuple[Any, float]:
        """Return the sum, a float or a list with one for each member, and the weight."""
        if self._total is None:
            return None, self._weight
        return self._on_host_now().tolist(), self._weight

    def _on_host_now(self) -> Any:
        deferred = self._net.be.deferred
        return np.asarray(self._net.be.to_numpy(self._total) if deferred else self._total)

    def add(self, value: Array, weight: float) -> None:
        """Take in the mean `value` of examples that weigh `weight` together."""
        self.add_sum(self._on_host(value) * weight, weight)

    def add_sum(self, value: Array, weight: float) -> None:
        """Take in a sum over examples that weigh `weight` together."""
        value = self._on_host(value)
        self._total = value if self._total is None else self._total + value
        self._weight += weight

    def add_steps(self, values: Any, weights: Any) -> None:
        """Take in the means `(steps, members)` of batches, `(steps,)` weights, one by one.

        With the bits of as many calls of `add`; a batch that weighs nothing is passed over.
        """
        kept = weights > 0.0
        if not kept.any():
            return
        terms = values[kept] * weights[kept, None]
        begin = np.zeros((1, terms.shape[1])) if self._total is None else self._on_host_now()
        begin = np.reshape(np.asarray(begin, dtype=np.float64), (1, -1))
        total = np.cumsum(np.concatenate([begin, terms]), axis=0)[-1]
        total = float(total[0]) if self._net.members is None else total
        be = self._net.be
        self._total = be.asarray(np.asarray(total), "float64") if be.deferred else total
        self._weight = float(np.cumsum(np.concatenate([[self._weight], weights[kept]]))[-1])

    def _on_host(self, value: Array) -> Any:
        if self._net.be.deferred:  # stays there, in float64: sums of many lose digits in float32
            return self._net.be.xp.astype(value, self._net.be.xp.float64)
        if self._net.members is None:
            return float(value)
        return np.asarray(self._net.be.to_numpy(value), dtype=np.float64)

    def result(self) -> Any:
        """A float, or a list with one for each member; NaN where nothing weighed anything."""
        if self._total is None or not self._weight:
            members = self._net.members
            return float("nan") if members is None else [float("nan")] * members
        mean: Any = (self._on_host_now() / self._weight).astype(float).tolist()
        return mean


def passed(net: Bound, blocks: Generator[Rows]) -> Generator[Rows]:
    """Yield raw outputs in the place of the examples; close `blocks` in the end."""
    with closing(blocks):
        for x, t, w in blocks:
            yield net._forward(x, training=False)[0], t, w


def _blocks(
    net: Bound, x: Array, t: Array | None = None, w: Array | None = None
) -> Generator[Rows]:
    """Return a generator of blocks of examples, targets and weights on the device."""
    n = int(x.shape[0])
    spans = (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))
    blocks = ((x[rows, ...], _part(t, rows), _part(w, rows)) for rows in spans)
    return net.be.ahead(blocks) if inputs.on_host(net.be, x) else blocks


def _part(a: Array | None, rows: slice) -> Array | None:
    return None if a is None else a[rows, ...]


def _sum(net: Bound, per_output: Array, w: Array | None) -> Array:
    """The mean over outputs, summed over (weighted) examples of `(..., batch, outputs)`."""
    xp = net.be.xp
    per_example = xp.mean(per_output, axis=-1)
    return xp.sum(per_example if w is None else per_example * w[:, 0], axis=-1)


def _hits(net: Bound, loss: Loss, y: Array, t: Array) -> Array:
    xp, classes = net.be.xp, loss.classes(net.be, y)
    if loss.targets in ("unit", "binary"):
        classes = classes if y.shape[-1] > 1 else classes[..., None]
        return xp.astype(classes == xp.astype(t > 0.5, xp.int64), y.dtype)
    wanted = t[..., 0] if t.dtype == xp.int64 else xp.argmax(t, axis=-1)
    return xp.astype(classes == wanted, y.dtype)[..., None]


def _variance(net: Bound, t: Array, w: Array | None) -> float:
    """The mean squared distance of targets from their mean, over all outputs together."""
    host = net.be.to_numpy(t).astype(float)
    weights = None if w is None else net.be.to_numpy(w)[:, 0]
    centre = np.average(host, axis=0, weights=weights)
    return float(np.average(((host - centre) ** 2).mean(axis=-1), weights=weights))


def _r2(net: Bound, errors: Mean, variance: float) -> Any:
    """1 - (mean squared error) / variance."""
    if not variance > 0.0:
        return float("nan") if net.members is None else [float("nan")] * net.members
    r2: Any = (1.0 - np.asarray(errors.result()) / variance).tolist()
    return r2
