"""The error function: against C's, in both precisions, at both ends, and on every device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gpubp.backend import Backend
from gpubp.check.dialect import DialectArray, Namespace
from gpubp.check.tolerance import error, tolerance
from gpubp.program.formula import trace
from gpubp.special import erf

SEAMS = [0.46875, 0.5, 4.0, 5.9, 5.95, 6.0]  # where one formula or a bound takes over
UNITS = {"float32": 2.5, "float64": 2.5}  # of the last place, relative; eps of the precision each


def points(precision: str) -> Any:
    beside = [s * (1.0 + k * 2.0**-22) for s in SEAMS for k in range(-3, 4)]
    z = np.concatenate([np.linspace(1e-4, 7.0, 40_001), np.geomspace(1e-30, 1.0, 5_001), beside])
    return np.concatenate([-z, z]).astype(precision)


def c_erf(z: Any) -> Any:
    return np.asarray([math.erf(float(v)) for v in z])


def test_every_digit_is_that_of_c(precision: str) -> None:
    z = points(precision)
    given, expected = erf(np, z), c_erf(z)
    assert given.dtype == precision
    relative = np.abs(given - expected) / np.abs(expected)
    assert relative.max() < UNITS[precision] * np.finfo(precision).eps
    if precision == "float64":
        assert error(given, expected) < 1e-15


def test_it_is_odd_and_never_beyond_one(precision: str) -> None:
    z = points(precision)
    assert np.array_equal(erf(np, -z), -erf(np, z))
    assert np.abs(erf(np, z)).max() == 1.0


def formula(xp: Any, z: Any) -> Any:
    return erf(xp, z)


def test_every_device_agrees(backend: Backend) -> None:
    z = points(backend.precision)
    given = backend.map(formula, backend.asarray(z))
    assert given.dtype == backend.dtype
    expected = c_erf(z)
    assert error(backend.to_numpy(given), expected) <= tolerance(backend.precision, expected)


def test_far_out_it_is_one_and_a_nan_stays_a_nan(backend: Backend) -> None:
    # No `backend.activate()` here: it would silence the very warnings that must not come.
    z = [-math.inf, -1e4, -6.5, -0.0, 0.0, 6.5, 1e4, math.inf]
    given = backend.to_numpy(backend.map(formula, backend.asarray(z)))
    assert given.tolist() == [-1.0, -1.0, -1.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert np.isnan(backend.to_numpy(backend.map(formula, backend.asarray([math.nan])))).all()


def test_a_kernel_calls_the_function_of_c() -> None:
    assert trace(formula, ("T",)).body.splitlines()[0] == "const T t0 = erf(z);"


def test_a_namespace_without_one_of_its_own_computes_the_formula() -> None:
    assert not hasattr(Namespace(), "erf")
    z = points("float64")
    assert np.array_equal(erf(Namespace(), DialectArray(z)).values, erf(np, z))


@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 4)], ids=str)
def test_the_shape_stays(precision: str, shape: tuple[int, ...]) -> None:
    assert erf(np, np.ones(shape, precision)).shape == shape
