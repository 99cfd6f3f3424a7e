"""One part in a process of its own, with a time limit: a crash or a hang stays there.

The process is given the path of a file and adds its results to it, a line of JSON each. What it
had written is kept however it ends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import Result

SKIPPED = 77  # the exit code by which a part says that it cannot run here
_LOG_CHARACTERS = 2000


def run_part(command: Sequence[str], limit: float, cwd: Path | None = None) -> Result:
    """Run `command` with the path of its results added; `limit` and the time taken in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        results, log = Path(folder, "results"), Path(folder, "log")
        results.touch()
        start = time.monotonic()
        code = _wait([*command, str(results)], limit, log, cwd)
        seconds = time.monotonic() - start
        rows = read_rows(results.read_text(encoding="utf-8"))
        text = log.read_text(encoding="utf-8", errors="replace").strip()
    return {**_verdict(code, limit, rows, text), "seconds": round(seconds, 2), "results": rows}


def _wait(command: Sequence[str], limit: float, log: Path, cwd: Path | None) -> int | None:
    """Return the exit code, or None for a process that had to be killed at the limit."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd
        )
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            child.kill()
            child.wait()


def _verdict(code: int | None, limit: float, rows: dict[str, Result], log: str) -> Result:
    reason = log.splitlines()[-1] if log else "no message"
    if code is None:
        error = f"killed at its limit of {limit:g} s"
        return {"status": "timed out", "error": error, "log": log[-_LOG_CHARACTERS:]}
    if code == SKIPPED:
        return {"status": "skipped", "error": reason}
    if code:
        error = f"killed: {signal.strsignal(-code)}" if code < 0 else reason
        return {"status": "failed", "error": error, "log": log[-_LOG_CHARACTERS:]}
    if wrong := [name for name, result in rows.items() if "error" in result]:
        error = f"{len(wrong)} of {len(rows)} measurements failed: {', '.join(wrong)}"
        return {"status": "failed", "error": error}
    return {"status": "ok"}


def read_rows(text: str) -> dict[str, Result]:
    """Return the results by name; a last line that was cut off is left out.

    >>> read_rows('["a", {"us": 1.5}]\\n["b", {"u')
    {'a': {'us': 1.5}}
    """
    return dict(json.loads(line) for line in text.splitlines(keepends=True) if line[-1:] == "\n")
