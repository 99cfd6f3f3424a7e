"""Streams: blocks of any length, made into batches, shuffled through a buffer, read ahead."""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp
from gpubp.data import Stream, prefetch
from gpubp.data.prefetch import ahead
from gpubp.seeds import shuffler
from gpubp.source import Block

QUICK = settings(derandomize=True, max_examples=60, deadline=None, database=None)
LENGTHS = st.lists(st.integers(0, 9), max_size=8).filter(any)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not threads()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == prefetch.NAME]


def plain(block: Block) -> Any:
    return tuple(None if a is None else np.asarray(a) for a in (block.x, block.y, block.w))


def cut(lengths: list[int]) -> list[Any]:
    """Rows 0, 1, ... in blocks of these lengths, each with its number as target."""
    ends = np.cumsum(lengths).tolist()
    rows = [np.arange(end - n, end) for end, n in zip(ends, lengths, strict=True)]
    return [(r[:, None].astype(float), r) for r in rows]


def order(source: Stream, size: int, **how: Any) -> list[list[int]]:
    batches = list(source.batches(size, plain, **how))
    assert all(np.array_equal(x[:, 0], t) for x, t, _ in batches)
    return [t.tolist() for _, t, _ in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@QUICK
@given(lengths=LENGTHS, size=st.integers(1, 20), depth=st.integers(0, 2), start=st.integers(0, 3))
def test_batches_know_nothing_of_blocks(
    lengths: list[int], size: int, depth: int, start: int
) -> None:
    n = sum(lengths)
    expected = [list(range(first, min(first + size, n))) for first in range(0, n, size)]
    assert order(Stream(cut(lengths), prefetch=depth), size, start=start) == expected[start:]


@QUICK
@given(
    lengths=LENGTHS,
    size=st.integers(1, 20),
    buffer=st.integers(1, 60),
    depth=st.integers(0, 2),
    epoch=st.integers(0, 2),
    start=st.integers(0, 3),
)
def test_a_buffer_shuffles_the_same_way_whatever_the_blocks(
    lengths: list[int], size: int, buffer: int, depth: int, epoch: int, start: int
) -> None:
    n = sum(lengths)
    how: dict[str, Any] = {"seed": 5, "epoch": epoch}
    whole = order(Stream(cut([n]), buffer=buffer, prefetch=0), size, **how)
    assert order(Stream(cut(lengths), buffer=buffer, prefetch=depth), size, **how) == whole
    again = order(Stream(cut(lengths), buffer=buffer, prefetch=depth), size, **how, start=start)
    assert again == whole[start:]
    assert sorted(flat(whole)) == list(range(n))
    assert [len(batch) for batch in whole[:-1]] == [size] * (len(whole) - 1)
    for number, batch in enumerate(whole):
        assert max(batch) < max(buffer, size) + number * size  # those alone were read by then
    if n <= max(buffer, size):
        assert flat(whole) == shuffler(5, epoch).permutation(n).tolist()


def test_seed_and_epoch_decide() -> None:
    stream = Stream(cut([40]), buffer=10)
    orders = [order(stream, 4, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(each) for each in orders}) == 4
    assert order(stream, 4, seed=1, epoch=1) == orders[3]


def test_a_row_of_the_buffer_is_as_likely_as_any_other() -> None:
    drawn = np.zeros(10)
    for epoch in range(600):
        drawn[order(Stream(cut([20]), buffer=10, prefetch=0), 3, seed=0, epoch=epoch)[0]] += 1
    assert np.all(np.abs(drawn - 180) < 5 * np.sqrt(600 * 0.3 * 0.7))


def test_weights_come_with_their_rows() -> None:
    blocks = [(x, y, y + 0.5) for x, y in cut([7, 5, 9])]
    for seed in (None, 3):
        for x, y, w in Stream(blocks, buffer=8).batches(4, plain, seed=seed):
            assert np.array_equal(x[:, 0], y)
            assert np.array_equal(w, y + 0.5)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("seed", [None, 0])
def test_a_block_may_be_made_in_the_place_of_the_last(depth: int, seed: Any) -> None:
    def parts() -> Iterator[Any]:
        x, y = np.empty((5, 1)), np.empty(5, dtype=int)
        for first in range(0, 40, 5):
            y[:] = np.arange(first, first + 5)
            x[:, 0] = y
            yield x, y

    batches = order(Stream(parts, buffer=12, prefetch=depth), 7, seed=seed)
    assert sorted(flat(batches)) == list(range(40))


# -- what blocks come from ---------------------------------------------------------------------


def test_what_can_be_begun_again_is() -> None:
    made: list[int] = []

    def of_nothing() -> Any:
        made.append(-1)
        return iter(cut([3, 2]))

    def of_epoch(epoch: int) -> Any:
        made.append(epoch)
        return iter(cut([3, 2]))

    def with_default(path: str = "file", epoch: int = 7) -> Any:
        made.append(epoch)
        return cut([3, 2])

    def by_place(number: int) -> Any:
        made.append(10 + number)
        return cut([3, 2])

    for blocks in (cut([3, 2]), tuple(cut([3, 2])), of_nothing, of_epoch, with_default, by_place,
                   lambda path="file": cut([3, 2])):  # fmt: skip
        stream = Stream(blocks)
        assert not stream.once
        for epoch in (0, 4):
            assert order(stream, 5, epoch=epoch) == [[0, 1, 2, 3, 4]]
    assert made == [-1, -1, 0, 4, 0, 4, 10, 14]


def test_the_first_block_is_looked_at_and_not_lost() -> None:
    opened: list[int] = []

    def parts(epoch: int) -> Iterator[Any]:
        opened.append(epoch)
        yield from cut([0, 3, 2])

    stream = Stream(parts)
    for _ in range(2):
        assert stream.first(1).y.tolist() == [0, 1, 2]
    assert order(stream, 5, epoch=1) == [[0, 1, 2, 3, 4]]
    assert opened == [1]
    once = Stream(iter(cut([0, 3, 2])))
    assert once.first(0).y.tolist() == once.first(3).y.tolist() == [0, 1, 2]
    assert once.once
    assert order(once, 5, epoch=3) == [[0, 1, 2, 3, 4]]
    with pytest.raises(gpubp.InputError, match=r"read once already.*Stream\(lambda"):
        order(once, 5)


def test_a_function_that_gives_the_same_iterator_again_is_found_out() -> None:
    one = iter(cut([3, 2]))
    stream = Stream(lambda: one)
    assert order(stream, 5) == [[0, 1, 2, 3, 4]]
    with pytest.raises(gpubp.InputError, match="no rows in epoch 1; does the function make a new"):
        order(stream, 5, epoch=1)


def test_transforms_are_applied_to_blocks_with_rows() -> None:
    seen: list[int] = []

    def less(x: Any) -> Any:
        seen.append(len(x))
        return x - 1

    stream = Stream(cut([2, 0, 3]), transform=less, target_transform=lambda y: y - 1)
    assert order(stream, 5) == [[-1, 0, 1, 2, 3]]
    assert seen == [2, 3]


def test_a_loader_may_give_lists_of_arrays() -> None:
    [(x, y)] = cut([3])
    for blocks in ([[x, y]], [(x, y)], [[x, y, np.ones(3)]]):
        assert order(Stream(blocks), 3) == [[0, 1, 2]]
    for blocks in ([x], [x.tolist()], [(x,)]):
        [(alone, t, w)] = Stream(blocks).batches(3, plain)
        assert (alone.tolist(), t, w) == (x.tolist(), None, None)


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("taken", [1, 100])
def test_the_iterator_of_an_epoch_is_closed(depth: int, taken: int) -> None:
    closed: list[str] = []

    def parts() -> Iterator[Any]:
        try:
            yield from cut([4] * 50)
        finally:
            closed.append("closed")

    class File:
        """An iterator that has to be closed."""

        def __init__(self) -> None:
            self._blocks = iter(cut([4] * 50))

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return next(self._blocks)

        def close(self) -> None:
            closed.append("closed")

    for blocks in (parts, File):
        with closing(Stream(blocks, prefetch=depth).batches(4, plain)) as batches:
            for _ in zip(range(taken), batches, strict=False):
                pass
    assert closed == ["closed"] * 2


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (None, {}, "blocks is None"),
    (3, {}, "blocks is 3"),
    ([], {"n": 0}, "n is 0"),
    ([], {"n": 2.0}, r"n is 2\.0"),
    ([], {"buffer": 0}, "buffer is 0"),
    ([], {"buffer": None}, "buffer is None"),
    ([], {"prefetch": 1.5}, r"prefetch is 1\.5"),
    ([], {"transform": 1}, "transform is 1"),
    (lambda path, epochs: [], {}, "2 parameters without a default"),
]


@pytest.mark.parametrize(("blocks", "options", "message"), REFUSED)
def test_what_is_no_stream_is_refused(blocks: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        Stream(blocks, **options)


X, Y = np.zeros((3, 1)), np.zeros(3)
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    ([], {}, "no rows in epoch 0$"),
    ([(X[:0], Y[:0])], {}, "no rows in epoch 0$"),
    (lambda: None, {}, "the function returned None"),
    ([(X, Y), (X, Y, Y, Y)], {}, "Stream, block 1 has 4 parts"),
    ([(X, Y), ()], {}, "Stream, block 1 has 0 parts"),
    ([(X, Y), (3.0, Y)], {}, "Stream, block 1 is a float; expected an array of rows"),
    ([(X, Y), (X, Y, Y)], {}, "block 1 has targets or weights of another kind"),
    ([(X, Y), (X, Y[:, None])], {}, "block 1 has targets or weights of another kind"),
    ([(X, Y), (X, Y)], {"n": 5}, "block 1: there are more than n=5 rows"),
    ([(X, Y), (X, Y)], {"n": 7}, "there were 6 rows, and n is 7"),
    ([(X, Y)], {"transform": lambda x: x[1:]}, "block 0: transform made 2 rows of 3"),
]


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(("blocks", "options", "message"), WRONG)
def test_blocks_that_do_not_fit_are_named(
    blocks: Any, options: dict[str, Any], message: str, depth: int
) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        list(Stream(blocks, **options, prefetch=depth).batches(2, plain))


# -- reading ahead -----------------------------------------------------------------------------


def test_an_error_comes_with_its_traceback_after_what_was_read() -> None:
    def breaks(number: int) -> Any:
        raise RuntimeError(f"block {number} is broken")

    def parts() -> Iterator[Any]:
        for number, block in enumerate(cut([3] * 5)):
            yield breaks(number) if number == 2 else block

    for depth in (0, 1, 2):
        batches, met = Stream(parts, prefetch=depth).batches(3, plain), []
        with pytest.raises(RuntimeError, match="block 2 is broken") as caught:
            met.extend(t.tolist() for _, t, _ in batches)
        assert met == [[0, 1, 2], [3, 4, 5]]
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert names[-2:] == ["parts", "breaks"]
        assert not threads()


def test_one_thread_works_and_keeps_its_distance() -> None:
    seen: list[tuple[str, int]] = []
    used = 0

    def large() -> Iterator[Any]:
        for _ in range(30):
            seen.append((threading.current_thread().name, used))
            yield (np.zeros(1 << 17),)  # 1 MiB

    for _ in ahead(large(), 2):
        used += 1
    assert {name for name, _ in seen} == {prefetch.NAME}
    # two wait, one is handed over, one is in work
    assert all(number - met <= 4 for number, (_, met) in enumerate(seen))
    seen.clear()
    for _ in ahead(large(), 0):
        assert not threads()
    assert {name for name, _ in seen} == {"MainThread"}


def endless() -> Iterator[Any]:
    while True:
        yield (np.zeros(1),)


def test_the_thread_ends_when_nobody_listens() -> None:
    batches = ahead(endless(), 2)
    assert not threads()  # nothing was asked for yet
    next(batches)
    assert len(threads()) == 1
    batches.close()
    assert not threads()
    batches = ahead(endless(), 1)
    next(batches)
    del batches
    gc.collect()
    assert not threads()


def test_a_read_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_PATIENCE", 0.05)
    go_on = threading.Event()

    def hangs() -> Iterator[Any]:
        yield (np.zeros(1),)
        go_on.wait(60)
        yield (np.zeros(1),)

    batches = ahead(hangs(), 2)
    next(batches)
    batches.close()
    [thread] = threads()
    assert thread.daemon
    go_on.set()
    thread.join(60)


def test_numpy_warns_in_the_thread_as_it_does_here() -> None:
    def divides() -> Iterator[Any]:
        for _ in range(3):
            yield (np.ones(2) / np.zeros(2),)

    with np.errstate(divide="ignore"):
        assert len(list(ahead(divides(), 2))) == 3
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(ahead(divides(), 2))
