"""One thread for every BLAS library of the process while a team of ours has the processors."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController


class _Limit:
    """Who asked for one thread, and what each library is to be set back to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.libraries: list[Any] = []
        self.openmp: list[Any] = []
        self.modules = 0
        self.limited: dict[str, tuple[Any, int]] = {}

    def enter(self) -> None:
        with self.lock:
            self.look()
            for library in self.libraries:
                if library.filepath not in self.limited:
                    before = library.num_threads
                    if before is not None and before != 1:
                        self.limited[library.filepath] = library, before
                        library.set_num_threads(1)
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                while self.limited:
                    path, (library, before) = next(iter(self.limited.items()))
                    library.set_num_threads(before)
                    del self.limited[path]

    def look(self) -> None:
        """Find the libraries anew where a module was imported since, which takes milliseconds."""
        modules = len(sys.modules)
        if modules != self.modules:
            found = ThreadpoolController().lib_controllers
            self.libraries = [library for library in found if library.user_api == "blas"]
            self.openmp = [library for library in found if library.user_api == "openmp"]
            self.modules = len(sys.modules)


_limit = _Limit()


def _forked() -> None:
    """A thread that the child does not have may have held the lock."""
    _limit.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def openmp_libraries() -> list[Any]:
    """Return the OpenMP libraries there are; `set_num_threads(1)` binds the calling thread alone.

    A BLAS library on top of OpenMP goes by the number of the thread that calls it, so that each
    thread of a team has to say it.

    >>> [library.num_threads for library in openmp_libraries() if library.num_threads < 1]
    []
    """
    with _limit.lock:
        _limit.look()
        return _limit.openmp


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside `with`, every BLAS library that is loaded by then computes in the calling thread.

    The number of threads is the process's: other threads are bound by it too, and it is set back
    when the last of those inside has left. Cheap to enter again and again.

    >>> with one_blas_thread():
    ...     pass  # a team runs compiled code that calls matrix products
    """
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
