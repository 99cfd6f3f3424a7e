"""A layer bound to a device: weights, gradients and slots, and one training step over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import inputs
from .backend import Array, Backend, remember, select
from .diagnosis import locate
from .errors import InputError, NonFiniteError
from .layers import Layer
from .losses import Loss
from .optimizers import Optimizer
from .run import Pass, Run
from .storage import Gradients, Layout, Shape, Views, views

Seeds = int | Sequence[int]


class Bound:
    """The part of `Network` that holds arrays and takes steps; see there for the arguments.

    >>> import gpubp
    >>> bound = Bound(gpubp.Linear(2), inputs=3, members=4)
    >>> bound.n_parameters, bound.state_dict()["W"].shape
    (8, (4, 3, 2))
    """

    _alive: Array
    _taken: Array
    _asked: int

    def __init__(
        self,
        layer: Layer,
        inputs: int | Shape,
        *,
        device: str | Backend = "cpu",
        dtype: str | None = None,
        seed: Seeds = 0,
        members: int | None = None,
    ) -> None:
        if not isinstance(layer, Layer):
            raise InputError(f"the first argument is {layer!r}; expected a gpubp.Layer")
        self.layer = layer
        self.inputs = _shape(inputs)
        self.seeds = _seeds(seed, members)
        self.members = (
            None if members is None and not isinstance(seed, Sequence) else len(self.seeds)
        )
        self.spec = layer.build(self.inputs)
        self.be = select(device, dtype)
        remember(self.be)
        with self.be.activate():
            self._allocate()

    def _allocate(self) -> None:
        be, spec = self.be, self.spec
        self._lead: Shape = () if self.members is None else (self.members,)
        self._params, self._running = Layout(spec, "params"), Layout(spec, "state")
        self.theta = be.asarray(_draw(self._params, self.seeds, self._lead))
        self.grad = be.zeros((*self._lead, self._params.size))
        self._state = be.asarray(_draw(self._running, self.seeds, self._lead))
        self._written: set[str] = set()
        self._w = views(be, spec, self._params, self.theta, "params")
        arrays = views(be, spec, self._params, self.grad, "params")
        self._g = Gradients(be, "", arrays, spec, self._written)
        self._pass = Pass(be, be.asarray(_keys(self.seeds, self._lead), "uint32"))
        state: Views = views(be, spec, self._running, self._state, "state")
        self._run = Run(self._pass, "", state, spec)
        self._expect()
        self.reset_optimizer()

    # -- arrays by name ------------------------------------------------------------------------

    @property
    def n_parameters(self) -> int:
        """How many numbers one member learns."""
        return self._params.count

    @property
    def seed(self) -> int:
        """The seed of the network, or of the first member."""
        return self.seeds[0]

    def parameter(self, path: str) -> Array:
        """Return a parameter itself, not a copy: writing to it changes the network.

        >>> import gpubp
        >>> Bound(gpubp.Linear(2), 3).parameter("b").shape
        (2,)
        """
        return self._params.view(self.be, self.theta, path)

    @property
    def updates(self) -> int:
        """How many optimizer steps were taken."""
        return self._pass.step

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and running state by path, on the device.

        >>> import gpubp
        >>> {k: v.shape for k, v in Bound(gpubp.Linear(2), 3).state_dict().items()}
        {'W': (3, 2), 'b': (2,)}
        """
        return {
            path: self.be.xp.asarray(layout.view(self.be, flat, path), copy=True)
            for layout, flat in self._named()
            for path in layout.places
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take over the named arrays; with `strict=False`, those that fit by name.

        Raises `InputError` that lists what is missing, unexpected or of another shape; nothing is
        changed then.
        """
        place = {path: (lay, flat) for lay, flat in self._named() for path in lay.places}
        self._refuse_misfits(place, state, strict)
        new = {path: self.be.asarray(state[path]) for path in place if path in state}
        for path, value in new.items():
            layout, flat = place[path]
            self.be.write(layout.view(self.be, flat, path), value)

    def _refuse_misfits(
        self, place: Mapping[str, tuple[Layout, Array]], state: Mapping[str, Any], strict: bool
    ) -> None:
        faults = []
        missing, unexpected = (
            sorted(place.keys() - state.keys()),
            sorted(state.keys() - place.keys()),
        )
        if strict and missing:
            faults.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            faults.append(f"unexpected: {', '.join(unexpected)}")
        for path in place.keys() & state.keys():
            wanted = (*self._lead, *place[path][0].places[path].param.shape)
            given = tuple(np.shape(state[path]))
            if given != wanted:
                faults.append(f"{path} has shape {given}, expected {wanted}")
        if faults:
            raise InputError(f"these weights are of another network: {'; '.join(sorted(faults))}")

    def _named(self) -> list[tuple[Layout, Array]]:
        return [(self._params, self.theta), (self._running, self._state)]

    def gradients(self) -> dict[str, Array]:
        """Return copies of the gradients of the last backward pass by path, on the device."""
        self._finish_gradients()
        view, xp = self._params.view, self.be.xp
        return {p: xp.asarray(view(self.be, self.grad, p), copy=True) for p in self._params.places}

    # -- the explicit loop ---------------------------------------------------------------------

    def forward(self, x: Any, training: bool = True) -> tuple[Array, Any]:
        """Return the raw output `(..., batch, *out)` and the context that `backward` takes."""
        x = self.be.asarray(inputs.features(self.be, x, self.inputs))
        with self.be.activate():
            y, context = self._forward(x, training)
        return y, (x, context)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        self._pass.training = training
        self._pass.pending.clear()
        return self.layer.forward(self.be, self._w, x, self._run)

    def backward(self, ctx: Any, delta: Array, input_gradient: bool = False) -> Array | None:
        """Propagate `delta = dL/dy` back; gradients add up until the next `step`.

        Returns dL/dx if `input_gradient` is true, otherwise None.
        """
        self._last = (ctx[0], delta)
        with self.be.activate():
            return self._backward(ctx[1], delta, input_gradient)

    def _backward(self, context: Any, delta: Array, input_gradient: bool = False) -> Array | None:
        self._pass.wants_input_gradient = input_gradient
        return self.layer.backward(self.be, self._w, self._g, context, delta, self._run)

    def zero_grad(self) -> None:
        """Forget the gradients of backward passes since the last step."""
        self._written.clear()

    def step(self, optimizer: Optimizer) -> None:
        """Update the weights from the gradients; a step that is not finite changes nothing.

        Raises `NonFiniteError` that names the step and the layer, and `InputError` where there
        are no gradients.
        """
        if not self._written and self._params.places:
            raise InputError("step: there are no gradients; call backward first")
        with self.be.activate():
            ok = self._update(optimizer, self.be.zeros(self._lead)[()])
            bad = ok is not True and not bool(self.be.xp.all(ok))
            self.settle()
        if bad:
            raise self.diagnose(*self._last)

    def train_step(
        self, x: Array, t: Array, loss: Loss, optimizer: Optimizer, w: Array | None = None
    ) -> tuple[Array, Any]:
        """One forward, loss, backward and update for arrays that are on the device already.

        Returns the loss and whether the step was finite; see `Backend.finite`.
        """
        self._written.clear()
        y, context = self._forward(x, True)
        value, delta = loss.value_and_delta(self.be, y, t, w)
        self._backward(context, delta)
        return value, self._update(optimizer, value)

    def _update(self, optimizer: Optimizer, value: Array) -> Any:
        be = self.be
        self._finish_gradients()
        self._written.clear()
        ok = be.finite(self.grad, value)
        if be.deferred:
            self._alive = ok = self._alive & ok  # after a bad step the member stands still
            self._taken = self._taken + be.xp.astype(ok, be.xp.int64)
        elif ok is not True and not bool(be.xp.any(ok)):
            return ok
        slots = self._slots_for(optimizer)
        numbers = optimizer.numbers(self._t + 1)
        be.update(optimizer.formula, [self.theta, *slots], [self.grad], numbers, ok)
        self._commit(ok)
        self._t += 1
        self._asked += 1
        self._pass.step += 1
        return ok

    def settle(self) -> int:
        """Wait for the device; return how many of the last steps a bad one prevented, itself too.

        Where the device is `deferred`, steps are asked for ahead of knowing whether the last was
        finite. The counts of updates are put right here.
        """
        if not self.be.deferred:
            return 0
        taken = int(self.be.to_numpy(self._taken).min())
        lost = self._asked - taken
        self._expect()
        self._t -= lost
        self._pass.step -= lost
        return lost

    def _expect(self) -> None:
        """Begin to count afresh which of the steps asked for were taken."""
        nothing = self.be.zeros((*self._lead, 1))
        self._alive = nothing == 0.0
        self._taken = self.be.xp.astype(nothing, self.be.xp.int64)
        self._asked = 0

    def _finish_gradients(self) -> None:
        if len(self._written) == len(self._params.places):
            return
        for path in self._params.places.keys() - self._written:  # parameters this pass left out
            out = self._params.view(self.be, self.grad, path)
            self.be.write(out, self.be.zeros(tuple(out.shape)))

    def _commit(self, ok: Any) -> None:
        for path, value in self._pass.pending.items():
            out = self._running.row(self.be, self._state, path)
            self.be.write(out, value if ok is True else self.be.xp.where(ok[..., None], value, out))
        self._pass.pending.clear()

    def diagnose(self, x: Array, delta: Array) -> NonFiniteError:
        """Return the error that names the first layer which is not finite on this batch."""
        be, step = self.be, self.updates + 1
        self._pass.pending.clear()
        self._written.clear()
        with be.activate():
            found = locate(self.layer, be, self._w, self._g, self._run, x, delta)
            for path, gradient in self.gradients().items():
                if found is None and not bool(be.xp.all(be.xp.isfinite(gradient))):
                    found = f"the gradient of {path!r}", path.rpartition(".")[0]
        self._written.clear()
        what, path = found or ("the loss", "loss")
        advice = "the step was not taken: try a lower rate or scaled inputs"
        return NonFiniteError(f"step {step}: {what} is not finite; {advice}", step, path)

    # -- the optimizer's slots -----------------------------------------------------------------

    def reset_optimizer(self) -> None:
        """Forget the optimizer's slots and its count of updates."""
        self._slots: dict[str, Array] = {}
        self._slots_of: type[Optimizer] | None = None
        self._t = 0

    def _slots_for(self, optimizer: Optimizer) -> list[Array]:
        if self._slots_of is not type(optimizer):
            self.reset_optimizer()
            shape = tuple(self.theta.shape)
            self._slots = {name: self.be.zeros(shape) for name in optimizer.slots}
            self._slots_of = type(optimizer)
        return list(self._slots.values())


def _shape(given: int | Shape) -> Shape:
    shape = (given,) if isinstance(given, int) else tuple(given)
    if not shape or any(not isinstance(n, int) or n < 1 for n in shape):
        raise InputError(f"inputs is {given!r}; expected a width or a shape of one example")
    return shape


def _seeds(seed: Seeds, members: int | None) -> list[int]:
    if isinstance(seed, Sequence):
        if members not in (None, len(seed)):
            raise InputError(f"{len(seed)} seeds were given for {members} members")
        seeds = [int(s) for s in seed]
    else:
        if members is not None and members < 1:
            raise InputError(
                f"members is {members!r}; expected at least 1, or None for one network"
            )
        seeds = [int(seed) + k for k in range(members or 1)]
    if not seeds or min(seeds) < 0:
        raise InputError(f"seed is {seed!r}; expected whole numbers of at least 0")
    return seeds


def _draw(layout: Layout, seeds: Sequence[int], lead: Shape) -> Any:
    """Draw all members on the host in float64, each array from a generator named by its path."""
    flat = np.zeros((len(seeds), layout.size))
    for member, seed in enumerate(seeds):
        for path, start, param in layout.places.values():
            child = np.random.SeedSequence(seed, spawn_key=tuple(path.encode()))
            drawn = param.init(np.random.Generator(np.random.Philox(child)), param.shape)
            flat[member, start : start + drawn.size] = drawn.reshape(-1)
    return flat.reshape((*lead, layout.size))


def _keys(seeds: Sequence[int], lead: Shape) -> Any:
    words = [np.random.SeedSequence(seed).generate_state(1)[0] for seed in seeds]
    return np.asarray(words, dtype=np.uint32).reshape((*lead, 1, 1))
