"""Networks on numbered devices: whichever is current, in one thread or in several."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backends.cuda import CudaBackend
from gpubp.data import Rows
from tests.conftest import rng

X, Y = rng(0).normal(size=(40, 3)), np.arange(40) % 2
T = rng(1).normal(size=(40, 2))


def network(number: int, **how: Any) -> gpubp.Network:
    layer = gpubp.Sequential(gpubp.Linear(4), gpubp.BatchNorm(), gpubp.Activation("tanh"),
                             gpubp.Dropout(0.2), gpubp.Linear(2))  # fmt: skip
    return gpubp.Network(layer, 3, device=CudaBackend(number, "float64"), **how)


def trained(number: int, **how: Any) -> gpubp.Network:
    net = network(number)
    net.fit(X, Y, epochs=3, batch_size=8, **how)
    return net


def bits(net: gpubp.Network) -> bytes:
    return bytes(net.be.to_numpy(net.theta).tobytes())


CALLS: dict[str, Any] = {
    "fit": lambda net: net.fit(X, Y, epochs=1, validation=(X, Y)),
    "fit on a source": lambda net: net.fit(Rows(X, Y), epochs=1, validation=Rows(X, Y)),
    "fit with restarts": lambda net: restarted(net),
    "fit with averages": lambda net: net.fit(X, Y, optimizer=gpubp.EMA(gpubp.Adam()), epochs=1),
    "fit with early stopping": lambda net: net.fit(
        X, Y, epochs=2, validation=(X, Y), callbacks=[gpubp.EarlyStopping(patience=1)]
    ),
    "fit with health": lambda net: net.fit(X, Y, epochs=1, callbacks=[gpubp.Health()]),
    "predict": lambda net: net.predict(X),
    "predict of a source": lambda net: net.predict(Rows(X)),
    "predict_proba": lambda net: net.predict_proba(X),
    "predict_class": lambda net: net.predict_class(X),
    "evaluate": lambda net: net.evaluate(X, Y),
    "the explicit loop": lambda net: explicit(net),
    "state": lambda net: net.load_state_dict(net.state_dict()),
    "one parameter": lambda net: net.be.to_numpy(net.parameter("0.W")),
    "gradients": lambda net: net.gradients(),
    "freezing": lambda net: (net.freeze("0"), net.unfreeze()),
    "averages": lambda net: averages(net),
    "lsuv": lambda net: gpubp.lsuv(net, X),
    "another device": lambda net: net.to(CudaBackend(0, "float64")),
    "reset": lambda net: net.reset_optimizer(),
}


def explicit(net: gpubp.Network) -> None:
    y, context = net.forward(X)
    _, delta = gpubp.CrossEntropy()(y, Y)
    net.zero_grad()
    net.backward(context, delta, input_gradient=True)
    net.step(gpubp.Adam())


def restarted(net: gpubp.Network) -> None:
    net.fit(X, Y, epochs=1, restarts=2, keep="all")
    net.fit(X, Y, epochs=1)  # with the slots of the best


def averages(net: gpubp.Network) -> None:
    net.fit(X, Y, optimizer=gpubp.EMA(gpubp.Adam()), epochs=1)
    with net.averaged():
        net.predict(X)
    net.adopt_average()


@pytest.mark.parametrize("name", CALLS)
def test_every_call_goes_to_its_own_device(stand_in: Any, name: str) -> None:
    there, here = network(1), network(0)
    there.loss = here.loss = gpubp.CrossEntropy()
    for net in (there, here):  # device 0 is the current one all the while
        CALLS[name](net)
    assert stand_in.cuda.Device.current == 0
    assert bits(there) == bits(here)


def test_files_and_copies_are_of_the_device_too(stand_in: Any, tmp_path: Path) -> None:
    import copy
    import pickle

    net = trained(1)
    net.save(tmp_path / "net.safetensors")
    loaded = gpubp.load(tmp_path / "net.safetensors", device=CudaBackend(1, "float64"))
    pickled = io.BytesIO()
    named = gpubp.Network(gpubp.Linear(2), 3, device="cuda:1")
    pickle.dump(named, pickled)
    again = pickle.loads(pickled.getvalue())
    for other in (loaded, again, copy.deepcopy(named)):
        assert other.theta.device.id == 1
    assert bits(loaded) == bits(net)
    assert np.array_equal(again.predict(X), named.predict(X))


def test_two_networks_on_two_devices_take_turns(stand_in: Any) -> None:
    expected = bits(trained(0))
    nets = [network(0), network(1)]
    for _ in range(3):
        for net in nets:
            net.fit(X, Y, epochs=1, batch_size=8)
    assert [bits(net) for net in nets] == [expected, expected]


def test_two_networks_on_two_devices_train_in_two_threads(stand_in: Any) -> None:
    expected, found, failed = bits(trained(0)), {}, []
    together = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            together.wait()
            for turn in range(2):
                with stand_in.cuda.Device(number ^ turn):  # the other one may be current
                    found[number, turn] = bits(trained(number % 2))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert set(found.values()) == {expected}
    assert len(found) == 8


def test_each_thread_has_a_current_device_of_its_own(stand_in: Any) -> None:
    seen = []
    with stand_in.cuda.Device(1):
        thread = threading.Thread(target=lambda: seen.append(stand_in.cuda.Device.current))
        thread.start()
        thread.join()
    assert seen == [0]


def test_losses_find_their_network_while_others_are_made(stand_in: Any) -> None:
    net = network(0)
    y, _ = net.forward(X)
    failed: list[BaseException] = []

    def make() -> None:
        for _ in range(30):
            network(1)

    def ask() -> None:
        try:
            for _ in range(300):
                gpubp.backend.owner(y)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=target) for target in (make, ask, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# -- streams ---------------------------------------------------------------------------------------


def test_what_is_computed_goes_to_the_current_stream(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, seen = bits(trained(1)), set()
    launch = stand_in.ElementwiseKernel.__call__

    def noted(*given: Any) -> Any:
        seen.add(stand_in.cuda.get_current_stream().ptr)
        return launch(*given)

    monkeypatch.setattr(stand_in.ElementwiseKernel, "__call__", noted)
    with stand_in.cuda.Device(1), stand_in.cuda.Stream(non_blocking=True) as stream:
        net = trained(1)
        assert bits(net) == expected
        net.be.synchronize()
    assert seen == {stream.ptr}


def test_what_is_read_waits_for_the_stream_of_its_own_device(stand_in: Any) -> None:
    be = CudaBackend(1)
    x = be.zeros((3,))
    with stand_in.cuda.Device(1):
        stand_in.enqueue(None, lambda: x.values.fill(7.0))
    assert be.to_numpy(x).tolist() == [7.0, 7.0, 7.0]


def test_another_devices_stream_is_not_that_of_the_network(stand_in: Any) -> None:
    expected = bits(trained(1))
    with stand_in.cuda.Stream(non_blocking=True):  # of device 0
        assert bits(trained(1)) == expected
