"""`python -m bench.probes PART FILE`: run a part, adding its results to FILE as JSON lines."""

from __future__ import annotations

import importlib
import json
import sys

from . import UnavailableError
from .runner import SKIPPED


def main(part: str, path: str) -> int:
    """Return 0, or `SKIPPED` with the reason as the last line of standard error."""
    module = importlib.import_module(f"{__package__}.{part}")
    # Line by line, so that a part that is killed keeps what it has measured.
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        try:
            for row in module.probe():
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except UnavailableError as reason:
            print(reason, file=sys.stderr)
            return SKIPPED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
