"""Training by L-BFGS: directions from past steps, lengths from a strong-Wolfe line search.

Numbers of algorithms and equations are those of Nocedal and Wright, "Numerical Optimization",
2nd edition (2006). The host decides; parameters, gradients and past steps stay on the device. Each
step begins with an evaluation of its own, for noise and running state are others than before.
"""

from __future__ import annotations

import math
import time
from typing import Any

from .backend import Array
from .bound import Bound
from .errors import InputError
from .evaluation import Mean
from .interrupts import Interrupts
from .linesearch import Point, Search
from .optimizers import LBFGS
from .training import Data, Position, Trainer


class LineSearchTrainer(Trainer):
    """The loop of `Network.fit` with `LBFGS`: an epoch is one step on all examples.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> task = {"x": [[0.0], [1.0]], "y": [1.0, 3.0], "loss": "mean_squared_error"}
    >>> history = net.fit(**task, optimizer=gpubp.optimizers.LBFGS(), batch_size=None, epochs=50)
    >>> net.predict([[2.0]]).round(3).tolist(), len(history) < 50
    ([[5.0]], True)
    """

    optimizer: LBFGS

    def epoch(
        self, number: int, interrupts: Interrupts, position: Position | None = None
    ) -> dict[str, Any]:
        self.net.watch = None  # it would look into every trial, none of which is an update
        seen = position or Position()
        self.began, self.next = time.perf_counter() - seen.seconds, seen.batch
        self.mean = Mean(self.net, seen.total, seen.weight)
        if not seen.batch:
            self._search()
            if interrupts.pending:
                interrupts.leave()
        return {"loss": self.mean.result(), "seconds": time.perf_counter() - self.began}

    def _search(self) -> None:
        theta = self._copy(self.net.theta)
        self.data.x = self.net.be.asarray(self.data.x)  # a memory map is read once
        try:
            value, weight = self._step(theta), self._weight(0)
        except BaseException:
            self.net.be.write(self.net.theta, theta)
            raise
        if weight:
            self.mean.add(value if self.loss.is_mean else value / weight, weight)
        self.next = 1
        self.bar.advance()
        self.after_batch()

    def _step(self, theta: Array) -> Array:
        """Take one step from `theta`; return the loss of the data before it."""
        net, method, steps = self.net, self.optimizer, self.net.steps
        f, loss, delta = self._evaluate()
        steps.attempt = net.updates + 1
        if not math.isfinite(f + self._dot(net.grad, net.grad)):
            raise net.diagnose(self.data.x, delta, loss)
        counted = steps.slots.updates if steps.slots.fits(method) else 0
        pairs = steps.slots.of(method)
        steps.rate = method.rate(counted + 1) * steps.rate_scale
        if steps.rate == 0:
            self.stopped = "the rate is 0"
            return loss
        grad = self._copy(net.grad)
        if self._largest(grad) <= method.tolerance:
            self.stopped = f"no element of the gradient is above {method.tolerance:g}"
            return loss
        point = self._descend(theta, grad, f, pairs)
        if point is None and any(self._largest(pair) > 0 for pair in pairs):
            self._forget(pairs)
            point = self._descend(theta, grad, f, pairs)
        if point is None:
            net.be.write(net.theta, theta)
            self.stopped = "no step lowers the loss by more than rounding does"
            return loss
        steps.advance()
        self._remember(net.theta - theta, net.grad - grad)
        if self._largest(net.theta - theta) <= method.change:
            self.stopped = f"no parameter changed by more than {method.change:g}"
        return loss

    def _descend(self, theta: Array, grad: Array, f: float, pairs: list[Array]) -> Point | None:
        """Search along the direction of the pairs; leave the network at the point found."""
        net, method = self.net, self.optimizer
        d, first = self._direction(grad, pairs), net.steps.rate
        slope = self._dot(grad, d)
        if not slope < 0:  # the pairs do not describe a minimum from here
            self._forget(pairs)
            d = -grad
            slope = self._dot(grad, d)
        if not any(self._dot(s, y) for s, y in _two_by_two(pairs)):
            first *= min(1.0, 1.0 / float(net.be.xp.sum(net.be.xp.abs(grad))))
        tried = [0.0]

        def phi(a: float) -> tuple[float, float]:
            net.be.write(net.theta, theta + a * d)
            tried.append(a)
            return self._evaluate()[0], self._dot(net.grad, d)

        search = Search(phi, method.c1, method.c2, method.max_evaluations)
        point = search.find(Point(0.0, f, slope), first)
        if point is not None and tried[-1] != point.a:
            phi(point.a)  # gradient and running state are those of the point that is kept
        return point

    def _evaluate(self) -> tuple[float, Array, Array]:
        """The loss with its penalties, that of the data alone, delta; the gradient in `grad`."""
        net, data, steps = self.net, self.data, self.net.steps
        net.arrays.written.clear()
        y, context = net._forward(data.x, True)
        value, delta = self.loss.value_and_delta(net.be, y, data.t, data.w)
        net._backward(context, delta)
        net.arrays.finish_gradients()
        net.arrays.written.clear()
        if self.optimizer.penalties:
            steps.penalise(self.optimizer)
        total = float(value)
        for penalty in self.optimizer.penalties:
            total += float(penalty.value(net.be, net.arrays.params, net.theta))
        if net._pass.pending and not bool(net.arrays.sound_state(net._pass.pending)[..., 0]):
            total = math.nan
        return total, value, delta

    def _direction(self, grad: Array, pairs: list[Array]) -> Array:
        """-H g by the two-loop recursion, algorithm 7.4, with H_0 of (7.20); newest pair first."""
        # s.y is 0 for a pair that is not there yet
        used = [(s, y, c) for s, y in _two_by_two(pairs) if (c := self._dot(s, y)) > 0]
        q, shares = -grad, []
        for s, y, curvature in used:
            share = self._dot(s, q) / curvature
            q = q - share * y
            shares.append(share)
        if used:
            _, y, curvature = used[0]
            q = q * (curvature / self._dot(y, y))
        for (s, y, curvature), share in zip(reversed(used), reversed(shares), strict=True):
            q = q + (share - self._dot(y, q) / curvature) * s
        # pairs may be older than what is frozen
        return q * self.net.steps.moves() if self.net.frozen else q

    def _remember(self, s: Array, y: Array) -> None:
        """Let the oldest pair give way to a new one, unless that does not curve upwards."""
        slots = self.net.steps.slots
        if not self._dot(s, y) > 1e-10 * self._dot(y, y):
            return
        arrays = list(slots.arrays.values())
        oldest_s, oldest_y = arrays[-2:]
        self.net.be.write(oldest_s, s)
        self.net.be.write(oldest_y, y)
        turned = [oldest_s, oldest_y, *arrays[:-2]]
        slots.arrays = dict(zip(slots.arrays, turned, strict=True))

    def _forget(self, pairs: list[Array]) -> None:
        for array in pairs:
            self.net.be.write(array, self.net.be.zeros(tuple(array.shape)))

    def _dot(self, a: Array, b: Array) -> float:
        return float(self.net.be.xp.sum(a * b))

    def _largest(self, x: Array) -> float:
        return float(self.net.be.xp.max(self.net.be.xp.abs(x)))

    def _copy(self, x: Array) -> Array:
        return self.net.be.xp.asarray(x, copy=True)


def _two_by_two(pairs: list[Array]) -> list[tuple[Array, Array]]:
    return list(zip(pairs[::2], pairs[1::2], strict=True))


def check_search(net: Bound, data: Any, batch_size: int | None, micro_batch: int | None) -> None:
    """Raise `InputError` unless a network, its data and a size of batches are for `LBFGS`."""
    if net.members is not None:
        raise InputError("LBFGS trains one network, not an ensemble of members")
    if not isinstance(data, Data):
        raise InputError("LBFGS takes all examples in one go, from memory: give arrays, no source")
    if batch_size is not None and batch_size < data.n:
        raise InputError(f"LBFGS: batch_size is {batch_size}; expected None, all {data.n} examples")
    if micro_batch is not None:
        raise InputError("LBFGS takes all examples in one go: leave micro_batch out")
