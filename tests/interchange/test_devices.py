"""Networks on every device are exchanged as those on the CPU are, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpubp
from gpubp.backend import Backend
from gpubp.interchange import from_torch_state, network_from_torch_state, to_onnx, to_torch_state
from tests.conftest import require

LAYER = gpubp.Sequential(gpubp.Linear(4), gpubp.BatchNorm(), gpubp.Activation("tanh"))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_weights_come_from_every_device_and_go_there(backend: Backend) -> None:
    there = gpubp.Network(LAYER, inputs=3, device=backend, members=2)
    here = gpubp.Network(LAYER, inputs=3, dtype=backend.precision, seed=5, members=2)
    state = to_torch_state(there)
    assert all(isinstance(array, np.ndarray) for array in state.values())
    from_torch_state(here, state)
    assert same(to_torch_state(here), state)
    other = gpubp.Network(LAYER, inputs=3, device=backend, seed=5, members=2)
    on_device = {n: backend.asarray(a) for n, a in state.items() if a.dtype.kind == "f"}
    from_torch_state(other, on_device)
    assert same(to_torch_state(other), state)


def test_a_network_is_made_on_every_device(backend: Backend) -> None:
    state = to_torch_state(gpubp.Network(LAYER, inputs=3, dtype=backend.precision))
    net = network_from_torch_state(state, activation="relu", output="tanh", device=backend)
    assert net.be is backend
    assert same(to_torch_state(net), state)


def test_the_onnx_model_is_that_of_the_cpu(backend: Backend) -> None:
    require("onnx")
    there = gpubp.Network(LAYER, inputs=3, device=backend)
    here = gpubp.Network(LAYER, inputs=3, dtype=backend.precision)
    assert to_onnx(there) == to_onnx(here)
