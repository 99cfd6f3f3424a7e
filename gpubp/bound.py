"""A layer bound to a device: weights, gradients and slots, and one training step over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import inputs, seeds
from .arrays import Arrays
from .backend import Array, Backend, remember, select
from .diagnosis import locate
from .errors import InputError, NonFiniteError, nearest, whole
from .groups import On, names
from .layers import Layer
from .losses import Loss
from .optimizers import Optimizer
from .run import Pass, Run
from .seeds import Seeds
from .storage import Shape
from .updates import Updates


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

    watch: Any = None
    """What looks into training steps, a `gpubp.watch.Watch`, or nobody."""
    _last: tuple[Array, Array]

    def __init__(
        self,
        layer: Layer,
        inputs: int | Shape,
        *,
        device: str | Backend = "cpu",
        dtype: str | None = None,
        seed: Seeds = 0,
        members: int | None = None,
        weights: Mapping[str, Any] | None = None,
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
            self.arrays = Arrays(self.be, self.spec, self.seeds, self._lead, weights)
            self._pass = Pass(self.be, self._keys)
            self._run = Run(self._pass, "", self.arrays.state, self.spec)
            self.steps = Updates(self.be, self.arrays, self._pass, self._lead)

    def _keys(self) -> Array:
        return self.be.asarray(seeds.keys(self.seeds, self._lead), "uint32")

    def take_seed(self, seed: int) -> None:
        """Draw random bits as the network of that seed from now on; the weights stay."""
        self.seeds = [seed]
        self._pass.keys = self._keys

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
        if not isinstance(path, str) or path not in self.arrays.params.places:
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

    @property
    def frozen(self) -> tuple[str, ...]:
        """The parameters that training leaves as they are."""
        return self.steps.frozen

    def freeze(self, *on: On) -> None:
        """Leave the named parameters as they are in training: groups or paths, see `gpubp.groups`.

        No gradient is taken of them, and neither decay nor slots move. What was frozen before
        stays frozen. Raises `InputError` for names that the network does not have.

        >>> import gpubp
        >>> net = Bound(gpubp.MLP([4], 2), 3)
        >>> net.freeze("0")
        >>> net.frozen
        ('0.W', '0.b')
        """
        with self.be.activate():
            wanted = [name for each in on for name in names("freeze", each)]
            self.steps.freeze(tuple(dict.fromkeys((*self.frozen, *wanted))))

    def unfreeze(self) -> None:
        """Train all parameters again."""
        with self.be.activate():
            self.steps.freeze(())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside `with`, the weights are the average that an `EMA` or `SWA` optimizer keeps.

        Predictions, figures and files made there are those of the average; training is refused.
        Raises `InputError` where no update has entered an average.

        >>> import gpubp
        >>> net = Bound(gpubp.Linear(1), 1)
        >>> with net.averaged():
        ...     pass
        Traceback (most recent call last):
        gpubp.errors.InputError: there is no average of weights; train with EMA or SWA first
        """
        with self.be.activate():
            weights = self.be.xp.asarray(self.theta, copy=True)
            self._take_average()
        outermost, self.steps.elsewhere = not self.steps.elsewhere, True
        try:
            yield
        finally:
            with self.be.activate():
                self.be.write(self.theta, weights)
            self.steps.elsewhere = not outermost

    def adopt_average(self) -> None:
        """Make the average that an `EMA` or `SWA` optimizer keeps the weights, for good.

        The optimizer's slots begin anew. Raises `InputError` as `averaged` does.
        """
        with self.be.activate():
            self._take_average()
        self.reset_optimizer()

    def _take_average(self) -> None:
        xp, average = self.be.xp, self.steps.slots.arrays.get("average")
        begun = None if average is None else xp.any(average != 0.0, axis=-1, keepdims=True)
        if begun is None or not bool(xp.any(begun)):
            raise InputError("there is no average of weights; train with EMA or SWA first")
        self.be.write(self.theta, xp.where(begun, average, self.theta))

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
            x = self.be.asarray(inputs.features(self.be, x, self.inputs, "x", self.spec.categories))
            y, context = self._forward(x, training)
        return y, Context(x, context, tuple(y.shape), training, self._pass.pending)

    def _forward(
        self, x: Array, training: bool, pending: dict[str, Array] | None = None
    ) -> tuple[Array, Any]:
        self._pass.training = training
        self._pass.pending = {} if pending is None else pending
        layer = self.watch.up(x) if training and self.watch is not None else self.layer
        return layer.forward(self.be, self.arrays.w, x, self._run)

    def infer(self, layer: Layer, x: Array) -> Array:
        """Return the output of a layer that has this network's arrays, in inference mode."""
        self._pass.training, self._pass.pending = False, {}
        y, _ = layer.forward(self.be, self.arrays.w, x, self._run)
        return y

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
        watched = self.watch is not None and self.watch.on
        layer = self.watch.down(delta) if watched else self.layer
        return layer.backward(self.be, arrays.w, arrays.g, context, delta, self._run)

    def zero_grad(self) -> None:
        """Forget the gradients of backward passes since the last step."""
        self.arrays.written.clear()

    def step(self, optimizer: Optimizer) -> None:
        """Update the weights from the gradients; a step that is not finite changes nothing.

        Raises `NonFiniteError` that names the step and the layer, and `InputError` where there
        are no gradients, or the optimizer is not for this network.
        """
        self.steps.check(optimizer)
        if not optimizer.stepwise:
            kind = type(optimizer).__name__
            raise InputError(f"{kind} searches along a line: use fit(..., batch_size=None)")
        if not self.arrays.written and self.arrays.params.places:
            raise InputError("step: there are no gradients; call backward first")
        with self.be.activate():
            steps = self.watch if self.watch is not None and self.watch.on else self.steps
            sound = steps.apply(optimizer, self.be.zeros(self._lead))
            lost = self.steps.settle()
        if lost or not sound:
            raise self.diagnose(*self._last)

    def train_step(
        self,
        x: Array,
        t: Array,
        loss: Loss,
        optimizer: Optimizer,
        w: Array | None = None,
        micro_batch: int | None = None,
    ) -> tuple[Array, bool]:
        """One forward, loss, backward and update for arrays that are on the device already.

        With `micro_batch` that many examples go through at a time, and gradients add up to those
        of the whole batch. Returns the loss and whether the step was finite; see `Updates.apply`.
        """
        self.arrays.written.clear()
        if micro_batch is None or micro_batch >= x.shape[0]:
            y, context = self._forward(x, True)
            value, delta = loss.value_and_delta(self.be, y, t, w)
            self._backward(context, delta)
        else:
            value = self._in_parts(x, t, loss, w, micro_batch)
        steps = self.watch if self.watch is not None and self.watch.on else self.steps
        return value, steps.apply(optimizer, value)

    def _in_parts(self, x: Array, t: Array, loss: Loss, w: Array | None, size: int) -> Array:
        total, value = loss.weight(self.be, t, w), None
        pending: dict[str, Array] = {}
        for start in range(0, int(x.shape[0]), size):
            part = (slice(start, min(start + size, int(x.shape[0]))), ...)
            self._pass.first_row = start
            y, context = self._forward(x[part], True, pending)
            part_w = None if w is None else w[part]
            found, delta = loss.value_and_delta(self.be, y, t[part], part_w, total=total)
            self._backward(context, delta)
            value = found if value is None else value + found
        self._pass.first_row = 0
        return value

    def diagnose(self, x: Array, delta: Array, value: Array | None = None) -> NonFiniteError:
        """Return the error that names the first layer which is not finite on this batch."""
        be, arrays, step = self.be, self.arrays, self.steps.attempt
        with be.activate():
            left = self._first_unsound_gradient()  # of all passes since the last step
            arrays.written.clear()
            counted, self._pass.step = self._pass.step, step - 1  # for the same random bits
            self._pass.training, self._pass.pending = True, {}
            found = locate(self.layer, be, arrays.w, arrays.g, self._run, x, delta)
            found = found or self._first_unsound_gradient() or left or self._first_unsound_state()
            self._pass.step, self._pass.pending = counted, {}
            arrays.written.clear()
            if found is None and value is not None and not bool(be.xp.all(be.xp.isfinite(value))):
                found = "the loss", "loss"
        what, path = found or ("the length of the step", "loss")
        members = "" if self.members is None else f" of members {self.steps.stopped}"
        advice = f"the step{members} was not taken: try a lower rate or scaled inputs"
        error = NonFiniteError(f"step {step}: {what} is not finite; {advice}", step, path)
        if self.watch is not None:
            self.watch.failed(error)
        return error

    def _first_unsound_gradient(self) -> tuple[str, str] | None:
        for path, gradient in self.arrays.gradients().items():
            if not bool(self.be.xp.all(self.be.xp.isfinite(gradient))):
                return f"the gradient of {path!r}", path.rpartition(".")[0]
        return None

    def _first_unsound_state(self) -> tuple[str, str] | None:
        for path, value in self._pass.pending.items():
            if not bool(self.be.xp.all(self.be.xp.isfinite(value))):
                return f"the running state {path!r}", path.rpartition(".")[0]
        return None

    def reset_optimizer(self) -> None:
        """Forget the optimizer's slots and its count of updates."""
        self.steps.slots.reset()


def _shape(given: Any) -> Shape:
    several = isinstance(given, Iterable) and not whole(given)
    shape = tuple(given) if several else (given,)
    if not shape or any(not whole(n) or n < 1 for n in shape):
        raise InputError(f"inputs is {given!r}; expected a width or a shape of one example")
    return tuple(int(n) for n in shape)
