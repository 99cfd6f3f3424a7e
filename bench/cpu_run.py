"""The measuring process of `bench.cpu`, on one number of threads; started by it, not by hand."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path
from typing import Any

from . import busy
from . import threads as _threads


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--only", required=True)
    parser.add_argument("--contenders", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--to", required=True)
    arguments = parser.parse_args()
    cores = _threads.confine(arguments.threads)
    # Only now, for NumPy and all others read how many cores there are when they are imported.
    from .agreement import DisagreementError
    from .compared import contest
    from .cpu_table import lines
    from .report import environment
    from .workloads import WORKLOADS

    found: dict[str, Any] = {}
    for name in arguments.only.split(","):
        load, taken = WORKLOADS[name], busy.share()
        try:
            figures, left_out = contest(
                load, arguments.contenders.split(","), arguments.threads, arguments.rounds,
                arguments.seconds,
            )  # fmt: skip
        except DisagreementError as error:
            sys.exit(f"{name}: {error}")
        found[name] = {"says": load.says, "contenders": figures, "left_out": left_out,
                       "others_share": taken}  # fmt: skip
        print("\n".join(lines(name, found[name])), flush=True)
        gc.collect()
    result = {"threads": arguments.threads, "cores_used": cores, **environment(), "results": found}
    Path(arguments.to).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
