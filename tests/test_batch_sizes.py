"""Batch normalisation and a rest of one example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.arguments import check_rest
from tests.conftest import rng

LAYER = gpubp.Sequential(gpubp.Linear(4), gpubp.BatchNorm(), gpubp.Linear(2))


def data(n: int) -> tuple[Any, Any]:
    return rng(0).normal(size=(n, 3)), np.arange(n) % 2


def works(n: int, size: int | None, micro_batch: int | None = None) -> bool:
    net = gpubp.Network(LAYER, 3)
    before = np.array(net.theta)
    try:
        net.fit(*data(n), batch_size=size, micro_batch=micro_batch, epochs=1)
    except gpubp.InputError:
        assert np.array_equal(net.theta, before)  # refused before anything was changed
        return False
    return True


@pytest.mark.parametrize("n", [2, 5, 9, 33])
@pytest.mark.parametrize("size", [1, 2, 4, 8, 32, None])
def test_a_fit_is_refused_where_a_batch_would_hold_one_example(n: int, size: int | None) -> None:
    one_left = size is not None and (size == 1 or n % size == 1)
    assert works(n, size) == (not one_left)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_parts_of_a_batch_count_too(size: int) -> None:
    assert works(16, 8, size) == (8 % size != 1 and size > 1)


@pytest.mark.parametrize(("n", "size"), [(33, 32), (9, 2), (101, 50), (1797, 4), (7, 1)])
def test_the_sizes_that_are_named_work(n: int, size: int) -> None:
    with pytest.raises(gpubp.InputError, match="take a batch_size such as") as caught:
        check_rest(2, n, size, None)
    named = [int(word) for word in str(caught.value).rpartition("such as ")[2].split(" or ")]
    assert 1 <= len(named) <= 2
    for each in named:
        check_rest(2, n, each, None)
    assert len(named) == 2 or size <= 2


def test_one_example_alone_cannot_be_normalised() -> None:
    with pytest.raises(gpubp.InputError, match="needs 2 examples in training, x has 1"):
        gpubp.Network(LAYER, 3).fit(*data(1), epochs=1)


def test_other_networks_take_any_rest() -> None:
    gpubp.Network(gpubp.Linear(2), 3).fit(*data(9), batch_size=2, epochs=1)
