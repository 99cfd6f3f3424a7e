"""From gradients to new weights: one update, guarded, for all members at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import Arrays
from .backend import Array, Backend
from .errors import InputError
from .groups import chosen, spread
from .optimizers import MaxNorm, Optimizer
from .optimizers.averaging import Averaging
from .optimizers.penalties import coefficients, penalised, shrunk
from .optimizers.steps import averaging, decaying, partly, towards
from .run import Pass
from .slots import Slots
from .storage import Shape


class Updates:
    """The optimizer's part of a network: slots, frozen parameters, and which members go on.

    Where the backend is `deferred`, updates are asked for ahead of knowing whether the last was
    finite; `settle` puts the counts right.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=2)
    >>> net.updates, net.frozen
    (0, ())
    """

    _moving: Array
    _alive: Array
    _taken: Array
    _asked: int
    _some_halted: bool

    def __init__(self, be: Backend, arrays: Arrays, shared: Pass, lead: Shape) -> None:
        self._be, self._arrays, self._pass, self._lead = be, arrays, shared, lead
        self.slots = Slots(be, arrays.theta.shape)
        self.rate_scale: Any = 1.0
        """A factor on the rate, such as a plateau of the validation loss asks for; see there."""
        self.frozen: tuple[str, ...] = ()
        self.tolerant = False
        """Whether a member whose step is not finite stands still while the others go on."""
        self.halted = np.zeros(lead, dtype=bool)
        self.lost = np.zeros(lead, dtype=bool)
        """The members that stand still, and those of them whose step was not finite."""
        self.stopped: Sequence[int] = ()
        """The members whose last step was not finite."""
        self.loss_scale: Any = None
        """What gradients of 16-bit floats are multiplied by and for how many steps they have been,
        `(members, 2)`; None before the first step in them."""
        self.attempt = 1
        """The number of the last update that was tried, counted from 1."""
        self.rate: Any = None
        """The rate of the last update, `rate_scale` in it; None before the first."""
        self.elsewhere = False
        """Whether averaged weights are in the place of those that are trained."""
        self._kept: dict[Any, Any] = {}
        self._expect()

    # -- what is asked for ---------------------------------------------------------------------

    def check(self, optimizer: Optimizer, count: int = 1, done: int | None = None) -> None:
        """Raise `InputError` unless this is an optimizer that can make `count` updates here.

        `done` is how many it made already, if that is another number than that of the slots.
        """
        if self.elsewhere:
            raise InputError("the averaged weights are in place: train outside `net.averaged()`")
        if not isinstance(optimizer, Optimizer):
            raise InputError(f"the optimizer is {optimizer!r}; expected one such as gpubp.Adam()")
        if isinstance(optimizer.lr, tuple) and self._lead != (len(optimizer.lr),):
            members = f"{self._lead[0]} members" if self._lead else "one network"
            raise InputError(f"{len(optimizer.lr)} rates were given for {members}")
        if self.frozen and len(self.frozen) == len(self._arrays.params.places):
            raise InputError("all parameters are frozen; call unfreeze first")
        optimizer.check(self._arrays.params)
        if done is None:
            done = self.slots.updates if self.slots.fits(optimizer) else 0
        if optimizer.length is not None and done + count > optimizer.length:
            raise InputError(
                f"the schedule of the rate ends after {optimizer.length} updates; {done} were made "
                f"and {count} more are asked for: give it more steps, or what follows with .then()"
            )
        rates, largest = optimizer.rate(done + 1), float(np.finfo(self._be.precision).max)
        if np.max(rates) > largest:
            raise InputError(f"lr {np.max(rates):g} is beyond {self._be.precision}, {largest:g}")

    def freeze(self, paths: tuple[str, ...]) -> None:
        """Keep the named parameters as they are from now on."""
        wanted = chosen(self._arrays.params, "freeze", paths) if paths else []
        self._arrays.set_frozen(wanted)
        self.frozen = tuple(wanted)
        self._kept.clear()

    def rates(self) -> Any:
        """The rate of the last update, or a list with that of each member; NaN before the first."""
        rate = np.nan if self.rate is None else self.rate
        return np.broadcast_to(rate, self._lead).tolist()

    def halt(self, members: Any) -> None:
        """Let members stand still from now on; a truth for each."""
        self.halted = self.halted | np.asarray(members)
        self._move()
        if self._be.deferred:
            self._alive = self._alive & self._moving

    def go_on(self) -> None:
        """Let all members go on again, but for those that were lost."""
        self.halted = self.lost.copy()
        self._expect()

    # -- one update ----------------------------------------------------------------------------

    def apply(self, optimizer: Optimizer, value: Array) -> bool:
        """Update the weights from the gradients of a batch whose loss was `value`.

        Returns whether the step was finite for every member that goes on; a member for which it
        was not keeps everything. A deferred device returns True, and `settle` tells.
        """
        be, arrays = self._be, self._arrays
        self.attempt = self._pass.step + 1
        t = self.slots.updates + 1 if self.slots.fits(optimizer) else 1
        self.rate = rate = self.rate_at(optimizer, t)
        self.gather(optimizer)
        ok = be.finite(arrays.grad, value, rate)
        if self._pass.pending:
            ok = arrays.sound_state(self._pass.pending) & ok
        sound, ok = self._guard(ok)
        if ok is None:  # nobody moves
            return sound
        self._replace(optimizer, t, rate, ok)
        self._asked += 1
        self.advance(ok)
        return sound

    def gather(self, optimizer: Optimizer) -> None:
        """Make the gradients of the layers those of an update: penalties added, and clipped."""
        arrays = self._arrays
        arrays.finish_gradients()
        arrays.written.clear()
        if optimizer.penalties:
            self.penalise(optimizer)
        if optimizer.clip is not None:
            optimizer.clip(self._be, arrays.params, arrays.theta, arrays.grad)

    def replace(self, optimizer: Optimizer, t: int) -> None:
        """Put in the place of weights and slots what update `t` makes of the gradients there."""
        self._replace(optimizer, t, self.rate_at(optimizer, t), True)

    def rate_at(self, optimizer: Optimizer, t: int) -> Any:
        """Return the rate of update `t`, counted from 1, or an array with that of each member."""
        lr, scale = optimizer.rate(t), self.rate_scale
        several = isinstance(lr, tuple) or isinstance(scale, np.ndarray)
        return np.multiply(lr, scale) if several else lr * scale

    def numbers(self, optimizer: Optimizer, t: int, rate: Any) -> list[Any]:
        """Return all that the kernel of update `t` takes beside arrays."""
        numbers = list(optimizer.inner.numbers(t, rate))
        if optimizer.weight_decay:
            numbers.append(rate * optimizer.weight_decay)
        if isinstance(optimizer, Averaging):
            numbers.append(optimizer.share(t))
        return numbers

    def advance(self, ok: Any = True) -> None:
        """Count an update that was made, and take over its running state where `ok`."""
        self._arrays.commit(self._pass.pending, ok)
        self._pass.pending = {}
        self.slots.updates += 1
        self._pass.step += 1

    def take_over(self, optimizer: Optimizer, going: Any, count: int, bad: Any) -> bool:
        """Count up to `count` updates that were made elsewhere, in these arrays.

        `going` are the members that took part and `bad` which step of each was not finite,
        counted from 1, 0 for none; behind it that member stood still. Returns whether training
        goes on; see `apply`.
        """
        slots, begun = self.slots, self._pass.step
        t = slots.updates if slots.fits(optimizer) else 0
        failed = (bad > 0) & going
        met = count if self.tolerant or not failed.any() else int(bad[failed].min())
        made = int(np.where(failed, bad - 1, met)[going].max(initial=0))
        tried = min(made + 1, met)
        self.attempt, self.rate = begun + tried, self.rate_at(optimizer, t + tried)
        slots.updates, self._pass.step = t + made, begun + made
        self._arrays.written.clear()
        self._pass.pending = {}
        lost = failed.reshape(self._lead)
        if self.tolerant and failed.any():
            self.lost = self.lost | lost
            self.halt(lost)
        elif failed.any():
            self.stopped = np.flatnonzero(lost).tolist()
        return self.tolerant or not failed.any()

    def penalise(self, optimizer: Optimizer) -> None:
        """Add the gradients of the penalties."""
        be, arrays = self._be, self._arrays
        l1, l2 = self._once(("penalty", optimizer.penalties), self._coefficients)
        if l1 is None:
            be.write(arrays.grad, be.map(shrunk, arrays.grad, arrays.theta, l2))
        else:
            be.write(arrays.grad, be.map(penalised, arrays.grad, arrays.theta, l1, l2))

    def moves(self) -> Array:
        """Return a flat array `(n,)`: 1 for each element that is not frozen, 0 elsewhere."""
        return self._once(("moves", self.frozen), _all_but)

    def _once(self, key: tuple[str, Any], make: Any) -> Any:
        """What was made of the layout for this key, the last of its sort only."""
        sort, what = key
        if self._kept.get(sort, (None,))[0] != what:
            self._kept[sort] = what, make(self._be, self._arrays.params, what)
        return self._kept[sort][1]

    def _coefficients(self, be: Backend, layout: Any, penalties: Any) -> Any:
        return coefficients(be, layout, penalties, self.frozen)

    def _guard(self, ok: Any) -> tuple[bool, Any]:
        """Whether all is well, and for which members the update is made.

        These are True for all, None for none of them, or an array `(..., 1)`.
        """
        if self._be.deferred:
            ok = self._alive & ok
            self._taken = self._taken + self._be.xp.astype(ok, self._be.xp.int64)
            # after a bad step of one, all stand still, unless a member may be lost
            self._alive = ok if self.tolerant else ok & self._be.xp.all(ok | ~self._moving)
            return True, ok
        if ok is True:
            if not self._some_halted:
                return True, True
            return True, (None if self.halted.all() else self._moving)
        bad = ~self._be.to_numpy(ok)[..., 0] & ~self.halted
        if self.tolerant:
            if bad.any():
                self.lost = self.lost | bad
                self.halt(bad)
            return True, (None if self.halted.all() else self._moving)
        self.stopped = np.flatnonzero(bad).tolist()
        none = bool((bad | self.halted).all())
        return not self.stopped, (None if none else ok & self._moving)

    def _replace(self, optimizer: Optimizer, t: int, rate: Any, ok: Any) -> None:
        be, theta = self._be, self._arrays.theta
        state = [theta, *self.slots.of(optimizer)]
        inner, numbers = optimizer.inner, self.numbers(optimizer, t, rate)
        formula, arrays, moved = inner.formula, [self._arrays.grad], 1 + len(inner.slots)
        if optimizer.weight_decay:
            formula = decaying(formula, moved)
            arrays.append(self._once(("decay", optimizer.decay_on), _mask))
        if self.frozen:
            formula = partly(formula, moved, len(arrays))
            arrays.append(self.moves())
        bound = optimizer.max_norm
        if not isinstance(optimizer, Averaging):
            be.update(formula, state, arrays, numbers, ok)
        elif bound is None:  # outermost: the average holds frozen weights too
            be.update(averaging(formula, moved, len(arrays)), state, arrays, numbers, ok)
        else:
            be.update(formula, state[:moved], arrays, numbers[:-1], ok)
        if isinstance(bound, MaxNorm):
            bound.project(be, self._arrays.params, theta, ok, self.frozen)
            if isinstance(optimizer, Averaging):
                be.update(towards, [state[-1]], [theta], [numbers[-1]], ok)

    # -- a device that works ahead of the host -------------------------------------------------

    def settle(self) -> int:
        """Wait for the device; return how many of the last steps a bad one prevented, itself too.

        The counts of updates are put right here.
        """
        if not self._be.deferred:
            return 0
        taken, asked = self._be.to_numpy(self._taken)[..., 0], self._asked
        going = ~self.halted
        behind = (taken < asked) & going
        most = int(taken[going].max()) if going.any() else 0
        if self.tolerant:
            self.lost, self.halted = self.lost | behind, self.halted | behind
            behind = behind & False
        least = int(taken[behind].min()) if behind.any() else asked
        self.stopped = np.flatnonzero(behind).tolist()
        self.attempt = self._pass.step - asked + least + 1
        self.slots.updates -= asked - most
        self._pass.step -= asked - most
        self._expect()
        return asked - least

    def _move(self) -> None:
        self._some_halted = bool(self.halted.any())
        self._moving = self._be.asarray(~self.halted[..., None], "bool")

    def _expect(self) -> None:
        """Begin to count afresh which of the steps asked for were taken."""
        be = self._be
        self._move()
        self._alive = self._moving
        self._taken = be.xp.astype(be.zeros((*self._lead, 1)), be.xp.int64)
        self._asked = 0


def _mask(be: Backend, layout: Any, on: Any) -> Array:
    return spread(be, layout, dict.fromkeys(chosen(layout, "weight_decay", on), 1.0))


def _all_but(be: Backend, layout: Any, frozen: Any) -> Array:
    return spread(be, layout, {p: 1.0 for p in layout.places if p not in frozen})
