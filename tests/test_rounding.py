"""How far paths are apart, for arrays of more than one piece as for small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpubp import held_against, rounding


@pytest.fixture(params=[3, 1 << 20], autouse=True)
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "_PIECE", request.param)


def arrays() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, 5)).astype(np.float32)
    b = a.copy()
    b[1, 3] += 0.5
    return a, b


def test_the_largest_is_found_wherever_it_is() -> None:
    for at in range(10):
        x = np.zeros(10)
        x[at] = -3.0
        assert rounding.largest(x) == 3.0
        assert rounding.error(x, np.zeros(10)) == 3.0
    assert rounding.largest([]) == 0.0
    assert rounding.error([], []) == 0.0


def test_what_is_no_number_must_be_the_same_in_all_places() -> None:
    a, b = arrays()
    a[0, 1] = b[0, 1] = np.nan
    assert np.isnan(rounding.largest(a))
    assert rounding.error(a, b) == np.inf
    assert rounding.error(a, a.copy()) == 0.0
    assert rounding.error([1.0, np.inf], [1.0, 2.0]) == np.inf


def test_arrays_of_other_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2, 5\) and \(10,\) cannot be compared"):
        rounding.error(np.zeros((2, 5)), np.zeros(10))


def test_norms_are_those_of_each_row() -> None:
    a, b = arrays()
    expected = np.linalg.norm(a.astype(np.float64), axis=-1)
    assert np.allclose(held_against._norm(a), expected, rtol=1e-14, atol=0.0)
    assert np.allclose(held_against._norm(a, b), [0.0, abs(float(a[1, 3]) - b[1, 3])], atol=1e-14)
