"""The work of the stand-in's streams, which is done as late as it may be.

What is asked of a stream waits until somebody waits for it: the host, an event, another stream, or
something that is computed at once and so needs all that came before it on its stream. So whoever
reads too early, writes too early to what a copy has still to read, or forgets that one stream must
wait for another, finds other numbers. While a stream is capturing, nothing is done: the work goes
to the graph with the addresses and numbers that it was asked for with.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakSet, WeakValueDictionary

from .compiled_device import Device, counts

Call: TypeAlias = Callable[[], object]

_lock = threading.RLock()
_queues: WeakSet[Queue] = WeakSet()
_busy: set[Queue] = set()  # a stream that nobody holds any more still does what it was asked for
captures: set[Capture] = set()
by_ptr: WeakValueDictionary[int, Queue] = WeakValueDictionary()


class CUDARuntimeError(RuntimeError):
    """What CUDA itself refuses."""


class Capture:
    """A graph in the making: its calls, and the streams that events have drawn in."""

    def __init__(self, origin: Queue) -> None:
        self.calls: list[Call] = []
        self.origin, self.joined, self.broken = origin, {origin: True}, ""


class Queue:
    """The work of one stream; `given` and `done` count what was asked for and what is done."""

    def __init__(self, device: int, blocking: bool, ptr: int) -> None:
        self.device, self.blocking, self.ptr = device, blocking, ptr
        self.waiting: deque[Call] = deque()
        self.given = self.done = 0
        self.capture: Capture | None = None
        with _lock:
            _queues.add(self)

    def put(self, call: Call) -> None:
        with _lock:
            if self.capture is not None:
                self.capture.calls.append(call)
                return
            self.meet_the_default()
            self.waiting.append(call)
            self.given += 1
            _busy.add(self)

    def meet_the_default(self) -> None:
        """The default stream and those that are not `non_blocking` wait for each other."""
        if not (_busy or captures):
            return
        for other in all_queues(self.device):
            if self.blocking and other.blocking and (self.ptr == 0) != (other.ptr == 0):
                if other.capture is not None:
                    other.capture.broken = "the default stream was used meanwhile"
                    raise CUDARuntimeError("cudaErrorStreamCaptureImplicit")
                other.work()

    def work(self, until: int | None = None) -> None:
        """Do what was asked for until then, or all of it."""
        with _lock:
            while self.done < (self.given if until is None else until):
                self.done += 1
                self.waiting.popleft()()
            if not self.waiting:
                _busy.discard(self)


_defaults: dict[int, Queue] = {}


def all_queues(device: int) -> list[Queue]:
    with _lock:
        return [queue for queue in _queues if queue.device == device]


def anything_waits() -> bool:
    """Whether some stream has work to do, which may use memory that nobody holds any more."""
    return bool(_busy)


def default_queue() -> Queue:
    number = Device.current
    found = _defaults.get(number)
    if found is None:
        with _lock:
            found = _defaults.setdefault(number, Queue(number, True, 0))
    return found


def queue_of(stream: Any = None) -> Queue:
    """The work of a stream, by itself or by its `ptr`; None is the current stream."""
    if stream is None:
        stream = entered_on(Device.current) if entered() else None
        if stream is None:
            return default_queue()
    ptr = stream if isinstance(stream, int) else stream.ptr
    if ptr == 0:
        return default_queue()
    if ptr not in by_ptr:
        raise CUDARuntimeError(f"cudaErrorInvalidResourceHandle: there is no stream {ptr:#x}")
    return by_ptr[ptr]


def enqueue(stream: Any, call: Call) -> None:
    """Ask a stream for work, by itself, its `ptr` or None; one that captures notes it down."""
    queue_of(stream).put(call)


def computed(call: Callable[[], Any], queue: Queue | None = None) -> Any:
    """Do something now on a stream, or the current one, which must not be capturing."""
    queue = queue_of() if queue is None else queue
    assert queue.capture is None
    with _lock:
        queue.meet_the_default()
        queue.work()
        return call()


def capturing() -> bool:
    return queue_of().capture is not None


def wait(queue: Queue) -> None:
    """Let the host wait for a stream."""
    counts.synchronizations += 1
    if queue.capture is not None:
        queue.capture.broken = "the host waited for the stream"
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the stream is capturing")
    queue.meet_the_default()
    queue.work()


_entered = threading.local()


def entered() -> list[tuple[int, Any]]:
    try:
        found: list[tuple[int, Any]] = _entered.stack
    except AttributeError:
        found = _entered.stack = []
    return found


def entered_on(device: int) -> Any:
    """The stream of the innermost `with` on a device; None where there is none."""
    return next((stream for number, stream in reversed(entered()) if number == device), None)


def forget_all() -> None:
    """Drop what streams still have to do, as a test leaves it."""
    with _lock:
        for queue in _queues:
            queue.waiting.clear()
            queue.done, queue.capture = queue.given, None
        _busy.clear()
        captures.clear()
    counts.reset()
