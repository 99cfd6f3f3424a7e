"""Small computations, recorded, for the tests of what becomes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpubp
from gpubp.program.calls import Program
from gpubp.program.program import build
from gpubp.program.recorder import Recorder, RecordingBackend
from gpubp.program.replay import Replay
from gpubp.program.tensors import Window
from gpubp.program.values import FLOAT
from gpubp.recording import Recording, Shadow

NETWORKS: dict[str, tuple[gpubp.Layer, int]] = {
    "mlp": (gpubp.MLP([4], 2), 3),
    "residual": (
        gpubp.Sequential(
            gpubp.layers.Residual(
                gpubp.Sequential(
                    gpubp.layers.LayerNorm(), gpubp.Linear(4), gpubp.layers.Dropout(0.5)
                )
            ),
            gpubp.Linear(2),
        ),
        4,
    ),
}
"""Networks whose programs lie in `golden` as text."""


def recording(name: str, rows: int = 5) -> Recording:
    layer, inputs = NETWORKS[name]
    net = gpubp.Network(layer, inputs=inputs, dtype="float64")
    optimizer = gpubp.Momentum(0.1)
    return Shadow(net, optimizer, rows).record(gpubp.CrossEntropy(), optimizer, (1, "int64"), False)


class Sheet:
    """A recorder with named memories, and what becomes of their numbers in a replay.

    >>> sheet = Sheet(a=[1.0, 2.0])
    >>> sheet.recorder.write(sheet["a"].region, sheet["a"] + 1.0)
    >>> sheet.after()["a"].tolist()
    [2.0, 3.0]
    """

    def __init__(self, **memories: Any) -> None:
        self.be = RecordingBackend("float64")
        self.recorder: Recorder = self.be.recorder
        self.memories = {n: np.asarray(a, np.float64) for n, a in memories.items()}

    def __getitem__(self, name: str) -> Window:
        array = self.memories[name]
        if array.ndim == 1:
            return self.recorder.memory(name, array.size)
        return self.recorder.leaf(name, array.shape, FLOAT, rows=array.shape[0])

    def program(self, threads: int = 1) -> Program:
        return build(self.recorder.phases, "float64", threads)

    def after(self, threads: int = 1) -> dict[str, Any]:
        held = {n: a.reshape(-1).copy() for n, a in self.memories.items()}
        Replay(self.program(threads), held | self.recorder.constants).step({})
        return held
