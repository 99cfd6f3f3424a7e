"""Ctrl-C during training: the step under way is finished, then KeyboardInterrupt is raised."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupts:
    """Inside `with`, the first SIGINT sets `pending`, and a second is not held back.

    >>> with Interrupts() as interrupts:
    ...     interrupts.pending
    False
    """

    def __enter__(self) -> Interrupts:
        self.pending = False
        self._old = None
        if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be set
            self._old = signal.getsignal(signal.SIGINT)
            if self._old is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._old is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._old)
        if self.pending and kind is None:  # it came when nobody looked any more
            raise KeyboardInterrupt
