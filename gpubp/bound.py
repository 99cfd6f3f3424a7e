"""A layer bound to a device: weights, gradients and slots, and one training step over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import inputs, seeds
from .arrays import Arrays
from .backend import Array, Backend, remember, select
from .diagnosis import locate
from .errors import InputError, NonFiniteError, nearest, whole
from .layers import Layer
from .losses import Loss
from .optimizers import Optimizer
from .run import Pass, Run
from .seeds import Seeds
from .slots import Slots
from .storage import Shape


class Context(NamedTuple):
    """What `backward` needs of a forward pass; made by `forward`, not by hand."""

    x: Array
    layer: Any
    shape: Shape
    training: bool
    pending: dict[str, Array]


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
    _attempt: int = 1
    _stopped: Sequence[int] = ()

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
        self.seeds = seeds.member_seeds(seed, members)
        one = members is None and (whole(seed) or not isinstance(seed, Iterable))
        self.members = None if one else len(self.seeds)
        self.spec = layer.build(self.inputs)
        self.be = select(device, dtype)
        remember(self.be)
        self._lead: Shape = () if self.members is None else (self.members,)
        with self.be.activate():
            self.arrays = Arrays(self.be, self.spec, self.seeds, self._lead)
            keys = self.be.asarray(seeds.keys(self.seeds, self._lead), "uint32")
            self._pass = Pass(self.be, keys)
            self._run = Run(self._pass, "", self.arrays.state, self.spec)
            self._expect()
        self.slots = Slots(self.be, self.theta.shape, self.members)

    # -- arrays by name ------------------------------------------------------------------------

    @property
    def n_parameters(self) -> int:
        """How many numbers one member learns."""
        return self.arrays.params.count

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
        if path not in self.arrays.params.places:
            raise InputError(f"no parameter {path!r}; {nearest(path, self.arrays.params.places)}")
        return self.arrays.parameter(path)

    @property
    def theta(self) -> Array:
        """All parameters in one flat array `(..., n)`; a few elements between them are padding."""
        return self.arrays.theta

    @property
    def grad(self) -> Array:
        """All gradients in one flat array, laid out as `theta`."""
        return self.arrays.grad

    @property
    def updates(self) -> int:
        """How many optimizer steps were taken."""
        return self._pass.step

    def restore_updates(self, updates: int) -> None:
        """Go on counting, and with it drawing random bits, where another network ended."""
        self._pass.step = updates

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and running state by path, on the device.

        >>> import gpubp
        >>> {k: v.shape for k, v in Bound(gpubp.Linear(2), 3).state_dict().items()}
        {'W': (3, 2), 'b': (2,)}
        """
        with self.be.activate():
            return self.arrays.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take over the named arrays; with `strict=False`, those that fit by name.

        Raises `InputError` that lists what is missing, unexpected or of another shape; nothing is
        changed then.
        """
        with self.be.activate():
            self.arrays.load_state_dict(state, strict)

    def gradients(self) -> dict[str, Array]:
        """Return copies of the gradients by path, on the device.

        They are those of the backward passes since the last step, or else of that step.
        """
        with self.be.activate():
            return self.arrays.gradients()

    # -- the explicit loop ---------------------------------------------------------------------

    def forward(self, x: Any, training: bool = True) -> tuple[Array, Context]:
        """Return the raw output `(..., batch, *out)` and the context that `backward` takes."""
        with self.be.activate():
            x = self.be.asarray(inputs.features(self.be, x, self.inputs))
            y, context = self._forward(x, training)
        return y, Context(x, context, tuple(y.shape), training, self._pass.pending)

    def _forward(self, x: Array, training: bool) -> tuple[Array, Any]:
        self._pass.training, self._pass.pending = training, {}
        return self.layer.forward(self.be, self.arrays.w, x, self._run)

    def backward(self, ctx: Context, delta: Any, input_gradient: bool = False) -> Array | None:
        """Propagate `delta = dL/dy` back; gradients add up until the next `step`.

        Returns dL/dx if `input_gradient` is true, otherwise None. Raises `InputError` where delta
        has another shape than the output.
        """
        with self.be.activate():
            delta = self.be.asarray(inputs.numbers(self.be, delta, "delta"))
        if tuple(delta.shape) != ctx.shape:
            given = tuple(delta.shape)
            raise InputError(f"delta has shape {given}; the output had {ctx.shape}: give dL/dy_hat")
        self._last = (ctx.x, delta)
        # Other passes may have been made since, a prediction say: back to this one's.
        self._pass.training, self._pass.pending = ctx.training, ctx.pending
        with self.be.activate():
            return self._backward(ctx.layer, delta, input_gradient)

    def _backward(self, context: Any, delta: Array, input_gradient: bool = False) -> Array | None:
        self._pass.wants_input_gradient = input_gradient
        arrays = self.arrays
        return self.layer.backward(self.be, arrays.w, arrays.g, context, delta, self._run)

    def zero_grad(self) -> None:
        """Forget the gradients of backward passes since the last step."""
        self.arrays.written.clear()

    def step(self, optimizer: Optimizer) -> None:
        """Update the weights from the gradients; a step that is not finite changes nothing.

        Raises `NonFiniteError` that names the step and the layer, and `InputError` where there
        are no gradients.
        """
        self.slots.check(optimizer)
        if not self.arrays.written and self.arrays.params.places:
            raise InputError("step: there are no gradients; call backward first")
        with self.be.activate():
            ok = self._update(optimizer, self.be.zeros(self._lead))
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
        self.arrays.written.clear()
        y, context = self._forward(x, True)
        value, delta = loss.value_and_delta(self.be, y, t, w)
        self._backward(context, delta)
        return value, self._update(optimizer, value)

    def _update(self, optimizer: Optimizer, value: Array) -> Any:
        be = self.be
        self._attempt = self._pass.step + 1
        self.arrays.finish_gradients()
        self.arrays.written.clear()
        ok = be.finite(self.grad, value, optimizer.lr)
        if self._pass.pending:
            ok = self.arrays.sound_state(self._pass.pending) & ok
        if be.deferred:
            ok = self._alive & ok
            self._taken = self._taken + be.xp.astype(ok, be.xp.int64)
            self._alive = ok & be.xp.all(ok)  # after a bad step of one, all stand still
        elif ok is not True:
            self._stopped = [k for k, sound in enumerate(be.to_numpy(ok)[..., 0].flat) if not sound]
            if len(self._stopped) == len(self.seeds):
                return ok
            ok = ok if self._stopped else True
        slots = self.slots.of(optimizer)
        numbers = optimizer.numbers(self.slots.updates + 1)
        be.update(optimizer.formula, [self.theta, *slots], [self.grad], numbers, ok)
        self.arrays.commit(self._pass.pending, ok)
        self._pass.pending = {}
        self.slots.updates += 1
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
        taken, asked = self.be.to_numpy(self._taken)[..., 0], self._asked
        least, most = int(taken.min()), int(taken.max())  # members are stopped one by one
        self._stopped = [k for k, count in enumerate(taken.flat) if count < asked]
        self._attempt = self._pass.step - asked + least + 1
        self.slots.updates -= asked - most
        self._pass.step -= asked - most
        self._expect()
        return asked - least

    def _expect(self) -> None:
        """Begin to count afresh which of the steps asked for were taken."""
        nothing = self.be.zeros((*self._lead, 1))
        self._alive = nothing == 0.0
        self._taken = self.be.xp.astype(nothing, self.be.xp.int64)
        self._asked = 0

    def diagnose(self, x: Array, delta: Array, value: Array | None = None) -> NonFiniteError:
        """Return the error that names the first layer which is not finite on this batch."""
        be, arrays, step = self.be, self.arrays, self._attempt
        with be.activate():
            left = self._first_unsound_gradient()  # of all passes since the last step
            arrays.written.clear()
            counted, self._pass.step = self._pass.step, step - 1  # for the same random bits
            self._pass.training, self._pass.pending = True, {}
            found = locate(self.layer, be, arrays.w, arrays.g, self._run, x, delta)
            found = found or self._first_unsound_gradient() or left
            self._pass.step, self._pass.pending = counted, {}
            arrays.written.clear()
            if found is None and value is not None and not bool(be.xp.all(be.xp.isfinite(value))):
                found = "the loss", "loss"
        what, path = found or ("the length of the step", "loss")
        members = "" if self.members is None else f" of members {self._stopped}"
        advice = f"the step{members} was not taken: try a lower rate or scaled inputs"
        return NonFiniteError(f"step {step}: {what} is not finite; {advice}", step, path)

    def _first_unsound_gradient(self) -> tuple[str, str] | None:
        for path, gradient in self.arrays.gradients().items():
            if not bool(self.be.xp.all(self.be.xp.isfinite(gradient))):
                return f"the gradient of {path!r}", path.rpartition(".")[0]
        return None

    def reset_optimizer(self) -> None:
        """Forget the optimizer's slots and its count of updates."""
        self.slots.reset()


def _shape(given: Any) -> Shape:
    several = isinstance(given, Iterable) and not whole(given)
    shape = tuple(given) if several else (given,)
    if not shape or any(not whole(n) or n < 1 for n in shape):
        raise InputError(f"inputs is {given!r}; expected a width or a shape of one example")
    return tuple(int(n) for n in shape)
