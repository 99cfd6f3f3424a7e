"""Where the time of a compiled step goes, call by call, and how near it is to the products alone.

    python -m bench.profile [--only W1,W3] [--threads 2] [--seconds 2] [--calls] [--out FILE]

Each call is timed inside the compiled step, by the processor's own counter, on every thread. The
floor of a workload is what its products would take at the best rate of products that is found on
this machine just before and just after, on as many threads; the share says how much of the step
that is. `--threads` is the most: as in training, small steps are for one. With `--calls` each call
is listed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import threads as _threads
from .report import environment, write

SIZES = (128, 256, 512)
"""Products of square matrices, the best of which is the rate of the floor."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="W1,W2,W3,W4,W5,W6,W7")
    parser.add_argument("--threads", type=int, default=_threads.available())
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--measure", metavar="TO", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "profile.json"
        given = [f"--{name}={getattr(arguments, name)}" for name in ("only", "threads", "seconds")]
        given += ["--measure", str(to), *(["--calls"] if arguments.calls else [])]
        if status := _threads.start("bench.profile", given, arguments.threads):
            sys.exit(status)
        write(arguments.out, json.loads(to.read_text()))


def _measure(arguments: argparse.Namespace) -> None:
    """Measure in a process that is confined to its threads before it imports anything."""
    _threads.confine(arguments.threads)
    from .workloads import WORKLOADS

    found = {}
    for name in arguments.only.split(","):
        found[name] = row = profiled(WORKLOADS[name], arguments.threads, arguments.seconds)
        print("\n".join(lines(name, row, arguments.calls)), flush=True)
    about = {"benchmark": "profile", "threads": arguments.threads}
    result = {**about, **environment(), "results": found}
    Path(arguments.measure).write_text(json.dumps(result))


def best_rate(threads: int) -> float:
    """Return the floating-point operations a second of the best product, on that many threads."""
    import numpy as np

    native, products, team = (
        importlib.import_module(f"gpubp.backends.{name}") for name in ("native", "products", "team")
    )
    function = native.function(products.address("float32"), 12)
    crew, best = team.Team(threads), 0.0
    for n in SIZES:
        a, b, c = (np.ones((threads, n, n), np.float32) for _ in range(3))
        work = np.zeros((threads, products.workspace("float32", [(n, n, n)])), np.uint8)
        turns = max(1, int(1e8 / n**3))

        def multiply(thread: int) -> None:
            x, y, z, w = (m[thread].ctypes.data for m in (a, b, c, work))  # noqa: B023
            for _ in range(turns):  # noqa: B023
                function(0, 0, n, n, n, x, n, y, n, z, n, w)  # noqa: B023

        for _ in range(9):
            began = time.perf_counter()
            crew.run(multiply)
            best = max(best, 2 * n**3 * turns * threads / (time.perf_counter() - began))
    return best


def profiled(load: Any, cores: int, seconds: float) -> dict[str, Any]:
    """Return what a step of a workload takes, and what of it each kind of call does."""
    import numpy as np

    from gpubp.compiling import sharing
    from gpubp.number_table import NumberTable
    from gpubp.program.calls import Product
    from gpubp.programs import Compiled, Job, arrays_of, keys_of

    from .contenders.gpubp_network import loss_and_optimizer, network
    from .workloads import problem

    data = problem(load)
    net, (loss, method) = network(data), loss_and_optimizer(data)
    x, t = data.x.reshape(-1, data.x.shape[-1]), data.y.reshape(len(data.x) * load.batch, -1)
    members = load.members or 1
    threads = sharing(net, load.batch, None, cores)
    rate = best_rate(threads)
    target = t.shape[1], "int64" if t.dtype == np.int64 else "T"
    made = Compiled(net, Job(loss, method, load.batch, target, False, threads, False))
    memories = {**arrays_of(net, method), **made.recording.constants}
    compiler: Any = importlib.import_module("gpubp.backends.compiled")
    steps = compiler.Steps(made.program, net.members, memories, threads, timed=True)
    numbers = NumberTable(net.steps, method, members).of(1, load.batches)
    keys, going = keys_of(net), np.ones(members, bool)

    def epoch() -> None:
        steps.run(x, t, None, None, load.batch, 0, 0, numbers, keys, going, True)

    epoch()
    before, between = steps.ticks.copy(), steps.between.copy()
    began, epochs = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or not epochs:
        epoch()
        epochs += 1
    taken, count = time.perf_counter() - began, epochs * load.batches
    rate = max(rate, best_rate(threads))
    ticks, outside = steps.ticks - before, steps.between - between
    second = (ticks.sum(axis=1) + outside).mean() / taken  # in ticks
    each = ticks / second / count
    flops = members * sum(c.flops for c in made.program.calls if isinstance(c, Product))
    return {
        "says": load.says, "threads": threads, "best_flops": rate,
        "microseconds": 1e6 * taken / count, "floor": 1e6 * flops / rate,
        "between_steps": (1e6 * outside / second / count).tolist(),
        "calls": [
            {**_named(call), "microseconds": (1e6 * each[:, i]).tolist()}
            for i, call in enumerate(made.program.calls)
        ],
    }  # fmt: skip


def _named(call: Any) -> dict[str, Any]:
    """What a call is: its kind, whose it is, and its size."""
    from gpubp.program.calls import Launch, Product

    if isinstance(call, Product):
        shape = f"{call.out.rows} x {call.inner} x {call.out.cols}"
        return {"kind": "product", "label": call.label, "shape": shape}
    if isinstance(call, Launch):
        k = call.kernel
        shape = f"{k.rows} rows" if k.rows is not None else f"{k.cols or 1} elements"
        kind = "update" if k.label == "optimizer" else "kernel"
        return {"kind": kind, "label": k.label, "shape": shape}
    return {"kind": type(call).__name__.lower(), "label": "", "shape": ""}


def lines(name: str, row: dict[str, Any], calls: bool = False) -> list[str]:
    """Return what to print of one workload: shares of the first thread's time."""
    whole = row["microseconds"]
    said = [f"\n{name}: {row['says']}; {row['threads']} threads, products at "
            f"{row['best_flops'] / 1e9:.0f} GFLOP/s at the best",
            f"  {whole:.1f} us a step; its products alone would take {row['floor']:.1f} at the "
            f"best rate, {100 * row['floor'] / whole:.0f} %"]  # fmt: skip
    kinds: dict[str, list[float]] = {}
    for call in row["calls"]:
        kinds.setdefault(call["kind"], []).append(call["microseconds"][0])
    kinds["between steps"] = [row["between_steps"][0]]
    for kind, taken in sorted(kinds.items(), key=lambda item: -sum(item[1])):
        said.append(f"  {kind:<14}{len(taken):>5} {sum(taken):>12.2f} us "
                    f"{100 * sum(taken) / whole:>5.1f} %")  # fmt: skip
    if calls:
        said += [
            f"    {call['kind']:<9}{call['label'][:24]:<26}{call['shape']:<20}"
            + "".join(f"{us:>10.2f}" for us in call["microseconds"])
            for call in row["calls"]
        ]
    return said


if __name__ == "__main__":
    main()
