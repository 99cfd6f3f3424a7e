"""What `run` carries from step to step: running state, random bits, training mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from tests.conftest import rng
from tests.toys import BATCH, N_IN, Centre, Mask, Twice, example


def trained(layer: gpubp.Layer, be: Backend, **how: Any) -> gpubp.Network:
    net = gpubp.Network(layer, N_IN, device=be, **how)
    take_step(net)
    return net


def take_step(net: gpubp.Network, delta: float = 1.0) -> None:
    y, context = net.forward(example(net.be.precision))
    net.backward(context, net.be.asarray(delta * rng(6).normal(size=tuple(y.shape))))
    net.step(gpubp.SGD(0.01))


def host(net: gpubp.Network) -> dict[str, Any]:
    return {path: net.be.to_numpy(array) for path, array in net.state_dict().items()}


CENTRED = gpubp.Sequential(gpubp.Linear(3), Centre(rate=1.0))


def test_state_is_kept_after_a_step_and_is_what_inference_uses(backend: Backend) -> None:
    net, x = gpubp.Network(CENTRED, N_IN, device=backend), example(backend.precision)
    z = x @ host(net)["0.W"]
    take_step(net)
    mean, bound = host(net)["1.mean"], tolerance(backend.precision, z, BATCH)
    assert error(mean, z.mean(axis=0)) <= bound
    shifted = x @ host(net)["0.W"] + host(net)["0.b"] - mean
    assert error(net.be.to_numpy(net.predict(x)), shifted) <= bound


def test_a_prediction_between_forward_and_step_loses_no_state(backend: Backend) -> None:
    nets = [gpubp.Network(CENTRED, N_IN, device=backend) for _ in range(2)]
    x = example(backend.precision)
    for net, peeks in zip(nets, (True, False), strict=True):
        y, context = net.forward(x)
        if peeks:
            net.predict(x[:1])
        net.backward(context, backend.asarray(rng(6).normal(size=tuple(y.shape))))
        net.step(gpubp.SGD(0.01))
    assert host(nets[0])["1.mean"].any()
    assert np.array_equal(host(nets[0])["1.mean"], host(nets[1])["1.mean"])


@pytest.mark.parametrize("members", [None, 2])
def test_fit_carries_state_from_batch_to_batch(backend: Backend, members: int | None) -> None:
    body = gpubp.Sequential(Centre(), gpubp.Linear(3))
    net, x = gpubp.Network(body, N_IN, device=backend, members=members), example(backend.precision)
    net.fit(x, np.zeros((BATCH, 3)), loss="squared_error", epochs=3, batch_size=2, shuffle=False)
    mean = np.zeros(N_IN)
    for batch in 3 * [x[0:2], x[2:4], x[4:6]]:
        mean = mean + 0.25 * (batch.mean(axis=0) - mean)
    found = host(net)["0.mean"]
    for member in [found] if members is None else found:
        assert error(member, mean) <= tolerance(backend.precision, mean, k=2 * 9)


def test_inference_keeps_no_state(backend: Backend) -> None:
    net, x = gpubp.Network(CENTRED, N_IN, device=backend), example(backend.precision)
    net.predict(x)
    net.evaluate(x, x[:, :3], loss="squared_error")
    net.forward(x)  # a training pass without a step
    assert not host(net)["1.mean"].any()
    y, context = net.forward(x, training=False)
    net.backward(context, y)
    net.step(gpubp.SGD(0.01))
    assert not host(net)["1.mean"].any()


def test_a_step_that_is_not_finite_changes_neither_state_nor_weights(backend: Backend) -> None:
    net = trained(CENTRED, backend)
    before, updates = host(net), net.updates
    with pytest.raises(gpubp.NonFiniteError) as caught:
        take_step(net, float("nan"))
    assert caught.value.step == updates + 1 == net.updates + 1
    after = host(net)
    assert all(np.array_equal(after[path], before[path]) for path in before)
    take_step(net)  # and the network goes on
    assert not np.array_equal(host(net)["1.mean"], before["1.mean"])


def test_a_bad_member_stands_still_while_the_others_step(backend: Backend) -> None:
    net = trained(CENTRED, backend, members=3)
    before, updates = host(net), net.updates
    y, context = net.forward(example(backend.precision))
    delta = rng(6).normal(size=tuple(y.shape))
    delta[1, 0, 0] = np.nan
    net.backward(context, backend.asarray(delta))
    with pytest.raises(gpubp.NonFiniteError) as caught:
        net.step(gpubp.SGD(0.01))
    assert caught.value.step == updates + 1
    for path, array in host(net).items():
        assert [np.array_equal(array[k], before[path][k]) for k in range(3)] == [False, True, False]


def test_a_state_that_was_not_declared_is_refused() -> None:
    class Wrong(Centre):
        def build(self, inputs: Any) -> gpubp.Spec:
            return gpubp.Spec(inputs, state={"other": gpubp.Param(inputs, gpubp.Constant(0.0))})

        def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
            run.put("mean", x)

    with pytest.raises(AttributeError, match="declares no running state 'mean'"):
        gpubp.Network(Wrong(), N_IN).forward(example("float32"))


MASKED = gpubp.Sequential(Mask(), Mask("other"), gpubp.Linear(N_IN), Twice(Mask()))


def masks(net: gpubp.Network) -> list[Any]:
    contexts = net.forward(example(net.be.precision))[1][1]  # behind the input: each layer's own
    flat = [contexts[0], contexts[1], *contexts[3]]
    return [net.be.to_numpy(mask) for mask in flat]


def test_masks_are_the_same_on_every_device_and_within_a_step(backend: Backend) -> None:
    net = gpubp.Network(MASKED, N_IN, device=backend, seed=5)
    expected = masks(gpubp.Network(MASKED, N_IN, dtype=backend.precision, seed=5))
    for _ in range(2):
        assert all(np.array_equal(a, b) for a, b in zip(masks(net), expected, strict=True))


def test_masks_differ_between_paths_streams_steps_and_seeds(backend: Backend) -> None:
    net = gpubp.Network(MASKED, N_IN, device=backend)
    first, second, upper, lower = masks(net)
    assert np.array_equal(upper, lower)  # one body, one path: one mask
    take_step(net)
    other = gpubp.Network(MASKED, N_IN, device=backend, seed=1)
    streams = gpubp.Network(gpubp.Sequential(Mask("a"), Mask("b")), N_IN, device=backend)
    a, b = streams.forward(example(backend.precision))[1][1]
    found = [first, second, upper, *masks(net)[:3], *masks(other)[:3]]
    found += [backend.to_numpy(a), backend.to_numpy(b)]
    assert len({mask.tobytes() for mask in found}) == len(found)


def test_a_member_draws_the_masks_of_the_network_alone(backend: Backend) -> None:
    together = trained(MASKED, backend, seed=4, members=3)
    for k in range(3):
        alone = trained(MASKED, backend, seed=4 + k)
        for mask, own in zip(masks(together), masks(alone), strict=True):
            assert np.array_equal(mask[k], own)


def test_inference_is_not_masked(backend: Backend) -> None:
    net, x = gpubp.Network(Mask(), N_IN, device=backend), example(backend.precision)
    assert np.array_equal(net.be.to_numpy(net.predict(x)), x)
