"""All that waits for a GPU, in one call of less than 9 minutes on a machine that has one.

    python -m bench.gpu_call

Nothing is asked of the machine but Python with CuPy, and NumPy; torch, jax and compute-sanitizer
are used where they are. Wheels in `wheels/`, or in the folder that the variable WHEELS names, are
installed first, into a folder of their own. Results and one log go to the folder that the variable
OUT names, otherwise to `bench/results`. Each part is stopped at its limit, and one that fails does
not end the others; a table comes last. The exit code is 0 when all parts ended well.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
_SETTING_UP = 15.0
_GRACE = 5.0  # from the request to end to the kill; part of the limit


@dataclass(frozen=True)
class Part:
    """A command, the seconds that it may take, and the program that it needs, if any."""

    name: str
    command: tuple[str, ...]
    limit: float
    needs: str = ""


def parts(out: Path) -> list[Part]:
    """Return what is run, in order of value; the limits are less than 9 minutes together."""
    python = sys.executable
    several = ("-n", "8") if importlib.util.find_spec("xdist") else ()
    # Each test has a line, so that the log tells what was reached.
    tests = (python, "-m", "pytest", "-vv", "-m", "gpu", "-p", "no:cacheprovider", *several)
    capture = (python, "-m", "bench.gpu_parts", "capture", "cuda", "20", "--tiny", os.devnull)
    checker = ("compute-sanitizer", "--error-exitcode", "9", "--tool")
    return [
        Part("tests", tests, 160.0),
        Part("check", (python, "-m", "bench.gpu_check", "--out", str(out / "gpu_check.json")),
             45.0),
        Part("probes", (python, "-m", "bench.gpu_probes", "--out", str(out / "gpu_probes.json")),
             60.0),
        Part("benchmark", (python, "-m", "bench.gpu", "--seconds", "185",
                           "--out", str(out / "gpu.json")), 195.0),
        Part("memcheck", (*checker, "memcheck", *capture), 25.0, "compute-sanitizer"),
        Part("racecheck", (*checker, "racecheck", *capture), 25.0, "compute-sanitizer"),
    ]  # fmt: skip


def main() -> int:
    """Run all parts and print the table; return the exit code."""
    out = Path(os.environ.get("OUT") or ROOT / "bench" / "results")
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    with (out / "gpu_call.log").open("wb", buffering=0) as log, prepared(log) as environment:
        for part in parts(out):
            results[part.name] = run(part, environment, log)
            said = json.dumps({"parts": results}, indent=1)
            (out / "gpu_call.json").write_text(said + "\n")
    print(table(results))
    return int(any(result["status"] != "ok" for result in results.values()))


def run(part: Part, environment: dict[str, str], log: IO[bytes]) -> dict[str, Any]:
    """Run one part; return how it ended, and the last line that it printed."""
    if part.needs and shutil.which(part.needs) is None:
        return {"status": "skipped", "seconds": 0.0, "said": f"{part.needs} is not there"}
    log.write(f"\n=== {part.name}: {' '.join(part.command)}\n".encode())
    begin, began = log.tell(), time.monotonic()
    try:
        child = subprocess.Popen(
            part.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return {"status": "failed", "seconds": 0.0, "said": str(error)}
    status = _ended(child, part.limit)
    seconds = round(time.monotonic() - began, 1)
    text = Path(log.name).read_bytes()[begin:].decode(errors="replace").strip()
    said = text.splitlines()[-1][:160] if text else ""
    return {"status": status, "seconds": seconds, "limit": part.limit, "said": said}


def _ended(child: subprocess.Popen[bytes], limit: float) -> str:
    """Wait for a process; at its limit it is asked to end, so that it tells what it has."""
    try:
        return _status(child.wait(max(0.1, limit - _GRACE)))
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(min(_GRACE, limit / 2))
        return "timed out"
    finally:
        with contextlib.suppress(ProcessLookupError):  # all that it has started ends with it
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _status(code: int) -> str:
    return "ok" if code == 0 else f"failed ({code})"


@contextlib.contextmanager
def prepared(log: IO[bytes]) -> Iterator[dict[str, str]]:
    """Install wheels where there are any, make the package importable; yield the environment."""
    # With GPUBP_REQUIRE the tests that take long are run, too.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "GPUBP_REQUIRE": "cupy"}
    link = ROOT / "gpubp" / "backends"
    with tempfile.TemporaryDirectory() as site:
        if wheels := sorted(Path(os.environ.get("WHEELS", ROOT / "wheels")).glob("*.whl")):
            _install(wheels, site, log)
            paths = (site, environment.get("PYTHONPATH", ""))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        test = [sys.executable, "-c", "import gpubp.backends"]
        found = subprocess.run(test, cwd=ROOT, env=environment, stdout=log, stderr=log)
        made = found.returncode != 0 and not link.exists()
        if made:  # not installed: the folder of the backends goes where an installation has it
            link.symlink_to(Path("..", "backends"), target_is_directory=True)
        try:
            yield environment
        finally:
            if made:
                link.unlink()


def _install(wheels: Sequence[Path], site: str, log: IO[bytes]) -> None:
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", site]
    with contextlib.suppress(subprocess.TimeoutExpired):  # what is missing then shows in each part
        subprocess.run([*command, *map(str, wheels)], stdout=log, stderr=log, timeout=_SETTING_UP)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return how each part ended, a line each.

    >>> print(table({"tests": {"status": "ok", "seconds": 80.0, "said": "9 passed"}}))
    tests      ok             80.0 s  9 passed
    """
    return "\n".join(
        f"{name:<10} {result['status']:<12} {result['seconds']:6.1f} s  {result['said']}"
        for name, result in results.items()
    )


if __name__ == "__main__":
    raise SystemExit(main())
