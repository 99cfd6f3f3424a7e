"""`gpubp check digits` on a GPU, with the kernels that it launched: evidence for the ledger.

    python -m bench.gpu_check [--out FILE] [--device cuda]

The exit code is that of the check, or 1 where there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

from . import report
from .gpu import heading
from .kernel_texts import launched
from .probes import Result


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print the table of the check, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", metavar="FILE", help="write the JSON there")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args(arguments)
    result = heading("check", dry=options.device == "cpu")
    if "error" in result:
        print(f"bench.gpu_check: {result['error']}", file=sys.stderr)
        return 1
    code, found, table = checked(options.device)
    print(table)
    report.write(options.out, {**result, **found})
    return code


def checked(device: str, what: str = "digits") -> tuple[int, Result, str]:
    """Return the exit code of `gpubp check`, what it found, and its table.

    Kernels count as evidence only where nothing disagrees.
    """
    from gpubp.cli import main as gpubp_command

    said = io.StringIO()
    with launched(device) as kernels, contextlib.redirect_stdout(said):
        code = gpubp_command(["check", what, "--device", device, "--json"])
    *table, last = said.getvalue().rstrip("\n").split("\n")
    report_of: dict[str, Any] = json.loads(last)
    wrong = [row for row in report_of["rows"] if not row["ok"]]
    found: Result = {"comparisons": len(report_of["rows"]), "beyond_tolerance": wrong,
                     "remarks": report_of["remarks"], "kernels": dict(kernels)}  # fmt: skip
    if code:
        found["error"] = f"{len(wrong)} comparisons are beyond tolerance"
    return code, found, "\n".join(table)


if __name__ == "__main__":
    raise SystemExit(main())
