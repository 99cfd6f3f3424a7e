"""What only a CUDA device can tell: memory that is shared, streams, devices, and its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import memory
from gpubp.backends.cuda import CudaBackend
from gpubp.data import Rows
from gpubp.errors import OutOfMemoryError
from tests.conftest import require, rng

pytestmark = pytest.mark.gpu
MIB = 1 << 20
X, Y = rng(0).normal(size=(256, 6)).astype(np.float32), np.arange(256) % 3


@pytest.fixture
def cupy(a_gpu: str) -> Any:
    return require("cupy")


@pytest.fixture
def torch(cupy: Any) -> Any:
    found = require("torch")
    if not found.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return found


@pytest.fixture
def pool(cupy: Any) -> Iterator[Any]:
    """The default pool, which a test may limit."""
    found = cupy.get_default_memory_pool()
    found.free_all_blocks()
    yield found
    found.set_limit(size=0)


def network(number: int = 0, width: int = 32, **how: Any) -> gpubp.Network:
    layer = gpubp.MLP([width], 3, activation="tanh", dropout=0.1)
    net = gpubp.Network(layer, 6, device=CudaBackend(number), **how)
    net.loss = gpubp.CrossEntropy()
    return net


def trained(x: Any = X, y: Any = Y, number: int = 0, **how: Any) -> bytes:
    net = network(number)
    net.fit(x, y, **{"epochs": 2, "batch_size": 24, **how})
    return bytes(net.be.to_numpy(net.theta).tobytes())


# -- interchange -----------------------------------------------------------------------------------


def test_arrays_of_cupy_and_torch_are_used_where_they_are(cupy: Any, torch: Any) -> None:
    be = CudaBackend(0)
    here, there = cupy.asarray(X), torch.tensor(X, device="cuda:0")
    assert be.asarray(here).data.ptr == here.data.ptr
    assert be.asarray(there).data.ptr == there.data_ptr()
    labels = torch.tensor(Y, device="cuda:0")
    assert trained(there, labels) == trained(here, cupy.asarray(Y)) == trained()


def test_tensors_of_torch_come_back_as_such_without_a_copy(torch: Any) -> None:
    net = network()
    out = net.predict(torch.tensor(X, device="cuda:0"))
    assert isinstance(out, torch.Tensor)
    assert out.device.type == "cuda"
    assert np.array_equal(out.cpu().numpy(), net.predict(X))
    with pytest.raises(gpubp.DeviceError, match="require"):
        net.predict(torch.tensor(X, device="cuda:0", requires_grad=True))


def test_arrays_of_numba_are_used_where_they_are(cupy: Any) -> None:
    numba_cuda = require("numba.cuda")
    if not numba_cuda.is_available():
        pytest.skip("Numba finds no CUDA device")
    given, be = numba_cuda.to_device(X), CudaBackend(0)
    assert be.asarray(given).data.ptr == given.device_ctypes_pointer.value
    assert isinstance(network().predict(given), cupy.ndarray)
    with pytest.raises(gpubp.DeviceError, match="on a CUDA device was given"):
        gpubp.Network(gpubp.Linear(1), 6).predict(given)


def test_what_is_still_computed_on_another_stream_is_waited_for(cupy: Any, torch: Any) -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        slow = torch.zeros((4096, 4096), device="cuda:0")
        for _ in range(20):
            slow = slow @ slow
        late = torch.tensor(X, device="cuda:0") + slow[0, 0]
        given = CudaBackend(0).asarray(late)
    assert np.array_equal(cupy.asnumpy(given), X)


# -- streams and devices ---------------------------------------------------------------------------


def test_training_on_a_stream_of_ones_own_gives_the_same_bits(cupy: Any) -> None:
    expected = trained()
    with cupy.cuda.Stream(non_blocking=True):
        assert trained() == expected


@pytest.mark.parametrize("source", [False, True])
def test_data_of_the_host_gives_the_bits_of_data_on_the_device(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, source: bool
) -> None:
    expected = trained()
    monkeypatch.setattr(memory, "SHARE", 0.0)
    for _ in range(20):
        given = (Rows(X, Y), None) if source else (X, Y)
        assert trained(*given) == expected
    with cupy.cuda.Stream(non_blocking=True):
        assert trained() == expected


def test_two_devices_in_one_process_and_in_two_threads(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device")
    expected = trained()
    assert trained(number=1) == expected
    found: dict[int, bytes] = {}

    def work(number: int) -> None:
        found[number] = trained(number=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: expected, 1: expected}
    with pytest.raises(gpubp.DeviceError, match="cuda:1 was given to a network on cuda:0"):
        network().predict(CudaBackend(1).asarray(X))


# -- memory ----------------------------------------------------------------------------------------


def test_a_step_that_does_not_fit_changes_nothing_and_the_advice_is_good(pool: Any) -> None:
    net = network(width=1024)
    x, y = net.be.asarray(np.tile(X, (64, 1))), net.be.asarray(np.tile(Y, 64), "int64")
    net.fit(x, y, epochs=1, batch_size=64)
    before = net.be.to_numpy(net.theta)
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 64 * MIB)
    with pytest.raises(OutOfMemoryError, match="cuda:0 is out of memory") as caught:
        net.fit(x, y, epochs=1, batch_size=None)
    assert np.array_equal(net.be.to_numpy(net.theta), before)
    size = int(str(caught.value).rpartition("micro_batch=")[2].split()[0])
    net.fit(x, y, epochs=1, batch_size=None, micro_batch=size)


def test_an_array_that_does_not_fit_is_named(pool: Any) -> None:
    be = CudaBackend(0)
    pool.set_limit(size=pool.total_bytes() + MIB)
    assert be.room() <= 2 * MIB
    with pytest.raises(OutOfMemoryError, match=r"16\.0 MiB for an array \(1024, 4096\)") as caught:
        be.asarray(np.zeros((1024, 4096)))
    assert caught.value.asked == 16 * MIB
