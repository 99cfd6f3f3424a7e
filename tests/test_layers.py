"""Every layer: gradients, agreement of devices, ensembles, and what it keeps in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import layers
from gpubp.activations import ACTIVATIONS
from gpubp.backend import Backend
from gpubp.backends.cpu import CpuBackend
from gpubp.check.tolerance import error, tolerance
from tests.conftest import as_alone, rng
from tests.toys import BATCH, N_IN, Centre, Mask, Twice, example

STEP = 1e-6

WITH_WEIGHTS: dict[str, gpubp.Layer] = {
    "linear": gpubp.Linear(4, b="normal"),
    "linear of width 1": gpubp.Linear(1),
    "linear without bias": gpubp.Linear(4, b=None),
    "sequential": gpubp.Sequential(gpubp.Linear(3), gpubp.Activation("silu"), gpubp.Linear(2)),
    "nested": gpubp.Sequential(gpubp.Activation("tanh"), gpubp.Sequential(gpubp.Linear(3))),
    "mlp": gpubp.MLP([7, 4], 3, activation="gelu"),
    "mlp with relu": gpubp.MLP([7, 4], 3, output="sigmoid"),
    "mlp of no hidden layer": gpubp.MLP([], 2),
    "two uses": Twice(gpubp.Linear(N_IN, b="normal")),
    "two uses of several": Twice(gpubp.MLP([3], N_IN, activation="softplus")),
    "with state": gpubp.Sequential(Centre(), gpubp.Linear(3), Centre()),
    "with bits": gpubp.Sequential(Mask(), gpubp.Linear(3), Mask()),
    "batch norm": layers.BatchNorm(),
    "layer norm": layers.LayerNorm(),
    "rms norm": layers.RMSNorm(),
    "norms inside": gpubp.Sequential(
        layers.RMSNorm(affine=False), gpubp.Linear(3), layers.BatchNorm(), layers.LayerNorm()
    ),
    "noises": gpubp.Sequential(
        layers.Dropout(0.3), gpubp.Linear(6), layers.GaussianNoise(0.5), layers.GaussianDropout(0.2)
    ),
    "residual": layers.Residual(gpubp.MLP([3], N_IN, activation="tanh")),
    "residual, projected": layers.Residual(gpubp.Linear(3), projection=True),
    "residual with a layer around": layers.Residual(gpubp.Linear(3), gpubp.MLP([2], 3, "silu")),
    "sum": layers.Sum(layers.Identity(), gpubp.Linear(N_IN), gpubp.Activation("tanh")),
    "concatenation": layers.Concatenate(layers.Columns(1, 4), gpubp.Linear(2), layers.Identity()),
    "product": layers.Multiply(
        gpubp.Linear(N_IN), layers.Identity(), gpubp.Activation("sigmoid"), layers.BatchNorm()
    ),
    "product of one": layers.Multiply(gpubp.Linear(3)),
    "columns": gpubp.Sequential(gpubp.Linear(4), layers.Columns(1, 3), gpubp.Linear(2)),
    "tied": layers.Tied(gpubp.Sequential(gpubp.Linear(N_IN), layers.Dropout(0.3)), times=3),
    "tied masks": layers.Tied(gpubp.Sequential(gpubp.Linear(N_IN), Mask()), own_streams=False),
    "checkpoint": layers.Checkpoint(
        gpubp.Sequential(layers.BatchNorm(), layers.Dropout(0.3), gpubp.Linear(3))
    ),
    "checkpoints": layers.Tied(
        layers.Checkpoint(layers.Residual(layers.Checkpoint(gpubp.Linear(N_IN)))), 2
    ),
    "shapes": gpubp.Sequential(
        gpubp.Linear(6),
        layers.Reshape(2, 3),
        layers.Dropout(0.2),
        layers.Flatten(),
        gpubp.Linear(2),
    ),
}
LAYERS = WITH_WEIGHTS | {f"activation {name}": gpubp.Activation(name) for name in ACTIVATIONS}
every = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
weighted = pytest.mark.parametrize("layer", WITH_WEIGHTS.values(), ids=WITH_WEIGHTS)


def passes(net: gpubp.Network, x: Any, delta: Any = None) -> dict[str, Any]:
    """Output, input gradient and the gradient of each parameter; `delta` is the same for all."""
    be = net.be
    y, context = net.forward(x)
    delta = rng(2).normal(size=tuple(y.shape[-2:])) if delta is None else delta
    delta = be.asarray(np.ascontiguousarray(np.broadcast_to(delta, tuple(y.shape))))
    dx = net.backward(context, delta, input_gradient=True)
    found = {"output": y, "input": dx, **net.gradients()}
    net.zero_grad()
    return {name: be.to_numpy(array) for name, array in found.items()}


@every
def test_gradients_are_those_of_finite_differences(layer: gpubp.Layer) -> None:
    net, x = gpubp.Network(layer, N_IN, dtype="float64", seed=1), example()
    analytic = passes(net, x)
    flat = np.array(net.grad)  # `passes` has filled it in for every parameter
    delta = rng(2).normal(size=analytic["output"].shape)
    for moved, given in ((x, analytic["input"]), (net.theta, flat)):
        numeric = np.zeros_like(given)
        for index in np.ndindex(moved.shape):
            before, ends = moved[index], []
            for sign in (1.0, -1.0):
                moved[index] = before + sign * STEP
                ends.append(float(np.sum(net.forward(x)[0] * delta)))
            moved[index] = before
            numeric[index] = (ends[0] - ends[1]) / (2 * STEP)
        largest = np.abs(given).max(initial=1.0)
        assert np.abs(numeric - given).max(initial=0.0) / largest < 1e-7


@every
def test_every_device_agrees(backend: Backend, layer: gpubp.Layer) -> None:
    x = example(backend.precision)
    expected = passes(gpubp.Network(layer, N_IN, dtype=backend.precision, seed=1), x)
    given = passes(gpubp.Network(layer, N_IN, device=backend, seed=1), x)
    assert given.keys() == expected.keys()
    for name, array in given.items():
        assert array.dtype == backend.precision, name
        bound = tolerance(backend.precision, expected[name], k=BATCH)
        assert error(array, expected[name]) <= bound, name


@weighted
def test_a_member_is_bit_for_bit_the_network_alone(backend: Backend, layer: gpubp.Layer) -> None:
    x = example(backend.precision)
    together = passes(gpubp.Network(layer, N_IN, device=backend, seed=3, members=3), x)
    for k in range(3):
        alone = passes(gpubp.Network(layer, N_IN, device=backend, seed=3 + k), x)
        for name, array in alone.items():
            assert as_alone(backend, together[name][k], array, BATCH), name


def test_shared_weights_gather_the_gradients_of_both_uses(backend: Backend) -> None:
    tied = gpubp.Network(Twice(gpubp.Linear(N_IN, b="normal")), N_IN, device=backend)
    untied = gpubp.Sequential(gpubp.Linear(N_IN), gpubp.Linear(N_IN))
    apart = gpubp.Network(untied, N_IN, device=backend)
    shared = tied.state_dict()
    assert set(shared) == {"body.W", "body.b"}
    apart.load_state_dict({f"{i}.{n}": shared[f"body.{n}"] for i in range(2) for n in "Wb"})
    x = example(backend.precision)
    given, expected = passes(tied, x), passes(apart, x)
    assert np.array_equal(given["output"], expected["output"])
    assert np.array_equal(given["input"], expected["input"])
    for name in "Wb":
        total = expected[f"1.{name}"] + expected[f"0.{name}"]
        assert np.array_equal(given[f"body.{name}"], total)


def test_gradients_add_up_until_the_next_step() -> None:
    net, x = gpubp.Network(gpubp.MLP([4], 2), N_IN, dtype="float64"), example()
    once = passes(net, x)
    for factor in (1.0, 2.0):
        y, context = net.forward(x)
        net.backward(context, factor * rng(2).normal(size=y.shape))
    for name, gradient in net.gradients().items():
        assert error(gradient, 3 * once[name]) <= tolerance("float64", 3 * once[name])


class Counting(CpuBackend):
    """The CPU with a count of products that are not written straight to a gradient."""

    def __init__(self) -> None:
        super().__init__(0, "float64")
        self.products = 0
        self.matmul = self._counted  # type: ignore[method-assign]

    def _counted(self, a: Any, b: Any) -> Any:
        self.products += 1
        return np.matmul(a, b)


@pytest.mark.parametrize(
    ("layer", "wanted", "unwanted"),
    [
        (gpubp.Linear(3), 1, 0),
        (gpubp.MLP([4, 3], 2), 3, 2),
        (gpubp.Sequential(gpubp.Activation("relu"), Mask(), gpubp.Linear(3)), 1, 0),
        (Twice(gpubp.Linear(N_IN)), 3, 3),  # dx of both uses; the second gradient is added
        (layers.Tied(gpubp.Linear(N_IN)), 3, 3),
        (layers.Tied(gpubp.Linear(N_IN), times=1), 1, 0),
        (layers.Residual(gpubp.Linear(N_IN)), 1, 0),
        (layers.Residual(gpubp.MLP([4], 3), projection=True), 3, 1),
        (layers.Sum(gpubp.Linear(3), gpubp.MLP([4], 3)), 3, 1),
        (layers.Multiply(gpubp.Linear(3), gpubp.Linear(3)), 2, 0),
        (layers.Concatenate(layers.Identity(), gpubp.Linear(3)), 1, 0),
        (layers.Checkpoint(gpubp.Linear(3)), 2, 1),  # the forward pass once more
        (gpubp.Sequential(layers.Columns(0, 2), layers.Residual(gpubp.Linear(2))), 1, 0),
        (gpubp.Sequential(gpubp.Linear(3), layers.Sum(gpubp.Linear(2), gpubp.Linear(2))), 3, 2),
        (gpubp.Sequential(layers.BatchNorm(), gpubp.Linear(3)), 1, 1),
        (gpubp.Sequential(layers.Residual(gpubp.Activation("tanh")), gpubp.Linear(3)), 1, 0),
    ],
)
def test_the_first_product_is_left_out_where_nobody_wants_it(
    layer: gpubp.Layer, wanted: int, unwanted: int
) -> None:
    be = Counting()
    net, x = gpubp.Network(layer, N_IN, device=be), example()
    found = []
    for wants, products in ((True, wanted), (False, unwanted)):
        y, context = net.forward(x)
        before = be.products
        dx = net.backward(context, np.ones(y.shape), input_gradient=wants)
        assert (dx is not None and dx.shape == x.shape) if wants else True
        assert be.products - before == products
        found.append(net.gradients())
        net.zero_grad()
    for name, gradient in found[0].items():
        assert np.array_equal(gradient, found[1][name])


@pytest.mark.parametrize(
    ("layer", "numbers"),
    [
        (gpubp.Linear(4), N_IN),
        (gpubp.MLP([7, 4], 3, activation="tanh"), N_IN + 7 + 4),  # x and each activation
        (gpubp.MLP([7, 4], 3, activation="gelu"), N_IN + 2 * 7 + 2 * 4),  # and each z
        (gpubp.MLP([7], 3, output="sigmoid"), N_IN + 7 + 3),
        (Twice(gpubp.Linear(N_IN)), 2 * N_IN),
        (layers.Tied(gpubp.Linear(N_IN)), 2 * N_IN),
        (layers.LayerNorm(), 2 * N_IN + 1),  # x, and it normalised with its factor
        (layers.RMSNorm(), 2 * N_IN + 1),
        (layers.BatchNorm(), 2 * N_IN + N_IN / BATCH),
        (layers.Dropout(0.5), 2 * N_IN),
        (layers.GaussianNoise(0.5), N_IN),
        (layers.GaussianDropout(0.5), 2 * N_IN),
        (layers.Residual(gpubp.Linear(N_IN)), N_IN),
        (layers.Residual(gpubp.Linear(3), projection=True), N_IN),
        (layers.Sum(gpubp.Linear(N_IN), layers.Identity()), N_IN),
        (layers.Concatenate(gpubp.Linear(N_IN), layers.Identity()), N_IN),
        (layers.Multiply(gpubp.Linear(N_IN), layers.Identity()), 2 * N_IN),
        (layers.Columns(1, 3), N_IN),
        (layers.Checkpoint(gpubp.MLP([7, 4], 3)), N_IN),
        (gpubp.Sequential(layers.Reshape(N_IN, 1), layers.Flatten()), N_IN),
    ],
)
def test_the_context_holds_no_more_than_backpropagation_needs(
    precision: str, layer: gpubp.Layer, numbers: int
) -> None:
    net = gpubp.Network(layer, N_IN, dtype=precision)
    _, context = net.forward(example(precision))
    assert layers.kept_bytes(context) == numbers * BATCH * np.dtype(precision).itemsize
