"""Random networks of the whole repertoire against torch in float64; run it for many of them.

    python -m tests.random_repertoire --n 5000 --seed 1

prints the seed, number and description of each that disagrees; exit code 1 if one does.

After each comparison torch's gradients are handed over, so that both sides make the step from
the same bits: an optimizer may divide a gradient by its own size, and where it is zero but for
rounding a step would be made of noise.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp
from gpubp.check.examples import examples
from gpubp.check.tolerance import error, tolerance
from tests import random_training
from tests.conftest import require
from tests.in_torch import InTorch
from tests.loss_cases import in_torch
from tests.optimizers_in_torch import Row, Steps
from tests.random_layers import Draw, network

STEPS = 3


@dataclass(frozen=True)
class Case:
    """One network, and how it is trained."""

    layer: gpubp.Layer
    inputs: int | tuple[int, ...]
    loss: gpubp.Loss
    method: gpubp.Optimizer
    batch: int
    members: int | None
    frozen: tuple[str, ...]
    weighted: bool
    input_gradient: bool
    soft: bool


def draw_case(seed: int, number: int) -> tuple[Case, Row, Draw]:
    draw = Draw(seed, number)
    loss, width = random_training.loss(draw)
    layer, inputs = network(draw, width)
    if isinstance(loss, gpubp.Poisson | gpubp.GaussianNLL):  # exp of an output stays small
        layer = gpubp.Sequential(layer, gpubp.Activation("tanh"))
    members = 2 if draw.chance(0.2) else None
    spec = gpubp.Network(layer, inputs).spec
    row, method = random_training.optimizer(draw, spec, members, loss)
    batch = draw.one((1, 2, 7)[spec.least_rows - 1 :])
    frozen = random_training.frozen(draw, spec)
    weighted, input_gradient, soft = (draw.chance(0.5) for _ in range(3))
    case = Case(layer, inputs, loss, method, batch, members, frozen, weighted, input_gradient, soft)
    return case, row, draw


class Comparison:
    """A network of gpubp beside one of torch for each member."""

    def __init__(self, case: Case, row: Row, draw: Draw) -> None:
        self.case, self.draw = case, draw
        self.net = gpubp.Network(
            case.layer, case.inputs, dtype="float64", seed=draw.number, members=case.members
        )
        for path in self.net.arrays.params.places:  # away from zeros and ones
            w = self.net.parameter(path)
            w += draw.rng.normal(0.0, 0.2, w.shape)
        self.net.freeze(*case.frozen)
        state = self.net.state_dict()
        self.members = [
            InTorch(case.layer, self.net.inputs, {p: self.of(a, k) for p, a in state.items()}, s)
            for k, s in enumerate(self.net.seeds)
        ]
        self.steps = [
            Steps(row, case.method, other, case.frozen, k) for k, other in enumerate(self.members)
        ]
        sizes = (*(max(a.shape, default=1) for a in state.values()), case.batch)
        self.longest = case.batch * max(sizes)

    def of(self, array: Any, member: int) -> Any:
        """The part of one member; of one network, the array itself."""
        return array if self.case.members is None else array[member]

    def agree(self, given: Any, expected: Any, what: str, member: int) -> None:
        expected = expected.detach().numpy()
        off = error(self.of(given, member), expected)
        allowed = tolerance("float64", expected, self.longest)
        assert off <= allowed, f"{what} of member {member}: off by {off:.2g}, allowed {allowed:.2g}"

    def run(self) -> None:
        for step in range(STEPS):
            self._step(step)
        x = self._examples()
        inferred = self.net.predict(x)
        for k, other in enumerate(self.members):
            y = other.forward(other.torch.tensor(x), STEPS, training=False)
            self.agree(inferred, y, "inference", k)

    def _examples(self) -> Any:
        net, spec = self.net, self.net.spec
        return examples(self.draw.rng, self.case.batch, net.inputs, spec.categories)

    def _step(self, step: int) -> None:
        case, net, when = self.case, self.net, f"at step {step}"
        x, w = self._examples(), self.draw.rng.uniform(0.1, 2.0, case.batch)
        t = random_training.target(self.draw, case.loss, case.batch, net.spec.shape[-1], case.soft)
        y, context = net.forward(x)
        value, delta = case.loss(y, t, sample_weight=w if case.weighted else None)
        dx = net.backward(context, delta, input_gradient=case.input_gradient)
        gradients = net.gradients()
        for k, other in enumerate(self.members):
            x_torch = other.torch.tensor(x, requires_grad=True)
            y_torch = other.forward(x_torch, step, training=True)
            value_torch = in_torch(case.loss, y_torch, t, w if case.weighted else np.ones(len(x)))
            self.steps[k].optimizer.zero_grad()
            value_torch.backward()
            self.agree(y, y_torch, f"output {when}", k)
            self.agree(value, value_torch, f"loss {when}", k)
            if case.input_gradient:
                none = x_torch.grad is None  # categories alone
                expected = other.torch.zeros_like(x_torch) if none else x_torch.grad
                self.agree(dx, expected, f"input gradient {when}", k)
            for path, gradient in gradients.items():
                held = path in case.frozen
                expected = other.torch.zeros_like(other.w[path]) if held else other.w[path].grad
                self.agree(gradient, expected, f"gradient of {path} {when}", k)
        self._hand_over()
        net.step(case.method)
        for k, other in enumerate(self.members):
            self.steps[k].step()
            for path, array in net.state_dict().items():
                expected = (other.w | other.state)[path]
                self.agree(array, expected, f"{path} after step {step}", k)

    def _hand_over(self) -> None:
        """Let gpubp step from torch's gradients, to the bit."""
        arrays = self.net.arrays
        for k, steps in enumerate(self.steps):
            for path, w in steps.w.items():
                view = arrays.params.view(self.net.be, arrays.grad, path)
                self.of(view, k)[...] = w.grad.numpy()


def check(seed: int, number: int) -> None:
    """Raise `AssertionError` where network `number` of a run disagrees with torch."""
    Comparison(*draw_case(seed, number)).run()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.random_repertoire")
    parser.add_argument("--n", type=int, default=5000, help="how many networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them")
    given = parser.parse_args(arguments)
    torch = require("torch")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # of what its optimizers keep beside the weights
    failures = 0
    for number in range(given.first, given.first + given.n):
        try:
            with warnings.catch_warnings(action="error"):
                check(given.seed, number)
        except Exception as problem:
            failures += 1
            told = str(problem)
            if not isinstance(problem, AssertionError):
                told = "".join(traceback.format_exception(problem)[-3:])
            case = draw_case(given.seed, number)[0]
            print(f"--seed {given.seed} --first {number} --n 1: {told}\n    {case}", flush=True)
    print(f"{given.n} networks, {failures} disagree")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
