"""What an NVIDIA GPU and CuPy do, measured: the questions that the CUDA backend's design asks.

    python -m bench.gpu_probes [--out FILE.json] [--seconds 20] [--only NAME,...]

A table goes to standard error, JSON to FILE after each part and to the last line of standard
output. Each part runs in a process of its own and is killed at its limit; what it had measured is
kept. The exit code is 0 when every part that was asked for ended well, 1 otherwise, also where
there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import report
from .probes import Result
from .probes.runner import run_part

# Seconds. The first run of a part compiles its kernels, and CUB's take long.
LIMITS = {
    "capture": 120.0,
    "launch": 60.0,
    "ceilings": 60.0,
    "bits": 60.0,
    "elementwise": 60.0,
    "epilogues": 60.0,
    "determinism": 90.0,
}
_DEVICE_LIMIT = 120.0  # also warms up what a machine's first use of CUDA has to load
_ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts one after another and report; return the exit code."""
    options = _parse(arguments)
    found = run_part(command("device"), _DEVICE_LIMIT, _ROOT)
    if found["status"] != "ok":
        print(f"gpu_probes: {found['error']}", file=sys.stderr)
        return 1
    result = _heading(found["results"])
    report.write(options.out, result)  # a path that cannot be written fails here, not at the end
    for name, limit in LIMITS.items():
        if name in options.only:
            part = run_part(command(name), options.seconds or limit, _ROOT)
        else:
            part = {"status": "skipped", "error": "not asked for", "seconds": 0.0, "results": {}}
        result["parts"][name] = part
        print(table(name, part), file=sys.stderr, flush=True)
        report.write(options.out, result)
    print(json.dumps(result))
    return int(any(result["parts"][name]["status"] != "ok" for name in options.only))


def command(part: str) -> list[str]:
    """Return the command that runs one part."""
    return [sys.executable, "-m", "bench.probes", part]


def table(name: str, part: Result) -> str:
    """Return the results of one part as lines of text.

    >>> part = {"status": "ok", "seconds": 1.5, "results": {"ufunc": {"host_us": 4.21875}}}
    >>> print(table("launch", part))
    launch: ok, 1.5 s
      ufunc                                     host_us 4.219
    """
    why = f" ({part['error']})" if "error" in part else ""
    lines = [f"{name}: {part['status']}, {part['seconds']:g} s{why}"]
    for what, result in part["results"].items():
        values = "  ".join(f"{key} {_text(value)}" for key, value in result.items())
        lines.append(f"  {what:<40}  {values}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _heading(found: dict[str, Result]) -> Result:
    """Return the result without its parts: device, versions, date and commit."""
    environment = report.environment()
    versions = {**environment["versions"], **found["versions"]}
    return {"device": found["device"], **environment, "versions": versions, "parts": {}}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_probes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", metavar="FILE", help="write the JSON there")
    parser.add_argument(
        "--seconds", type=float, help="limit of each part, in place of its own (60 to 120)"
    )
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(LIMITS), metavar="NAME,..."
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.only if name not in LIMITS]:
        parser.error(f"unknown part {unknown[0]!r}; the parts are {', '.join(LIMITS)}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
