"""Parameters that training leaves as they are."""

from __future__ import annotations

import numpy as np

import gpubp
from gpubp.backend import Backend
from tests.conftest import rng

X = rng().normal(size=(6, 3))
Y = rng(1).normal(size=(6, 2))


def test_a_penalty_on_frozen_weights_changes_no_step(backend: Backend) -> None:
    """It would count in the norm that is clipped, and more so from step to step."""
    everything, moving = gpubp.L2(0.5, on="all"), gpubp.L2(0.5, on="2")
    found = []
    for penalty in (everything, moving):
        net = gpubp.Network(gpubp.MLP([5], 2), 3, device=backend)
        net.freeze("0")
        method = gpubp.SGD(0.1, penalty=penalty, clip=gpubp.ClipGlobalNorm(0.1))
        for _ in range(3):
            y, context = net.forward(X)
            net.backward(context, gpubp.MeanSquaredError()(y, Y)[1])
            net.step(method)
        found.append({path: backend.to_numpy(w) for path, w in net.state_dict().items()})
        assert not any(backend.to_numpy(net.gradients()[path]).any() for path in net.frozen)
    for path, w in found[1].items():
        assert np.array_equal(found[0][path], w), path


def test_a_penalty_holds_again_once_nothing_is_frozen(backend: Backend) -> None:
    net = gpubp.Network(gpubp.Linear(2, W="ones"), 3, device=backend)
    shrinking = gpubp.SGD(0.5, penalty=gpubp.L2(1.0))
    net.freeze("W")
    for expected in (1.0, 0.5):
        y, context = net.forward(np.zeros((2, 3)))
        net.backward(context, 0.0 * y)
        net.step(shrinking)
        assert (backend.to_numpy(net.parameter("W")) == expected).all()
        net.unfreeze()
