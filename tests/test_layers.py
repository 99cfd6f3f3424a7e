"""Every layer: gradients, agreement of devices, ensembles, and what it keeps in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS
from gpubp.backend import Backend
from gpubp.backends.cpu import CpuBackend
from gpubp.check.tolerance import error, tolerance
from tests.conftest import rng
from tests.toys import Centre, Mask, Twice

BATCH, N_IN, STEP = 6, 5, 1e-6

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
}
LAYERS = WITH_WEIGHTS | {f"activation {name}": gpubp.Activation(name) for name in ACTIVATIONS}
every = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
weighted = pytest.mark.parametrize("layer", WITH_WEIGHTS.values(), ids=WITH_WEIGHTS)


def example(precision: str = "float64") -> Any:
    x = rng(1).normal(size=(BATCH, N_IN))
    return np.where(np.abs(x) < 1e-3, 1e-3, x).astype(precision)  # no point on a kink


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
            assert np.array_equal(together[name][k], array), name


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


def kept_bytes(context: Any) -> int:
    """How much memory a context holds: an array that is kept twice counts once."""
    held: dict[int, int] = {}

    def visit(item: Any) -> None:
        if isinstance(item, np.ndarray):
            held[item.__array_interface__["data"][0]] = item.nbytes
        elif isinstance(item, list | tuple):
            for inner in item:
                visit(inner)

    visit(context)
    return sum(held.values())


@pytest.mark.parametrize(
    ("layer", "numbers"),
    [
        (gpubp.Linear(4), N_IN),
        (gpubp.MLP([7, 4], 3, activation="tanh"), N_IN + 7 + 4),  # x and each activation
        (gpubp.MLP([7, 4], 3, activation="gelu"), N_IN + 2 * 7 + 2 * 4),  # and each z
        (gpubp.MLP([7], 3, output="sigmoid"), N_IN + 7 + 3),
        (Twice(gpubp.Linear(N_IN)), 2 * N_IN),
    ],
)
def test_the_context_holds_no_more_than_backpropagation_needs(
    precision: str, layer: gpubp.Layer, numbers: int
) -> None:
    net = gpubp.Network(layer, N_IN, dtype=precision)
    _, context = net.forward(example(precision))
    assert kept_bytes(context) == numbers * BATCH * np.dtype(precision).itemsize


# -- what `run` carries from step to step ----------------------------------------------------------


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
