"""Time on the host and on the device, each apart from the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from . import Result

Call: TypeAlias = Callable[[int], object]  # of the number of the call, to rotate buffers

_HOLD = r"""
extern "C" __global__ void hold(unsigned long long nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""
_FIRST_HOLD_US = 500.0


class Clock:
    """Times calls on one stream, in microseconds a call.

    In a held measurement a spinning kernel keeps the stream busy until the host has queued every
    call. The device then runs the calls back to back, and the host never waits for the device.
    """

    def __init__(self, cp: Any, stream: Any) -> None:
        self.stream = stream
        self._hold = cp.RawKernel(_HOLD, "hold")
        self._first, self._last = cp.cuda.Event(), cp.cuda.Event()
        self._elapsed = cp.cuda.get_elapsed_time

    def cost(self, call: Call, calls: int = 32, rounds: int = 15) -> Result:
        """Return host and device time (held), and the time until all is done (not held)."""
        held = self.held(call, calls, rounds)
        wall = [self.wall(call, calls) for _ in range(rounds)]
        return {
            **summary("host_us", [host for host, _ in held]),
            **summary("device_us", [device for _, device in held]),
            **summary("wall_us", wall),
        }

    def device(self, call: Call, calls: int = 3, rounds: int = 9) -> Result:
        """Return the time that the device takes."""
        return summary("device_us", [device for _, device in self.held(call, calls, rounds)])

    def wall(self, call: Call, calls: int) -> float:
        """Return the time from the first call until the device is done, over `calls`."""
        self.stream.synchronize()
        start = time.perf_counter_ns()
        for i in range(calls):
            call(i)
        self.stream.synchronize()
        return (time.perf_counter_ns() - start) / 1e3 / calls

    def held(self, call: Call, calls: int, rounds: int) -> list[tuple[float, float]]:
        """Return (host, device) times; empty for a call in which the host waits."""
        for i in range(3):
            call(i)
        times: list[tuple[float, float]] = []
        hold = _FIRST_HOLD_US
        for _ in range(3 * rounds):
            queued, elapsed, covered = self._queue(call, calls, hold)
            if covered:
                times.append((queued / calls, elapsed / calls))
            else:
                # The hold was too short, or the queue of the device is full: mend both.
                hold, calls = min(2 * queued, 1e5), max(1, calls // 2)
            if len(times) == rounds:
                break
        return times

    def _queue(self, call: Call, calls: int, hold: float) -> tuple[float, float, bool]:
        """Return host and device time of all calls, and whether the hold outlasted the host."""
        self.stream.synchronize()
        launch = time.perf_counter_ns()
        self._hold((1,), (1,), (np.uint64(hold * 1e3),), stream=self.stream)
        self._first.record(self.stream)
        start = time.perf_counter_ns()
        for i in range(calls):
            call(i)
        end = time.perf_counter_ns()
        self._last.record(self.stream)
        self._last.synchronize()
        # By the clock, for asking the event leaves "not ready" behind as CUDA's last error, which
        # CUB would take for its own.
        covered = (end - launch) / 1e3 < 0.9 * hold
        return (end - start) / 1e3, self._elapsed(self._first, self._last) * 1e3, covered


def summary(name: str, values: list[float]) -> Result:
    """Return the median and the quartiles.

    >>> summary("us", [1.0, 2.0, 4.0])
    {'us': 2.0, 'us_quartiles': [1.0, 4.0]}
    """
    if len(values) < 2:
        return {name: values[0] if values else None, f"{name}_quartiles": None}
    low, middle, high = statistics.quantiles(values, n=4)
    return {name: round(middle, 3), f"{name}_quartiles": [round(low, 3), round(high, 3)]}
