"""Training steps a second on the CPU: the plain path, a textbook NumPy loop and torch eager.

    python -m bench.cpu [--rounds 7] [--seconds 0.6] [--only W1,W3] [--out FILE]

All start from the same weights, take the same batches in the same order, report the loss of each
step and must agree on it. Rounds of all contestants are interleaved; figures are medians, and
what counts is the ratio within one run. W1: 2-8-1 sigmoid, squares, batch 4, SGD. W2: 64-128-10,
batch 32, Adam. W3: 784-512-256-10, batch 128, Adam. W4: 1024-4096-4096-1024 squares, batch 512,
Adam. W5: 20 residual blocks of LayerNorm, Linear(256), ReLU and Dropout, see `bench.residual`.
float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import gpubp

from . import residual
from .report import environment, write
from .textbook import Textbook

Step = Callable[[int], float]
"""Take training step number i (batches come round) and return its loss."""


@dataclass(frozen=True)
class Workload:
    widths: tuple[int, ...]
    batch: int
    hidden: str = "relu"
    loss: str = "cross_entropy"
    adam: bool = True
    output_sigmoid: bool = False

    @property
    def rate(self) -> float:
        return 1e-3 if self.adam else 0.1


WORKLOADS = {
    "W1": Workload((2, 8, 1), 4, "sigmoid", "squares", adam=False, output_sigmoid=True),
    "W2": Workload((64, 128, 10), 32),
    "W3": Workload((784, 512, 256, 10), 128),
    "W4": Workload((1024, 4096, 4096, 1024), 512, loss="squares"),
}
_BATCHES = 8


@dataclass
class Problem:
    """One workload with its data and first weights, the same for every contestant."""

    load: Workload
    x: Any
    y: Any
    weights: list[Any]
    biases: list[Any]


def problem(load: Workload) -> Problem:
    rng = np.random.default_rng(0)
    pairs = list(zip(load.widths[:-1], load.widths[1:], strict=True))
    weights = [rng.normal(0, (2 / (n + m)) ** 0.5, (n, m)).astype(np.float32) for n, m in pairs]
    x = rng.normal(size=(_BATCHES, load.batch, load.widths[0])).astype(np.float32)
    y = (
        rng.integers(0, load.widths[-1], (_BATCHES, load.batch))
        if load.loss == "cross_entropy"
        else rng.random((_BATCHES, load.batch, load.widths[-1])).astype(np.float32)
    )
    return Problem(load, x, y, weights, [np.zeros(m, np.float32) for _, m in pairs])


def textbook(p: Problem) -> Step:
    load = p.load
    net = Textbook(
        p.weights, p.biases, hidden=load.hidden, loss=load.loss,
        adam=load.rate if load.adam else None, sgd=load.rate, output_sigmoid=load.output_sigmoid,
    )  # fmt: skip
    return lambda i: net.step(p.x[i % _BATCHES], p.y[i % _BATCHES])


def plain(p: Problem) -> Step:
    load = p.load
    output = "sigmoid" if load.output_sigmoid else "identity"
    mlp = gpubp.MLP(load.widths[1:-1], load.widths[-1], activation=load.hidden, output=output)
    net = gpubp.Network(mlp, inputs=load.widths[0])
    names = [name for name in net.state_dict() if name.endswith("W")]
    net.load_state_dict(dict(zip(names, p.weights, strict=True)), strict=False)
    loss = gpubp.CrossEntropy() if load.loss == "cross_entropy" else gpubp.MeanSquaredError()
    method = gpubp.Adam(load.rate) if load.adam else gpubp.SGD(load.rate)
    targets = [y[:, None] if y.ndim == 1 else y for y in p.y]

    def step(i: int) -> float:
        value, ok = net.train_step(p.x[i % _BATCHES], targets[i % _BATCHES], loss, method)
        assert ok is True
        return float(value)

    return step


def torch_eager(p: Problem) -> Step:
    import torch

    load = p.load
    layers: list[torch.nn.Module] = []
    for i, (w, b) in enumerate(zip(p.weights, p.biases, strict=True)):
        linear = torch.nn.Linear(*w.shape)
        linear.weight.data, linear.bias.data = torch.tensor(w.T.copy()), torch.tensor(b)
        layers.append(linear)
        if i < len(p.weights) - 1:
            layers.append(torch.nn.Sigmoid() if load.hidden == "sigmoid" else torch.nn.ReLU())
        elif load.output_sigmoid:
            layers.append(torch.nn.Sigmoid())
    net = torch.nn.Sequential(*layers)
    criterion = torch.nn.CrossEntropyLoss() if load.loss == "cross_entropy" else torch.nn.MSELoss()
    kind = torch.optim.Adam if load.adam else torch.optim.SGD
    method = kind(net.parameters(), lr=load.rate)
    xs, ys = [torch.tensor(x) for x in p.x], [torch.tensor(y) for y in p.y]

    def step(i: int) -> float:
        method.zero_grad(set_to_none=True)
        loss = criterion(net(xs[i % _BATCHES]), ys[i % _BATCHES])
        loss.backward()
        method.step()
        return float(loss.detach())

    return step


def contestants(name: str) -> dict[str, Step]:
    """All that can run a workload here; torch is left out where it is not installed."""
    if name == "W5":
        found = dict(residual.CONTESTANTS)
    else:
        p = problem(WORKLOADS[name])
        builders = {"textbook": textbook, "plain": plain, "torch eager": torch_eager}
        found = {who: partial(build, p) for who, build in builders.items()}
    try:
        import torch  # noqa: F401
    except ImportError:
        found.pop("torch eager")
    return {who: build() for who, build in found.items()}


def measure(steps: dict[str, Step], rounds: int, seconds: float) -> dict[str, Any]:
    """Return steps a second of each contestant, its ratio to the textbook, and the losses."""
    losses = {name: [step(i) for i in range(_BATCHES)][-1] for name, step in steps.items()}
    _agree(losses)
    taken = dict.fromkeys(steps, _BATCHES)
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name], rate = _round(step, taken[name], seconds)
            rates[name].append(rate)
    ratios = {
        name: [a / b for a, b in zip(values, rates["textbook"], strict=True)]
        for name, values in rates.items()
    }
    return {
        name: {
            "steps_per_second": float(np.median(rates[name])),
            "ratio_to_textbook": float(np.median(ratios[name])),
            "ratio_range": [min(ratios[name]), max(ratios[name])],
            "loss_after_8": losses[name],
        }
        for name in steps
    }


def _round(step: Step, first: int, seconds: float) -> tuple[int, float]:
    i, began = first, time.perf_counter()
    while True:
        step(i)
        i += 1
        spent = time.perf_counter() - began
        if spent >= seconds:
            return i, (i - first) / spent


def _agree(losses: dict[str, float]) -> None:
    reference = losses["textbook"]
    for name, value in losses.items():
        if abs(value - reference) > 2e-4 * abs(reference):
            raise SystemExit(f"{name} has loss {value}, the textbook loop {reference}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--only", default=",".join([*WORKLOADS, "W5"]))
    parser.add_argument("--out")
    arguments = parser.parse_args()
    results = {}
    print(f"{'':4}{'':14}{'steps/s':>12}{'x textbook':>12}")
    for name in arguments.only.split(","):
        results[name] = measure(contestants(name), arguments.rounds, arguments.seconds)
        for who, row in results[name].items():
            print(
                f"{name:4}{who:14}{row['steps_per_second']:12.1f}{row['ratio_to_textbook']:12.2f}"
            )
    write(arguments.out, {"benchmark": "cpu", **environment(), "results": results})


if __name__ == "__main__":
    main()
