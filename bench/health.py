"""What `gpubp.Health` costs in training: steps a second with it, as a part of those without.

    python -m bench.health [--every 50] [--rounds 11] [--steps 1000] [--only W2,W3] [--out FILE]

Rounds without a Health and with one are interleaved, each training the same number of steps and
reading all figures at its end; the cost is the median of the ratios within a round. `off twice`
measures the training without one against itself: what the machine's noise amounts to.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from gpubp.health import Health

from .contenders.gpubp_network import loss_and_optimizer, network
from .report import environment, write
from .workloads import WORKLOADS, Workload, problem


class Training:
    """The training of one workload, round after round, under a Health or none."""

    def __init__(self, load: Workload, health: Health | None, device: str) -> None:
        p = problem(load)
        self.net, self.health = network(p, device), health
        be = self.net.be
        self._x = [be.asarray(x) for x in p.x]
        self._t = [be.asarray(y[:, None], "int64") for y in p.y]
        self._loss, self._method = loss_and_optimizer(p)

    def seconds(self, steps: int) -> float:
        """Return how long this many steps take, and the reading of the figures."""
        began = time.perf_counter()
        if self.health is None:
            self._steps(steps)
        else:
            with self.health.watch(self.net):
                self._steps(steps)
        self.net.be.synchronize()
        return time.perf_counter() - began

    def _steps(self, steps: int) -> None:
        n = len(self._x)
        with self.net.be.activate():
            for i in range(steps):
                self.net.train_step(self._x[i % n], self._t[i % n], self._loss, self._method)


def measure(
    load: Workload, every: int, rounds: int, steps: int, device: str = "cpu"
) -> dict[str, Any]:
    """Return the costs of Health as parts of the time without it, and the steps a second."""
    runs = {
        "off": Training(load, None, device),
        "on": Training(load, Health(every), device),
        "off twice": Training(load, None, device),
    }
    for run in runs.values():
        run.seconds(min(every, steps))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        order = list(runs.items())
        for name, run in order if number % 2 else order[::-1]:
            taken[name].append(run.seconds(steps))
    cost = {n: [t / off - 1 for t, off in zip(taken[n], taken["off"], strict=True)] for n in runs}
    return {
        "steps_per_second": steps / float(np.median(taken["off"])),
        "cost": float(np.median(cost["on"])),
        "cost_range": [min(cost["on"]), max(cost["on"])],
        "noise": float(np.median(cost["off twice"])),
        "microseconds_per_sample": float(np.median(np.subtract(taken["on"], taken["off"])))
        / (steps / every) * 1e6,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", default="W2,W3")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.only.split(","):
        load, every = WORKLOADS[name], arguments.every
        results[name] = measure(load, every, arguments.rounds, arguments.steps, arguments.device)
        row = results[name]
        print(f"{name}: {row['steps_per_second']:8.0f} steps/s, every={every} costs "
              f"{100 * row['cost']:+.1f} % ({100 * row['noise']:+.1f} % without any)")  # fmt: skip
    about = {"benchmark": "health", "every": arguments.every, **environment()}
    write(arguments.out, {**about, "results": results})


if __name__ == "__main__":
    main()
