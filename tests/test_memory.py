"""Where a device's memory ends: what is said, what is kept, and that the advice is good."""

from __future__ import annotations

import gc
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import memory
from gpubp.backends.cuda import CudaBackend
from gpubp.check.tolerance import error, tolerance
from gpubp.data import Rows, prefetch
from gpubp.errors import OutOfMemoryError
from tests.conftest import rng
from tests.toys import Centre

pytestmark = pytest.mark.thorough

MIB = 1 << 20
N = 1024
X, Y = rng(0).normal(size=(N, 4)).astype(np.float32), np.arange(N) % 2


@pytest.fixture
def left(stand_in: Any) -> Callable[[float], None]:
    """Leave so many bytes of the devices' memory free from now on."""

    def leave(size: float) -> None:
        gc.collect()
        stand_in.get_default_memory_pool().free_all_blocks()
        free, total = stand_in.cuda.runtime.memGetInfo()
        stand_in.set_capacity(int(total - free + size))

    return leave


SAID = (
    r"cuda:0 is out of memory: \S+ [KM]iB were asked for, and about \S+ [KM]iB were free; this was "
    r"in training on up to 1,024 examples at a time, each of which takes about \S+ KiB; about \S+ "
    r"MiB are free now: try batch_size=\d+, or micro_batch=\d+ with the same result$"
)


def network(**how: Any) -> gpubp.Network:
    layer = gpubp.MLP([256, 256], 2, activation="tanh", dropout=0.1)
    net = gpubp.Network(layer, 4, device=CudaBackend(0), **how)
    net.loss = gpubp.CrossEntropy()
    return net


def state(net: gpubp.Network) -> list[Any]:
    """All that training changes."""
    slots = net.steps.slots
    arrays = [net.theta, net.arrays.running, *slots.arrays.values()]
    return [net.updates, slots.updates, *(net.be.to_numpy(a).tobytes() for a in arrays)]


def number(told: OutOfMemoryError, pattern: str) -> int:
    found = re.search(pattern, str(told))
    assert found, str(told)
    return int(found[1].replace(",", ""))


# -- training --------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(left: Any) -> None:
    net, reference = network(), network()
    net.fit(X[:8], Y[:8], epochs=1)
    reference.fit(X[:8], Y[:8], epochs=1)
    left(2 * MIB)
    before = state(net)
    with pytest.raises(OutOfMemoryError) as caught:
        net.fit(X, Y, epochs=1, batch_size=N)
    assert state(net) == before
    assert isinstance(caught.value, gpubp.DeviceError | MemoryError)
    assert re.match(SAID, str(caught.value))
    assert caught.value.asked > caught.value.free >= 0
    size = number(caught.value, r"batch_size=(\d+)")
    assert size == number(caught.value, r"micro_batch=(\d+)")
    assert 64 <= size < N
    net.fit(X, Y, epochs=1, batch_size=N, micro_batch=size)
    left(1 << 30)
    reference.fit(X, Y, epochs=1, batch_size=N, micro_batch=size)
    assert state(net) == state(reference)
    left(2 * MIB)
    net.fit(X, Y, epochs=1, batch_size=size)


@pytest.mark.parametrize("source", [False, True])
@pytest.mark.parametrize(
    "at", [1, 2, *(pytest.param(at, marks=pytest.mark.thorough) for at in (41, 65, 70, 129))]
)
def test_the_steps_before_are_kept(
    left: Any, monkeypatch: pytest.MonkeyPatch, source: bool, at: int
) -> None:
    net, taken = network(), []
    take = net.train_step

    def step(*given: Any) -> Any:
        taken.append(None)
        if len(taken) == at:
            left(5000)
        return take(*given)

    monkeypatch.setattr(net, "train_step", step)
    data = (Rows(X, Y),) if source else (net.be.asarray(X), net.be.asarray(Y, "int64"))
    with pytest.raises(OutOfMemoryError, match="this was in training on up to 16 examples at a"):
        net.fit(*data, epochs=3, batch_size=16, shuffle=False)
    assert net.updates == at - 1
    assert len(net.history) == (at - 1) // (N // 16)
    assert not net.arrays.written
    left(1 << 30)
    reference = network()
    rows = np.arange(N * 3)[: (at - 1) * 16] % N
    if at > 1:
        reference.fit(X[rows], Y[rows], epochs=1, batch_size=16, shuffle=False)
        assert state(net) == state(reference)
    assert not [t for t in threading.enumerate() if t.name == prefetch.NAME]


def test_gradients_of_a_step_that_was_dropped_do_not_count(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    back = net._backward

    def backward(*given: Any) -> Any:
        back(*given)
        raise stand_in.cuda.memory.OutOfMemoryError(3 * MIB, 0)

    monkeypatch.setattr(net, "_backward", backward)
    with pytest.raises(OutOfMemoryError, match=r"3\.0 MiB were asked for"):
        net.fit(X, Y, epochs=1, batch_size=16)
    with pytest.raises(gpubp.InputError, match="there are no gradients"):
        net.step(gpubp.SGD(0.1))


def test_a_step_that_was_not_finite_before_is_told_instead(left: Any) -> None:
    x = X.copy()
    x[20, 0] = np.inf
    net, told = network(), []
    take = net.train_step

    def step(*given: Any) -> Any:
        told.append(None)
        if len(told) == 5:
            left(0)
            try:
                return take(*given)
            finally:
                left(1 << 30)
        return take(*given)

    net.train_step = step  # type: ignore[method-assign]
    with pytest.raises(gpubp.NonFiniteError, match="step 2: "):
        net.fit(x, Y, epochs=1, batch_size=16, shuffle=False, check_finite=False)
    assert net.updates == 1


@pytest.mark.thorough
def test_who_keeps_the_error_does_not_keep_the_step(stand_in: Any, left: Any) -> None:
    net = network()
    x, y = net.be.asarray(X), net.be.asarray(Y, "int64")
    net.fit(x, y, epochs=1, batch_size=8)
    used = stand_in.get_default_memory_pool().used_bytes
    before = used()
    left(2 * MIB)
    try:
        net.fit(x, y, epochs=1, batch_size=N)
    except OutOfMemoryError as kept:
        assert used() < before + MIB // 16
        size = number(kept, r"batch_size=(\d+)")
        net.fit(x, y, epochs=1, batch_size=size)  # the error is there as yet
    assert net.updates == N // 8 + -(-N // size)


def test_a_network_too_large_for_one_example_is_told_so(left: Any) -> None:
    net = network()
    left(20_000)
    with pytest.raises(OutOfMemoryError, match="1 examples at a time: take a smaller network"):
        net.fit(X, Y, epochs=1, batch_size=1)


# -- all else --------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_predictions_are_advised_too(left: Any) -> None:
    net = network()
    x = np.tile(X, (8, 1))
    expected = net.predict(x)
    left(3 * MIB)
    with pytest.raises(OutOfMemoryError, match="this was in passes of up to 4,096") as caught:
        net.predict(x)
    count = number(caught.value, r"to hand over about (\d+) examples at a time$")
    parts = [net.predict(x[i : i + count]) for i in range(0, len(x), count)]
    assert error(np.concatenate(parts), expected) <= tolerance("float32", expected, 256)
    with pytest.raises(OutOfMemoryError, match="this was in passes of up to 4,096"):
        net.evaluate(x, np.tile(Y, 8))
    with pytest.raises(OutOfMemoryError, match="this was in passes of up to 4,096"):
        net.predict(Rows(x))


def test_an_array_is_named_by_its_shape(left: Any) -> None:
    be = CudaBackend(0)
    left(MIB)
    with pytest.raises(OutOfMemoryError) as caught:
        be.asarray(np.zeros((1024, 1024)))
    assert str(caught.value) == ("cuda:0 is out of memory: 4.0 MiB for an array (1024, 1024) "
                                 "were asked for, and about 1.0 MiB were free")  # fmt: skip
    assert (caught.value.asked, caught.value.free) == (4 * MIB, MIB)


def test_a_network_without_room_is_not_made(left: Any) -> None:
    left(MIB // 8)
    with pytest.raises(OutOfMemoryError, match="cuda:0 is out of memory: 2"):
        network()


def test_the_explicit_loop_is_told_and_goes_on(left: Any) -> None:
    net = network()
    y, context = net.forward(X[:8])
    _, delta = gpubp.CrossEntropy()(y, Y[:8])
    net.backward(context, delta)
    written = set(net.arrays.written)
    left(MIB)
    with pytest.raises(OutOfMemoryError, match="is out of memory"):
        net.forward(X)
    with pytest.raises(OutOfMemoryError, match="this was in passes"):
        net.predict(X)
    assert net.arrays.written == written  # what the loop has is its own
    net.step(gpubp.SGD(0.1))
    assert net.updates == 1


def test_the_second_of_two_devices_is_named(stand_in: Any, left: Any) -> None:
    be = CudaBackend(1)
    with be.activate():
        left(MIB)
    with pytest.raises(OutOfMemoryError, match=r"^cuda:1 is out of memory"):
        be.asarray(np.zeros((1024, 1024)))


def test_the_error_goes_through_pickle() -> None:
    found = pickle.loads(pickle.dumps(OutOfMemoryError("no room", 3, 2)))
    assert (str(found), found.asked, found.free) == ("no room", 3, 2)


# -- how much there is, and how much an example takes ----------------------------------------------


def test_room_is_what_is_free_and_what_the_pool_keeps(stand_in: Any, left: Any) -> None:
    be, pool = CudaBackend(0), stand_in.get_default_memory_pool()
    left(8 * MIB)
    assert be.room() == 8 * MIB
    kept = be.asarray(np.zeros(MIB))
    assert be.room() == 4 * MIB
    del kept
    assert pool.free_bytes() == 4 * MIB
    assert be.room() == 8 * MIB
    pool.set_limit(pool.used_bytes() + MIB)
    assert be.room() == MIB


@pytest.mark.parametrize("members", [None, 3])
def test_an_example_takes_what_layers_keep_of_it(members: int | None) -> None:
    net = gpubp.Network(gpubp.MLP([7], 2, activation="tanh"), 5, members=members)
    kept = 4 * (5 + (7 + 2) * (members or 1))
    assert memory.example_bytes(net, training=False) == kept
    assert memory.example_bytes(net) == 2 * kept


def test_to_ask_changes_nothing() -> None:
    net = gpubp.Network(gpubp.Sequential(Centre(), gpubp.Linear(2), gpubp.Dropout(0.5)), 3)
    y, context = net.forward(np.ones((2, 3)))
    before = {path: a.tobytes() for path, a in net.state_dict().items()}
    pending = dict(net._pass.pending)
    assert memory.example_bytes(net) is not None
    assert net._pass.pending == pending
    assert {path: a.tobytes() for path, a in net.state_dict().items()} == before
    net.backward(context, np.ones_like(y))
    net.step(gpubp.SGD(0.1))


def test_a_layer_that_cannot_be_asked_gives_no_figure() -> None:
    class Refusing(gpubp.Identity):
        def forward(self, *_: Any) -> Any:
            raise RuntimeError("not today")

    assert memory.example_bytes(gpubp.Network(Refusing(), 3)) is None
