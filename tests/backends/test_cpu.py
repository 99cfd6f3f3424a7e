"""The CPU's own: no silent conversion, updates block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backends.cpu import _BLOCK, CpuBackend
from gpubp.optimizers.adam import adam_update
from tests.conftest import rng

NUMBERS = gpubp.Adam().numbers(3, 0.01)


@pytest.mark.parametrize("how", ["write", "accumulate", "write_matmul", "update"])
def test_float64_is_not_written_into_a_float32_array(how: str) -> None:
    be = CpuBackend(0, "float32")
    out, wide = be.zeros((2, 2)), np.ones((2, 2))
    calls: dict[str, Any] = {
        "write": lambda: be.write(out, wide),
        "accumulate": lambda: be.accumulate(out, wide),
        "write_matmul": lambda: be.write_matmul(out, wide, wide),
        "update": lambda: be.update(lambda xp, w: (w + wide,), [out], [], [], True),
    }
    with pytest.raises(TypeError, match=r"[Cc]annot cast"):
        calls[how]()
    assert not out.any()


@pytest.mark.parametrize("size", [1, _BLOCK - 1, _BLOCK, _BLOCK + 1, 2 * _BLOCK + 5])
@pytest.mark.parametrize("members", [None, 3, 40])
@pytest.mark.parametrize("masked", [False, True])
def test_an_update_by_blocks_is_the_whole_update(
    precision: str, size: int, members: int | None, masked: bool
) -> None:
    if members == 40:
        size = max(1, size // 32)  # the block of that many members is 1024 elements of each
    shape = (size,) if members is None else (members, size)
    w, m, v, g = (rng(i).uniform(0.1, 1.0, shape).astype(precision) for i in range(4))
    ok: Any = True
    if masked:
        ok = np.ones((1,) if members is None else (members, 1), dtype=bool)
        ok[-1] = members is None
    state = [w.copy(), m.copy(), v.copy()]
    CpuBackend(0, precision).update(adam_update, state, [g], NUMBERS, ok)
    whole = adam_update(np, w, m, v, g, *NUMBERS)
    for now, new, old in zip(state, whole, (w, m, v), strict=True):
        assert np.array_equal(now, np.where(ok, new, old))


def test_there_is_one_cpu() -> None:
    assert gpubp.select("cpu:0").device == "cpu"
    with pytest.raises(gpubp.DeviceError, match="device 'cpu:1': there is one CPU; use 'cpu'"):
        gpubp.select("cpu:1")


def test_the_devices_own_arrays_are_taken_without_a_copy() -> None:
    be = CpuBackend(0, "float64")
    x = np.ones((2, 3))
    assert be.asarray(x) is x
    assert be.adopt(x) is x


def test_a_warning_on_the_way_to_a_refused_step_is_not_shown() -> None:
    be = CpuBackend(0, "float32")
    with be.activate():
        big = be.asarray([1e38]) * 10.0
        assert be.to_numpy(big - big).tolist() != [0.0]
    with pytest.warns(RuntimeWarning, match="overflow"):
        be.asarray([1e38]) * 10.0
