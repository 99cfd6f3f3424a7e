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
