"""Learned rectifiers and softmax as layers: gradients, torch, devices, ensembles, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.layers import LogSoftmax, PReLU, Softmax, kept_bytes
from tests.conftest import as_alone, require, rng
from tests.test_layers import passes
from tests.toys import BATCH, N_IN, Twice, example

LAYERS: dict[str, gpubp.Layer] = {
    "prelu": PReLU(a="normal"),
    "shared prelu": PReLU(a="normal", shared=True),
    "prelu behind weights": gpubp.Sequential(gpubp.Linear(4), PReLU(), gpubp.Linear(2)),
    "softmax": Softmax(),
    "log softmax": LogSoftmax(),
    "softmax as gates": gpubp.Sequential(gpubp.Linear(3), Softmax(), gpubp.Linear(2)),
    "prelu, two uses": Twice(PReLU(a="normal")),
    "shared prelu, two uses": Twice(PReLU(a="normal", shared=True)),
    "softmax, two uses": Twice(Softmax()),
    "log softmax, two uses": Twice(LogSoftmax()),
}
every = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
weighted = pytest.mark.parametrize(
    "layer", [v for k, v in LAYERS.items() if "prelu" in k or "gates" in k]
)


@every
def test_the_check_finds_nothing(layer: gpubp.Layer) -> None:
    """Finite differences, members, and each backend; no rule of the dialect is broken."""
    report = gpubp.check.layer(layer, inputs=N_IN)
    assert report.ok, str(report)
    assert report.broken_rule is None


@every
def test_every_device_agrees(backend: Backend, layer: gpubp.Layer) -> None:
    x = example(backend.precision)
    expected = passes(gpubp.Network(layer, N_IN, dtype=backend.precision, seed=1), x)
    given = passes(gpubp.Network(layer, N_IN, device=backend, seed=1), x)
    assert given.keys() == expected.keys()
    for name, array in given.items():
        assert array.dtype == backend.precision, name
        bound = tolerance(backend.precision, expected[name], k=BATCH * N_IN)
        assert error(array, expected[name]) <= bound, name


@weighted
def test_a_member_is_bit_for_bit_the_network_alone(backend: Backend, layer: gpubp.Layer) -> None:
    x = example(backend.precision)
    together = passes(gpubp.Network(layer, N_IN, device=backend, seed=3, members=3), x)
    for k in range(3):
        alone = passes(gpubp.Network(layer, N_IN, device=backend, seed=3 + k), x)
        for name, array in alone.items():
            assert as_alone(backend, together[name][k], array, BATCH * N_IN), name


@pytest.mark.parametrize("shared", [False, True])
def test_a_learned_slope_is_torchs(shared: bool) -> None:
    torch = require("torch")
    net, x = gpubp.Network(PReLU(a="normal", shared=shared), N_IN, dtype="float64"), example()
    given = passes(net, x)
    theirs = torch.nn.PReLU(1 if shared else N_IN, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight[:] = torch.tensor(np.array(net.parameter("a")))
    x_torch = torch.tensor(x, requires_grad=True)
    y = theirs(x_torch)
    y.backward(torch.tensor(rng(2).normal(size=y.shape)))
    for name, expected in {
        "output": y.detach(), "input": x_torch.grad,
        "a": theirs.weight.grad,
    }.items():  # fmt: skip
        assert error(given[name], expected.numpy()) <= tolerance("float64", expected.numpy()), name


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_and_their_gradients_are_torchs(name: str) -> None:
    torch = require("torch")
    layer = Softmax() if name == "softmax" else LogSoftmax()
    x = 5.0 * example()
    given = passes(gpubp.Network(layer, N_IN, dtype="float64"), x)
    x_torch = torch.tensor(x, requires_grad=True)
    y = getattr(torch.nn.functional, name)(x_torch, dim=-1)
    y.backward(torch.tensor(rng(2).normal(size=y.shape)))
    for what, expected in {"output": y.detach(), "input": x_torch.grad}.items():
        assert error(given[what], expected.numpy()) <= tolerance("float64", expected.numpy())


def test_large_inputs_neither_overflow_nor_lose_digits(backend: Backend) -> None:
    x = np.asarray([[1e4, 1e4 - 1.0, -1e4]])
    shares = np.exp([0.0, -1.0, -np.inf]) / (1.0 + np.exp(-1.0))
    net = gpubp.Network(Softmax(), 3, device=backend)
    given = passes(net, x, np.ones(3))
    assert error(given["output"], shares[None]) <= tolerance(backend.precision, shares)
    net = gpubp.Network(LogSoftmax(), 3, device=backend)
    given = passes(net, x, np.asarray([1.0, 0.0, 0.0]))
    log_sum = np.log1p(np.exp(-1.0))
    nearest = given["output"][:, :2]
    expected = np.asarray([[-log_sum, -1.0 - log_sum]])
    assert error(nearest, expected) <= tolerance(backend.precision, expected)
    assert given["output"][0, 2] == np.asarray(-2e4 - log_sum, backend.precision)


def test_a_nan_stays_a_nan_in_its_row() -> None:
    x = np.asarray([[np.nan, 1.0], [0.0, 1.0]], np.float32)
    for layer in (Softmax(), LogSoftmax()):
        y, _ = gpubp.Network(layer, 2).forward(x)
        assert np.isnan(y).all(axis=1).tolist() == [True, False]
    y, _ = gpubp.Network(PReLU(), 2).forward(x)
    assert np.isnan(y).tolist() == [[True, False], [False, False]]


def test_slopes_begin_as_asked_and_learn() -> None:
    net = gpubp.Network(PReLU(), 3, dtype="float64")
    assert net.parameter("a").tolist() == [0.25] * 3
    assert gpubp.Network(PReLU(-0.5, shared=True), 3).parameter("a").tolist() == [-0.5]
    x = rng().normal(size=(200, 3))
    slopes = np.asarray([0.1, 0.5, -0.3])
    net.fit(x, np.where(x > 0, x, slopes * x), loss="mean_squared_error",
            optimizer=gpubp.SGD(1.0), epochs=60, batch_size=None)  # fmt: skip
    assert np.abs(np.array(net.parameter("a")) - slopes).max() < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PReLU(float("nan")), "PReLU: a is nan; expected a finite number"),
        (lambda: PReLU("he_norm"), "unknown initializer 'he_norm'.*nearest: 'he_normal'"),
        (lambda: PReLU(True), "unknown initializer True"),
        (lambda: PReLU(shared=1), "PReLU: shared is 1; expected True or False"),
        (lambda: gpubp.Network(PReLU(), (2, 3)), r"PReLU takes rows.*shape \(2, 3\)"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        make()


def test_a_parameter_knows_its_kind() -> None:
    kinds = {n: p.kind for n, p in gpubp.Linear(2).build((3,)).params.items()}
    assert kinds == {"W": "weight", "b": "bias"}
    assert PReLU().build((3,)).params["a"].kind == "slope"
    assert gpubp.Param((3,), None, kind="norm").kind == "norm"
    with pytest.raises(gpubp.InputError, match=r"kind 'biass'.*nearest: 'bias'"):
        gpubp.Param((3,), None, kind="biass")


@pytest.mark.parametrize("layer", [v for v in LAYERS.values() if not isinstance(v, Twice)])
def test_a_file_gives_the_layer_back(layer: gpubp.Layer, tmp_path: Path) -> None:
    net, x = gpubp.Network(layer, N_IN, seed=5), example("float32")
    net.save(tmp_path / "net")
    again = gpubp.load(tmp_path / "net")
    assert again.layer == layer
    assert np.array_equal(again.predict(x), net.predict(x))


@pytest.mark.parametrize(
    ("layer", "arrays"), [(PReLU(), 1), (Softmax(), 2), (LogSoftmax(), 2)], ids=repr
)
def test_the_context_holds_the_input_and_no_more_than_the_output(
    layer: gpubp.Layer, arrays: int
) -> None:
    x = example("float32")
    _, context = gpubp.Network(layer, N_IN).forward(x)
    assert kept_bytes(context) == arrays * x.nbytes
