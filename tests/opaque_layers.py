"""Layers that cannot be recorded, each in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import gpubp

ONES = gpubp.Constant(1.0)


@dataclass(frozen=True)
class Sums(gpubp.Layer):
    """y = s (x_1, x_1 + x_2, ...), with a function that the recorder does not know."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs, {"s": gpubp.Param(inputs, ONES)})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return be.xp.cumulative_sum(x, axis=-1) * w.s, x

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        xp = be.xp
        sums = xp.cumulative_sum(ctx, axis=-1)
        g.add("s", xp.sum(sums * dy, axis=-2, keepdims=True))
        return xp.flip(xp.cumulative_sum(xp.flip(dy * w.s, axis=-1), axis=-1), axis=-1)


@dataclass(frozen=True)
class Fragile(Sums):
    """One that raises an error when its time has come."""

    left: ClassVar[int] = -1
    error: ClassVar[BaseException] = ValueError("a fuse has blown")

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        if run.training and isinstance(dy, np.ndarray):
            Fragile.left -= 1
            if Fragile.left == 0:
                raise self.error
        return super().backward(be, w, g, ctx, dy, run)

    @classmethod
    @contextmanager
    def after(cls, calls: int, error: BaseException) -> Iterator[None]:
        cls.left, cls.error = calls, error
        try:
            yield
        finally:
            cls.left = -1


@dataclass(frozen=True)
class HostBack(gpubp.Layer):
    """y = s x, of which the backward pass alone asks for NumPy arrays."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs, {"s": gpubp.Param((1,), ONES)})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return x * w.s, x

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        rows = np.sum(np.asarray(dy) * ctx, axis=-1, keepdims=True)
        g.add("s", np.sum(rows, axis=-2, keepdims=True))
        return dy * w.s


@dataclass(frozen=True)
class Sine(gpubp.Layer):
    """y = sin(x) by NumPy, without parameters; examples may have any shape."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return np.sin(x), x

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return np.cos(ctx) * dy if run.wants_input_gradient else None


@dataclass(frozen=True)
class Coins(gpubp.Layer):
    """y = x where a bit is set, with numbers taken out of the arrays."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        if not run.training:
            return x, None
        bits = np.asarray(run.bits((x.shape[-2], x.shape[-1])))
        mask = (bits >= 2**31).astype(np.asarray(x).dtype)
        return x * mask, mask

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy * ctx


@dataclass(frozen=True)
class Inside(gpubp.Layer):
    """Layers in a list, where nobody looks for them: y = sin of what they do."""

    layers: Any

    def build(self, inputs: Any) -> Any:
        children, shape = {}, inputs
        for i, layer in enumerate(self.layers):
            children[str(i)] = layer.build(shape)
            shape = children[str(i)].shape
        return gpubp.Spec(shape, children=children)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        contexts = []
        for layer, w_l, run_l in zip(self.layers, w.children, run.children, strict=True):
            x, context = layer.forward(be, w_l, x, run_l)
            contexts.append(context)
        return np.sin(x), (contexts, x)

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        contexts, x = ctx
        delta = dy * np.cos(x)
        for i in reversed(range(len(self.layers))):
            delta = self.layers[i].backward(
                be, w.children[i], g.children[i], contexts[i], delta, run.children[i]
            )
        return delta


@dataclass(frozen=True)
class Idle(Sine):
    """One with a parameter of which it never says the gradient."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs, {"unused": gpubp.Param((3,), ONES)})


@dataclass(frozen=True)
class Nothing(gpubp.Layer):
    """y = 0, which is one number that stands for all."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return be.zeros(tuple(x.shape)), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy * 0.0


@dataclass(frozen=True)
class Remembers(Sine):
    """One with running state."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs, state={"last": gpubp.Param(inputs, ONES)})


@dataclass(frozen=True)
class Twice(gpubp.Layer):
    """y = x + body(x), which goes back through the body for each half of the delta."""

    body: gpubp.Layer

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs, children={"body": self.body.build(inputs)}, entry=("body",))

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        y, context = self.body.forward(be, w.body, x, run.body)
        return x + y, context

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        half = dy * 0.5
        one = self.body.backward(be, w.body, g.body, ctx, half, run.body)
        return dy + one + self.body.backward(be, w.body, g.body, ctx, half, run.body)
