"""Arrays without numbers: what they refuse, in words, and that the rest is NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.program.recorder import RecordingBackend
from gpubp.program.tensors import Untraceable
from gpubp.program.values import FLOAT
from gpubp.recording import Shadow
from tests.program.recorded import Sheet

REFUSED: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("a branch on a value; use xp.where", lambda be, x: 1 if x > 0 else 0),
    ("an array was written in place", lambda be, x: x.__setitem__(0, 1.0)),
    ("a value was taken out of an array", lambda be, x: float(x)),
    ("x.tolist", lambda be, x: x.tolist()),
    ("xp.linalg is not among the functions", lambda be, x: be.xp.linalg),
    ("a power of 0.5", lambda be, x: x**0.5),
    ("along axis 0", lambda be, x: be.xp.sum(x, axis=0)),
    ("beside traced arrays", lambda be, x: x + np.ones(3)),
    ("a transpose is an operand of a product", lambda be, x: x.mT + 1.0),
    ("a product of shapes", lambda be, x: x @ x),
    ("indexing with 0", lambda be, x: x[0]),
    ("asked back to the host", lambda be, x: be.to_numpy(x)),
    ("a cast to float32", lambda be, x: be.xp.astype(x, be.xp.float32)),
    ("cast it with xp.astype", lambda be, x: be.xp.exp(x > 0)),
    ("do not broadcast", lambda be, x: x + be.zeros((4, 2))),
    ("no parameter, gradient or state", lambda be, x: be.write(x + 1.0, x)),
]


@pytest.mark.parametrize(("told", "asked"), REFUSED, ids=[told for told, _ in REFUSED])
def test_what_cannot_be_recorded_is_said(told: str, asked: Callable[[Any, Any], Any]) -> None:
    be = RecordingBackend("float64")
    x = be.recorder.leaf("x", (4, 3), FLOAT, rows=4)
    with pytest.raises(Untraceable, match=told):
        asked(be, x)


def test_the_layer_and_the_call_are_named() -> None:
    class Odd(gpubp.Layer):
        def build(self, inputs: tuple[int, ...]) -> gpubp.Spec:
            return gpubp.Spec(inputs)

        def forward(self, be: Any, w: Any, x: Any, run: Any) -> tuple[Any, Any]:
            return be.xp.cumulative_sum(x), None

        def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
            return dy

    layer = gpubp.Sequential(gpubp.Linear(3), gpubp.layers.Residual(Odd()))
    net = gpubp.Network(layer, inputs=2)
    with pytest.raises(Untraceable, match=r"layer '1\.body' \(Odd\): xp\.cumulative_sum"):
        Shadow(net, gpubp.SGD(), 4).record(gpubp.SquaredError(), gpubp.SGD(), (3, "T"), False)


FORMULAS: list[Callable[[Any, Any], Any]] = [
    lambda xp, x: xp.maximum(x, 0.5) - xp.minimum(0.25, x),
    lambda xp, x: xp.where(x > 0.0, x, 2.0 * x),
    lambda xp, x: xp.sign(x) + xp.square(x) + x**3,
    lambda xp, x: 1.0 / (1.0 + xp.exp(-x)),
    lambda xp, x: xp.astype(~(x < 0.0), x.dtype),
    lambda xp, x: x - xp.max(x, axis=-1, keepdims=True),
    lambda xp, x: x - xp.mean(x, axis=-2, keepdims=True),
    lambda xp, x: xp.sum(x, axis=-1, keepdims=True) + x[..., 1:2],
    lambda xp, x: xp.min(x, axis=-2, keepdims=True) * x,
    lambda xp, x: x * xp.astype(xp.all(x > -9.0, axis=-1, keepdims=True), x.dtype),
]


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("number", range(len(FORMULAS)))
def test_formulas_are_numpys(number: int, rows: int) -> None:
    formula = FORMULAS[number]
    x = np.random.default_rng(0).normal(size=(rows, 3))
    sheet = Sheet(x=x, y=np.zeros(3 * rows))
    out = sheet["y"].shaped((rows, 3))
    sheet.recorder.write(out.region, formula(sheet.be.xp, sheet["x"]))
    expected = np.broadcast_to(formula(np, x), x.shape)
    assert np.allclose(sheet.after()["y"].reshape(rows, 3), expected, rtol=1e-15, atol=1e-15)
