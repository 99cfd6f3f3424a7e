"""Look through the whole zoo, and the steps of random networks: `python -m tests.cuda_check`.

The zoo is compiled for every architecture, the random ones for one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeAlias

from .check import Report, check_text
from .zoo import random_steps, zoo

Row: TypeAlias = dict[str, str | int]

ARCHITECTURES = "75,80,90,100,120"
RANDOM_FOR = 90


def _rows(name: str, report: Report) -> Iterator[Row]:
    for usage in report.kernels:
        yield {
            "text": name,
            "kernel": usage.kernel,
            "arch": report.arch,
            "registers": usage.registers,
            "shared": usage.shared,
            "spills": usage.spilled,
            "vector loads": usage.vector_loads,
        }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cuda_check")
    parser.add_argument("--arch", default=ARCHITECTURES, help="with commas between")
    parser.add_argument("--random", type=int, default=20, help="steps of random networks")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first of them")
    parser.add_argument("--out", type=Path, help="a file for the table and the faults, as JSON")
    given = parser.parse_args(arguments)
    architectures = [int(arch) for arch in given.arch.split(",")]
    texts = [(name, text, arch) for name, text in zoo().items() for arch in architectures]
    drawn = random_steps(given.seed, given.random)
    texts += [(name, text, RANDOM_FOR) for name, text in drawn.items()]
    names, found, each = zip(*texts, strict=True)
    codes, precisions, budgets = zip(*found, strict=True)
    rows: list[Row] = []
    faults: list[str] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawn) as processes:
        reports = processes.map(check_text, codes, each, budgets, precisions)
        for name, report in zip(names, reports, strict=True):
            rows += _rows(name, report)
            faults += [f"{name}, sm_{report.arch}: {fault}" for fault in report.faults]
    _print(rows)
    print(
        *faults, f"{len(texts)} texts compiled, {len(rows)} kernels, {len(faults)} faults", sep="\n"
    )
    if given.out:
        given.out.write_text(json.dumps({"kernels": rows, "faults": faults}, indent=1))
    return 1 if faults else 0


def _print(rows: list[Row]) -> None:
    """The table, a line for each kernel and architecture."""
    if rows:
        lines = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(map(str.ljust, line, widths)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
