"""Feeds spoilt files to a reader, in a process of its own, and finds out what it does to it.

A case fails where the target raises, warns, runs for longer than some seconds, asks for more than
a gigabyte, or ends the process. Inputs that bring a new message to light are spoilt further.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import random
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpubp.errors import InputError

from .mutations import mutate

Target = tuple[Callable[[bytes], None], list[bytes]]
GIGABYTE = 2**30


def modules(extra: Sequence[str] = ()) -> dict[str, str]:
    """The name of every target, and of the module that it is in: of this package, or another."""
    package = importlib.import_module(__package__)
    inside = [f"{__package__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)]
    names = [name for name in (*sorted(inside), *extra) if not name.endswith("__main__")]
    return {target: name for name in names for target in targets_in(name)}


def targets_in(module: str) -> dict[str, Target]:
    """The targets of a module by name; none where it has none."""
    found: dict[str, Target] = getattr(importlib.import_module(module), "TARGETS", {})
    return found


class FailedError(Exception):
    """What a target did though it raised nothing: too much time, or memory."""


@dataclass
class Heard:
    """The messages of `InputError` in one case."""

    messages: set[str] = field(default_factory=set)
    out_of_memory: bool = False


@contextmanager
def listening() -> Iterator[Heard]:
    """Note every `InputError` that is made, though the target may let it pass."""
    heard, made = Heard(), InputError.__init__

    def note(self: InputError, *arguments: Any) -> None:
        made(self, *arguments)
        raised = sys.exc_info()[1]
        heard.out_of_memory |= isinstance(raised, MemoryError)
        caller = sys._getframe(1)
        place = f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno}"
        heard.messages.add(f"{place} {masked(str(self))}")

    InputError.__init__ = note  # type: ignore[method-assign]
    try:
        yield heard
    finally:
        InputError.__init__ = made  # type: ignore[method-assign]


def masked(message: str) -> str:
    """A message without what differs from file to file: names, numbers, quoted texts."""
    message = re.sub(r"/\S+", "/", message[:1000])
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "''", message)
    return re.sub(r"\d[\d,.]*(e[-+]?\d+)?", "0", message)[:200]


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `FailedError` after so many seconds, where there are such signals."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: Any) -> None:
        raise FailedError(f"it ran for longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(more: int = GIGABYTE) -> None:
    """Let this process take so many bytes more than it has, where a system can say so."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    most = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def attempt(target: Callable[[bytes], None], data: bytes, seconds: float) -> Heard:
    """Run one case; raise what it should not have done."""
    with listening() as heard, alarm(seconds), warnings.catch_warnings():
        warnings.simplefilter("error")
        target(data)
    if heard.out_of_memory:
        raise FailedError("it asked for more memory than a gigabyte, and got none")
    return heard


@dataclass
class Run:
    """The cases of one target, from a seed; what failed goes to a folder."""

    name: str
    target: Target
    folder: Path
    seed: str
    limit: float = 5.0
    cases: int = 0
    failures: int = 0
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.kept = list(self.target[1])

    def begin(self) -> None:
        """Run the files to begin with as they are."""
        for data in self.target[1]:
            self.case(data)

    def go(self, seconds: float, most: int | None) -> None:
        """Run cases until the time is over or so many were run."""
        rng, ends = random.Random(self.seed), time.monotonic() + seconds
        corpus = self.kept
        while time.monotonic() < ends and (most is None or self.cases < most):
            begun = rng.choice(corpus if rng.random() < 0.5 else corpus[-50:])
            self.case(mutate(rng, begun, corpus))

    def case(self, data: bytes) -> None:
        """Run one; keep it if it says something new."""
        self.cases += 1
        (self.folder / f"{self.name}.current").write_bytes(data)
        try:
            heard = attempt(self.target[0], data, self.limit)
        except Exception as error:
            self.fail(data, f"{type(error).__name__}: {error}", traceback.format_exc())
            return
        if heard.messages - self.known:
            self.known |= heard.messages
            if data not in self.kept:
                self.kept.append(data)

    def fail(self, data: bytes, what: str, told: str) -> None:
        self.failures += 1
        where = masked("".join(told.splitlines()[-3:]))
        if where not in self.known:  # the same again is counted, not kept
            self.known.add(where)
            report(self.name, self.folder, data, what, told)

    def state(self) -> str:
        return json.dumps([self.cases, self.failures, len(self.known)])


def report(name: str, folder: Path, data: bytes, what: str, told: str = "") -> None:
    """Write an input that failed to a file, and say how to see it fail again."""
    path = folder / f"{name}--{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    path.with_name(f"{path.name}.txt").write_text(f"{what}\n\n{told}", errors="replace")
    print(f"FAILED {name}: {what[:300]}\n  python -m {__package__} --replay {path}", flush=True)


def child(run: Run, first: bool, seconds: float, most: int | None) -> None:
    """What a process of its own does: all cases, with its state in a file from time to time."""
    limit_memory()
    case, state = run.case, run.folder / f"{run.name}.state"

    def told(data: bytes) -> None:
        case(data)
        if run.cases % 20 == 0:
            state.write_text(run.state())

    run.case = told  # type: ignore[method-assign]
    if first:  # not again after one of them has ended a process
        run.begin()
    run.go(seconds, most)
    state.write_text(run.state())
