"""Rows: read as they are asked for, in any order, transformed batch by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp
from gpubp.data import Rows, Table, sources
from gpubp.seeds import shuffler
from gpubp.source import Block

X = np.random.default_rng(1).normal(size=(23, 3)).astype(np.float32)
Y = np.arange(23) % 2
W = np.linspace(0, 2, 23)
QUICK = settings(derandomize=True, max_examples=50, deadline=None, database=None)


class OnDisk:
    """As a data set of h5py: slices and rising index arrays alone; it keeps count of its reads."""

    def __init__(self, array: Any) -> None:
        self._array, self.shape, self.most = array, array.shape, 0

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, slice):
            assert np.all(np.diff(rows) > 0), "indices must be rising"
        read = self._array[rows]
        self.most = max(self.most, len(read))
        return read


def plain(block: Block) -> Any:
    """Take everything as it is."""
    return tuple(None if a is None else np.asarray(a) for a in (block.x, block.y, block.w))


def all_of(source: Rows, size: int = 4, **order: Any) -> list[Any]:
    return [tuple(None if a is None else a.tolist() for a in batch)
            for batch in source.batches(size, plain, **order)]  # fmt: skip


@QUICK
@given(
    size=st.integers(1, 30),
    seed=st.none() | st.integers(0, 2),
    epoch=st.integers(0, 2),
    start=st.integers(0, 5),
    prefetch=st.integers(0, 2),
    chosen=st.none() | st.lists(st.integers(0, 22), min_size=1),
    on_disk=st.booleans(),
)
def test_batches_are_the_rows_in_that_order(
    size: int, seed: Any, epoch: int, start: int, prefetch: int, chosen: Any, on_disk: bool
) -> None:
    kind: Any = OnDisk if on_disk else np.asarray
    source = Rows(kind(X), kind(Y), w=kind(W), rows=chosen, prefetch=prefetch)
    rows = np.arange(23) if chosen is None else np.asarray(chosen)
    assert source.n == len(rows)
    if seed is not None:
        rows = rows[shuffler(seed, epoch).permutation(len(rows))]
    cut = [rows[first : first + size] for first in range(0, len(rows), size)]
    expected = [(X[r].tolist(), Y[r].tolist(), W[r].tolist()) for r in cut[start:]]
    assert all_of(source, size, epoch=epoch, seed=seed, start=start) == expected


def test_rows_come_in_reads_of_a_few_thousand_whatever_the_batch() -> None:
    narrow, wide = OnDisk(np.zeros((20_000, 2))), OnDisk(np.zeros((300, 20_000)))
    for _ in Rows(narrow).batches(10, plain, seed=1):
        pass
    for _ in Rows(wide).batches(4, plain, seed=1):
        pass
    assert 1000 < narrow.most <= 4096
    assert wide.most == 4  # a row has 160 kB
    source = OnDisk(np.zeros((20_000, 2)))
    for _ in Rows(source).batches(5000, plain):
        pass
    assert source.most == 5000


def test_what_was_skipped_is_not_read() -> None:
    source = OnDisk(np.zeros((20_000, 2)))
    assert len(list(Rows(source, prefetch=0).batches(10, plain, start=1990))) == 10
    assert source.most == 100


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_transform_may_use_its_array_again(
    prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_MOST", 4)  # rows that are read at once
    room, labels = np.empty((4, 3)), np.empty(4)

    def double(x: Any) -> Any:
        return np.multiply(x, 2, out=room[: len(x)])

    def less(y: Any) -> Any:
        return np.subtract(y, 1, out=labels[: len(y)])

    source = Rows(X, Y, transform=double, target_transform=less, prefetch=prefetch)
    batches = list(source.batches(2, plain))
    assert np.array_equal(np.concatenate([x for x, _, _ in batches]), 2 * X)
    assert np.array_equal(np.concatenate([t for _, t, _ in batches]), Y - 1)


def test_rows_of_a_table_are_made_features() -> None:
    town = np.asarray(["Ulm", "Bonn", "Ulm"], dtype=object)
    table = Table({"age": np.asarray([1.0, 2.0, 3.0]), "town": town})

    def features(some: Table) -> Any:
        return np.stack([some["age"], some["town"] == "Ulm"], axis=1).astype(float)

    source = Rows(table, table["town"], rows=[2, 1], transform=features,
                  target_transform=lambda names: (names == "Ulm").astype(int))  # fmt: skip
    assert all_of(source) == [([[3.0, 1.0], [2.0, 0.0]], [1, 0], None)]
    other = Rows(Table({"age": table["age"], "town": np.roll(town, 1)}))
    assert len({source.told(), other.told(), Rows(table).told()}) == 3
    with pytest.raises(gpubp.InputError, match="Rows: x is a table; make numbers of it"):
        other.first(0)


def test_a_mask_chooses_rows_as_their_numbers_do() -> None:
    mask = np.arange(23) % 5 == 0
    assert all_of(Rows(X, Y, rows=mask)) == all_of(Rows(X, Y, rows=np.flatnonzero(mask)))
    assert all_of(Rows(X, Y, rows=[0, 5])) == all_of(Rows(X, Y, rows=np.asarray([0, 5], "uint8")))


def test_a_memory_map_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for seed in (None, 3):
        assert all_of(Rows(mapped, Y), seed=seed) == all_of(Rows(X, Y), seed=seed)
    [(x, _, _)] = Rows(mapped, prefetch=0).batches(23, plain)
    assert not isinstance(x, np.memmap)
    assert not np.shares_memory(x, mapped)


def test_what_it_says_of_itself_follows_the_data() -> None:
    first = Rows(X, Y).told()
    assert first == Rows(X, Y, prefetch=0).told() == Rows(OnDisk(X), OnDisk(Y)).told()
    others = [Rows(X), Rows(X, Y, rows=np.arange(22)), Rows(X + 1, Y), Rows(X, 1 - Y)]
    assert len({first, *(other.told() for other in others)}) == 5


def test_lists_frames_and_tensors_are_arrays() -> None:
    assert all_of(Rows(X.tolist(), Y.tolist()), 23) == all_of(Rows(X, Y), 23)

    class Frame:
        """As one of pandas: indexed by columns, and an array on request."""

        shape, iloc = X.shape, None

        def __array__(self, *_: Any, **__: Any) -> Any:
            return X

        def __getitem__(self, name: str) -> Any:
            raise KeyError(name)

    assert all_of(Rows(Frame(), Y)) == all_of(Rows(X, Y))


class OnADevice:
    """An array that no host can read."""

    shape = (23, 3)

    def __dlpack__(self) -> Any:
        raise RuntimeError

    def __array__(self, *_: Any) -> Any:
        raise TypeError("copy it to the host first")


REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((None,), {}, "x is None"),
    ((3.0,), {}, "x has no rows"),
    ((X, Y[:4]), {}, "x has 23 rows and y has 4"),
    ((X, Y), {"w": W[:1]}, "x has 23 rows and w has 1"),
    ((X, 1), {}, "y has no rows"),
    ((X[:0],), {}, "no rows; give at least one"),
    ((X,), {"rows": []}, "no rows; give at least one"),
    ((X,), {"rows": [23]}, r"rows holds 23; there are the rows 0\.\.22"),
    ((X,), {"rows": [0, -1]}, "rows holds -1"),
    ((X,), {"rows": [0.5]}, "dtype float64; expected row numbers"),
    ((X,), {"rows": [[0]]}, r"shape \(1, 1\)"),
    ((X,), {"rows": [True, False]}, r"or a mask \(23,\)"),
    ((X,), {"prefetch": -1}, "prefetch is -1"),
    ((X,), {"prefetch": True}, "prefetch is True"),
    ((X,), {"transform": 3}, "transform is 3"),
    ((X,), {"target_transform": "log"}, "target_transform is 'log'"),
    ((OnADevice(),), {}, "copy it to the host first"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), REFUSED)
def test_what_does_not_fit_together_is_refused(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        Rows(*arguments, **options)


@pytest.mark.parametrize("name", ["transform", "target_transform"])
def test_a_transform_gives_a_row_for_each(name: str) -> None:
    fewer: Any = {name: lambda rows: rows[1:]}
    with pytest.raises(gpubp.InputError, match=f"Rows: {name} made 22 rows of 23"):
        list(Rows(X, Y, **fewer).batches(23, plain))
    nothing: Any = {name: lambda rows: None}
    with pytest.raises(gpubp.InputError, match=f"Rows, {name} is a NoneType"):
        list(Rows(X, Y, **nothing).batches(23, plain))
