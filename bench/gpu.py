"""gpubp on an NVIDIA GPU, side by side with torch and jax, in one run of less than 8 minutes.

    python -m bench.gpu [--out FILE] [--only PART,...] [--seconds 460] [--dry-run]

Each part runs in a process of its own and is killed when its share of the seconds is over; what it
had measured is kept, and time that a part leaves is for those behind it. Results are compared
before anything is timed. The ceilings, a large copy and large matrix products, are measured in the
same run. A table goes to standard error, JSON to FILE after each part and to the last line of
standard output. With `--dry-run` all of it runs on the CPU at tiny sizes: no figure of it counts.
The exit code is 0 when every part ended well, whether targets are met or not, and 1 otherwise,
also where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import report
from .gpu_parts import Budget
from .gpu_parts.targets import add_shares, judged
from .probes import Result
from .probes.runner import run_part

PARTS = {
    "ceilings": 30.0, "agreement": 40.0, "capture": 35.0, "kernels": 35.0, "small": 150.0,
    "large": 70.0, "ensembles": 45.0, "scaling": 55.0,
}  # fmt: skip
"""Seconds for each part, in order of value; they are scaled to what there is."""
SECONDS = sum(PARTS.values())
_ALWAYS = "ceilings"  # what shares are of
_DEVICE_LIMIT = 20.0
_ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts one after another and report; return the exit code."""
    options = _parse(arguments)
    budget = Budget(options.seconds)
    result = heading("gpu", options.dry_run)
    if "error" in result:
        print(f"bench.gpu: {result['error']}", file=sys.stderr)
        return 1
    result |= {"parts": {}, "targets": []}
    report.write(options.out, result)  # a path that cannot be written fails here, not at the end
    asked = [name for name in PARTS if name in (*options.only, _ALWAYS)]
    for number, name in enumerate(asked):
        limit = budget.left() * PARTS[name] / sum(PARTS[each] for each in asked[number:])
        part = run_part(command(name, result["device"]["kind"], limit), limit, _ROOT)
        result["parts"][name] = part
        add_shares(result["parts"])
        result["targets"] = judged(result["parts"], options.dry_run)
        print(table(name, part), file=sys.stderr, flush=True)
        report.write(options.out, result)
    print(targets_table(result["targets"]), file=sys.stderr)
    print(json.dumps(result))
    return int(any(part["status"] != "ok" for part in result["parts"].values()))


def command(part: str, device: str, limit: float) -> list[str]:
    """Return the command that runs one part; it knows how long it may take."""
    return [sys.executable, "-m", "bench.gpu_parts", part, device, f"{0.9 * limit:.1f}"]


def heading(benchmark: str, dry: bool) -> Result:
    """Return what a result begins with: device, versions, date and commit; or an error."""
    environment = report.environment()
    begin = {"benchmark": benchmark, "dry_run": dry}
    if dry:
        return {**begin, "device": {"kind": "cpu", "name": environment["cpu"]}, **environment}
    probes = [sys.executable, "-m", "bench.probes", "device"]
    found = run_part(probes, _DEVICE_LIMIT, _ROOT)
    if found["status"] != "ok":
        return {"error": found["error"]}
    versions = {**environment["versions"], **found["results"]["versions"]}
    device = {"kind": "cuda", **found["results"]["device"]}
    return {**begin, "device": device, **environment, "versions": versions}


_SHOWN = (
    "gb_per_s", "tflop_per_s", "share", "share_of_copy", "error_in_tolerances", "steps", "equal",
    "us_a_step", "us_a_step_quartiles", "device_us_a_step", "ratio_to_best_peer", "best_peer",
    "error", "left_out", "note",
)  # fmt: skip


def table(name: str, part: Result) -> str:
    """Return the results of one part as lines of text.

    >>> part = {"status": "ok", "seconds": 1.5, "results": {"copy": {"gb_per_s": 4300.0}}}
    >>> print(table("ceilings", part))
    ceilings: ok, 1.5 s
      copy                                                  gb_per_s 4300
    """
    why = f" ({part['error']})" if "error" in part else ""
    lines = [f"{name}: {part['status']}, {part['seconds']:g} s{why}"]
    for what, row in part["results"].items():
        shown = (f"{key} {_text(row[key])}" for key in _SHOWN if row.get(key) is not None)
        lines.append(f"  {what:<52}  {'  '.join(shown)}")
    return "\n".join(lines)


def targets_table(targets: Sequence[Result]) -> str:
    """Return what was wanted and what was measured, a line each; `?` where nothing counts.

    >>> wanted = {"part": "kernels", "what": "tanh: share of a copy", "wanted": 0.85}
    >>> print(targets_table([{**wanted, "measured": 0.91, "met": True}]))
    met     kernels: tanh: share of a copy                       0.91 of 0.85
    """
    words = {True: "met", False: "MISSED", None: "?"}
    return "\n".join(
        f"{words[t['met']]:<7} {t['part'] + ': ' + t['what']:<52} "
        f"{_text(t['measured'])} of {t['wanted']:g}"
        for t in targets
    )


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", metavar="FILE", help="write the JSON there")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"for all parts together ({SECONDS:g})"
    )
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at tiny sizes")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...",
        help=f"parts beside {_ALWAYS}, which shares are of",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.only if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    if not options.seconds > 0:
        parser.error(f"--seconds: {options.seconds:g} must be above 0")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
