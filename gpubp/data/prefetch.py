"""Reading ahead: while a network works on one batch, a thread gets the next ones ready."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeVar

NAME = "gpubp-prefetch"
"""What the thread is called."""

_PATIENCE = 5.0  # seconds for a read under way; longer than that, the thread ends after it, alone
_GROUP = 1 << 18  # bytes that are handed over at once: threads that wait for each other take time
_MOST = 256  # batches of them

Batch = TypeVar("Batch", bound=tuple[Any, ...])


def ahead(batches: Generator[Batch], depth: int) -> Generator[Batch]:
    """Yield what `batches` yields, tuples of arrays that a thread computes in advance.

    It is ahead by `depth` groups, of 256 KiB or of one batch; 0: there is no thread. An error of
    `batches` is raised here, with its traceback. When this generator is closed or dropped the
    thread ends, and `batches` is closed in it.

    >>> import numpy as np
    >>> [int(x.sum()) for x, in ahead(((np.ones(i),) for i in range(4)), depth=2)]
    [0, 1, 2, 3]
    """
    if not depth:
        with closing(batches):
            yield from batches
        return
    from contextvars import copy_context
    from queue import Queue
    from threading import Event, Thread

    ready: Queue[tuple[list[Batch], BaseException | None]] = Queue(depth)
    stop = Event()
    run = copy_context().run  # what NumPy warns of is part of the context
    thread = Thread(target=run, args=(_work, batches, ready, stop), name=NAME, daemon=True)
    thread.start()
    try:
        while True:
            group, end = ready.get()
            yield from group
            if end is _END:
                return
            if end is not None:
                raise end
    finally:
        stop.set()
        while not ready.empty():  # the thread may wait for room
            ready.get()
        thread.join(_PATIENCE)


_END = StopIteration()


def _work(batches: Generator[Batch], ready: Any, stop: Any) -> None:
    """Hand over all batches, then the end or the error that came before it."""
    end: BaseException = _END
    group: list[Batch] = []
    try:
        with closing(batches):
            size = 0
            for batch in batches:
                group.append(batch)
                size += batch[0].nbytes
                if stop.is_set():
                    return
                if size >= _GROUP or len(group) == _MOST or ready.empty():
                    ready.put((group, None))
                    group, size = [], 0
    except BaseException as error:
        end = error
    if not stop.is_set():
        ready.put((group, end))
