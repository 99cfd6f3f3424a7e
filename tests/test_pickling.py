"""A network survives pickle and deepcopy with everything that training changes."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backends.standard import StandardBackend
from gpubp.data import Preprocessing
from gpubp.pickling import attributes
from tests.conftest import require

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 2
OPTIONS: dict[str, Any] = {"optimizer": gpubp.Adam(0.01), "batch_size": 8}


def trained(**chosen: Any) -> gpubp.Network:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3, seed=3, **chosen)
    net.fit(X, Y, epochs=2, **OPTIONS)
    return net


def there_and_back(net: gpubp.Network) -> gpubp.Network:
    back: gpubp.Network = pickle.loads(pickle.dumps(net))
    return back


@pytest.mark.parametrize("copied", [there_and_back, copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize(
    "chosen", [{}, {"dtype": "float64"}, {"members": 3}, {"device": "cpu:0"}], ids=str
)
def test_training_goes_on_as_if_nothing_had_happened(copied: Any, chosen: dict[str, Any]) -> None:
    net = trained(**chosen)
    twin = copied(net)
    assert repr(twin) == repr(net)
    assert (twin.loss, twin.epochs, twin.updates) == (net.loss, net.epochs, net.updates)
    assert list(twin.history) == list(net.history)
    before = twin.theta.copy()
    net.fit(X, Y, epochs=2, **OPTIONS)
    assert np.array_equal(twin.theta, before)  # they share nothing
    twin.fit(X, Y, epochs=2, **OPTIONS)
    assert np.array_equal(twin.theta, net.theta)
    assert twin.steps.slots.updates == net.steps.slots.updates


class Sub(gpubp.Network):
    """A network that is made of something else, and has attributes of its own."""

    def __init__(self, width: int) -> None:
        super().__init__(gpubp.MLP([width], 2), inputs=3, seed=7)
        self.width, self.tags = width, ["a"]

    def double(self) -> int:
        return 2 * self.width


@pytest.mark.parametrize("copied", [there_and_back, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_subclass_comes_back_with_its_attributes(copied: Any) -> None:
    net = Sub(2)
    net.fit(X, Y, epochs=1, **OPTIONS)
    twin = copied(net)
    assert type(twin) is Sub
    assert (twin.width, twin.tags, twin.double()) == (2, ["a"], 4)
    assert twin.tags is not net.tags
    assert np.array_equal(twin.theta, net.theta)
    assert list(twin.history) == list(net.history)
    plain = trained()
    plain.note, plain.itself = 1, plain  # type: ignore[attr-defined]
    twin = copied(plain)
    assert twin.note == 1
    assert twin.itself is twin


def test_restarts_take_a_subclass_with_its_attributes() -> None:
    net = Sub(2)
    net.preprocessing = Preprocessing.fit((X, Y))
    net.fit(X, Y, epochs=2, restarts=3, keep="all", **OPTIONS)
    assert net.restarts is not None
    together = net.restarts.networks
    assert type(together) is Sub
    assert (together.members, together.double()) == (3, 4)
    assert together.preprocessing is net.preprocessing
    best = net.restarts.best
    assert np.array_equal(together.predict(X)[best], net.predict(X))


def test_what_is_bound_to_a_device_is_known_by_name() -> None:
    """All else is carried as it is, which arrays of a device and what refers to them must not."""
    net = gpubp.Network(gpubp.MLP([4], 2, norm="batch"), inputs=3)
    net.backward(net.forward(X)[1], np.ones((20, 2)))
    assert attributes(net) == {}
    net.fit(X, Y, epochs=1, restarts=2, callbacks=[gpubp.Health()])
    assert attributes(net).keys() == {"_loss", "history", "restarts", "epochs", "path"}


def predict(net: gpubp.Network) -> Any:
    return net.predict(X)


def test_another_process_gets_the_same_network() -> None:
    net = trained()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(predict, net).result(), net.predict(X))


def test_a_backend_that_no_name_selects_is_refused() -> None:
    strict = require("array_api_strict")
    net = gpubp.Network(gpubp.Linear(1), inputs=3, device=StandardBackend(strict))
    with pytest.raises(gpubp.DeviceError):
        pickle.dumps(net)


def test_the_error_of_a_step_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(gpubp.NonFiniteError("step 3: ...", 3, "2.W")))
    assert (str(error), error.step, error.layer) == ("step 3: ...", 3, "2.W")
