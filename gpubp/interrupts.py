"""Ctrl-C and SIGTERM during training: the step under way is finished, then training is left."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn

from .errors import InputError

_TERMINATED = 128 + signal.SIGTERM


class Interrupts:
    """Inside `with`, the first signal sets `pending`, and a second is not held back.

    `leave` raises KeyboardInterrupt for SIGINT. With `before_leaving`, which it calls first,
    SIGTERM is waited for too, and raises SystemExit(143). A signal that the program handles in
    its own way is left to it.

    >>> with Interrupts() as interrupts:
    ...     interrupts.pending
    False
    """

    def __init__(self, before_leaving: Callable[[], None] | None = None) -> None:
        self._before_leaving = before_leaving

    def __enter__(self) -> Interrupts:
        self.pending = False
        self._number: int = signal.SIGINT
        self._old: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere signals cannot be set
            usual: list[tuple[int, Any]] = [(signal.SIGINT, signal.default_int_handler)]
            if self._before_leaving is not None:
                usual.append((signal.SIGTERM, signal.SIG_DFL))
            for number, handler in usual:
                if signal.getsignal(number) is handler:
                    self._old[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.pending, self._number = self.pending, True, number
        if again:
            self._raise()

    def leave(self) -> NoReturn:
        """End training between two steps."""
        try:
            if self._before_leaving is not None:
                self._before_leaving()
        except InputError as error:  # a full disk, say: who asked to end is not to wait for it
            warnings.warn(f"training ends, and this went wrong before: {error}", stacklevel=4)
        self._raise()

    def _raise(self) -> NoReturn:
        raise SystemExit(_TERMINATED) if self._number == signal.SIGTERM else KeyboardInterrupt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self.pending and kind is None:  # it came when nobody looked any more
            self._raise()
