"""Layers made of layers: what they compute, what they refuse, and that all of it is seen inside."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.backends.cpu import CpuBackend
from gpubp.check.tolerance import error, tolerance
from gpubp.diagnosis import instrument
from gpubp.layers import (
    BatchNorm,
    Checkpoint,
    Columns,
    Concatenate,
    Dropout,
    Embedding,
    Flatten,
    Identity,
    Multiply,
    Reshape,
    Residual,
    Sum,
    Tied,
    kept_bytes,
)
from tests.conftest import require, rng
from tests.test_layers import passes
from tests.toys import BATCH, N_IN, Centre, example

X = example()


def output(layer: gpubp.Layer, x: Any = X, **how: Any) -> Any:
    net = gpubp.Network(layer, x.shape[1:], **({"dtype": "float64"} | how))
    return net.be.to_numpy(net.forward(net.be.asarray(x))[0]), net


# -- what they compute -------------------------------------------------------------------------


def test_a_residual_adds_what_its_body_makes(backend: Backend) -> None:
    x = example(backend.precision)
    y, net = output(Residual(gpubp.Linear(N_IN, b="normal")), x, device=backend, dtype=None)
    w = {path: backend.to_numpy(a) for path, a in net.state_dict().items()}
    expected = x + x @ w["body.W"] + w["body.b"]
    assert error(y, expected) <= tolerance(backend.precision, expected, N_IN)


def test_a_projection_of_true_is_a_linear_without_bias() -> None:
    one, net = output(Residual(gpubp.Linear(3), projection=True))
    other, same = output(Residual(gpubp.Linear(3), gpubp.Linear(3, b=None)))
    assert list(net.state_dict()) == ["body.W", "body.b", "projection.W"] == list(same.state_dict())
    assert np.array_equal(one, other)
    assert Residual(gpubp.Linear(3), projection=False) == Residual(gpubp.Linear(3))


def test_joins_join_what_each_layer_makes(backend: Backend) -> None:
    parts = gpubp.Activation("tanh"), gpubp.Activation("relu"), Identity()
    x = example(backend.precision)
    alone = [output(part, x, device=backend, dtype=None)[0] for part in parts]
    for join, expected in (
        (Sum, alone[0] + alone[1] + alone[2]),
        (Multiply, alone[0] * alone[1] * alone[2]),
        (Concatenate, np.concatenate(alone, axis=-1)),
    ):
        assert np.array_equal(output(join(*parts), x, device=backend, dtype=None)[0], expected)


def test_a_product_with_zeros_has_its_gradient() -> None:
    """No division by an output: where one factor is 0, the delta of the other is not lost."""
    net = gpubp.Network(Multiply(Identity(), Identity(), Identity()), 3, dtype="float64")
    _, context = net.forward([[0.0, 2.0, -1.0]])
    dx = net.backward(context, np.ones((1, 3)), input_gradient=True)
    assert dx is not None
    assert dx.tolist() == [[0.0, 12.0, 3.0]]


def test_columns_and_shapes_move_numbers_only(backend: Backend) -> None:
    x = backend.asarray(np.arange(24.0).reshape(2, 12))
    net = gpubp.Network(gpubp.Sequential(Columns(2, 8), Reshape(3, -1)), 12, device=backend)
    y, context = net.forward(x)
    host = backend.to_numpy(x)
    assert np.array_equal(backend.to_numpy(y), host[:, 2:8].reshape(2, 3, 2))
    dx = net.backward(context, y, input_gradient=True)
    assert np.array_equal(backend.to_numpy(dx), host * ((host % 12 >= 2) & (host % 12 < 8)))


def test_tied_is_the_power_of_its_body() -> None:
    y, net = output(Tied(gpubp.Linear(N_IN, b=None), times=4))
    w = net.state_dict()["body.W"]
    assert list(net.state_dict()) == ["body.W"]
    assert error(y, X @ np.linalg.matrix_power(w, 4)) <= tolerance("float64", y, N_IN)


def test_torch_gives_the_same_for_a_stack_of_all() -> None:
    torch = require("torch")
    body = gpubp.Sequential(
        Residual(gpubp.Sequential(gpubp.Linear(4), gpubp.Activation("tanh")), projection=True),
        Concatenate(Columns(1, 3), Multiply(gpubp.Linear(3), gpubp.Linear(3))),
        Tied(gpubp.Sequential(gpubp.Linear(5), gpubp.Activation("tanh")), times=2),
    )
    net = gpubp.Network(body, N_IN, dtype="float64", seed=3)
    given = passes(net, X)
    w = {p: torch.from_numpy(np.array(a)).requires_grad_() for p, a in net.state_dict().items()}
    x = torch.from_numpy(X).requires_grad_()

    def linear(a: Any, path: str) -> Any:
        return a @ w[f"{path}.W"] + w[f"{path}.b"]

    a = x @ w["0.projection.W"] + torch.tanh(linear(x, "0.body.0"))
    a = torch.cat([a[:, 1:3], linear(a, "1.1.0") * linear(a, "1.1.1")], dim=1)
    for _ in range(2):
        a = torch.tanh(linear(a, "2.body.0"))
    a.backward(torch.from_numpy(rng(2).normal(size=(BATCH, 5))))
    expected = {"output": a.detach(), "input": x.grad, **{p: t.grad for p, t in w.items()}}
    assert given.keys() == expected.keys()
    for name, array in expected.items():
        assert error(given[name], array.numpy()) <= tolerance("float64", array.numpy(), BATCH), name


# -- checkpoints -------------------------------------------------------------------------------

BODY = gpubp.Sequential(
    gpubp.Linear(6), BatchNorm(), gpubp.Activation("silu"), Dropout(0.4), gpubp.Linear(N_IN),
    Centre(),
)  # fmt: skip


class Kept(Checkpoint):
    """The same tree, and so the same names, without computing anything twice."""

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return self.body.forward(be, w.body, x, run.body)

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return self.body.backward(be, w.body, g.body, ctx, dy, run.body)


@pytest.mark.parametrize("members", [None, 2])
def test_a_checkpoint_changes_no_bit_of_a_training(backend: Backend, members: int | None) -> None:
    found = []
    for body in (Kept(BODY), Checkpoint(BODY)):
        net = gpubp.Network(body, N_IN, device=backend, members=members)
        x = example(backend.precision)
        net.fit(x, x, loss="squared_error", epochs=3, batch_size=3)
        found.append([backend.to_numpy(a) for a in net.state_dict().values()])
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)
    assert len(found[0]) == 9


def test_a_checkpoint_in_a_tied_layer_draws_the_masks_of_each_use() -> None:
    body = gpubp.Sequential(gpubp.Linear(N_IN), Dropout(0.4))
    kept = passes(gpubp.Network(Tied(Kept(body), 3), N_IN, dtype="float64"), X)
    again = passes(gpubp.Network(Tied(Checkpoint(body), 3), N_IN, dtype="float64"), X)
    for name, array in kept.items():
        assert np.array_equal(array, again[name])


def test_a_checkpoint_keeps_its_input_alone(backend: Backend) -> None:
    x = example(backend.precision)
    plain, checkpointed = (
        kept_bytes(gpubp.Network(body, N_IN, device=backend).forward(x)[1].layer)
        for body in (BODY, Checkpoint(BODY))
    )
    assert checkpointed == x.nbytes < plain / 4


def test_bytes_are_counted_once_for_one_memory() -> None:
    x = np.zeros((4, 6), np.float32)
    assert kept_bytes(None) == kept_bytes([]) == kept_bytes((1, "x")) == 0
    assert kept_bytes([x, x[:, :2], (x.mT, [x])]) == 96
    assert kept_bytes([x, x.copy()]) == 192
    strict = require("array_api_strict")
    assert kept_bytes(strict.zeros((3, 2), dtype=strict.float64)) == 48
    assert kept_bytes(strict.zeros((3, 2), dtype=strict.bool)) == 6


class Counting(CpuBackend):
    """The CPU, counting products."""

    def __init__(self) -> None:
        super().__init__(0, "float64")
        self.products = 0

    def matmul(self, a: Any, b: Any) -> Any:
        self.products += 1
        return super().matmul(a, b)


def test_a_checkpoint_is_computed_twice_in_a_step_and_once_in_inference() -> None:
    be = Counting()
    net = gpubp.Network(Checkpoint(gpubp.Linear(2)), N_IN, device=be)
    net.predict(X)
    assert be.products == 1
    y, context = net.forward(X)
    net.backward(context, y)
    assert be.products == 3


# -- looked at from outside --------------------------------------------------------------------

TREES: dict[str, tuple[gpubp.Layer, list[str]]] = {
    "residual": (Residual(gpubp.Linear(N_IN)), ["body"]),
    "residual, projected": (
        Residual(gpubp.Linear(2), gpubp.Linear(2)), ["body", "projection"],
    ),
    "residual, projected by itself": (Residual(gpubp.Linear(2), True), ["body"]),
    "sum": (Sum(Identity(), gpubp.MLP([2], N_IN)), ["0", "1.0", "1.1", "1.2"]),
    "product": (Multiply(gpubp.Linear(2), gpubp.MLP([], 2, output="tanh")), ["0", "1.0", "1.1"]),
    "concatenation": (Concatenate(gpubp.Linear(2), Columns(0, 1)), ["0", "1"]),
    "tied": (Tied(gpubp.Linear(N_IN)), ["body", "body"]),
    "checkpoint": (Checkpoint(gpubp.MLP([], 2)), ["body.0"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_every_leaf_of_a_composite_reports_and_changes_nothing(name: str) -> None:
    layer, leaves = TREES[name]
    seen: list[tuple[str, str]] = []

    def report(way: str, path: str, leaf: gpubp.Layer, given: Any, result: Any) -> Any:
        seen.append((way, path))
        return result

    probed = passes(gpubp.Network(instrument(layer, report), N_IN, dtype="float64"), X)
    plain = passes(gpubp.Network(layer, N_IN, dtype="float64"), X)
    for key, array in plain.items():
        assert np.array_equal(probed[key], array)
    forward = [path for way, path in seen if way == "forward"]
    twice = isinstance(layer, Checkpoint)  # and the second time on the way back
    assert forward == leaves * (2 if twice else 1)
    assert sorted(path for way, path in seen if way == "backward") == sorted(leaves)
    assert [way for way, _ in seen[: len(leaves)]] == ["forward"] * len(leaves)


@pytest.mark.parametrize("name", TREES)
def test_the_check_of_a_layer_finds_nothing(name: str) -> None:
    report = gpubp.check.layer(TREES[name][0], N_IN)
    assert (report.ok, report.broken_rule) == (True, None)


@pytest.mark.parametrize("wrap", [Checkpoint, Residual, Tied, Sum, lambda b: Sum(Identity(), b)])
def test_a_layer_inside_that_makes_nan_is_named(wrap: Any) -> None:
    big = gpubp.Linear(3, W=gpubp.Constant(3e38))
    net = gpubp.Network(gpubp.Sequential(gpubp.Linear(3, W="ones"), wrap(big)), 3)
    with pytest.raises(gpubp.NonFiniteError) as caught:
        net.fit(np.ones((2, 3)), np.zeros((2, 3)), loss="squared_error", epochs=1)
    (path,) = {p.rpartition(".")[0] for p in net.state_dict() if p.startswith("1.")}
    assert caught.value.layer == path


def test_what_needs_two_rows_is_known_of_every_tree() -> None:
    norm = BatchNorm()
    for tree in (
        Residual(norm), Residual(gpubp.Linear(4), norm), Sum(Identity(), norm), Tied(norm),
        Checkpoint(norm), gpubp.Sequential(gpubp.Linear(4), gpubp.Sequential(norm)),
    ):  # fmt: skip
        assert tree.build((4,)).least_rows == 2
    assert Residual(gpubp.MLP([3], 4)).build((4,)).least_rows == 1


# -- the rules of the dialect ------------------------------------------------------------------


class Slicing(gpubp.Layer):
    """Takes a part of its input in one way or another."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return be.concat([x[self.key], x[..., 2:]]), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ((..., slice(0, 2)), True),
        ((..., slice(None, 2)), True),
        ((..., slice(0, 2, 1)), False),
        ((slice(0, 9), slice(0, 2)), False),
        ((..., slice(0, 9), slice(0, 2)), False),
        ((..., slice(np.int64(0), 2)), False),
    ],
)
def test_a_slice_of_features_may_be_taken_and_no_other(key: Any, allowed: bool) -> None:
    from gpubp.check.layers import broken_rule

    broken = broken_rule(Slicing(key), (4,))
    assert (broken is None) if allowed else (broken is not None and "rule 1" in broken)


# -- the contract of backends ------------------------------------------------------------------


def test_reshape_replaces_the_last_lengths(backend: Backend) -> None:
    x = rng().normal(size=(2, 3, 4, 5)).astype(backend.precision)
    for rank, shape in ((1, (5, 1)), (2, (20,)), (3, (6, 10)), (2, (2, 2, 5))):
        given = backend.reshape(backend.asarray(x), rank, shape)
        assert np.array_equal(backend.to_numpy(given), x.reshape(*x.shape[: 4 - rank], *shape))


def test_concat_broadcasts_all_but_the_last_axis(backend: Backend) -> None:
    shapes = [(2, 4, 3), (4, 1), (1, 0), (2, 1, 2)]
    parts = [rng(i).normal(size=s).astype(backend.precision) for i, s in enumerate(shapes)]
    given = backend.to_numpy(backend.concat([backend.asarray(p) for p in parts]))
    wide = [np.broadcast_to(p, (2, 4, p.shape[-1])) for p in parts]
    assert np.array_equal(given, np.concatenate(wide, axis=-1))
    assert given.dtype == backend.precision


# -- what they refuse --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Residual(gpubp.Linear(3)).build((7,)),
            "Residual: body maps 7 -> 3; widths must match, or give projection=...",
        ),
        (
            lambda: Residual(gpubp.Linear(3), gpubp.Linear(2)).build((7,)),
            "Residual: projection maps to 2, body maps 7 -> 3; they must match",
        ),
        (lambda: Residual(3), "Residual: the body is 3; expected a gpubp.Layer"),
        (lambda: Residual(gpubp.Linear(3), "yes"), "Residual: projection is 'yes'"),
        (lambda: Sum(), "Sum: give at least one layer"),
        (lambda: Multiply(gpubp.Linear(2), 3), "Multiply: item 1 is 3; expected a gpubp.Layer"),
        (
            lambda: Sum(gpubp.Linear(2), Identity()).build((3,)),
            "Sum: its layers put out (2,) and (3,); they must match",
        ),
        (lambda: Multiply(gpubp.Linear(2), Identity()).build((3,)), "Multiply: its layers put"),
        (
            lambda: Concatenate(Reshape(2, 2), Identity()).build((4,)),
            "Concatenate: its layers put out (2, 2) and (4,); only the last may differ",
        ),
        (lambda: Columns(2, 2), "Columns(2, 2): expected whole numbers with 0 <= start < stop"),
        (lambda: Columns(-1, 2), "Columns(-1, 2)"),
        (lambda: Columns(0, 1.5), "Columns(0, 1.5)"),
        (lambda: Columns(1, 4).build((3,)), "Columns(1, 4): a row has 3 features"),
        (lambda: Columns(0, 1).build((3, 2)), "Columns takes rows of numbers"),
        (lambda: Tied(None), "Tied: the body is None"),
        (lambda: Tied(Identity(), 0), "Tied: times is 0; expected a whole number of at least 1"),
        (lambda: Tied(gpubp.Linear(2)).build((3,)), "Tied: body maps (3,) -> (2,)"),
        (lambda: Checkpoint("x"), "Checkpoint: the body is 'x'"),
        (lambda: Reshape(), "Reshape(): expected the lengths of one example"),
        (lambda: Reshape(-1, -1), "at most one of them -1"),
        (lambda: Reshape(0), "Reshape(0,)"),
        (lambda: Reshape(2, 2).build((3,)), "Reshape(2, 2): an example has 3 numbers"),
        (lambda: Reshape(2, -1).build((3,)), "Reshape(2, -1): an example has 3 numbers"),
        (lambda: gpubp.Linear(2).build((3, 2)), "put Flatten() before it"),
        (
            lambda: Sum(Embedding(3, 2), Embedding(4, 2)).build((2,)),
            "Sum: feature 0 is a category 0..2 for one layer and 0..3 for another",
        ),
        (
            lambda: Tied(gpubp.Sequential(Embedding(3, 1), Flatten())).build((2,)),
            "Tied: a layer behind layer 0 takes categories",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=re.escape(message)):
        make()
