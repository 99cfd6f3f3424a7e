"""Are the random bits of `gpubp.bits` the same on the host and on the device?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpubp.bits import bits, words

from . import Result, Row, attempt, gpu, kernels

SHAPES = ((1,), (7, 13), (256, 784), (3, 5, 1031), (4096, 1024))
KEYS = ((0, 0, 0), (7, 1, 12345), (0xFFFFFFFF, 0x80000000, 0xFFFFFFFE))


def probe() -> Iterator[Row]:
    """Compare exactly: by CuPy's operators, in an ElementwiseKernel and in a RawKernel."""
    cp = gpu()
    for shape in SHAPES:
        for key in KEYS:
            name = f"shape {shape}, key {key[0]:#x} stream {key[1]:#x} step {key[2]:#x}"
            yield name, attempt(compare, cp, shape, key)


def compare(cp: Any, shape: tuple[int, ...], key: tuple[int, int, int]) -> Result:
    """Return how many of the words differ from NumPy's, for each way."""
    expected = draw(np, shape, key)
    made = cp.empty(shape, "u4"), cp.empty(shape, "u4")
    for out in made:
        out.fill(0xA5A5A5A5)  # poison
    first, second = words(cp, *(cp.asarray([word], dtype="u4") for word in key))
    kernels.elementwise_bits(cp)(cp.concatenate([first, second]), made[0])
    kernels.raw_bits(cp)(made[1], cp.asarray(key, dtype="u4"))
    ways = {"operators": draw(cp, shape, key), "ElementwiseKernel": made[0], "RawKernel": made[1]}
    differ = {f"{name} differ": different(expected, got) for name, got in ways.items()}
    return {"equal": not any(differ.values()), "words": expected.size, **differ}


def draw(xp: Any, shape: tuple[int, ...], key: tuple[int, int, int]) -> Any:
    """Return the bits by the functions of gpubp, written over a namespace."""
    first, second = words(xp, *(xp.asarray([word], dtype="u4") for word in key))
    return bits(xp, xp.arange(math.prod(shape), dtype="u4"), first, second).reshape(shape)


def different(expected: Any, got: Any) -> int:
    """Return the number of words that differ; all of them for another type."""
    if got.dtype != expected.dtype:
        return int(expected.size)
    return int(np.count_nonzero(got.get() != expected))
