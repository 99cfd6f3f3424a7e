"""One path beside the plain one, step by step.

The path goes its own way, and the plain network follows it: before each step it takes over
parameters, slots and running state, so that one step is compared and not what became of the
rounding of the last. An update may divide a gradient by its own size: the plain one is made from
the path's gradient, to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpubp.check.tolerance import error, tolerance
from tests.fuzz.cases import Given
from tests.fuzz.paths import Path


class Wrong(AssertionError):  # noqa: N818 - it is found, not met
    """A path does not do what the plain one does."""


class Plain:
    """The plain network, as what a path is compared with.

    In float32 the gradient of one parameter may be what large ones left over: there the size of
    the whole gradient says what rounding explains.
    """

    def __init__(self, given: Given) -> None:
        self.given, self.net = given, given.net
        self.members = given.net.members or 1
        shapes = [p.param.shape for p in given.net.arrays.params.places.values()]
        longest = max([given.rows, *(max(shape, default=1) for shape in shapes)])
        self.longest = given.rows * longest

    def _mine(self) -> dict[str, Any]:
        net = self.net
        slots = {f"slot:{n}": a for n, a in net.steps.slots.arrays.items()}
        named = {"theta": net.theta, "state": net.arrays._state} | slots
        return {n: a.reshape(self.members, -1) for n, a in named.items()}

    def _follow(self, before: dict[str, Any], step: int) -> None:
        net, optimizer = self.net, self.given.case.method
        net.steps.slots.of(optimizer)
        for name, mine in self._mine().items():
            mine[...] = before[name]
        net._pass.step = net.steps.slots.updates = step

    def step(self, path: Path, step: int) -> bool:
        """Compare step `step`; false where it was refused, and nothing should go on."""
        net, case = self.net, self.given.case
        before = {n: a.copy() for n, a in path.arrays.items()}
        [losses], bad = path.run(step, 1)
        self._follow(before, step)
        x, t, w = self.given.batch(step)
        with np.errstate(all="ignore"):
            value, sound = net.train_step(x, t, case.loss, case.method, w)
        stopped = set() if sound else set(net.steps.stopped if net.members else [0])
        if stopped != set(np.flatnonzero(bad).tolist()):
            raise Wrong(f"the plain path refuses {sorted(stopped)}, this one {bad.tolist()}")
        for k, expected in enumerate(np.asarray(value).reshape(-1)):
            self._loss(losses[k], expected, k)
        self._gradients(path, stopped)
        self._updates(path, before, step, stopped)
        return not stopped

    def _loss(self, given: float, expected: float, k: int) -> None:
        if not np.isfinite(expected):
            if np.isfinite(given):
                raise Wrong(f"the loss of member {k} is {given}, not {expected}")
            return
        self._close(given, expected, f"the loss of member {k}")

    def _close(self, given: Any, expected: Any, what: str, beside: Any = ()) -> None:
        if self.given.spoilt:  # something may be so large that nothing else is seen
            return
        off = error(given, expected)
        precision = self.net.be.precision
        terms = (beside,) if precision == "float32" else ()
        allowed = tolerance(precision, expected, self.longest, terms)
        if not off <= allowed:
            raise Wrong(f"{what} is off by {off:.2g}, allowed {allowed:.2g}")

    def _gradients(self, path: Path, stopped: set[int]) -> None:
        mine = self.net.grad.reshape(self.members, -1)
        for k in set(range(self.members)) - stopped:
            for name, place in self.net.arrays.params.places.items():
                part = slice(place.start, place.stop)
                what = f"the gradient of {name} of member {k}"
                self._close(path.arrays["grad"][k, part], mine[k, part], what, mine[k])

    def _updates(self, path: Path, before: dict[str, Any], step: int, stopped: set[int]) -> None:
        net, method = self.net, self.given.case.method
        state = net.arrays._state.reshape(self.members, -1).copy()
        self._follow(before, step)
        net.grad.reshape(self.members, -1)[...] = path.arrays["grad"]
        rate = net.steps.rate_at(method, step + 1)
        with np.errstate(all="ignore"):
            net.steps._replace(method, step + 1, rate, True)
        expected = self._mine() | {"state": state}
        for name, whole in expected.items():
            for k in range(self.members):
                after = path.arrays[name][k]
                if k in stopped:
                    if not np.array_equal(after, before[name][k], equal_nan=True):
                        raise Wrong(f"{name} of member {k} moved in a step that was refused")
                else:
                    self._close(after, whole[k], f"{name} of member {k}")


def compare(given: Given, path: Path) -> None:
    """Raise `Wrong` where a path and the plain one differ in a step."""
    theta, state = given.net.theta.copy(), given.net.arrays._state.copy()
    plain = Plain(given)
    try:
        for step in range(given.steps):
            try:
                if not plain.step(path, step):
                    break
            except Wrong as wrong:
                raise Wrong(f"{path.name}, step {step}: {wrong}") from None
    finally:  # as it was drawn, for the next path
        given.net.theta[...], given.net.arrays._state[...] = theta, state
        given.net.steps.slots.reset()
        given.net._pass.step = 0


def at_once(given: Given, stepwise: Path, together: Path) -> None:
    """Raise `Wrong` where steps of one call differ by a bit from as many calls."""
    _, bad = together.run(0, given.steps)
    for name, array in stepwise.arrays.items():
        if not bad.any() and not np.array_equal(array, together.arrays[name], equal_nan=True):
            raise Wrong(f"{stepwise.name}: {name} differs where all steps are one call")
