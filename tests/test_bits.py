"""Random bits: uniform, independent, and the same on every device."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from gpubp import bits
from gpubp.backend import Backend
from gpubp.backends.cpu import CpuBackend

SIDE = 256
N = SIDE * SIDE
CPU = CpuBackend(0, "float32")
ORIGINS = [(0, 0, 0), (1, 0, 0), (0, 0xFFFFFFFF, 1), (0xDEADBEEF, 12345, 99), (7, 7, 0xFFFFFFFF)]


def draw(key: int = 3, stream: int = 5, step: int = 7, be: Backend = CPU) -> Any:
    drawn = be.bits(SIDE, SIDE, be.asarray([[key]], "uint32"), stream, step)
    return be.to_numpy(drawn)


def test_mix_is_the_finaliser_of_murmurhash3() -> None:
    """Values that other implementations of the function give."""
    given = bits.mix(np, np.asarray([0, 1, 2, 0xFFFFFFFF, 0xDEADBEEF], dtype=np.uint32))
    expected = [0x0, 0x514E28B7, 0x30F4C306, 0x81F16F39, 0x0DE5C6A9]
    assert given.tolist() == expected


def test_mix_and_so_a_draw_never_meets_a_value_twice() -> None:
    assert np.unique(draw()).size == N


RECORDED = [
    ((0, 0, 0), [560612905, 2267143431, 3921971166, 1829373564]),
    ((0xDEADBEEF, 12345, 99), [1888048390, 2717563960, 1802263524, 629896367]),
    ((7, 7, 0xFFFFFFFF), [1517115516, 1897901605, 1380810814, 1346841990]),
]


@pytest.mark.parametrize(("origin", "expected"), RECORDED)
def test_the_bits_are_those_of_the_first_release(
    origin: tuple[int, int, int], expected: list[int]
) -> None:
    """A network that is resumed by a later version must draw the masks that it drew before."""
    assert draw(*origin)[:2, :2].reshape(-1).tolist() == expected


def chi_square_is_plausible(counts: Any) -> bool:
    """Whether counts of equally likely cells lie within five standard deviations."""
    expected = counts.sum() / counts.size
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.size - 1
    return bool(abs(statistic - freedom) < 5 * math.sqrt(2 * freedom))


def bits_are_plausible(words: Any) -> bool:
    """Whether each of the 32 bits is set half of the time, within five standard deviations."""
    ones = ((words.reshape(-1, 1) >> np.arange(32, dtype=np.uint32)) & 1).sum(axis=0)
    return bool((np.abs(ones - words.size / 2) < 5 * math.sqrt(words.size) / 2).all())


def bytes_are_plausible(words: Any) -> bool:
    parts = [(words >> np.uint32(shift)) & 255 for shift in (0, 8, 16, 24)]
    return all(chi_square_is_plausible(np.bincount(p.ravel(), minlength=256)) for p in parts)


@pytest.mark.parametrize("origin", ORIGINS)
def test_bits_and_bytes_are_uniform(origin: tuple[int, int, int]) -> None:
    words = draw(*origin)
    assert bits_are_plausible(words)
    assert bytes_are_plausible(words)


base = draw()
PAIRS = {
    "neighbours": (base[:, :-1], base[:, 1:]),
    "rows": (base[:-1], base[1:]),
    "steps": (base, draw(step=8)),
    "streams": (base, draw(stream=6)),
    "keys": (base, draw(key=4)),
    "key and stream": (base, draw(key=4, stream=4)),
    "stream and step": (base, draw(stream=4, step=8)),
    "shift": (base[:, 1:], draw(step=8)[:, :-1]),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_two_draws_know_nothing_of_each_other(pair: str) -> None:
    first, second = (np.ascontiguousarray(words) for words in PAIRS[pair])
    assert bits_are_plausible(first ^ second)
    assert bytes_are_plausible(first ^ second)
    for shift in (0, 13, 28):  # the joint distribution of four bits of each
        cells = ((first >> np.uint32(shift)) & 15) * 16 + ((second >> np.uint32(shift)) & 15)
        assert chi_square_is_plausible(np.bincount(cells.ravel(), minlength=256))
    correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert abs(correlation) < 5 / math.sqrt(first.size)


@pytest.mark.parametrize("origin", ORIGINS)
def test_every_device_draws_the_same(backend: Backend, origin: tuple[int, int, int]) -> None:
    assert np.array_equal(draw(*origin, be=backend), draw(*origin))


def test_members_draw_what_each_would_alone(backend: Backend) -> None:
    keys = backend.asarray(np.asarray([4, 9, 2]).reshape(3, 1, 1), "uint32")
    together = backend.to_numpy(backend.bits(SIDE, SIDE, keys, 5, 7))
    for k, key in enumerate((4, 9, 2)):
        assert np.array_equal(together[k], draw(key))


def test_all_of_key_stream_and_step_count() -> None:
    """No two of many nearby draws begin alike."""
    first = {
        tuple(CPU.bits(1, 2, CPU.asarray([[k]], "uint32"), stream, step).ravel().tolist())
        for k, stream, step in itertools.product(range(12), repeat=3)
    }
    assert len(first) == 12**3
