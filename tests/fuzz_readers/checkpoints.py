"""Checkpoints, from which training goes on or is refused with nothing changed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import gpubp
from gpubp.errors import InputError, NonFiniteError

_X, _Y = np.arange(12.0).reshape(6, 2) / 12, np.arange(6) % 2
_FITS: list[dict[str, Any]] = [
    {"optimizer": gpubp.Adam(0.01), "batch_size": 4, "validation": (_X, _Y)},
    {"optimizer": gpubp.EMA(gpubp.Momentum(0.01)), "batch_size": 2},
]


def _net(number: int) -> gpubp.Network:
    return gpubp.Network(
        gpubp.MLP([3], 2, norm="batch"), inputs=2, seed=number, members=(None, 2)[number]
    )


def _seeds() -> list[bytes]:
    found = []
    for number, how in enumerate(_FITS):
        with tempfile.TemporaryDirectory() as folder:
            where = gpubp.Checkpoints(folder)
            _net(number).fit(_X, _Y, epochs=2, checkpoint=where, **how)
            found += [path.read_bytes() for path in where.files()]
    return found


def _resume(data: bytes) -> None:
    for number, how in enumerate(_FITS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint-000001-000000.safetensors"
            path.write_bytes(data)
            net = _net(number)
            before = net.theta.tobytes()
            try:
                net.fit(_X, _Y, epochs=2, checkpoint=folder, resume=True, **how)
            except NonFiniteError:
                continue
            except InputError:
                if net.theta.tobytes() != before:
                    raise AssertionError("a file that was refused changed the network") from None


TARGETS = {"checkpoint": (_resume, _seeds())}
