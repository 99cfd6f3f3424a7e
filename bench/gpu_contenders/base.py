"""What a contender on a device is: something that is called, and takes some steps each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..contenders.base import UnavailableError
from ..workloads import Workload


@dataclass(frozen=True)
class Setting:
    """Where and how all contenders of a contest train.

    `precision` is that of the matrix products: `"float32"`, `"tf32"` or `"bf16"`; weights are
    float32 in each. `unroll` steps go into one launch, of those who launch several at once. `tiny`
    asks for sizes that say whether everything runs, and nothing of speed.
    """

    device: str = "cuda"
    precision: str = "float32"
    unroll: int = 32
    tiny: bool = False

    @property
    def dry(self) -> bool:
        """Whether there is no GPU: nobody captures a graph, and no figure counts."""
        return self.device == "cpu"

    def label(self, load: Workload) -> str:
        """What a workload is called in this setting.

        >>> Setting(precision="tf32").label(Workload("784-10", (), 32, 4))
        '784-10, tf32'
        """
        return load.says if self.precision == "float32" else f"{load.says}, {self.precision}"


class Events(NamedTuple):
    """The events of a library: `mark` enters one behind all work that it was given so far."""

    mark: Callable[[], Any]
    seconds: Callable[[Any, Any], float]


@dataclass
class Contender:
    """A training that goes on from call to call, batch after batch, epoch after epoch.

    `take(i)` takes `unit` steps from batch `i * unit` on and returns their losses, which may still
    be under way: `read` makes numbers of them and `wait` waits until all is done. An epoch has
    `calls` calls. `kernels` are the fingerprints of the kernels that it launches, by name.
    """

    take: Callable[[int], Any]
    calls: int
    unit: int
    read: Callable[[Any], Any]
    wait: Callable[[], Any]
    events: Events | None = None
    note: str = ""
    kernels: Callable[[], Mapping[str, str]] = dict
    taken: int = 0

    def losses(self, count: int) -> Any:
        """Take at least `count` steps; return the losses of the first `count`, `(count, members)`.

        To be called before any `timed`. One network has one member.
        """
        found = []
        for _ in range(-(-count // self.unit)):
            found.append(np.asarray(self.read(self._next()), np.float64).reshape(self.unit, -1))
        return np.concatenate(found)[:count]

    def timed(self, calls: int) -> tuple[float, float | None]:
        """Return the seconds of so many calls until all is done, and those between two events."""
        events, first, last = self.events, None, None
        self.wait()
        began = time.perf_counter()
        if events is not None:
            first = events.mark()
        for _ in range(calls):
            self._next()
        if events is not None:
            last = events.mark()
        self.wait()
        seconds = time.perf_counter() - began
        return seconds, None if events is None else events.seconds(first, last)

    def _next(self) -> Any:
        call = self.taken % self.calls
        self.taken += 1
        return self.take(call)


def groups(batches: int, unroll: int) -> int:
    """Into how many launches of `unroll` steps an epoch is divided, without a rest.

    >>> groups(64, 32)
    2
    """
    if batches % unroll:
        raise UnavailableError(f"{batches} batches are no multiple of {unroll} steps a launch")
    return batches // unroll


__all__ = ["Contender", "Events", "Setting", "UnavailableError", "groups"]
