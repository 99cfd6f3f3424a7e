"""Batches of the host on their way to a CUDA device: the next is copied while one is in use.

Each of two slots has pinned memory and a place on the device. Copies go on a stream of their own,
and events order them: the host writes to pinned memory once the last copy from there is done, a
copy begins once the step on what lies in its place is done, and a step once its copy is.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import closing
from itertools import cycle
from typing import Any

import numpy as np

from gpubp.backend import Rows


def ahead(cupy: Any, batches: Generator[Rows], precision: str) -> Generator[Rows]:
    """Yield batches as arrays of the current device, see `gpubp.Backend.ahead`.

    What computes with them does so on the stream that is current when they are asked for.
    """
    slots = Slot(cupy, precision), Slot(cupy, precision)
    stream, sent = cupy.cuda.Stream(non_blocking=True), None
    try:
        with closing(batches):
            for slot in cycle(slots):
                batch, mishap = _next(batches)
                if batch is not None:
                    slot.send(batch, stream)
                if sent is not None:
                    yield sent.arrived()
                    sent.leave()
                if mishap is not None:  # after the batch that came before it
                    raise mishap
                if batch is None:
                    return
                sent = slot
    finally:
        for slot in slots:
            slot.close()


def _next(batches: Generator[Rows]) -> tuple[Rows | None, Exception | None]:
    try:
        return next(batches, None), None
    except Exception as error:
        return None, error


class Slot:
    """Room for one batch, on the host and on the device."""

    def __init__(self, cupy: Any, precision: str) -> None:
        self._cupy, self._precision = cupy, precision
        self._pinned = importlib.import_module("cupyx").empty_pinned
        self._copied, self._used = (cupy.cuda.Event(disable_timing=True) for _ in range(2))
        self._places: list[Any] = [None, None, None]
        self._rows: list[Any] = []

    def send(self, batch: Any, stream: Any) -> None:
        """Begin to copy a batch on `stream`, once nobody needs the last one any more."""
        self._copied.synchronize()
        self._rows = [None if a is None else self._write(k, a) for k, a in enumerate(batch)]
        stream.wait_event(self._used)
        for host, there in filter(None, self._rows):
            there.set(host, stream)
        stream.record(self._copied)

    def _write(self, k: int, given: Any) -> tuple[Any, Any]:
        """Write one array of a batch to pinned memory, in the dtype that it has on the device."""
        labels = k == 1 and given.dtype == np.int64
        dtype = np.dtype("int64" if labels else self._precision)
        place = self._places[k]
        if place is None or place[0].dtype != dtype or len(place[0]) < len(given):
            place = self._pinned(given.shape, dtype), self._cupy.empty(given.shape, dtype)
            self._places[k] = place
            self.leave()  # the memory may have been somebody's who is not done with it yet
        host, there = (a[: len(given)] for a in place)
        host[...] = given
        return host, there

    def arrived(self) -> Rows:
        """Return the batch; what is asked of the current stream from now on waits for its copy."""
        self._cupy.cuda.get_current_stream().wait_event(self._copied)
        x, t, w = (None if pair is None else pair[1] for pair in self._rows)
        return x, t, w

    def leave(self) -> None:
        """Let the next copy begin once the current stream has done what it was asked until now."""
        self._cupy.cuda.get_current_stream().record(self._used)

    def close(self) -> None:
        """Wait for the last copy: the memory goes back to where others get theirs."""
        self._copied.synchronize()
        self._places, self._rows = [None, None, None], []
