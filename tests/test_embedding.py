"""Categories: their vectors, their gradients, and that nothing else gets in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.backends import standard
from gpubp.check.tolerance import error, tolerance
from gpubp.layers import (
    BatchNorm,
    Checkpoint,
    Columns,
    Concatenate,
    Embedding,
    Flatten,
    Identity,
    Reshape,
    Residual,
    Sum,
    Tied,
)
from tests.conftest import as_alone, require, rng

N, DIM, T, ROWS = 11, 3, 4, 9
X = rng(1).integers(0, N, (ROWS, T)).astype(float)
TABLE = gpubp.Sequential(
    Concatenate(
        gpubp.Sequential(Columns(1, 3), Embedding(N, DIM), Flatten()),
        gpubp.Sequential(Columns(0, 1), Embedding(4, 2), Flatten()),
        Columns(3, 5),
    ),
    gpubp.Linear(2),
)


def mixed(precision: str = "float64", rows: int = ROWS) -> Any:
    """Rows of a category 0..3, two 0..10, and two numbers."""
    parts = [rng(2).integers(0, n, (rows, k)) for n, k in ((4, 1), (N, 2))]
    return np.concatenate([*parts, rng(3).normal(size=(rows, 2))], axis=1).astype(precision)


def passes(net: gpubp.Network, x: Any) -> dict[str, Any]:
    be = net.be
    y, context = net.forward(be.asarray(x))
    shape = tuple(y.shape)
    one = len(shape) - (net.members is not None)
    delta = np.broadcast_to(rng(4).normal(size=shape[-one:]), shape)
    dx = net.backward(context, be.asarray(np.ascontiguousarray(delta)), input_gradient=True)
    found = {"y": y, "dx": dx, **net.gradients()}
    net.zero_grad()
    return {name: be.to_numpy(array) for name, array in found.items()}


def test_torch_gives_the_same(backend: Backend) -> None:
    torch = require("torch")
    net = gpubp.Network(Embedding(N, DIM), T, device=backend)
    theirs = torch.nn.Embedding(N, DIM, dtype=getattr(torch, backend.precision))
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(backend.to_numpy(net.parameter("W"))))
    given = passes(net, X)
    y = theirs(torch.from_numpy(X.astype(np.int64)))
    y.backward(torch.from_numpy(rng(4).normal(size=(ROWS, T, DIM)).astype(backend.precision)))
    assert np.array_equal(given["y"], y.detach().numpy())
    expected = theirs.weight.grad.numpy()
    assert error(given["W"], expected) <= tolerance(backend.precision, expected, ROWS * T)
    assert given["dx"].shape == X.shape
    assert not given["dx"].any()


@pytest.mark.parametrize("layer", [Embedding(N, DIM), gpubp.Sequential(Embedding(N, 1), Flatten())])
def test_a_member_is_the_network_alone(backend: Backend, layer: gpubp.Layer) -> None:
    together = passes(gpubp.Network(layer, T, device=backend, seed=3, members=2), X)
    for k in range(2):
        alone = passes(gpubp.Network(layer, T, device=backend, seed=3 + k), X)
        for name, array in alone.items():
            assert as_alone(backend, together[name][k], array, ROWS * T), name


def test_gradients_of_a_table_of_numbers_and_categories() -> None:
    net, x = gpubp.Network(TABLE, 5, dtype="float64", seed=1), mixed()
    report = gpubp.check.network(net, x, rng(5).normal(size=(ROWS, 2)))
    assert report.ok, report
    drawn = gpubp.check.network(net)  # draws categories where there are some
    assert drawn.ok, drawn


@pytest.mark.parametrize(
    "layer", [Embedding(N, DIM), TABLE, Checkpoint(TABLE), Tied(Identity()), Concatenate(TABLE)]
)
def test_the_check_of_a_layer_finds_nothing(layer: gpubp.Layer) -> None:
    report = gpubp.check.layer(layer, 5)
    assert (report.ok, report.broken_rule) == (True, None), report


def test_a_table_is_learned(backend: Backend) -> None:
    """Whether two categories are equal: nothing that their numbers would tell a line."""
    x = mixed(backend.precision, 128)
    y = (x[:, 0] % 2).astype(np.int64)
    net = gpubp.Network(TABLE, 5, device=backend)
    net.fit(x, y, optimizer=gpubp.Adam(0.1), epochs=15)
    assert net.evaluate(x, y)["accuracy"] == 1.0


def test_categories_are_told_through_every_composite() -> None:
    category = gpubp.Sequential(Columns(1, 3), Embedding(N, DIM), Flatten())
    wide = (0, N, N, 0)
    for layer in (
        category,
        Checkpoint(category),
        Sum(category, category),
        Concatenate(Identity(), category),
        Concatenate(gpubp.Linear(2), category),
        gpubp.Sequential(Identity(), Checkpoint(Identity()), category),
        gpubp.Sequential(Tied(Identity(), 3), category),
        gpubp.Sequential(Reshape(2, 2), Flatten(), category),
        Residual(category, projection=True),
        Residual(gpubp.Linear(6), projection=category),
        Tied(gpubp.Sequential(category, gpubp.Linear(4)), times=1),
    ):
        assert layer.build((4,)).categories == wide
    swapped = gpubp.Sequential(
        Concatenate(Columns(2, 4), Columns(0, 2)), Columns(1, 3), Embedding(7, 1)
    )
    assert swapped.build((4,)).categories == (7, 0, 0, 7)  # feature 3, then feature 0
    first = gpubp.Sequential(Columns(0, 1), Embedding(4, 1))
    both = Concatenate(gpubp.Sequential(first, Flatten()), category)
    assert both.build((4,)).categories == (4, N, N, 0)
    assert gpubp.MLP([3], 2).build((4,)).categories == ()
    assert TABLE.build((5,)).categories == (4, N, N, 0, 0)


@pytest.mark.parametrize("before", [gpubp.Linear(4), BatchNorm(), gpubp.Activation("relu")])
def test_numbers_of_a_layer_are_no_categories(before: gpubp.Layer) -> None:
    with pytest.raises(gpubp.InputError, match="a layer behind layer 1 takes categories, and"):
        gpubp.Sequential(Identity(), before, Columns(0, 2), Embedding(3, 2)).build((4,))


def spoiled(value: float, row: int = 3, column: int = 1) -> Any:
    x = mixed()
    x[row, column] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (spoiled(11), "x[3, 1] is 11; that feature is a category, 0..10"),
        (spoiled(-1), "x[3, 1] is -1;"),
        (spoiled(2.5), "x[3, 1] is 2.5;"),
        (spoiled(np.nan), "x[3, 1] is nan;"),
        (spoiled(np.inf), "x[3, 1] is inf;"),
        (spoiled(4, 0, 0), "x[0, 0] is 4; that feature is a category, 0..3"),
        (spoiled(2.0**24 + 1), "x[3, 1] is 16777216;"),
    ],
)
def test_what_is_no_category_is_refused_up_front(backend: Backend, x: Any, message: str) -> None:
    if backend.precision == "float64":
        message = message.replace("16777216", "16777217")
    net = gpubp.Network(TABLE, 5, device=backend)
    before = backend.to_numpy(net.theta)
    y = np.zeros((ROWS, 2))
    for call in (
        lambda: net.forward(x),
        lambda: net.predict(x),
        lambda: net.fit(x, y, loss="squared_error", check_finite=False),
        lambda: net.evaluate(x, y, loss="squared_error"),
    ):
        with pytest.raises(gpubp.InputError, match=re.escape(message)):
            call()
    with pytest.raises(gpubp.InputError, match=re.escape(f"validation {message}")):
        net.fit(mixed(), y, loss="squared_error", validation=(x, y))
    assert np.array_equal(backend.to_numpy(net.theta), before)


def test_every_row_of_a_large_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpubp import categories

    monkeypatch.setattr(categories, "_BLOCK", 16)
    x = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=(ROWS, 5))
    x[:] = mixed()
    net = gpubp.Network(TABLE, 5)
    assert net.predict(x).shape == (ROWS, 2)
    x[ROWS - 1, 2] = 0.5
    with pytest.raises(gpubp.InputError, match=re.escape(f"x[{ROWS - 1}, 2] is 0.5")):
        net.predict(x)


def test_categories_of_examples_of_several_axes() -> None:
    body = gpubp.Sequential(Flatten(), Columns(3, 5), Embedding(3, 1))
    net = gpubp.Network(body, (2, 3))
    assert net.predict(np.zeros((1, 2, 3))).shape == (1, 2, 1)
    x = np.zeros((2, 2, 3))
    x[1, 1, 1] = 3
    with pytest.raises(gpubp.InputError, match=re.escape("x[1, 1, 1] is 3; that feature is a")):
        net.predict(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Embedding(0, 2), "Embedding: a width is 0"),
        (lambda: Embedding(2, 0.5), "Embedding: a width is 0.5"),  # type: ignore[arg-type]
        (lambda: Embedding(2**24 + 1, 2), "n is 16777217; at most 2^24 = 16777216 categories"),
        (lambda: Embedding(2, 2, W="norml"), "nearest: 'normal'"),
        (lambda: Embedding(2, 2).build((3, 4)), "Embedding takes rows of numbers"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=re.escape(message)):
        make()


# -- the contract of backends ------------------------------------------------------------------

LEADS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()), ((2,), ()), ((), (2,)), ((2,), (2,)), ((2, 1), (3,)),
]  # fmt: skip


@pytest.mark.parametrize(("table_lead", "index_lead"), LEADS)
def test_gather_takes_rows_member_by_member(
    backend: Backend, table_lead: tuple[int, ...], index_lead: tuple[int, ...]
) -> None:
    table = rng().normal(size=(*table_lead, N, DIM)).astype(backend.precision)
    index = rng(1).integers(0, N, (*index_lead, 6))
    given = backend.gather(backend.asarray(table), backend.asarray(index, "int64"))
    lead = np.broadcast_shapes(table_lead, index_lead)
    tables = np.broadcast_to(table, (*lead, N, DIM))
    indices = np.broadcast_to(index, (*lead, 6))
    assert given.shape == (*lead, 6, DIM)
    for member in np.ndindex(lead):
        assert np.array_equal(backend.to_numpy(given)[member], tables[member][indices[member]])


@pytest.mark.parametrize(("index_lead", "rows_lead"), LEADS)
@pytest.mark.parametrize("block", [1 << 24, 40])
def test_scatter_adds_rows_member_by_member(
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
    index_lead: tuple[int, ...],
    rows_lead: tuple[int, ...],
) -> None:
    monkeypatch.setattr(standard, "_ONE_HOT", block)  # whole, and a few columns at a time
    index = rng(1).integers(0, N, (*index_lead, 20))
    rows = rng().normal(size=(*rows_lead, 20, DIM)).astype(backend.precision)
    found = [
        backend.to_numpy(backend.scatter(backend.asarray(index, "int64"), backend.asarray(rows), N))
        for _ in range(2)
    ]
    lead = np.broadcast_shapes(index_lead, rows_lead)
    expected = np.zeros((*lead, N, DIM))
    for member in np.ndindex(lead):
        into = expected[member]
        np.add.at(
            into,
            np.broadcast_to(index, (*lead, 20))[member],
            np.broadcast_to(rows, (*lead, 20, DIM))[member].astype(float),
        )
    assert np.array_equal(*found)
    assert found[0].dtype == backend.precision
    assert error(found[0], expected) <= tolerance(backend.precision, expected, 20)
