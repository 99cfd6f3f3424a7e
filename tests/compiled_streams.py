"""Streams, events and graphs of the stand-in for CuPy, over the queues of work."""

from __future__ import annotations

from itertools import count
from typing import Any

from .compiled_device import Device, counts
from .compiled_queues import (
    Call,
    Capture,
    CUDARuntimeError,
    Queue,
    by_ptr,
    captures,
    computed,
    enqueue,
    entered,
    entered_on,
    queue_of,
    wait,
)

__all__ = ["CUDARuntimeError", "Event", "Graph", "Stream", "computed", "enqueue", "queue_of"]

_numbers = count(0x5000)


class Event:
    """A mark on a stream. To ask whether it is `done` lets the stream do one thing."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        self._queue: Queue | None = None
        self._at = 0
        self._capture: Capture | None = None

    def record(self, stream: Any = None) -> None:
        self._queue = queue_of(stream)
        self._at, self._capture = self._queue.given, self._queue.capture

    def synchronize(self) -> None:
        counts.synchronizations += 1
        self._outside_ofcaptures()
        if self._queue is not None:
            self._queue.work(self._at)

    @property
    def done(self) -> bool:
        self._outside_ofcaptures()
        if self._queue is None or self._queue.done >= self._at:
            return True
        self._queue.work(self._queue.done + 1)
        return False

    def _outside_ofcaptures(self) -> None:
        if self._capture is not None:
            self._capture.broken = "the host asked for an event of the graph"
            raise CUDARuntimeError("cudaErrorCapturedEvent: the event belongs to a capture")

    def wait_on(self, queue: Queue) -> None:
        """Let what is asked of that stream from now on come after the mark."""
        if self._queue is None:
            return
        if self._capture is not None:
            self._capture.joined[self._queue] = True
            if queue.capture is None:
                queue.capture = self._capture
                self._capture.joined[queue] = False  # until the first stream waits for it
            return
        if queue.capture is not None:
            queue.capture.broken = "it waits for an event from before"
            raise CUDARuntimeError("cudaErrorStreamCaptureIsolation: the event is of no capture")
        source, at = self._queue, self._at
        queue.put(lambda: source.work(at))


class Graph:
    """Work that was noted down, and is done anew with each launch."""

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls

    def launch(self, stream: Any = None) -> None:
        counts.graph_launches += 1
        enqueue(stream, self._run)

    def upload(self, stream: Any = None) -> None:
        if queue_of(stream).capture is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the stream is capturing")

    def _run(self) -> None:
        for call in self.calls:
            call()


class Stream:
    """A stream of the current device, or its default one."""

    null: Stream

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False,
        priority: int | None = None,
    ) -> None:  # fmt: skip
        if ptds:
            raise NotImplementedError("the stand-in has no per-thread default streams")
        self.ptr = 0 if null else next(_numbers)
        self.device_id = -1 if null else Device.current
        self.is_non_blocking = non_blocking and not null
        if not null:
            self._queue = by_ptr[self.ptr] = Queue(self.device_id, not non_blocking, self.ptr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> Stream:
        if self.device_id not in (-1, Device.current):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with "
                f"the current device ({Device.current})"
            )
        entered().append((Device.current, self))
        return self

    def __exit__(self, *_: object) -> None:
        entered().pop()

    @property
    def done(self) -> bool:
        queue = queue_of(self)
        if queue.done == queue.given:
            return True
        queue.work(queue.done + 1)
        return False

    def synchronize(self) -> None:
        wait(queue_of(self))

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        event.wait_on(queue_of(self))

    def is_capturing(self) -> bool:
        return queue_of(self).capture is not None

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self.is_capturing():
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is capturing already")
        self._queue.capture = Capture(self._queue)
        captures.add(self._queue.capture)

    def end_capture(self) -> Graph:
        capture = self._queue.capture
        if capture is None or capture.origin is not self._queue:
            raise CUDARuntimeError("cudaErrorIllegalState: no capture was begun on the stream")
        captures.discard(capture)
        for queue in capture.joined:
            queue.capture = None
        if capture.broken:
            raise CUDARuntimeError(f"cudaErrorStreamCaptureInvalidated: {capture.broken}")
        if not all(capture.joined.values()):
            raise CUDARuntimeError("cudaErrorStreamCaptureUnjoined: a stream was not waited for")
        return Graph(capture.calls)


Stream.null = Stream(null=True)


def get_current_stream(device_id: int = -1) -> Stream:
    return entered_on(Device.current if device_id == -1 else device_id) or Stream.null
