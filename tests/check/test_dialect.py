"""The dialect names the rule that a layer breaks, and lets the library's own layers through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS
from gpubp.check.dialect import BrokenRule
from gpubp.check.dialect_backend import Dialect
from gpubp.optimizers import OPTIMIZERS
from tests.loss_cases import BATCH, CASES, on_device


class Custom(gpubp.Layer):
    """A layer whose forward pass is the function it is given."""

    def __init__(self, function: Callable[[Any, Any, Any], Any]) -> None:
        self.function = function

    def build(self, inputs: tuple[int, ...]) -> gpubp.Spec:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> tuple[Any, Any]:
        return self.function(be, x, run), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy


def _write(be: Any, x: Any, run: Any) -> Any:
    y = x * 1.0
    y[...] = x
    return y


def _add_in_place(be: Any, x: Any, run: Any) -> Any:
    y = x * 1.0
    y += x
    return y


def _branch(be: Any, x: Any, run: Any) -> Any:
    return x if be.xp.sum(x, axis=-1, keepdims=True) > 0 else -x


def _noise(be: Any, x: Any, run: Any) -> Any:
    return x + float(np.random.default_rng().normal())


BREAKING: dict[str, tuple[int, Callable[[Any, Any, Any], Any]]] = {
    "unknown function": (1, lambda be, x, run: be.xp.sort(x)),
    "numpy function": (1, lambda be, x, run: np.exp(x)),
    "method": (1, lambda be, x, run: x.sum()),
    "branch": (1, _branch),
    "value taken out": (1, lambda be, x, run: x * float(x)),
    "indexing": (1, lambda be, x, run: x[:, 1:]),
    "positive axis": (2, lambda be, x, run: x - be.xp.sum(x, axis=1, keepdims=True)),
    "no keepdims": (2, lambda be, x, run: x - be.xp.max(x, axis=-1)),
    "leading length": (2, lambda be, x, run: x * (1.0 / x.shape[0])),
    "whole shape": (2, lambda be, x, run: x * len(x.shape)),
    "ndim": (2, lambda be, x, run: x * x.ndim),
    "setitem": (3, _write),
    "in place": (3, _add_in_place),
    "numpy scalar": (4, lambda be, x, run: x * np.float64(2.0)),
    "two dtypes": (4, lambda be, x, run: x + be.xp.astype(x, be.xp.float32)),
    "bool product": (4, lambda be, x, run: x * (x > 0)),
    "numbers alone": (4, lambda be, x, run: x * be.xp.sqrt(2.0)),
    "formula of unknown functions": (1, lambda be, x, run: be.map(lambda xp, z: xp.sign(z), x)),
    "formula with a root": (1, lambda be, x, run: be.map(lambda xp, z: z**0.5, x)),
    "hidden noise": (5, _noise),
    "transpose used": (7, lambda be, x, run: x + be.matmul(x, x.mT) + x.mT),
    "capital T": (7, lambda be, x, run: be.matmul(x, x.T)),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_broken_rule_is_named(name: str) -> None:
    rule, function = BREAKING[name]
    broken = gpubp.check.layers.broken_rule(Custom(function), (3,))
    assert broken is not None
    assert broken.startswith(f"rule {rule} ")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_obeys(name: str) -> None:
    assert gpubp.check.layers.broken_rule(gpubp.Activation(name), (3,)) is None


@pytest.mark.parametrize(
    "layer",
    [gpubp.Linear(2), gpubp.Linear(2, b=None), gpubp.MLP([4, 3], 2, output="tanh")],
    ids=["linear", "no bias", "mlp"],
)
def test_every_layer_obeys(layer: gpubp.Layer) -> None:
    assert gpubp.check.layers.broken_rule(layer, (3,)) is None


@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_every_loss_obeys(name: str, weighted: bool) -> None:
    be, loss = Dialect(), CASES[name].loss
    z, t = CASES[name].draw()
    w = be.asarray(np.ones((BATCH, 1))) if weighted else None
    value, delta = loss.value_and_delta(be, be.asarray(z), on_device(be, t), w)
    assert value.values.shape == ()
    assert delta.values.shape == z.shape


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_obeys(name: str) -> None:
    be, method = Dialect(), OPTIMIZERS[name]()
    state = [be.asarray(np.ones(5)) for _ in range(1 + len(method.slots))]
    be.update(method.formula, state, [be.asarray(np.ones(5))], method.numbers(1, method.lr), True)
    assert (state[0].values < 1.0).all()


def test_a_layer_outside_the_dialect_still_works_and_says_so() -> None:
    doubled = Custom(lambda be, x, run: be.xp.concat([x, x], axis=-1)[..., :3])
    report = gpubp.check.layer(doubled, inputs=3)
    assert report.ok  # its gradient is right: dx = dy
    assert report.broken_rule is not None
    assert "not traceable" in str(report)


def test_the_error_carries_its_rule() -> None:
    with pytest.raises(BrokenRule) as caught:
        Dialect().asarray([[1.0]]).mT + 1.0
    assert caught.value.rule == 7
