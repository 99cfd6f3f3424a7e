"""Batches that are copied ahead: what comes is what was sent, and events order all of it."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gpubp.backends.cuda import CudaBackend
from gpubp.backends.pinned import Slot
from tests import compiled, compiled_streams
from tests.compiled_device import counts
from tests.compiled_streams import Event, computed, queue_of

ROWS = 4


@dataclass
class Streams:
    """The streams that copies went on, all pinned memory, and when steps are done.

    `late` steps are done when somebody waits for them, others as soon as they are asked for.
    """

    late: bool = True
    copying: list[Any] = field(default_factory=list)
    pinned: list[Any] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)

    def use(self, arrays: Any) -> None:
        """Use a batch as a step does."""

        def step() -> None:
            self.found.append([None if a is None else a.values.copy() for a in arrays])

        if self.late:
            compiled.enqueue(None, step)
        else:
            computed(step)

    def taken(self, given: Generator[Any], precision: str = "float32") -> list[Any]:
        """Return what steps find in the batches, each asked for before the next batch is."""
        for arrays in CudaBackend(0, precision).ahead(given):
            self.use(arrays)
        compiled.cuda.get_current_stream().synchronize()
        return self.found

    @property
    def pending(self) -> bool:
        """Whether copies are still to be made."""
        return any(queue_of(stream).waiting for stream in self.copying)


@pytest.fixture
def streams(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> Streams:
    kept, stream, pinned = Streams(), stand_in.cuda.Stream, stand_in.cupyx.empty_pinned

    def new_stream(**how: Any) -> Any:
        kept.copying.append(stream(**how))
        return kept.copying[-1]

    def new_pinned(*how: Any) -> Any:
        kept.pinned.append(pinned(*how))
        return kept.pinned[-1]

    monkeypatch.setattr(stand_in.cuda, "Stream", new_stream)
    monkeypatch.setattr(stand_in.cupyx, "empty_pinned", new_pinned)
    return kept


def batches(count: int, weighted: bool = True, rows: int = ROWS) -> Generator[Any]:
    """Batches that differ in every number; the last has a row less."""
    for i in range(count):
        n = rows - (i == count - 1)
        x = np.arange(n * 3.0).reshape(n, 3) + 100.0 * i
        w = np.full((n, 1), 0.5 + i) if weighted else None
        yield x, np.full((n, 1), i, dtype=np.int64), w


def right(found: list[Any], expected: Generator[Any], precision: str = "float32") -> bool:
    pairs = zip(found, expected, strict=True)
    return all(
        (a is None and b is None)
        or (a.dtype == ("int64" if k == 1 else precision) and np.array_equal(a, b.astype(a.dtype)))
        for given, sent in pairs
        for k, (a, b) in enumerate(zip(given, sent, strict=True))
    )


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_each_batch_comes_as_it_was(
    streams: Streams, precision: str, count: int, weighted: bool, late: bool
) -> None:
    streams.late = late
    found = streams.taken(batches(count, weighted), precision)
    assert right(found, batches(count, weighted), precision)


def test_nothing_comes_of_nothing(streams: Streams) -> None:
    assert streams.taken(batches(0)) == []


def test_two_buffers_of_each_kind_do_for_any_number_of_batches(streams: Streams) -> None:
    for count in (2, 40):
        streams.pinned.clear()
        streams.taken(batches(count))
        assert len(streams.pinned) == 2 * 3


def test_a_larger_batch_gets_larger_buffers(streams: Streams) -> None:
    def growing() -> Generator[Any]:
        for rows in (2, 2, 5, 3, 6):
            yield from batches(1, rows=rows + 1)

    assert right(streams.taken(growing()), growing())


def test_the_host_is_ahead_of_the_device_and_waits_for_events_alone(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any) -> None:
        raise AssertionError("the host waited for a whole stream")

    be = CudaBackend(0)
    counts.reset()
    monkeypatch.setattr(compiled_streams.Stream, "synchronize", refuse)
    for count, arrays in enumerate(be.ahead(batches(12))):
        assert max(0, count - 3) <= len(streams.found) < max(count, 1)
        streams.use(arrays)
    assert counts.to_device == 12 * 3
    assert counts.synchronizations == 12 + 2  # before a slot is filled, and in the end


def test_the_next_copy_is_asked_for_before_a_batch_is_used(streams: Streams) -> None:
    be = CudaBackend(0)
    counts.reset()
    given = be.ahead(batches(3))
    next(given)
    assert counts.to_device == 2 * 3
    given.close()


def test_what_computes_does_so_on_the_current_stream(stand_in: Any, streams: Streams) -> None:
    with stand_in.cuda.Stream(non_blocking=True) as stream:
        for arrays in CudaBackend(0).ahead(batches(6)):
            streams.use(arrays)
        stream.synchronize()
    assert right(streams.found, batches(6))


# -- what goes wrong ---------------------------------------------------------------------------


def test_an_error_of_the_source_comes_after_the_batches_before_it(streams: Streams) -> None:
    closed = []

    def failing() -> Generator[Any]:
        try:
            yield from list(batches(4))[:3]
            raise OSError("the disk is gone")
        finally:
            closed.append(True)

    given = CudaBackend(0).ahead(failing())
    for arrays in itertools.islice(given, 3):
        streams.use(arrays)
    with pytest.raises(OSError, match="the disk is gone"):
        next(given)
    compiled.cuda.get_current_stream().synchronize()
    assert right(streams.found, (b for b in list(batches(4))[:3]))
    assert closed
    assert not streams.pending


@pytest.mark.parametrize("used", [1, 2, 3])
def test_what_is_under_way_is_waited_for_where_nobody_wants_more(
    streams: Streams, used: int
) -> None:
    closed = []

    def source() -> Generator[Any]:
        try:
            yield from batches(9)
        finally:
            closed.append(True)

    given = CudaBackend(0).ahead(source())
    for _ in range(used):
        next(given)
    assert streams.pending
    given.close()
    assert closed
    assert not streams.pending


# -- planted faults are noticed ---------------------------------------------------------------


def without(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
    """Let a stream or an event not wait."""
    monkeypatch.setattr(kind, name, lambda *_: None)


def test_a_step_that_does_not_wait_for_its_copy_is_noticed(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrived(self: Slot) -> Any:
        return [pair and pair[1] for pair in self._rows]

    streams.late = False  # a step as early as may be, on a copy as late
    monkeypatch.setattr(Slot, "arrived", arrived)
    assert not right(streams.taken(batches(6)), batches(6))


def test_a_host_that_does_not_wait_for_the_copy_is_noticed(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, Event, "synchronize")
    assert not right(streams.taken(batches(6)), batches(6))


def test_a_copy_that_does_not_wait_for_the_step_is_noticed(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, Slot, "leave")
    assert not right(streams.taken(batches(6)), batches(6))
