"""Fuzz what reads files.

python -m tests.fuzz_readers [TARGET ...] [--minutes 10] [--seed 0] [--list] [--replay FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from .driver import Run, attempt, child, limit_memory, modules, report, targets_in

_PROCESSES = 20
"""So many of them may be ended by what they are given; then a target is left."""


def main(given: Sequence[str] | None = None) -> int:
    options = _options(given)
    if options.child:
        return _child(options)
    known = modules(options.module)
    chosen = options.targets or sorted(known)
    if wrong := [name for name in chosen if name not in known]:
        print(f"unknown target {wrong[0]}; known: {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    if options.list:
        for name in sorted(known):
            print(f"{name:20}{len(targets_in(known[name])[name][1]):4} files to begin with")
        return 0
    if options.replay:
        name = chosen[0] if options.targets else options.replay.name.partition("--")[0]
        return _replay(targets_in(known[name])[name][0], options)
    options.folder.mkdir(parents=True, exist_ok=True)
    return 1 if sum([_watch(name, known[name], options) for name in chosen]) else 0


def _child(options: argparse.Namespace) -> int:
    [name], [home] = options.targets, options.module
    seed = f"{options.seed}/{name}/{options.child}"
    run = Run(name, targets_in(home)[name], options.folder, seed, options.limit)
    child(run, options.child == 1, 60 * options.minutes, options.cases)
    return 0


def _options(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_readers", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all if none is named")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target")
    parser.add_argument("--cases", type=int, help="at most so many for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=5.0, help="seconds that a case may take")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input again")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "gpubp-fuzz",
        help="where inputs that fail are written",
    )  # fmt: skip
    parser.add_argument("--module", action="append", default=[], help="more targets")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options: argparse.Namespace = parser.parse_args(given)
    return options


def _watch(name: str, home: str, options: argparse.Namespace) -> int:
    """Run a target in processes of its own, the next where one is ended by what it was given."""
    began, totals, left, number = time.monotonic(), [0, 0, 0], options.cases, 0
    state, current = (options.folder / f"{name}.{what}" for what in ("state", "current"))
    ends = began + 60 * options.minutes
    while time.monotonic() < ends and (left is None or left > 0) and number < _PROCESSES:
        number += 1
        for path in (state, current):
            path.unlink(missing_ok=True)
        minutes = (ends - time.monotonic()) / 60
        asked = [sys.executable, "-m", __package__, name, "--child", str(number),
                 "--minutes", str(minutes), "--seed", str(options.seed),
                 "--limit", str(options.limit), "--folder", str(options.folder),
                 "--module", home]  # fmt: skip
        asked += [] if left is None else ["--cases", str(left)]
        what = _wait(subprocess.Popen(asked), current, 3 * options.limit + 5)
        found = json.loads(state.read_text()) if state.exists() else [0, 0, 0]
        totals = [a + b for a, b in zip(totals, found, strict=True)]
        if not what:
            break
        totals[0], totals[1] = totals[0] + 1, totals[1] + 1
        if not current.exists():
            print(f"FAILED {name}: {what} before the first case", flush=True)
            break
        report(name, options.folder, current.read_bytes(), what)
        left = None if left is None else left - found[0] - 1
    current.unlink(missing_ok=True)
    state.unlink(missing_ok=True)
    cases, failures, messages = totals
    seconds = time.monotonic() - began
    print(f"{name:20}{cases:9,} cases{failures:6} failures{messages:6} messages{seconds:8.1f} s",
          flush=True)  # fmt: skip
    return failures


def _wait(process: subprocess.Popen[bytes], current: Path, patience: float) -> str:
    """Wait for a process; return what ended it early, nothing if it came to its end."""
    try:
        while True:
            try:
                code = process.wait(1.0)
            except subprocess.TimeoutExpired:
                if current.exists() and time.time() - current.stat().st_mtime > patience:
                    process.kill()
                    process.wait()
                    return f"it hung for more than {patience:g} seconds and was killed"
                continue
            return "" if code == 0 else f"the process ended with {code}"
    finally:
        process.kill()
        process.wait()


def _replay(target: object, options: argparse.Namespace) -> int:
    limit_memory()
    try:
        heard = attempt(target, options.replay.read_bytes(), options.limit)  # type: ignore[arg-type]
    except Exception:
        traceback.print_exc()
        return 1
    for message in sorted(heard.messages):
        print(message)
    print("no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
