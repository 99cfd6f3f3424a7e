"""The devices of the stand-in for CuPy, by number, and what tests count of their work."""

from __future__ import annotations

import threading
from abc import ABCMeta
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any


class _Current(ABCMeta):
    """Each thread has a current device of its own, as in CuPy."""

    _local = threading.local()

    @property
    def current(cls) -> int:
        return getattr(cls._local, "current", 0)

    @current.setter
    def current(cls, number: int) -> None:
        cls._local.current = number


class Device(AbstractContextManager[Any], metaclass=_Current):
    """A device by number, or the current one; arrays are made on the one whose `with` is open."""

    def __init__(self, number: int | None = None) -> None:
        self.id = Device.current if number is None else number

    def __enter__(self) -> Device:
        self._before, Device.current = Device.current, self.id
        return self

    def __exit__(self, *_: object) -> None:
        Device.current = self._before

    def __int__(self) -> int:
        return self.id

    def synchronize(self) -> None:
        """Wait for all streams of the device."""
        from .compiled_queues import all_queues, wait

        for queue in all_queues(self.id):
            wait(queue)


@dataclass
class Counts:
    """What was done since the last `reset`; a read of one number is a copy and a wait too."""

    to_device: int = 0
    to_host: int = 0
    synchronizations: int = 0
    launches: int = 0
    graph_launches: int = 0
    allocations: int = 0

    def reset(self) -> None:
        for field in fields(self):
            setattr(self, field.name, 0)


counts = Counts()
