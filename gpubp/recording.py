"""One training step of a network, recorded: its layers, loss and optimizer run on symbols."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .arrays import Arrays
from .backend import Array, Backend
from .bound import Bound
from .diagnosis import around
from .layers import Layer
from .losses import Loss
from .opaque import OpaqueLayers, Passage, UntraceableLayer
from .optimizers import Optimizer
from .program.recorder import Phase, RecordingBackend
from .program.tensors import Tensor, Untraceable, Window
from .program.values import FLOAT, INTEGER, UNSIGNED, Region
from .run import Pass, Run
from .storage import Gradients, Layout, Spec, Views, views
from .updates import Updates

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass
class Recording:
    """What a step of one member does, phase by phase, and the constants it needs.

    `count` is how many numbers a step is given: the rate, and those of the optimizer.
    """

    phases: list[Phase]
    constants: dict[str, Any]
    rows: int
    count: int
    precision: str
    pending: tuple[str, ...]
    passages: tuple[Passage, ...] = ()
    """The uses of layers that go the plain path."""
    refused: tuple[str, ...] = ()
    """Which layers these are, and what of them cannot be recorded."""


def recorded(
    net: Bound, optimizer: Optimizer, rows: int, loss: Loss, target: tuple[int, str],
    weighted: bool, scaled: bool = False,
) -> Recording:  # fmt: skip
    """Return what a training step does, with layers on the plain path that cannot be recorded.

    Each time one is met all is recorded anew without it, so that nothing of it is left. Gradients
    that are `scaled` come through the layers multiplied by the memory `scale`. Raises `Untraceable`
    where more than the inside of layers cannot be recorded.
    """
    refused: dict[str, str] = {}
    while True:
        try:
            shadow = Shadow(net, optimizer, rows, refused, scaled)
            found = shadow.record(loss, optimizer, target, weighted)
        except UntraceableLayer as error:
            if error.path in refused:
                raise
            refused[error.path] = str(error)
        except Untraceable:
            raise
        except Exception as error:  # of a loss, or a layer around others, that takes no symbols
            raise Untraceable(f"{type(error).__name__}: {error}") from error
        else:
            for why in found.refused:
                logging.getLogger("gpubp").info("in compiled steps on the plain path: %s", why)
            return found


class RecordedArrays(Arrays):
    """Memories in the place of arrays."""

    def __init__(self, be: RecordingBackend, spec: Spec, frozen: tuple[str, ...]) -> None:
        self._be, self._lead = be, ()
        self.params, self._running = Layout(spec, "params"), Layout(spec, "state")
        memory = be.recorder.memory
        self.theta, self.grad = (memory(n, self.params.size) for n in ("theta", "grad"))
        self._state = memory("state", self._running.size)
        self.written, self._frozen = set(), set(frozen)
        self.w = views(be, spec, self.params, self.theta, "params")
        gradients = views(be, spec, self.params, self.grad, "params")
        self.g = Gradients(be, "", gradients, spec, self.written, self._frozen)
        self.state = views(be, spec, self._running, self._state, "state")


def _unscaled(xp: Any, g: Any, scale: Any) -> Any:
    return g * (1.0 / scale) + (g - g)  # NaN for an infinity, which a clip would hide


class RecordedUpdates(Updates):
    """An update whose numbers come with the step, and whose guard is recorded."""

    def __init__(
        self, be: RecordingBackend, arrays: RecordedArrays, shared: Pass, of: Updates,
        optimizer: Optimizer, scale: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(be, arrays, shared, ())
        self._scale = scale
        self.frozen, self._recorder = of.frozen, be.recorder
        memory = be.recorder.memory
        self.slots.arrays = {n: memory(f"slot:{n}", arrays.params.size) for n in optimizer.slots}
        self.slots.kind = optimizer.kind
        self.count = 1
        self._of = of

    def _expect(self) -> None:
        self._some_halted, self._asked = False, 0

    def _number(self, index: int) -> Tensor:
        return Window(self._recorder, Region("numbers", index, 1, 1), (), None)

    def rate_at(self, optimizer: Optimizer, t: int) -> Any:
        return self._number(0)

    def numbers(self, optimizer: Optimizer, t: int, rate: Any) -> list[Any]:
        known = self._of.numbers(optimizer, 1, self._of.rate_at(optimizer, 1))
        self.count = 1 + len(known)
        return [self._number(1 + i) for i in range(len(known))]

    def gather(self, optimizer: Optimizer) -> None:
        if self._scale is not None:
            self._arrays.finish_gradients()
            grad = self._arrays.grad
            self._be.write(grad, self._be.map(_unscaled, grad, self._scale))
            self._arrays.written.update(self._arrays.params.places)
        super().gather(optimizer)

    def apply(self, optimizer: Optimizer, value: Array) -> bool:
        recorder, held = self._recorder, self._recorder.memory("loss", 1)
        recorder.write(held.region, value)
        for path, new in self._pass.pending.items():  # to be taken over behind the guard
            out = recorder.memory(f"new:{path}", new.value.size).shaped(new.shape)
            recorder.write(out.region, new)
            self._pass.pending[path] = out
        recorder.origin = "optimizer"
        return super().apply(optimizer, held.shaped(()))

    def _guard(self, ok: Any) -> tuple[bool, Any]:
        self._recorder.cut(ok.value)
        return True, True


class Shadow(Bound):
    """A network of one member on a device that records; layers that are `refused` as calls."""

    def __init__(
        self, net: Bound, optimizer: Optimizer, rows: int, refused: Mapping[str, str] = _NONE,
        scaled: bool = False,
    ) -> None:  # fmt: skip
        be = RecordingBackend(net.be.precision)
        self._opaque = opaque = OpaqueLayers(be.recorder, refused)
        self.be: Backend = be
        self.inputs, self.spec, self.members, self._lead = net.inputs, net.spec, None, ()
        self.layer = around(net.layer, lambda leaf: Named(leaf, be, opaque))
        self.arrays = RecordedArrays(be, net.spec, net.steps.frozen)
        key = be.recorder.leaf("key", (1, 1), UNSIGNED)
        self._pass = Pass(be, key)
        self._pass.step = be.recorder.leaf("step", (), UNSIGNED)  # type: ignore[assignment]
        self._run = Run(self._pass, "", self.arrays.state, self.spec)
        self._scale = be.recorder.leaf("scale", (), FLOAT) if scaled else None
        self._updates = RecordedUpdates(
            be, self.arrays, self._pass, net.steps, optimizer, self._scale
        )
        self.steps = self._updates
        self._rows, self._recorder = rows, be.recorder

    def _backward(self, context: Any, delta: Array, input_gradient: bool = False) -> Array | None:
        scaled = delta if self._scale is None else delta * self._scale
        return super()._backward(context, scaled, input_gradient)

    def record(
        self, loss: Loss, optimizer: Optimizer, target: tuple[int, str], weighted: bool
    ) -> Recording:
        """Return what one training step does; `Untraceable` where that cannot be said.

        `target` is the width of the targets and their dtype, `"int64"` for labels.
        """
        recorder, rows = self._recorder, self._rows
        width, dtype = target
        shape = (rows, *self.inputs)
        x = recorder.leaf("x", shape, FLOAT, rows=math.prod(shape[:-1]))
        t = recorder.leaf("t", (rows, width), INTEGER if dtype == "int64" else FLOAT, rows=rows)
        w = recorder.leaf("w", (rows, 1), FLOAT, rows=rows) if weighted else None
        recorder.origin = "loss"
        self.train_step(x, t, loss, optimizer, w)
        return Recording(
            recorder.phases, recorder.constants, rows, self._updates.count, self.be.precision,
            tuple(self._pass.pending), tuple(self._opaque.passages),
            tuple(self._opaque.refused.values()),
        )  # fmt: skip


@dataclass(frozen=True)
class Named(Layer):
    """A layer whose values are named after its path, and whose faults name it.

    One that cannot be recorded, as an attempt before this has found, is a call.
    """

    body: Layer
    be: RecordingBackend
    opaque: OpaqueLayers

    def forward(self, be: Backend, w: Views, x: Array, run: Run) -> tuple[Array, Any]:
        found: tuple[Array, Any]
        if run.path in self.opaque.refused:
            found = self._do(run, lambda: self.opaque.forward(self.body, x, run))
        else:
            found = self._do(run, lambda: self.body.forward(be, w, x, run))
        return found

    def backward(
        self, be: Backend, w: Views, g: Gradients, ctx: Any, dy: Array, run: Run
    ) -> Array | None:
        if run.path in self.opaque.refused:
            return self._do(run, lambda: self.opaque.backward(ctx, g, dy, run))
        return self._do(run, lambda: self.body.backward(be, w, g, ctx, dy, run))

    def _do(self, run: Run, call: Any) -> Any:
        recorder, before = self.be.recorder, self.be.recorder.origin
        recorder.origin = run.path
        try:
            return call()
        except UntraceableLayer:
            raise
        except Exception as error:  # a layer of the user's may stumble over a symbol in any way
            kind, what = type(self.body).__name__, type(error).__name__
            why = str(error) if isinstance(error, Untraceable) else f"{what}: {error}"
            raise UntraceableLayer(run.path, kind, why) from error
        finally:
            recorder.origin = before
