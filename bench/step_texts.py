"""The kernels of a compiled step as they would be launched on a GPU, printed without one.

What a text depends on beside the program is whether arrays begin at 16 bytes: here they have the
sizes that they have there, and begin where CuPy's do.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpubp import programs
from gpubp.program.calls import DOUBLE

_WIDTH = 16  # elements: memory of compiled steps is a multiple of it


class Place:
    """Memory that is nowhere, `(members, n)` or `(1, n)`."""

    data = SimpleNamespace(ptr=0)  # CuPy's begins at 512 bytes, which is as good

    def __init__(self, rows: int, size: int, dtype: Any) -> None:
        self.shape, self.dtype = (rows, size), np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]


def step_texts(net: Any, job: programs.Job) -> dict[str, str]:
    """Return the text of each kernel of a step by name; see `bench.listing` for the network."""
    code: Any = importlib.import_module("gpubp.backends.cuda_code")
    hand: Any = importlib.import_module("gpubp.backends.cuda_text")
    calls: Any = importlib.import_module("gpubp.backends.cuda_calls")
    made = programs.Compiled(net, job)
    memory = calls.Memory({}, made.program, net.members)
    memory.arrays |= _places(net, made, memory)
    kernels = code.printed(made.program, memory.aligned, net.members is not None)
    by_hand = hand.by_hand(made.program, job.target[1] == "int64")
    texts: dict[str, str] = code.texts(kernels, made.program, by_hand)
    return texts


def _places(net: Any, made: programs.Compiled, memory: Any) -> dict[str, Place]:
    """All memories of a step by name, in the sizes that the steps on a GPU make of them."""
    program, job, many = made.program, made.job, net.members or 1
    inputs = int(np.prod(net.inputs))
    labels = "int64" if job.target[1] == "int64" else program.precision
    found: dict[str, Place] = {}
    for name, array in {
        **programs.arrays_of(net, job.optimizer),
        **made.recording.constants,
    }.items():
        rows = net.members if net.members and array.ndim > 1 else 1
        found[name] = Place(rows, array.size // rows, array.dtype)
    own = {f"arena:{kind}": size for kind, size in program.arena.items()} | dict(program.own)
    for name, size in own.items():
        dtype = memory.stored(name.removeprefix("arena:"))
        found[name] = Place(many, -(-max(size, 1) // _WIDTH) * _WIDTH, dtype)
    return found | {
        "x": Place(1, job.rows * inputs, program.precision),
        "t": Place(1, job.rows * job.target[0], labels),
        "w": Place(1, job.rows, program.precision),
        "numbers": Place(many, made.recording.count, memory.stored(DOUBLE)),
        "scale": Place(many, _WIDTH, program.precision), "key": Place(many, 1, "uint32"),
        "step": Place(1, _WIDTH, "uint32"),
    }  # fmt: skip
