"""Targets with a defect each, for the driver of `tests.fuzz_readers` to find."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable

import numpy as np

from gpubp.errors import InputError

SEEDS = [b'{"a": 1, "b": [2, 3]}']


def _where_spoilt(defect: Callable[[], object]) -> Callable[[bytes], None]:
    """A target that has the defect for what does not end with a brace, or in two."""

    def target(data: bytes) -> None:
        if not data.endswith(b"}"):
            defect()
        if data.endswith(b"}}"):
            raise AssertionError("two braces")

    return target


def _takes_memory() -> None:
    """As a reader that asks for what a file says, and tells of it in good words."""
    try:
        np.ones(2**40)
    except MemoryError:
        _says_no(b"")


def _is_wrong() -> None:
    raise ZeroDivisionError("a number is 0")


def _says_no(data: bytes) -> None:
    try:
        raise InputError(f"{len(data)} bytes")
    except InputError:
        pass


TARGETS = {
    "raises": (_where_spoilt(_is_wrong), SEEDS),
    "warns": (_where_spoilt(lambda: warnings.warn("beware", stacklevel=1)), SEEDS),
    "is slow": (_where_spoilt(lambda: time.sleep(30)), SEEDS),
    "takes memory": (_where_spoilt(_takes_memory), SEEDS),
    "crashes": (_where_spoilt(lambda: os.kill(os.getpid(), signal.SIGSEGV)), SEEDS),
    "is sound": (_says_no, SEEDS),
}
