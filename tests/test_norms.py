"""Normalisation: what comes out, running statistics, and torch's figures to the last digits."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.layers import BatchNorm, LayerNorm, RMSNorm
from tests.conftest import as_alone, require, rng

NORMS: dict[str, gpubp.Layer] = {
    "batch": BatchNorm(),
    "batch, plain": BatchNorm(affine=False),
    "layer": LayerNorm(),
    "layer, plain": LayerNorm(affine=False),
    "rms": RMSNorm(),
    "rms, plain": RMSNorm(affine=False),
}
every = pytest.mark.parametrize("layer", NORMS.values(), ids=NORMS)


def data(rows: int = 7, width: int = 5, precision: str = "float64") -> Any:
    return (rng(1).normal(size=(rows, width)) * 3.0 + 2.0).astype(precision)


def started(layer: gpubp.Layer, width: int, **how: Any) -> gpubp.Network:
    """A network whose gains and shifts are not those it begins with."""
    net = gpubp.Network(layer, width, **how)
    drawn = {
        path: rng(len(path)).normal(size=tuple(a.shape)) + 1.5
        for path, a in net.state_dict().items()
        if path in ("gain", "shift")
    }
    net.load_state_dict(drawn, strict=False)
    return net


def passes(net: gpubp.Network, x: Any, training: bool = True) -> dict[str, Any]:
    be = net.be
    y, context = net.forward(x, training=training)
    shape = tuple(y.shape)
    delta = np.broadcast_to(rng(2).normal(size=shape[-2:]), shape)
    dx = net.backward(context, be.asarray(np.ascontiguousarray(delta)), input_gradient=True)
    found = {"y": y, "dx": dx, **net.gradients()}
    net.zero_grad()
    return {name: be.to_numpy(array) for name, array in found.items()}


@every
@pytest.mark.parametrize("training", [True, False])
def test_gradients_in_training_and_inference(layer: gpubp.Layer, training: bool) -> None:
    net, x = started(layer, 5, dtype="float64"), data()
    given = passes(net, x, training)
    delta = rng(2).normal(size=x.shape)
    for index in np.ndindex(x.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[index] += sign * 1e-6
            ends.append(float((net.forward(moved, training=training)[0] * delta).sum()))
        assert abs((ends[0] - ends[1]) / 2e-6 - given["dx"][index]) < 1e-7


@every
@pytest.mark.parametrize(("rows", "width"), [(2, 1), (7, 5), (300, 3), (257, 33)])
def test_a_member_is_the_network_alone(
    backend: Backend, layer: gpubp.Layer, rows: int, width: int
) -> None:
    x = data(rows, width, backend.precision)
    body = gpubp.Sequential(gpubp.Linear(width), layer)
    together = passes(gpubp.Network(body, width, device=backend, seed=3, members=2), x)
    for k in range(2):
        alone = passes(gpubp.Network(body, width, device=backend, seed=3 + k), x)
        for name, array in alone.items():
            assert as_alone(backend, together[name][k], array, rows), name


def test_what_a_norm_makes_of_its_input(backend: Backend) -> None:
    x = data(precision=backend.precision)
    found = {
        name: backend.to_numpy(gpubp.Network(layer, 5, device=backend).forward(x)[0])
        for name, layer in NORMS.items()
    }
    bound = tolerance(backend.precision, x, 5) + 1e-5  # and eps, beside a variance above 1
    for name, axis in (("batch", 0), ("layer", 1)):
        assert error(found[name].mean(axis=axis), np.zeros(x.shape[1 - axis])) < bound
        assert error(found[name].var(axis=axis), np.ones(x.shape[1 - axis])) < 10 * bound
        assert np.array_equal(found[name], found[f"{name}, plain"])  # gain 1, shift 0
    assert error((found["rms"] ** 2).mean(axis=1), np.ones(7)) < bound


def test_large_numbers_with_a_small_spread_keep_it() -> None:
    """The variance is that of the centred numbers: no difference of two large squares."""
    x = (1e4 + np.asarray([[0.0], [1.0], [2.0], [3.0]])).astype(np.float32)
    expected = np.asarray([-3.0, -1.0, 1.0, 3.0]) / np.sqrt(5.0)
    for layer, given in ((BatchNorm(), x), (LayerNorm(), x.T)):
        y, _ = gpubp.Network(layer, given.shape[1]).forward(given)
        assert error(y.ravel(), expected) < 1e-4


@every
def test_torch_gives_the_same(layer: gpubp.Layer) -> None:
    torch = require("torch")
    affine = layer.affine  # type: ignore[attr-defined]
    theirs = {
        BatchNorm: lambda: torch.nn.BatchNorm1d(5, affine=affine),
        LayerNorm: lambda: torch.nn.LayerNorm(5, elementwise_affine=affine),
        RMSNorm: lambda: torch.nn.RMSNorm(5, eps=1e-6, elementwise_affine=affine),
    }[type(layer)]().double()
    net = started(layer, 5, dtype="float64")
    names = {"gain": "weight", "shift": "bias"}
    with torch.no_grad():
        for ours, name in names.items():
            if ours in net.state_dict():
                getattr(theirs, name).copy_(torch.from_numpy(np.array(net.parameter(ours))))
    x = torch.from_numpy(data()).requires_grad_()
    y = theirs(x)
    y.backward(torch.from_numpy(rng(2).normal(size=(7, 5))))
    given = passes(net, data())
    expected = {"y": y.detach(), "dx": x.grad}
    expected |= {o: getattr(theirs, n).grad for o, n in names.items() if o in given}
    assert given.keys() == expected.keys()
    for name, array in expected.items():
        assert error(given[name], array.numpy()) <= tolerance("float64", array, 7), name


@pytest.mark.parametrize("momentum", [0.1, 0.0, 0.75, 1.0])
def test_running_statistics_are_those_of_torch(backend: Backend, momentum: float) -> None:
    torch = require("torch")
    kind = getattr(torch, backend.precision)
    theirs = torch.nn.BatchNorm1d(5, momentum=momentum, affine=False, dtype=kind)
    body = gpubp.Sequential(BatchNorm(momentum=momentum, affine=False), gpubp.Linear(1))
    net = gpubp.Network(body, 5, device=backend)
    for rows in (7, 4, 2, 9):
        x = (rng(rows).normal(size=(rows, 5)) * rows).astype(backend.precision)
        theirs(torch.from_numpy(x))
        y, context = net.forward(x)
        net.backward(context, y * 0.0)
        net.step(gpubp.SGD(0.1))
    state = {path: backend.to_numpy(a) for path, a in net.state_dict().items()}
    for ours, name in (("0.mean", "running_mean"), ("0.variance", "running_var")):
        expected = getattr(theirs, name).numpy()
        assert error(state[ours], expected) <= tolerance(backend.precision, expected, 9 * 4)
    x = data(precision=backend.precision)
    expected = theirs.eval()(torch.from_numpy(x)).numpy() @ state["1.W"]
    given = backend.to_numpy(net.predict(x))
    assert error(given, expected) <= tolerance(backend.precision, expected, 9 * 4)


def test_inference_does_not_depend_on_the_rest_of_the_batch() -> None:
    x = data()
    net = gpubp.Network(gpubp.Sequential(BatchNorm(), gpubp.Linear(1)), 5, dtype="float64")
    net.fit(x, x[:, :1], loss="squared_error", epochs=2, batch_size=7)
    assert np.array_equal(net.predict(x[:1]), net.predict(x)[:1])


def test_a_training_batch_of_one_is_refused_and_inference_is_not() -> None:
    body = gpubp.Sequential(gpubp.Linear(3), gpubp.Sequential(BatchNorm()))
    net = gpubp.Network(body, 5)
    assert net.spec.least_rows == 2
    assert gpubp.Network(LayerNorm(), 5).spec.least_rows == 1
    with pytest.raises(gpubp.InputError, match="a training batch of one example has no variance"):
        net.forward(data()[:1])
    assert net.predict(data()[:1]).shape == (1, 3)
    assert gpubp.Network(LayerNorm(), 5).forward(data()[:1])[0].shape == (1, 5)


@pytest.mark.parametrize("layer", [BatchNorm(), LayerNorm(), RMSNorm()])
def test_a_norm_that_opens_a_network_makes_no_input_gradient(layer: gpubp.Layer) -> None:
    net, x = gpubp.Network(layer, 5, dtype="float64"), data()
    wanted = passes(net, x)
    y, context = net.forward(x)
    net.backward(context, rng(2).normal(size=y.shape))
    delta, arrays = rng(2).normal(size=y.shape), net.arrays
    net.zero_grad()
    dx = layer.backward(net.be, arrays.w, arrays.g, context.layer, delta, net._run)
    assert dx is None
    for path, gradient in net.gradients().items():
        assert np.array_equal(gradient, wanted[path])


@pytest.mark.parametrize("layer", [BatchNorm(), LayerNorm(), RMSNorm()])
def test_gain_and_shift_are_no_weights(layer: gpubp.Layer) -> None:
    """Decay and penalties are meant for weights."""
    assert {param.kind for param in layer.build((5,)).params.values()} == {"norm"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(momentum=1.5), "BatchNorm: momentum is 1.5; expected a number of at "),
        (lambda: BatchNorm(momentum=-0.1), "momentum is -0.1"),
        (lambda: BatchNorm(momentum="x"), "momentum is 'x'"),  # type: ignore[arg-type]
        (lambda: BatchNorm(eps=float("nan")), "eps is nan"),
        (lambda: LayerNorm(eps=-1.0), "LayerNorm: eps is -1.0; expected a number of at least 0"),
        (lambda: RMSNorm(eps=-1.0), "RMSNorm: eps is -1.0"),
        (lambda: BatchNorm().build((2, 3)), "BatchNorm takes rows of numbers, each example has "),
        (lambda: LayerNorm().build((2, 3)), "put Flatten() before it"),
        (lambda: RMSNorm().build(()), "RMSNorm takes rows"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=re.escape(message)):
        make()
