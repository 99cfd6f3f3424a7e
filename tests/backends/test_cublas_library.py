"""cuBLAS itself: every function that is called is there, with the arguments of its header."""

from __future__ import annotations

import ctypes
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from gpubp.backends import cublas_library
from gpubp.backends.cublas_library import ARGUMENTS, check, library, version
from gpubp.errors import DeviceError
from tests.conftest import require

_C_TYPES = {
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "long long int": ctypes.c_longlong,
    "cublasHandle_t": ctypes.c_void_p,
    "cudaStream_t": ctypes.c_void_p,
    # enumerations
    **dict.fromkeys(
        ("libraryPropertyType", "cublasOperation_t", "cudaDataType", "cublasComputeType_t",
         "cublasGemmAlgo_t", "cublasMath_t", "cublasAtomicsMode_t"),
        ctypes.c_int,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def real() -> Any:
    require("cuda.pathfinder")
    try:
        return library()
    except DeviceError as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def header() -> str:
    folder = require("cuda.pathfinder").find_nvidia_header_directory("cublas")
    if folder is None:
        pytest.skip("cuBLAS is here without its headers")
    return (Path(folder) / "cublas_api.h").read_text()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_arguments_are_those_of_the_header(header: str, name: str) -> None:
    found = re.search(rf"^cublasStatus_t CUBLASWINAPI {name}\((.*?)\);", header, re.M | re.S)
    assert found is not None
    parameters = [re.sub(r"\s+", " ", each).strip() for each in found[1].split(",")]
    expected = [
        ctypes.c_void_p if "*" in each else _C_TYPES[each.removeprefix("const ").rpartition(" ")[0]]
        for each in parameters
    ]
    assert expected == ARGUMENTS[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUBLAS_COMPUTE_32F", 68),
        ("CUBLAS_COMPUTE_64F", 70),
        ("CUBLAS_COMPUTE_32F_FAST_TF32", 77),
        ("CUBLAS_GEMM_DEFAULT", -1),
        ("CUBLAS_DEFAULT_MATH", 0),
        ("CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION", 16),
        ("CUBLAS_ATOMICS_NOT_ALLOWED", 0),
        ("CUBLAS_OP_N", 0),
        ("CUBLAS_OP_T", 1),
        *((f"CUBLAS_STATUS_{text.replace(' ', '_').upper()}", status)
          for status, text in cublas_library._STATUS.items() if status not in (3, 8)),
        ("CUBLAS_STATUS_ALLOC_FAILED", 3),
        ("CUBLAS_STATUS_ARCH_MISMATCH", 8),
    ],
)  # fmt: skip
def test_the_numbers_are_those_of_the_header(header: str, name: str, value: int) -> None:
    found = re.search(rf"\b{name} *= *(-?\d+)", header)
    assert found is not None
    assert int(found[1]) == value


def test_every_function_is_in_the_library(real: Any) -> None:
    for name, types in ARGUMENTS.items():
        assert getattr(real, name).argtypes == types


def test_the_version_is_had_without_a_device(real: Any) -> None:
    assert re.fullmatch(r"1[2-9]\.\d+\.\d+", version())


@pytest.mark.parametrize("name", ["cublasGemmEx", "cublasGemmStridedBatchedEx"])
def test_the_library_refuses_a_product_without_a_handle(real: Any, name: str) -> None:
    nothing = [None if t is ctypes.c_void_p else 1 for t in ARGUMENTS[name]]
    with pytest.raises(DeviceError, match=f"^{name}: not initialized"):
        check(getattr(real, name)(*nothing), name)


def test_the_library_is_the_one_that_cupy_loads(real: Any) -> None:
    require("cupy")
    found = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublas")
    assert real._handle == ctypes.CDLL(found.abs_path)._handle
    importlib.import_module("cupy.cublas")
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert len([path for path in loaded if "libcublas.so" in path]) == 1


def test_a_library_that_is_missing_is_an_error_that_says_how_to_get_it() -> None:
    require("cuda.pathfinder")
    with pytest.raises(
        DeviceError, match=r"cannot load libcublasXt.*pip install 'gpubp\[cuda13\]'"
    ):
        cublas_library.shared_library("cublasXt")
