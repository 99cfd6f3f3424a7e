"""Splits, folds and class weights: every row once, every class its share, one seed one draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp
from gpubp.data import class_weights, folds, split

QUICK = settings(derandomize=True, max_examples=60, deadline=None, database=None)
LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=60)


def partition(n: int, *parts: Any) -> bool:
    """Whether the parts are sorted, int64, and have each row once between them."""
    good = all(p.dtype == np.int64 and bool(np.all(np.diff(p) > 0)) for p in parts)
    return good and sorted(np.concatenate(parts).tolist()) == list(range(n))


def counts(labels: Any, rows: Any) -> list[int]:
    labels = np.asarray(labels)
    return [int(np.sum(labels[rows] == c)) for c in np.unique(labels)]


@QUICK
@given(n=st.integers(2, 200), test=st.floats(0.01, 0.99), seed=st.integers(0, 3))
def test_a_number_of_rows_is_split_by_its_share(n: int, test: float, seed: int) -> None:
    kept, held_out = split(n, test, seed=seed)
    assert partition(n, kept, held_out)
    assert len(held_out) == min(max(int(np.floor(test * n + 0.5)), 1), n - 1)


@QUICK
@given(labels=LABELS, test=st.floats(0.01, 0.99), seed=st.integers(0, 3))
def test_each_class_has_its_share(labels: list[int], test: float, seed: int) -> None:
    of_class = np.bincount(labels)
    of_class = of_class[of_class > 0]
    if of_class.max() == 1:
        with pytest.raises(gpubp.InputError, match="stratify=False"):
            split(labels, test, seed=seed)
        return
    kept, held_out = split(labels, test, seed=seed)
    assert partition(len(labels), kept, held_out)
    for n, out in zip(of_class.tolist(), counts(labels, held_out), strict=True):
        assert 1 <= out <= n - 1 if n > 1 else out == 0
    wanted = min(max(int(np.floor(test * len(labels) + 0.5)), 1), len(labels) - 1)
    least, most = np.minimum(of_class - 1, 1).sum(), (of_class - 1).sum()
    assert len(held_out) == min(max(wanted, least), most)
    if least <= wanted <= most and of_class.min() * min(test, 1 - test) >= 1:  # no bound matters
        quota = of_class * wanted / len(labels)
        assert np.all(np.abs(np.asarray(counts(labels, held_out)) - quota) < 1)


def test_the_largest_remainders_take_what_is_left() -> None:
    labels = [0] * 14 + [1] * 7 + [2] * 9  # 15 of 30: 7, 3.5, 4.5; the first of equal ones
    assert counts(labels, split(labels, 15)[1]) == [7, 4, 4]
    labels = [0] * 13 + [1] * 8 + [2] * 9  # 10 of 30: 4.33, 2.67, 3
    assert counts(labels, split(labels, 10)[1]) == [4, 3, 3]


def test_a_share_gives_way_to_classes_and_a_number_does_not() -> None:
    labels = np.arange(20) // 2  # ten classes of two rows
    assert len(split(labels, 0.2)[1]) == 10
    with pytest.raises(gpubp.InputError, match="it can be 10 to 10"):
        split(labels, 4)
    assert len(split(labels, 4, stratify=False)[1]) == 4
    rare = [0] * 9 + [1]
    for seed in range(20):
        assert 9 in split(rare, 0.5, seed=seed)[0]


def test_every_row_is_drawn_as_often() -> None:
    drawn = sum(np.bincount(split(10, 3, seed=s)[1], minlength=10) for s in range(1000))
    assert np.all(np.abs(drawn - 300) < 5 * np.sqrt(1000 * 0.3 * 0.7))
    labels = [0, 1] * 5
    drawn = sum(np.bincount(split(labels, 4, seed=s)[1], minlength=10) for s in range(1000))
    assert np.all(np.abs(drawn - 400) < 5 * np.sqrt(1000 * 0.4 * 0.6))


def test_the_seed_alone_decides() -> None:
    first, again = split(100), split(100)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], split(100, seed=1)[1])
    assert split(12, 4, seed=5)[1].tolist() == [1, 2, 3, 5]  # on every platform


def test_the_kind_of_labels_makes_no_difference() -> None:
    codes = np.random.default_rng(0).integers(0, 3, 50)
    expected = split(codes, seed=3)[1].tolist()
    names = np.asarray(["a", "b", "c"])[codes]
    same: list[Any] = [names, names.tolist(), names.astype(object), codes.astype(np.uint8),
                       codes.astype(object), tuple(codes.tolist())]  # fmt: skip
    for labels in same:
        assert split(labels, seed=3)[1].tolist() == expected
    assert split(codes == 1, seed=3)[1].tolist() == split((codes == 1) + 0, seed=3)[1].tolist()


def test_numbers_are_no_classes() -> None:
    by_number = split(30, seed=2)[1].tolist()
    assert split(np.linspace(0, 1, 30), seed=2)[1].tolist() == by_number
    assert split(np.zeros((30, 2)), seed=2)[1].tolist() == by_number
    assert split(np.arange(30) % 3, stratify=False, seed=2)[1].tolist() == by_number


@QUICK
@given(labels=LABELS, k=st.integers(2, 7), seed=st.integers(0, 3))
def test_folds_hold_out_each_row_once(labels: list[int], k: int, seed: int) -> None:
    if k > len(labels):
        return
    for given_rows, stratified in ((labels, True), (len(labels), False)):
        parts = folds(given_rows, k, seed=seed)
        assert len(parts) == k
        assert all(partition(len(labels), *pair) for pair in parts)
        tests = [held_out for _, held_out in parts]
        assert sorted(np.concatenate(tests).tolist()) == list(range(len(labels)))
        sizes = [len(rows) for rows in tests]
        assert max(sizes) - min(sizes) <= 1
        if stratified:
            of_fold = np.asarray([counts(labels, rows) for rows in tests])
            assert np.all(of_fold.max(axis=0) - of_fold.min(axis=0) <= 1)


@QUICK
@given(labels=LABELS)
def test_weighted_classes_weigh_the_same(labels: list[int]) -> None:
    names = sorted(set(labels))
    weights = class_weights(labels, names)
    n = np.asarray([labels.count(name) for name in names])
    assert np.allclose(n * weights, len(labels) / len(names), rtol=1e-14)
    codes = [names.index(label) for label in labels]
    assert class_weights(codes) == weights == class_weights(codes, len(names))
    assert class_weights([f"name {label}" for label in labels]) == weights


def test_class_weights_are_those_of_the_loss() -> None:
    y = np.asarray([0, 0, 0, 1, 1, 2])
    loss = gpubp.CrossEntropy(class_weight=class_weights(y))
    value, _ = loss(np.zeros((6, 3)), y)
    assert abs(float(value) - np.log(3)) < 1e-15
    weights = class_weights(np.asarray([True, False, False]))
    assert weights == (0.75, 1.5)
    assert all(type(w) is float for w in weights)


class OnADevice:
    """Labels that no host can read as they are."""

    def __array__(self, *_: Any) -> Any:
        raise TypeError("copy it to the host first")


REFUSED: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = [
    (split, (1,), {}, "1 rows cannot be split"),
    (split, ([],), {}, "0 rows cannot be split"),
    (split, (-3,), {}, "-3 rows cannot be split"),
    (split, (True,), {}, "not True"),
    (split, (10, 0.0), {}, r"test is 0\.0"),
    (split, (10, 1.0), {}, r"test is 1\.0"),
    (split, (10, 0), {}, "test is 0"),
    (split, (10, 10), {}, "1 to 9"),
    (split, (10, True), {}, "test is True"),
    (split, (10, "0.2"), {}, "test is '0.2'"),
    (split, (10, float("nan")), {}, "test is nan"),
    (split, (10,), {"seed": -1}, "seed is -1"),
    (split, (10,), {"seed": 0.5}, r"seed is 0\.5"),
    (split, (10,), {"stratify": True}, "not their number alone"),
    (split, (range(10),), {}, "stratify=False"),
    (split, ([0.5, 1.5],), {"stratify": True}, r"y\.astype\('int64'\)"),
    (split, ([[0], [1]],), {"stratify": True}, r"shape \(2, 1\)"),
    (split, ([[0], [1, 2]],), {}, "cannot be read as an array"),
    (split, (OnADevice(),), {}, "copy it to the host first"),
    (split, (np.asarray(["a", None, "a"]),), {}, r"y\[1\] is None.*missing"),
    (split, (np.asarray([None, "a"]),), {}, r"y\[0\] is None"),
    (split, (np.asarray(["a", 1], dtype=object),), {}, r"y\[1\] is 1, .* of type str"),
    (folds, (5, 1), {}, "k is 1"),
    (folds, (5, 6), {}, "2 to 5 of 5 rows"),
    (folds, (5, 2.0), {}, r"k is 2\.0"),
    (class_weights, ([],), {}, r"shape \(0,\)"),
    (class_weights, ([0, 2],), {}, "class 1 has no row"),
    (class_weights, ([0, 10**12],), {}, "class 1 has no row"),
    (class_weights, ([-1, 0],), {}, "label -1"),
    (class_weights, ([0, 1], 3), {}, "class 2 has no row"),
    (class_weights, ([0, 1], 10**12), {}, "class 2 has no row"),
    (class_weights, ([0, 1, 2], 2), {}, r"y\[2\] is 2, which is not among the 2 classes"),
    (class_weights, ([0, 1], 0), {}, "classes is 0"),
    (class_weights, (["a", "b"], ["a", "c"]), {}, "class 'c' has no row"),
    (class_weights, (["a", "b"], ["b", "a", "b"]), {}, "'b' twice"),
    (class_weights, (["a"], []), {}, "classes is"),
    (class_weights, ([0.0, 1.0],), {}, r"dtype float64; .*: use y\.astype\('int64'\)$"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "options", "message"), REFUSED)
def test_what_cannot_be_split_is_refused(
    function: Any, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        function(*arguments, **options)
