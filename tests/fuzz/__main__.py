"""Fuzz the recorded steps: `python -m tests.fuzz --n 2000 --seed S [--first N]`.

Every case is replayed by NumPy, with its threads in both orders, and compiled where llvmlite is
there. Machine code is kept in a folder of its own meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from tests.fuzz.check import CAN_COMPILE, Rejected, check, own_cache
from tests.fuzz.cuda import standing_in
from tests.random_repertoire import draw_case


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=2000, help="how many stacks of layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them")
    parser.add_argument(
        "--cuda", action="store_true",
        help="as CUDA too: its very texts, run on the CPU by g++, or on a GPU with --gpu",
    )  # fmt: skip
    parser.add_argument("--gpu", action="store_true", help="as CUDA on a GPU")
    given = parser.parse_args(arguments)
    cuda = given.cuda or given.gpu
    began, wrong, rejected = time.monotonic(), 0, Counter[str]()
    for number in range(given.first, given.first + given.n):
        try:
            with warnings.catch_warnings(action="error"), own_cache(), _place(given):
                check(given.seed, number, cuda=cuda)
        except Rejected as reason:
            rejected[str(reason)] += 1
        except Exception as problem:
            wrong += 1
            told = str(problem)
            if not isinstance(problem, AssertionError):
                told = "".join(traceback.format_exception(problem)[-3:])
            print(f"python -m tests.fuzz --seed {given.seed} --first {number} --n 1: {told}")
            print(f"    {draw_case(given.seed, number)[0]}", flush=True)
    for reason, count in rejected.most_common():
        print(f"{count:6} rejected: {reason}")
    ways = "replayed and compiled" if CAN_COMPILE else "replayed"
    ways += " and as CUDA" if cuda else ""
    print(f"{given.n} stacks, {wrong} wrong, {rejected.total()} rejected, {ways} "
          f"in {time.monotonic() - began:.0f} s")  # fmt: skip
    return 1 if wrong else 0


def _place(given: argparse.Namespace) -> AbstractContextManager[None]:
    """Where CUDA is: on a GPU, or in the stand-ins."""
    return standing_in() if given.cuda and not given.gpu else nullcontext()


if __name__ == "__main__":
    sys.exit(main())
