"""Counter-based random bits: a function of (key, stream, step, row, column) and nothing else.

Equal on every device, and after replay, capture or resume, for it uses nothing but wrapping
operations on 32-bit unsigned integers. The mixing function is the finaliser of MurmurHash3
(Appleby, public domain), a bijection on 32 bits; two rounds of it with two key words give every
element of an array its own input, so no two elements of one draw can collide.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Array: TypeAlias = Any
Namespace: TypeAlias = Any

_GOLDEN = 0x9E3779B1


def mix(xp: Namespace, h: Array) -> Array:
    """Mix the bits of `h` (uint32, any shape).

    >>> import numpy as np
    >>> [hex(h) for h in mix(np, np.asarray([0, 1, 2], dtype=np.uint32))]
    ['0x0', '0x514e28b7', '0x30f4c306']
    """
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    return h ^ (h >> 16)


def words(xp: Namespace, key: Array, stream: Array, step: Array) -> tuple[Array, Array]:
    """Return the two key words of one draw (uint32, the broadcast shape of the arguments)."""
    first = mix(xp, mix(xp, mix(xp, key + _GOLDEN) ^ stream) + step)
    return first, mix(xp, first ^ _GOLDEN)


def bits(xp: Namespace, index: Array, first: Array, second: Array) -> Array:
    """Return 32 random bits for each `index` (uint32: row times columns plus column)."""
    return mix(xp, mix(xp, index * _GOLDEN + first) ^ second)
