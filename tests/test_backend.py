"""How a device is chosen, and by what name a third party's is found."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend, owner, remember, select
from gpubp.backends.cpu import CpuBackend
from gpubp.backends.standard import StandardBackend
from tests.conftest import forget, require


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What was chosen before is not remembered, nor afterwards what was chosen here."""
    forget()
    yield
    forget()


def test_the_default_is_the_cpu_in_float32() -> None:
    be = select()
    assert (be.device, be.precision, be.deferred) == ("cpu", "float32", False)
    assert select("cpu", "float64").precision == "float64"
    assert select("cpu") is be  # one for all networks of the process


def test_a_number_names_the_device(stand_in: Any) -> None:
    assert [select(name).device for name in ("cuda", "cuda:0", "cuda:1")] == [
        "cuda:0", "cuda:0", "cuda:1",
    ]  # fmt: skip
    assert select("cuda:1", "float64").precision == "float64"


def test_auto_without_cuda_takes_the_cpu_and_says_why(
    forgetful: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with caplog.at_level(logging.INFO, "gpubp"):
        assert select("auto", "float64").device == "cpu"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "the CPU was chosen, for CUDA needs CuPy" in record.getMessage()
    with pytest.raises(gpubp.DeviceError, match="CUDA needs CuPy"):
        select("cuda")


def test_auto_with_cuda_takes_it_and_says_so(
    stand_in: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "gpubp"):
        assert select("auto").device == "cuda:0"
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("INFO", "device 'auto': cuda:0 was chosen")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "unknown device 'gpu'; known.*: 'auto', 'cpu', 'cuda', 'cuda:N'; nearest: 'cpu'"),
        ("cdua:0", "unknown device 'cdua'.*nearest: 'cuda'"),
        ("cuda:", "device 'cuda:': after the colon comes a number, as in 'cuda:1'"),
        ("cuda:one", "after the colon comes a number"),
        ("cuda:-1", "after the colon comes a number"),
        ("", "unknown device ''"),
        (None, "device is a NoneType; expected a name or a Backend"),
        (0, "device is a int; expected"),
    ],
)
def test_an_unknown_device_is_refused(device: Any, message: str) -> None:
    with pytest.raises(gpubp.DeviceError, match=message):
        select(device)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(gpubp.InputError, match=r"'float46'.*nearest: 'float64'"):
        select("cpu", "float46")


class Third(CpuBackend):
    """A third party's backend, found by its entry point."""

    def __init__(self, index: int, dtype: str) -> None:
        super().__init__(0, dtype)
        self.device = f"third:{index}"


def test_an_entry_point_adds_a_backend(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(*, group: str) -> list[metadata.EntryPoint]:
        assert group == "gpubp.backends"
        return [metadata.EntryPoint("third", f"{__name__}:Third", group)]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    be = select("third:2", "float64")
    assert isinstance(be, Third)
    assert (be.device, be.precision) == ("third:2", "float64")
    assert gpubp.Network(gpubp.Linear(1), 2, device="third").be.device == "third:0"
    with pytest.raises(gpubp.DeviceError, match=r"known.*'third'.*nearest: 'third'"):
        select("thrid")


def test_an_instance_is_taken_as_it_is() -> None:
    be = CpuBackend(0, "float64")
    assert select(be) is be
    assert select(be, "float64") is be
    with pytest.raises(
        gpubp.InputError, match="'float32' was asked for, the backend has 'float64'"
    ):
        select(be, "float32")


def test_a_backend_must_say_how_to_do_everything() -> None:
    class Half(Backend):
        def synchronize(self) -> None:
            return None

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_the_owner_of_an_array_is_found(backend: Backend) -> None:
    net = gpubp.Network(gpubp.Linear(2), 3, device=backend)
    y, _ = net.forward(np.zeros((1, 3)))
    found = owner(y)
    assert found.owns(y)
    # another test may have left a backend of the same arrays
    assert (found.xp, found.precision) == (backend.xp, backend.precision)


def test_the_owner_is_a_backend_of_the_arrays_device() -> None:
    strict = require("array_api_strict")
    devices = [None, strict.Device("device1"), strict.Device("device2")]
    backends = [StandardBackend(strict, device, "float64") for device in devices]
    for backend in backends:
        remember(backend)
    for backend in backends:
        x = backend.zeros((2, 2))
        assert owner(x).device == backend.device  # another test may hold one of the same
        assert [other.owns(x) for other in backends] == [other is backend for other in backends]


def test_an_array_of_no_network_is_refused() -> None:
    torch = require("torch")
    for stranger in ([[1.0]], torch.zeros((1, 1)), None):
        with pytest.raises(gpubp.DeviceError, match=f"computes with a {type(stranger).__name__}"):
            owner(stranger)
