"""`python -m bench.gpu_parts PART DEVICE SECONDS [--tiny] FILE`: a part, its results as JSON lines.

With `--tiny` a GPU is given sizes that say whether everything runs, such as for a memory checker.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

# jax would otherwise keep three quarters of the memory from all others.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def main(arguments: list[str]) -> int:
    """Return 0, or `SKIPPED` with the reason as the last line of standard error."""
    part, device, seconds, *flags, path = arguments
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    from ..gpu_contenders import Setting
    from ..probes import UnavailableError, gpu
    from ..probes.runner import SKIPPED
    from . import Budget

    module: Any = importlib.import_module(f"{__package__}.{part}")
    setting = Setting(device, tiny=device == "cpu" or "--tiny" in flags)
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        try:
            if not setting.dry:
                gpu()
            for row in module.probe(setting, Budget(float(seconds))):
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except UnavailableError as reason:
            print(reason, file=sys.stderr)
            return SKIPPED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
