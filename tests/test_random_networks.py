"""Random perceptrons, three steps each, against torch in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS
from gpubp.check.tolerance import error, tolerance
from tests import loss_cases, test_activations
from tests.conftest import require, rng

COUNT, STEPS = 300, 3
WIDTHS, BATCHES = (1, 2, 3, 5, 8, 17), (1, 2, 7)
CASES = ["squared_error", "mean_squared_error", "labels", "soft", "binary_cross_entropy"]

# eps is well above rounding: where a gradient is zero, Adam divides noise by it
OPTIMIZERS: list[tuple[gpubp.Optimizer, Any]] = [
    (gpubp.SGD(0.1), lambda o, w: o.SGD(w, lr=0.1)),
    (gpubp.Momentum(0.1), lambda o, w: o.SGD(w, lr=0.1, momentum=0.9)),
    (gpubp.Nesterov(0.1), lambda o, w: o.SGD(w, lr=0.1, momentum=0.9, nesterov=True)),
    (gpubp.Adam(0.05, eps=1e-3), lambda o, w: o.Adam(w, lr=0.05, eps=1e-3)),
    (
        gpubp.AdamW(0.05, eps=1e-3, weight_decay=0.1, decay_on="all"),
        lambda o, w: o.AdamW(w, lr=0.05, eps=1e-3, weight_decay=0.1),
    ),
]


class InTorch:
    """The same perceptron, written with torch's own functions."""

    def __init__(self, net: gpubp.Network, mlp: gpubp.MLP) -> None:
        self._torch, self._mlp = require("torch"), mlp
        self.w = {
            path: self._torch.tensor(np.array(w), requires_grad=True)
            for path, w in net.state_dict().items()
        }

    def forward(self, x: Any) -> Any:
        a = self._torch.tensor(x)
        last = 2 * len(self._mlp.hidden)
        for i in range(0, last + 1, 2):
            a = a @ self.w[f"{i}.W"] + self.w[f"{i}.b"]
            name = self._mlp.activation if i < last else self._mlp.output
            a = test_activations.in_torch(name)(a)
        return a


def agree(given: Any, expected: Any, what: str) -> None:
    expected = expected.detach().numpy()
    assert error(given, expected) <= tolerance("float64", expected, max(WIDTHS)), what


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Products this small are slower on several threads."""
    torch = require("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("number", range(COUNT))
def test_outputs_gradients_and_weights_are_torchs(number: int) -> None:
    optim = require("torch").optim
    draw = rng(number)
    n_in, n_out = (int(n) for n in draw.choice(WIDTHS, 2))
    hidden = [int(n) for n in draw.choice(WIDTHS, draw.integers(0, 4))]
    activation, output = (str(name) for name in draw.choice(list(ACTIVATIONS), 2))
    mlp = gpubp.MLP(hidden, n_out, activation, output if draw.random() < 0.3 else "identity")
    net = gpubp.Network(mlp, n_in, dtype="float64", seed=number)
    reference = InTorch(net, mlp)
    method, make = OPTIMIZERS[draw.integers(len(OPTIMIZERS))]
    steps = make(optim, list(reference.w.values()))

    case = str(draw.choice(CASES))
    batch = int(draw.choice(BATCHES))
    w = draw.uniform(0.1, 2.0, batch) if draw.random() < 0.5 else None
    for step in range(STEPS):
        x, t = draw.normal(size=(batch, n_in)), target(case, draw, (batch, n_out))
        y, context = net.forward(x)
        value, delta = loss_cases.CASES[case].loss(y, t, sample_weight=w)
        net.backward(context, delta)

        steps.zero_grad()
        y_torch = reference.forward(x)
        value_torch = loss_cases.in_torch(case, y_torch, t, np.ones(batch) if w is None else w)
        value_torch.backward()

        agree(y, y_torch, f"output at step {step}")
        agree(value, value_torch, f"loss at step {step}")
        for path, gradient in net.gradients().items():
            agree(gradient, reference.w[path].grad, f"gradient of {path} at step {step}")
        net.step(method)
        steps.step()
        for path, weight in net.state_dict().items():
            agree(weight, reference.w[path], f"{path} after step {step}")


def target(case: str, draw: np.random.Generator, shape: tuple[int, int]) -> Any:
    if case == "labels":
        return draw.integers(0, shape[1], shape[0])
    return (
        draw.uniform(size=shape)
        if case in ("soft", "binary_cross_entropy")
        else draw.normal(size=shape)
    )
