"""A team of threads that we own, each of which runs the same compiled function on its part.

One call of `Team.run` covers many training steps, so that waking the threads does not count;
inside, they meet at the barrier.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from gpubp.errors import InputError, shown, whole

from .processors import allowed, cores, here, place, shares
from .spinning import fail, new_state, reset

__all__ = ["Team", "cores"]

_Function = Callable[..., Any]
_Failed = Callable[[BaseException], None]
_Job = tuple[_Function, tuple[Any, ...], _Failed]


class _Helper:
    """A daemon thread and the job it has: `job` is None again when that is done."""

    def __init__(self) -> None:
        self.job: _Job | None = None
        self.ending = False
        self._wake, self._done = threading.Lock(), threading.Lock()
        self._wake.acquire()
        self._done.acquire()
        self._thread = threading.Thread(target=self._serve, name="gpubp-team", daemon=True)
        self._thread.start()
        self._processors: set[int] = set()

    def settle(self, processors: set[int]) -> None:
        """Run on these processors from now on, if they are others than last time."""
        if processors and processors != self._processors:
            place(self._thread.native_id, processors)
            self._processors = processors

    def wake(self) -> None:
        """Let the thread look for a job; once too often does no harm."""
        if self._wake.locked():
            self._wake.release()

    def wait(self) -> None:
        while self.job is not None:
            self._done.acquire()

    def end(self) -> None:
        self.ending = True
        self.wake()

    def _serve(self) -> None:
        while True:
            self._wake.acquire()
            if self.job is not None:
                self._work(*self.job)
                self.job = None  # the arrays are not kept alive by a thread that sleeps
                if self._done.locked():
                    self._done.release()
            if self.ending:
                return

    @staticmethod
    def _work(f: _Function, args: tuple[Any, ...], failed: _Failed) -> None:
        try:
            f(*args)
        except BaseException as error:
            failed(error)


class _Crew:
    """The helpers of one process, and the lock of who may use them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.helpers: list[_Helper] = []

    def end(self) -> None:
        for helper in self.helpers:
            helper.end()


class Team:
    """`threads` threads: the one that calls `run`, and daemon threads that sleep between calls.

    They are made at the first call; a forked child makes its own. One thread at a time may call
    `run`, others wait their turn. Raises `InputError` for a number of threads below 1.

    >>> import threading
    >>> names = [None, None]
    >>> def note(thread, names):
    ...     names[thread] = threading.current_thread().name
    >>> Team(2).run(note, names)
    >>> names[1]
    'gpubp-team'
    """

    def __init__(self, threads: int) -> None:
        if not whole(threads) or threads < 1:
            raise InputError(
                f"threads is {shown(threads)}; it must be a whole number, at least 1, and should "
                "be at most cores()"
            )
        self.threads = int(threads)
        self.state = new_state()
        """The state of this team's barrier, int64 `(48,)`: hand it to what `run` runs."""
        self._crews: dict[int, _Crew] = {}  # by process: a child must not wait for these threads

    def run(self, f: _Function, *args: Any) -> Any:
        """Call `f(0, *args)` here and `f(i, *args)` on each other thread; return what `f(0)` does.

        `f` must let go of Python's lock if it meets the others at a barrier, as a function of
        `ctypes` does. The first exception of any thread is raised once all have ended; those who
        wait at the barrier of `state`, or come to it later, are told so by its False.
        """
        crew = self._crew()
        with crew.lock:
            self._settle(crew.helpers)  # only after two interrupts on the heels of each other
            reset(self.state)
            errors: list[BaseException] = []

            def failed(error: BaseException) -> None:
                errors.append(error)
                fail(self.state)

            result, caller, processors = None, here(), allowed()
            apart = shares(processors, caller, self.threads - 1) if caller is not None else []
            try:
                self._start(crew, f, args, failed, apart)
                if any(apart) and caller is not None:
                    place(0, [caller])  # or the system may move it to where a helper waits awake
                result = f(0, *args)
                for helper in crew.helpers:
                    helper.wait()
            except BaseException as error:
                failed(error)
                self._settle(crew.helpers)
            finally:
                if any(apart):
                    place(0, processors)
            if errors:
                try:
                    raise errors[0]
                finally:
                    errors.clear()  # or it would hold the frame that holds it
            return result

    def _crew(self) -> _Crew:
        process = os.getpid()
        crew = self._crews.get(process)
        if crew is None:
            made = _Crew()
            crew = self._crews.setdefault(process, made)
            if crew is made:
                weakref.finalize(self, crew.end).atexit = False
        return crew

    def _start(
        self,
        crew: _Crew,
        f: _Function,
        args: tuple[Any, ...],
        failed: _Failed,
        apart: list[set[int]],
    ) -> None:
        while len(crew.helpers) < self.threads - 1:
            crew.helpers.append(_Helper())
        for number, helper in enumerate(crew.helpers, 1):
            helper.job = f, (number, *args), failed
            if apart:
                helper.settle(apart[number - 1])
            helper.wake()

    def _settle(self, helpers: list[_Helper]) -> None:
        """Wait for all who have a job of a run that failed, whatever interrupts the waiting."""
        while any(helper.job is not None for helper in helpers):
            try:
                fail(self.state)
                for helper in helpers:
                    if helper.job is not None:
                        helper.wake()
                        helper.wait()
            except KeyboardInterrupt:
                continue
