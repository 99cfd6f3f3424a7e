"""What comes in: every kind of host data becomes the numbers it stands for, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

import gpubp
from gpubp import inputs
from gpubp.backend import Backend
from gpubp.backends.standard import StandardBackend

VALUES = [[0, 1], [2, 3], [4, 5]]


@pytest.fixture(params=["cpu", "strict"])
def be(request: pytest.FixtureRequest) -> Backend:
    cpu = request.param == "cpu"
    return gpubp.select("cpu") if cpu else StandardBackend(array_api_strict)


def fortran() -> Any:
    return np.asfortranarray(VALUES, dtype=np.float32)


def strided() -> Any:
    wide = np.zeros((6, 4))
    wide[::2, 1::2] = VALUES
    return wide[::2, 1::2]


def read_only() -> Any:
    x = np.asarray(VALUES, dtype=np.float32)
    x.flags.writeable = False
    return x


def of_torch() -> Any:
    return pytest.importorskip("torch").tensor(VALUES)


class ByArray:
    """Something that NumPy can see, such as a table."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(VALUES, dtype=dtype)


KINDS: dict[str, Any] = {
    "float64": lambda: np.asarray(VALUES, dtype=np.float64),
    "float16": lambda: np.asarray(VALUES, dtype=np.float16),
    "longdouble": lambda: np.asarray(VALUES, dtype=np.longdouble),
    "int8": lambda: np.asarray(VALUES, dtype=np.int8),
    "uint64": lambda: np.asarray(VALUES, dtype=np.uint64),
    "big-endian": lambda: np.asarray(VALUES, dtype=">f4"),
    "list": lambda: VALUES,
    "tuples": lambda: tuple(map(tuple, VALUES)),
    "rows": lambda: [np.asarray(row) for row in VALUES],
    "Fortran order": fortran,
    "strided": strided,
    "backwards": lambda: np.asarray(VALUES[::-1])[::-1],
    "read-only": read_only,
    "torch": of_torch,
    "array_api_strict": lambda: array_api_strict.asarray(VALUES),
    "__array__": ByArray,
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_the_same_numbers_in_the_networks_dtype(be: Backend, kind: str) -> None:
    x = inputs.features(be, KINDS[kind](), (2,))
    assert be.owns(x)
    assert x.dtype == be.dtype
    assert np.array_equal(be.to_numpy(x), VALUES)


def test_booleans_are_noughts_and_ones(be: Backend) -> None:
    x = inputs.features(be, [[True, False]], (2,))
    assert x.dtype == be.dtype
    assert np.array_equal(be.to_numpy(x), [[1, 0]])


def test_examples_of_more_than_one_axis_keep_their_shape(be: Backend) -> None:
    assert tuple(inputs.features(be, np.zeros((5, 2, 3)), (2, 3)).shape) == (5, 2, 3)
    with pytest.raises(gpubp.InputError, match=r"\(5, 3, 2\); the network takes \(n, 2, 3\)"):
        inputs.features(be, np.zeros((5, 3, 2)), (2, 3))


def test_a_memory_map_stays_on_the_host(be: Backend, tmp_path: Path) -> None:
    np.zeros((4, 2), dtype=np.float32).tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=(4, 2))
    assert inputs.features(be, mapped, (2,)) is mapped


def test_an_array_of_the_device_is_used_as_it_is(be: Backend) -> None:
    x = be.asarray(VALUES)
    given = inputs.features(be, x, (2,))
    x[0, 0] = 9.0
    assert float(given[0, 0]) == 9.0


def test_complex_numbers_are_refused_on_every_device(be: Backend) -> None:
    for x in (np.ones((3, 2), complex), be.xp.asarray(np.ones((3, 2), complex))):
        with pytest.raises(gpubp.InputError, match=r"x has dtype .*complex128"):
            inputs.features(be, x, (2,))


# -- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", "bool"])
def test_labels_of_every_integer_kind(be: Backend, dtype: str) -> None:
    t = inputs.targets(be, np.asarray([0, 1, 1], dtype=dtype), "labels", 2, 3)
    assert inputs.is_labels(be, t)
    assert np.array_equal(be.to_numpy(t), [[0], [1], [1]])


def test_a_label_beyond_the_outputs_is_refused_as_bool_too(be: Backend) -> None:
    for y in ([0, 1, 1], [False, True, True]):
        with pytest.raises(gpubp.InputError, match="label"):
            inputs.targets(be, y, "labels", 1, 3)


def test_soft_rows_are_no_labels(be: Backend) -> None:
    soft = inputs.targets(be, np.eye(3), "labels", 3, 3)
    assert not inputs.is_labels(be, soft)
    assert np.array_equal(be.to_numpy(soft), np.eye(3))


@pytest.mark.parametrize("kind", ["real", "unit"])
def test_one_axis_is_a_column_where_there_is_one_output(be: Backend, kind: str) -> None:
    for y in ([0, 1, 1], be.asarray([0.0, 1.0, 1.0])):
        assert np.array_equal(be.to_numpy(inputs.targets(be, y, kind, 1, 3)), [[0], [1], [1]])
        with pytest.raises(gpubp.InputError, match=r"output width 2 takes \(3, 2\)"):
            inputs.targets(be, y, kind, 2, 3)


def test_example_weights_are_a_column(be: Backend) -> None:
    assert inputs.weights(be, None, 3) is None
    for w in ([1, 0, 2], [[1.0], [0.0], [2.0]], be.asarray([1, 0, 2])):
        assert np.array_equal(be.to_numpy(inputs.weights(be, w, 3)), [[1], [0], [2]])


# -- NaN and infinity --------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 4, 5, 1 << 20])
@pytest.mark.parametrize("at", [(0, 0), (3, 1), (6, 0), (6, 1)])
def test_the_first_bad_number_is_named_in_whatever_block_it_is(
    be: Backend, monkeypatch: pytest.MonkeyPatch, block: int, at: tuple[int, int]
) -> None:
    monkeypatch.setattr(inputs, "_BLOCK", block)
    x = np.zeros((7, 2), dtype=np.float32)
    inputs.finite(be, be.asarray(x), "x")
    x[6, 1] = np.nan
    x[at] = np.inf if at != (6, 1) else np.nan
    told = rf"^x\[{at[0]}, {at[1]}\] is {x[at]}; "
    for given in (x, be.asarray(x)):
        with pytest.raises(gpubp.InputError, match=told):
            inputs.finite(be, given, "x")


def test_no_block_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_BLOCK", 6)
    seen: list[int] = []
    look = np.isfinite

    def record(x: Any) -> Any:
        seen.append(x.size)
        return look(x)

    monkeypatch.setattr(np, "isfinite", record)
    inputs.finite(gpubp.select("cpu"), np.zeros((7, 3)), "x")
    assert seen == [6, 6, 6, 3]


def test_integers_are_finite(be: Backend) -> None:
    inputs.finite(be, np.asarray([[1, 2]]), "x")
    inputs.finite(be, be.xp.asarray([[1, 2]]), "x")


# -- out comes what went in --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float64", "list", "torch", "array_api_strict", "__array__"])
def test_like_gives_the_kind_of_array_that_was_given(be: Backend, kind: str) -> None:
    given, result = KINDS[kind](), be.asarray([[0.5, 1.5]])
    found = inputs.like(given, be, result)
    foreign = kind in ("torch", "array_api_strict")
    assert type(found) is (type(given) if foreign else np.ndarray)
    assert np.array_equal(np.from_dlpack(found), [[0.5, 1.5]])
