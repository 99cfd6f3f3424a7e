"""What two trainings must have in common, for one to go on where the other ended: as texts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any
from zlib import crc32

import numpy as np

from .feeds import Feed
from .history import Callback, Monitor
from .inputs import on_host
from .training import Data, Trainer

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_USUAL: Any = object.__repr__


def settings(
    net: Any, trainer: Trainer, held_out: Any, callbacks: Sequence[Callback], best: Monitor
) -> dict[str, str]:
    """Return what network, data and arguments of a training are, by name.

    Of callbacks their classes alone: what they count may stand in their attributes.
    """
    return {
        "layer": told(net.layer),
        "inputs": repr(net.inputs),
        "dtype": net.be.precision,
        "seeds": repr(net.seeds),
        "members": repr(net.members),
        "frozen": repr(net.frozen),
        "path": trainer.path,
        **trainer.told,
        "loss": told(trainer.loss),
        "optimizer": told(trainer.optimizer),
        "batch_size": str(trainer.batch_size),
        "micro_batch": str(trainer.micro_batch),
        "shuffle_seed": str(trainer.shuffle_seed),
        "data": fingerprint(net, trainer.data),
        "validation": "none" if held_out is None else fingerprint(net, held_out),
        "callbacks": ", ".join(type(c).__name__ for c in callbacks) or "none",
        "best": f"{'least' if best.sign > 0 else 'largest'} {best.monitor}",
    }


def told(thing: Any) -> str:
    """Return a text that two things share only if they were made alike.

    What has no `repr` of its own is told by its attributes.

    >>> class Halving:
    ...     def __init__(self, rate):
    ...         self.rate = rate
    >>> told([Halving(0.1), 2])
    '[Halving(rate=0.1), 2]'
    """
    if isinstance(thing, tuple | list):
        return f"[{', '.join(map(told, thing))}]"
    if is_dataclass(thing) and not isinstance(thing, type):
        own = {field.name: getattr(thing, field.name) for field in fields(thing)}
    elif type(thing).__repr__ is _USUAL and hasattr(thing, "__dict__"):
        own = vars(thing)
    else:
        return _ADDRESS.sub("", repr(thing))
    return f"{type(thing).__name__}({', '.join(f'{k}={told(v)}' for k, v in own.items())})"


def fingerprint(net: Any, data: Any) -> str:
    """Return how many examples there are, with a checksum of some of them; of a source, its own."""
    if isinstance(data, Feed):
        return data.source.told()
    assert isinstance(data, Data)
    rows = np.unique(np.linspace(0, data.n - 1, 64).astype(np.int64))
    be, checksum = net.be, 0
    for part in (p for p in (data.x, data.t, data.w) if p is not None):
        if isinstance(part, np.ndarray):
            taken = part[rows]
            if data.x is part and on_host(be, part) and not isinstance(part, np.memmap):
                taken = taken.astype(be.precision)  # the same where they fit on the device
        else:
            taken = be.to_numpy(be.take(part, be.asarray(rows, "int64")))
        checksum = crc32(np.ascontiguousarray(taken).tobytes(), checksum)
    return f"{data.n} examples, checksum {checksum:08x}"


def plain(value: Any) -> Any:
    """Return a value as it comes back from JSON; NumPy's numbers as Python's.

    >>> plain({"loss": np.float64(0.5), "k": (1, 2)})
    {'loss': 0.5, 'k': [1, 2]}
    """
    return json.loads(json.dumps(value, default=_number))


def _number(value: Any) -> Any:
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
