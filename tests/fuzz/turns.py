"""Threads that take turns: what runs between two barriers runs in an order that is chosen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any


class Turns:
    """One thread at a time, as far as its next barrier, then the next one; `order` is of all.

    `barrier` is for the functions that `run` is given; it is false where one of them failed.
    """

    def __init__(self, order: Iterable[int]) -> None:
        self._order = list(order)
        self._own = threading.local()

    def barrier(self, meeting: Any, threads: int) -> bool:
        return self._stop("barrier")

    def _stop(self, at: str) -> bool:
        thread = self._own.number
        self._at[thread] = at
        self._back.release()
        self._go[thread].acquire()
        return not self._failed

    def run(self, function: Callable[[int], Any]) -> None:
        """Call `function(thread)` for each; raises what the first of them raised."""
        if len(self._order) == 1:
            self._own.number = 0
            self.barrier = lambda meeting, threads: True  # type: ignore[method-assign]
            function(0)
            return
        self._at: dict[int, str] = {}
        self._failed: list[BaseException] = []
        self._back = threading.Semaphore(0)
        self._go = {t: threading.Semaphore(0) for t in self._order}
        workers = [threading.Thread(target=self._work, args=(function, t)) for t in self._order]
        for worker in workers:
            worker.start()
        try:
            self._take_turns()
        finally:
            for go in self._go.values():  # whoever still waits is told that something failed
                for _ in range(1000):
                    go.release()
            for worker in workers:
                worker.join()
        if self._failed:
            raise self._failed[0]

    def _take_turns(self) -> None:
        while True:
            for thread in self._order:
                self._go[thread].release()
                self._back.acquire()
                if self._failed:
                    return
            if len(set(self._at.values())) > 1:
                self._failed.append(AssertionError(f"threads do not meet: {self._at}"))
                return
            if "end" in self._at.values():
                return

    def _work(self, function: Callable[[int], Any], thread: int) -> None:
        self._own.number = thread
        self._go[thread].acquire()
        try:
            if not self._failed:
                function(thread)
        except BaseException as error:
            self._failed.append(error)
        self._at[thread] = "end"
        self._back.release()
