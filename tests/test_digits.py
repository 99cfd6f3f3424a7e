"""The digits that travel with the library: how many, what values, how split, whose."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from gpubp.data import digits

FOLDER = files("gpubp.data")
CLASSES = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as the source counts them


def stored() -> tuple[np.ndarray, np.ndarray]:
    with (FOLDER / "digits.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        return arrays["images"], arrays["labels"]


def test_sizes_and_types() -> None:
    data = digits()
    for x, y, n in ((data.x, data.y, 1442), (data.x_test, data.y_test, 355)):
        assert (x.shape, x.dtype) == ((n, 64), np.float32)
        assert (y.shape, y.dtype) == ((n,), np.int64)


def test_values_are_sixteenths_from_nought_to_one() -> None:
    data = digits()
    x = np.concatenate([data.x, data.x_test])
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert np.array_equal(16 * x, np.round(16 * x))


@pytest.mark.parametrize("digit", range(10))
def test_every_fifth_image_of_each_class_is_for_the_test(digit: int) -> None:
    images, labels = stored()
    data = digits()
    rows = np.flatnonzero(labels == digit)
    fifth = np.arange(len(rows)) % 5 == 4
    assert len(rows) == CLASSES[digit]
    assert np.array_equal(16 * data.x_test[data.y_test == digit], images[rows[fifth]])
    assert np.array_equal(16 * data.x[data.y == digit], images[rows[~fifth]])


def test_every_call_gives_the_same_in_arrays_of_its_own() -> None:
    for a, b in zip(digits(), digits(), strict=True):
        assert np.array_equal(a, b)
        assert not np.shares_memory(a, b)  # a caller may change what it got


def test_no_image_is_in_both_parts() -> None:
    data = digits()
    train = {row.tobytes() for row in data.x}
    assert not train & {row.tobytes() for row in data.x_test}


def test_the_licence_lies_beside_the_data() -> None:
    text = (FOLDER / "DIGITS-LICENSE.txt").read_text(encoding="utf-8")
    assert "10.24432/C50P49" in text
    assert "CC BY 4.0" in text
