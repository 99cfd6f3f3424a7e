"""What every backend promises, and which namespaces cannot be one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.backends.standard import StandardBackend
from gpubp.check.tolerance import error, tolerance
from gpubp.optimizers.sgd import momentum_update
from tests.conftest import require, rng


class Immutable(np.ndarray):
    """An array that cannot be written, as jax's."""

    def __setitem__(self, *_: Any) -> None:
        raise TypeError("arrays are immutable")


def namespace(**changed: Any) -> Any:
    return SimpleNamespace(**{**vars(np), "__name__": "fake", **changed})


def immutable() -> Any:
    return namespace(
        zeros=lambda *a, **k: np.zeros(*a, **k).view(Immutable),
        asarray=lambda *a, **k: np.asarray(*a, **k).view(Immutable),
    )


def copying() -> Any:
    return namespace(reshape=lambda x, shape, copy=None: np.array(x).reshape(shape))


def without_copy_argument() -> Any:
    return namespace(reshape=lambda x, shape: np.reshape(x, shape))


@pytest.mark.parametrize(
    ("xp", "why"),
    [
        (immutable(), "TypeError: arrays are immutable"),
        (copying(), "a reshaped view did not share its memory"),
        (without_copy_argument(), "TypeError"),
    ],
)
def test_a_namespace_without_writable_views_is_refused(xp: Any, why: str) -> None:
    with pytest.raises(gpubp.DeviceError, match=f"^fake: gpubp needs mutable arrays.*{why}") as e:
        StandardBackend(xp)
    assert "use NumPy (device='cpu'), CuPy (device='cuda') or PyTorch" in str(e.value)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(gpubp.InputError, match="unknown dtype 'float16'"):
        StandardBackend(np, dtype="float16")


def test_torch_is_a_backend(precision: str) -> None:
    require("torch")
    compat = require("array_api_compat.torch")
    be = StandardBackend(compat, dtype=precision)
    x, y = rng().normal(size=(30, 4)), np.arange(30) % 3
    found = []
    for device in (be, "cpu"):
        how = {"device": device} if device is be else {"dtype": precision}
        net = gpubp.Network(gpubp.MLP([6], 3, activation="gelu"), 4, **how)
        net.fit(x, y, epochs=2, batch_size=8)
        found.append(net.be.to_numpy(net.theta))
    assert error(*found) <= tolerance(precision, found[1], 8 * 8)


def test_arrays_of_two_devices_do_not_mix() -> None:
    strict = require("array_api_strict")
    one, two = (StandardBackend(strict, strict.Device(f"device{i}")) for i in (1, 2))
    there = two.asarray([[1.0, 2.0]])
    assert two.owns(there)
    assert not one.owns(there)
    for be, name in ((one, "device1"), (gpubp.select("cpu"), "cpu")):
        with pytest.raises(gpubp.DeviceError, match=f"device2.*arrays are on .*{name}"):
            be.asarray(there)
        with pytest.raises(gpubp.DeviceError, match="hand it over as host data"):
            gpubp.Network(gpubp.Linear(1), 2, device=be).predict(there)


@pytest.mark.parametrize("dtype", [None, "float32", "float64", "int64", "uint32", "bool"])
def test_there_and_back(backend: Backend, dtype: str | None) -> None:
    values = np.asarray([[0, 1, 3], [2, 0, 1]])
    here = backend.asarray(values, dtype)
    assert backend.owns(here)
    assert not backend.owns(values) or backend.device == "cpu"
    back = backend.to_numpy(here)
    assert type(back) is np.ndarray
    assert back.dtype == np.dtype(dtype or backend.precision)
    assert np.array_equal(back, values.astype(back.dtype))
    back[...] = 0  # a copy: the device's array stays as it is
    assert np.array_equal(backend.to_numpy(here), values.astype(back.dtype))
    assert backend.asarray([[1, 2]]).dtype == backend.dtype


def test_take_copies_the_named_rows(backend: Backend) -> None:
    values = rng().normal(size=(5, 3)).astype(backend.precision)
    x = backend.asarray(values.copy())
    rows = backend.take(x, backend.asarray([4, 0, 4], "int64"))
    backend.write(x, backend.zeros((5, 3)))
    assert np.array_equal(backend.to_numpy(rows), values[[4, 0, 4]])


def test_write_accumulate_and_write_matmul_change_the_array_given(backend: Backend) -> None:
    a = rng().normal(size=(3, 2)).astype(backend.precision)
    flat = backend.zeros((9,))
    out = backend.xp.reshape(flat[0:4], (2, 2), copy=False)
    backend.write_matmul(out, backend.asarray(a).mT, backend.asarray(a))
    product = a.T @ a
    assert error(backend.to_numpy(flat)[:4], product.ravel()) <= tolerance(
        backend.precision, product, 3
    )
    backend.write(out, backend.asarray([[1.0, 2.0], [3.0, 4.0]]))
    backend.accumulate(out, backend.asarray([[1.0, 1.0], [0.0, -1.0]]))
    assert backend.to_numpy(flat).tolist() == [2.0, 3.0, 3.0, 3.0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("flat", "value", "expected"),
    [
        ([1.0, 2.0], 0.0, True),
        ([1.0, float("nan")], 0.0, False),
        ([1.0, float("inf")], 0.0, False),
        ([1.0, -float("inf")], 0.0, False),
        ([1.0, 2.0], float("nan"), False),
        ([1.0, 2.0], float("inf"), False),
    ],
)
def test_finite_looks_at_all_gradients_and_the_loss(
    backend: Backend, flat: list[float], value: float, expected: bool
) -> None:
    with backend.activate():
        alone = backend.finite(backend.asarray(flat), backend.asarray(value), 0.1)
        several = [[0.0, 1.0], flat, [2.0, 3.0]]
        values = backend.asarray([0.0, value, 1.0])
        members = backend.finite(backend.asarray(several), values, 0.1)
    if alone is not True:
        assert tuple(alone.shape) == (1,)
    assert (alone is True or bool(backend.to_numpy(alone).all())) == expected
    if members is True:
        assert expected
    else:
        assert backend.to_numpy(members).tolist() == [[True], [expected], [True]]


def test_an_update_changes_nothing_of_a_member_that_is_not_ok(backend: Backend) -> None:
    w, v, g = (rng(seed).normal(size=(3, 40)).astype(backend.precision) for seed in range(3))
    g[1, 7] = np.nan
    state = [backend.asarray(w.copy()), backend.asarray(v.copy())]  # the CPU takes NumPy's memory
    ok = backend.asarray([[True], [False], [True]], "bool")
    rates = (0.1, 0.2, 0.3)
    backend.update(momentum_update, state, [backend.asarray(g)], [rates, 0.9], ok)
    column = np.asarray(rates, dtype=backend.precision)[:, None]
    expected = momentum_update(np, w, v, g, column, 0.9)
    for now, new, old in zip(map(backend.to_numpy, state), expected, (w, v), strict=True):
        assert np.array_equal(now[1], old[1])
        assert error(now[[0, 2]], new[[0, 2]]) <= tolerance(backend.precision, new[[0, 2]])
        assert not np.isin(now[[0, 2]], old[[0, 2]]).any()


@pytest.mark.parametrize(
    ("flat", "reach", "expected"),
    [
        ([1.0, 3e38], 0.1, {"float32": False, "float64": True}),  # its square is infinite
        ([1.0, 2.0], 1e30, {"float32": False, "float64": True}),  # as a step would be
        ([1.0, 2.0], 1e300, {"float32": False, "float64": False}),
        ([1.0, 2.0], 1e6, {"float32": True, "float64": True}),
    ],
)
def test_finite_looks_at_the_norm_and_at_how_far_the_step_reaches(
    backend: Backend, flat: list[float], reach: float, expected: dict[str, bool]
) -> None:
    wanted = expected[backend.precision]
    with backend.activate():
        alone = backend.finite(backend.asarray(flat), backend.asarray(0.0), reach)
        assert (alone is True or bool(backend.to_numpy(alone).all())) == wanted
        one = backend.finite(backend.asarray([flat] * 2), backend.asarray([0.0] * 2), (0.0, reach))
    if one is not True:
        small = wanted if max(flat) > 1e30 else True  # there the gradient alone is too large
        assert backend.to_numpy(one).tolist() == [[small], [wanted]]
