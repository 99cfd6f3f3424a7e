"""Whole training steps as CUDA, of networks that go every way of the printer; and random ones."""

from __future__ import annotations

from typing import Any

import gpubp
from gpubp.backends import cuda_code
from gpubp.backends.cuda_layout import Blocks
from gpubp.backends.cuda_text import by_hand
from gpubp.layers import BatchNorm, Dropout, LayerNorm, Residual
from gpubp.program.calls import Program
from gpubp.program.program import build
from gpubp.program.values import HALVES
from gpubp.recording import Recording, recorded
from tests.fuzz.cases import draw
from tests.fuzz.paths import record

_MLP, _CLASSES = gpubp.MLP([128], 10), (1, "int64")


def _block(width: int) -> gpubp.Layer:
    body = [LayerNorm(), gpubp.Linear(width), gpubp.Activation("relu"), Dropout(0.1)]
    return gpubp.Sequential(Residual(gpubp.Sequential(*body)), gpubp.Linear(10))


_NORMED = gpubp.Sequential(  # of any width, and with few weights
    gpubp.Activation("gelu"), LayerNorm(), gpubp.Activation("relu"), Dropout(0.1),
    gpubp.Linear(10),
)  # fmt: skip

STEPS: dict[str, tuple[gpubp.Layer, int, gpubp.Optimizer, int, str, int | None, str]] = {
    "mlp": (_MLP, 784, gpubp.Adam(), 128, "float32", None, ""),
    "mlp float64": (_MLP, 784, gpubp.Adam(), 128, "float64", None, ""),
    "mlp bf16": (_MLP, 784, gpubp.Adam(), 128, "float32", None, "bf16"),
    "mlp fp16": (_MLP, 784, gpubp.Adam(), 128, "float32", None, "fp16"),
    "ensemble": (gpubp.MLP([32], 10), 784, gpubp.Momentum(0.1), 64, "float32", 8, ""),
    "residual": (_block(256), 256, gpubp.AdamW(), 256, "float32", None, ""),
    "wide": (_NORMED, 4096, gpubp.Adam(), 8192, "float32", None, "bf16"),
    "too wide for registers": (_NORMED, 40000, gpubp.Adam(), 64, "float32", None, ""),
    "widest in registers": (_NORMED, 16384, gpubp.Adam(), 64, "float32", None, ""),
    "batch norm": (
        gpubp.Sequential(gpubp.Linear(96), BatchNorm(), gpubp.Activation("gelu"),
                         gpubp.Linear(10)),
        30, gpubp.Adam(clip=gpubp.ClipGlobalNorm(1.0)), 50, "float32", None, "",
    ),
}  # fmt: skip
"""Layer, features, optimizer, rows, precision, members, and the 16-bit numbers of products."""


def texts() -> dict[str, tuple[str, str]]:
    """Return the module of each step, and its precision, by name."""
    return {name: (_module(*step), step[4]) for name, step in STEPS.items()}


def random_texts(first: int, count: int) -> dict[str, tuple[str, str]]:
    """Return the modules of the fuzzer's cases from number `first` on."""
    found: dict[str, tuple[str, str]] = {}
    number = first
    while len(found) < count:
        given = draw(0, number, "float32")
        recording = record(given)
        if not recording.passages:
            program = _program(recording, "")
            labels = str(given.t.dtype) == "int64"
            text = module(program, given.net.members is not None, labels)
            found[f"random {number}"] = text, "float32"
        number += 1
    return found


def module(program: Program, members: bool, labels: bool) -> str:
    """Return the text of a program over arrays that begin at 16 bytes."""
    item = 4 if program.precision == "float32" else 8
    aligned = cuda_code.printed(program, lambda b: b.start * item % 16 == 0, members)
    return cuda_code.module(aligned, program, by_hand(program, labels))


def _module(
    layer: gpubp.Layer, inputs: int, method: Any, rows: int, precision: str, members: int | None,
    half: str,
) -> str:  # fmt: skip
    net = gpubp.Network(layer, inputs, dtype=precision, members=members)
    recording = recorded(net, method, rows, gpubp.CrossEntropy(), _CLASSES, False, half == "fp16")
    return module(_program(recording, half), members is not None, True)


def _program(recording: Recording, half: str) -> Program:
    assert half in ("", *HALVES)
    blocks = Blocks(recording.precision)
    return build(recording.phases, recording.precision, sharing=blocks, half=half)
