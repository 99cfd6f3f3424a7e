"""Loops that compiled steps call, as the Python they are."""

from __future__ import annotations

import numpy as np
import pytest

from gpubp.backends.loops import gather, scatter, take, total_max, total_min, total_sum


def test_take_copies_the_rows_of_its_part() -> None:
    data = np.arange(12.0).reshape(4, 3)
    out = np.full(9, np.nan)
    order = np.asarray([3, 1, 0, 2])
    take(data, order, 1, 0, 2, out)
    take(data, order, 1, 2, 3, out)
    assert np.array_equal(out.reshape(3, 3), data[[1, 0, 2]])


def test_take_leaves_the_rows_of_others() -> None:
    out = np.full(4, 7.0)
    take(np.ones((4, 2)), np.arange(4), 0, 1, 2, out)
    assert out.tolist() == [7.0, 7.0, 1.0, 1.0]


@pytest.mark.parametrize(("rows", "n", "d"), [(1, 1, 1), (7, 3, 2), (2, 5, 1)])
def test_gather_and_scatter_are_numpys(rows: int, n: int, d: int) -> None:
    rng = np.random.default_rng(0)
    index, table = rng.integers(0, n, rows), rng.normal(size=(n, d))
    out = np.full((rows, d), np.nan)
    gather(out, table, index)
    assert np.array_equal(out, table[index])
    added, expected = np.full((n, d), np.nan), np.zeros((n, d))
    scatter(added, index, out)
    np.add.at(expected, index, out)
    assert np.array_equal(added, expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_totals_are_numpys_and_keep_nan(threads: int) -> None:
    parts = np.random.default_rng(0).normal(size=(threads, 4))
    parts[-1, 1], parts[0, 2], parts[-1, 3] = np.nan, np.nan, np.inf
    for total, reduce in ((total_sum, np.sum), (total_max, np.max), (total_min, np.min)):
        out = np.full(4, 9.0)
        total(out, parts, 0, 1)
        total(out, parts, 1, 4)
        assert np.allclose(out, reduce(parts, axis=0), rtol=1e-15, atol=1e-15, equal_nan=True)


def test_totals_leave_the_gaps_between_parts_alone() -> None:
    parts = np.asarray([[1.0, np.nan], [2.0, np.nan]])
    out = np.zeros(1)
    total_sum(out, parts, 0, 1)
    assert out.tolist() == [3.0]
