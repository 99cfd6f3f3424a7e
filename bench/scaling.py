"""How speed goes with batch, width, depth and members, around a network 256-256-10.

    python -m bench.scaling [--only batch,width] [--contenders ...] [--rounds 5] [--seconds 0.3]
                            [--threads 2] [--out FILE] [--figure FILE.png]

Batch 128, Adam, float32; one number at a time is another. Contenders agree on their losses at every
point before they are timed. Figures are examples a second, those of all members together. The
figure of an earlier run: `--from FILE --figure FILE.png`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import threads as _threads
from .report import environment, write

CURVES = {
    "batch": (1, 4, 16, 64, 256, 1024, 4096),
    "width": (8, 32, 128, 256, 512, 1024, 2048),
    "depth": (1, 2, 4, 8, 16, 32),
    "members": (1, 2, 4, 8, 16, 32, 64),
}
WHO = ("gpubp compiled", "gpubp plain", "torch eager", "jax.jit")
_EXAMPLES = 16384
"""What an epoch holds, unless one batch is more or 256 batches are less."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default=",".join(CURVES))
    parser.add_argument("--contenders", default=",".join(WHO))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=_threads.available())
    parser.add_argument("--out")
    parser.add_argument("--figure")
    parser.add_argument("--from", dest="given", help="draw this earlier result")
    parser.add_argument("--measure", metavar="TO", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure(arguments)
        return
    given = arguments.given
    result = json.loads(Path(given).read_text()) if given else _started(arguments)
    write(arguments.out, result)
    if arguments.figure:
        draw(result, arguments.figure)


def _started(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure in a process that was confined to its threads before it imported anything."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "scaling.json"
        passed = ("only", "contenders", "rounds", "seconds", "threads")
        options = [f"--{name}={getattr(arguments, name)}" for name in passed]
        options.append(f"--measure={to}")
        if status := _threads.start("bench.scaling", options, arguments.threads):
            sys.exit(status)
        result: dict[str, Any] = json.loads(to.read_text())
    return result


def _measure(arguments: argparse.Namespace) -> None:
    _threads.confine(arguments.threads)
    found: dict[str, Any] = {}
    for curve in arguments.only.split(","):
        found[curve] = {}
        for value in CURVES[curve]:
            point = found[curve][str(value)] = _point(curve, value, arguments)
            rates = "  ".join(f"{who} {rate['median']:.4g}" for who, rate in point.items())
            print(f"{curve} {value:5}: {rates}", flush=True)
    about = {"benchmark": "scaling", "unit": "examples a second", "threads": arguments.threads,
             "rounds": arguments.rounds, **environment()}  # fmt: skip
    Path(arguments.measure).write_text(json.dumps({**about, "results": found}))


def _point(curve: str, value: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return examples a second of each contender at one point of a curve."""
    from .agreement import DisagreementError  # after the process was confined
    from .compared import contest

    load = workload(**{curve: value})
    try:
        figures, _ = contest(
            load, arguments.contenders.split(","), arguments.threads, arguments.rounds,
            arguments.seconds,
        )  # fmt: skip
    except DisagreementError as error:
        sys.exit(f"{curve} {value}: {error}")
    examples = load.batch * (load.members or 1)
    keys = {"median": "steps_per_second", "least": "least", "largest": "largest"}
    return {
        who: {said: row[key] * examples for said, key in keys.items()}
        for who, row in figures.items()
    }


def workload(batch: int = 128, width: int = 256, depth: int = 1, members: int | None = None) -> Any:
    """The network 256-256-10 with another batch, hidden width, hidden layers or members."""
    from .workloads import Workload, mlp

    batches = max(1, min(256, _EXAMPLES // batch))
    net = mlp((256, *[width] * depth, 10))
    return Workload(f"{depth} x {width}, batch {batch}", net, batch, batches, members=members)


def draw(result: dict[str, Any], path: str) -> None:
    """Draw the curves, one panel for each number that was changed."""
    figure_of: Any = importlib.import_module("matplotlib.figure")
    curves = result["results"]
    figure = figure_of.Figure(figsize=(4 * len(curves), 3.5), layout="constrained")
    for axes, (curve, points) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        for who in dict.fromkeys(who for point in points.values() for who in point):
            there = [(int(at), point[who]) for at, point in points.items() if who in point]
            axes.plot([at for at, _ in there], [r["median"] for _, r in there], "o-", label=who)
            axes.fill_between(
                [at for at, _ in there], [r["least"] for _, r in there],
                [r["largest"] for _, r in there], alpha=0.2,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel=curve, ylabel=result["unit"])
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.suptitle(f"256-256-10, batch 128, Adam; {result['cpu']}, {result['threads']} threads, "
                    f"{result['date'][:10]}", fontsize=10)  # fmt: skip
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
