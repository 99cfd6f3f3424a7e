"""A training step printed as C does what the plain path does, also with what is not finite."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import cache
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import layers, losses
from gpubp.check.tolerance import error, tolerance
from gpubp.program.c_expressions import neutral, operand
from gpubp.program.c_program import unit
from gpubp.program.c_text import Printer
from gpubp.program.calls import Launch
from gpubp.program.kernels import (
    CELL,
    COLUMN,
    ONE,
    Begin,
    Formal,
    Join,
    Kernel,
    Let,
    Load,
    Loop,
    Number,
    Store,
)  # fmt: skip
from gpubp.program.program import build
from gpubp.recording import Recording
from tests.conftest import require, rng
from tests.steps_in_c import Compiled, Task, compile_all, formula_program, in_c, plainly

ROWS, STEPS = 7, 3
DRAW = rng(5)
X = DRAW.normal(size=(ROWS, 5))
W = DRAW.uniform(0.5, 2.0, ROWS)
LABELS = np.arange(ROWS) % 3
REAL = DRAW.normal(size=(ROWS, 3))
UNIT = DRAW.uniform(size=(ROWS, 3))
MIXED = np.concatenate([X[:, :3], DRAW.integers(0, 4, (ROWS, 2))], axis=1)


def network(*parts: gpubp.Layer) -> gpubp.Layer:
    return gpubp.Sequential(*parts, gpubp.Linear(3))


TASKS = {
    "mlp": Task(gpubp.MLP([8], 3), gpubp.CrossEntropy(), gpubp.SGD(0.1), X, LABELS),
    "layer_norm": Task(
        network(
            gpubp.Linear(6), layers.LayerNorm(), gpubp.Activation("gelu"),
            layers.Residual(gpubp.Sequential(gpubp.Linear(6), layers.Dropout(0.3))),
        ),
        gpubp.CrossEntropy(0.1), gpubp.AdamW(1e-2, eps=1e-3, clip=gpubp.ClipGlobalNorm(0.1)),
        X, LABELS, W,
    ),
    "batch_norm": Task(
        network(gpubp.Linear(6), layers.BatchNorm(), gpubp.Activation("silu")),
        gpubp.MeanSquaredError(),
        gpubp.EMA(gpubp.Momentum(0.1, penalty=gpubp.L2(0.01), max_norm=1.0)), X, REAL,
    ),
    "columns": Task(
        network(layers.Concatenate(layers.Columns(0, 2), gpubp.Linear(4), layers.Columns(4, 5))),
        losses.Huber(), gpubp.RMSProp(0.01, eps=1e-3, momentum=0.9, centered=True), X, REAL,
    ),
    "embedding": Task(
        network(
            layers.Concatenate(
                layers.Columns(0, 3),
                gpubp.Sequential(layers.Columns(3, 5), layers.Embedding(4, 2), layers.Flatten()),
            )
        ),
        gpubp.CrossEntropy(class_weight=(0.5, 1.0, 2.0)),
        gpubp.Adagrad(0.1, initial=0.1, penalty=gpubp.L1(0.01)), MIXED, LABELS,
    ),
    "prelu": Task(
        network(gpubp.Linear(6), layers.PReLU(), layers.RMSNorm()),
        losses.Quantile(0.3), gpubp.Nesterov(0.1, clip=gpubp.ClipValue(0.05)), X, REAL,
    ),
    "tied": Task(
        network(
            gpubp.Linear(6),
            layers.Tied(gpubp.Sequential(gpubp.Linear(6), gpubp.Activation("tanh")), 2),
        ),
        losses.BinaryCrossEntropy(), gpubp.NAdam(1e-2, eps=1e-3, weight_decay=0.1), X, UNIT, W,
    ),
    "checkpoint": Task(
        network(
            gpubp.Linear(6),
            layers.Checkpoint(gpubp.Sequential(gpubp.Linear(6), layers.Dropout(0.5))),
        ),
        losses.LogCosh(), gpubp.SWA(gpubp.Adadelta(1.0, eps=1e-3)), X, REAL,
    ),
    "noise": Task(
        network(layers.GaussianNoise(0.1), gpubp.Linear(6), layers.GaussianDropout(0.2)),
        losses.Focal(), gpubp.Lion(1e-3, penalty=gpubp.ElasticNet(0.01, l1_ratio=0.25)), X, LABELS,
    ),
    "one_row": Task(
        network(layers.Sum(gpubp.Linear(6), gpubp.Linear(6)), layers.Softmax()),
        losses.KLDivergence(), gpubp.AMSGrad(1e-2, eps=1e-3, clip=gpubp.AdaptiveClip(0.01)),
        X[:1], UNIT[:1],
    ),
    "one_output": Task(
        gpubp.Sequential(gpubp.Linear(4), gpubp.Activation("softplus"), gpubp.Linear(1)),
        losses.Poisson(), gpubp.Adamax(1e-2, eps=1e-3, clip=gpubp.ClipNorm(0.1)),
        X, np.floor(8 * UNIT[:, :1]),
    ),
}  # fmt: skip
PRECISIONS = ("float32", "float64")


@cache
def recordings() -> dict[str, Recording]:
    both = itertools.product(TASKS, PRECISIONS)
    return {f"{name}_{p}": TASKS[name].record(p) for name, p in both}


@cache
def programs() -> dict[str, Compiled]:
    """All that is run here, compiled together and once."""
    steps = {name: build(r.phases, r.precision) for name, r in recordings().items()}
    others = {f"edges_{p}": formula_program(edges, pairs(p), p) for p in PRECISIONS}
    return compile_all({**steps, **others})


@pytest.fixture
def compiled() -> dict[str, Compiled]:
    require("g++")
    return programs()


@pytest.mark.parametrize("name", TASKS)
def test_steps_in_c_do_what_the_plain_path_does(
    compiled: dict[str, Compiled], name: str, precision: str
) -> None:
    key, task = f"{name}_{precision}", TASKS[name]
    given = in_c(task, precision, compiled[key], recordings()[key], STEPS)
    expected = plainly(task, precision, STEPS)
    assert given.sound == expected.sound == [True] * STEPS
    k = 8 * ROWS  # the longest sum behind a gradient: over rows, of sums over features
    found = [(getattr(given, a), getattr(expected, a)) for a in ("theta", "grad", "losses")]
    if expected.state.size:
        found.append((given.state, expected.state))
    found += [(given.slots[slot], expected.slots[slot]) for slot in task.optimizer.slots]
    for g, e in found:
        assert error(g, e) <= tolerance(precision, e, k)
    assert not np.array_equal(given.theta, task.network(precision).theta)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["mlp", "layer_norm", "batch_norm"])
def test_a_step_that_is_not_finite_changes_no_parameter(
    compiled: dict[str, Compiled], name: str, precision: str, number: float
) -> None:
    task = dataclasses.replace(TASKS[name], x=X.copy())
    task.x[3, 2] = number
    key = f"{name}_{precision}"
    given = in_c(task, precision, compiled[key], recordings()[key], 1)
    expected = plainly(task, precision, 1)
    assert given.sound == expected.sound == [False]
    assert np.array_equal(given.losses, expected.losses, equal_nan=True)
    assert np.array_equal(given.theta, task.network(precision).theta)
    assert np.array_equal(given.state, task.network(precision).arrays._state)
    assert all(not slot.any() for slot in given.slots.values())


def edges(xp: Any, a: Any, b: Any, j: Any, u: Any) -> tuple[Any, ...]:
    """What NaN, infinities and whole numbers at their ends go through."""
    return (
        xp.maximum(a, b), xp.minimum(a, b), xp.maximum(a, 0.5), xp.minimum(0.5, b),
        xp.where(a < b, a, -b), xp.where(xp.isfinite(a), 1.0, -math.inf),
        xp.where(xp.isfinite(b), math.nan, math.inf), xp.exp(a), xp.abs(b), xp.tanh(a),
        xp.sqrt(xp.abs(a)), a / b, xp.where((a != b) & (b >= 1.0), a, 3.5),
        xp.astype((u * 2654435769 ^ (u >> 16)) + 7 & 65535, a.dtype),
        xp.astype(j & -4, a.dtype), xp.astype(xp.where(j == -(2**63), 1, 2), a.dtype),
        xp.astype(a == b, a.dtype),
        xp.max(a, axis=-1, keepdims=True), xp.min(b, axis=-1, keepdims=True),
        xp.max(b, axis=-2, keepdims=True), xp.min(a, axis=-2, keepdims=True),
        xp.sum(a, axis=-2, keepdims=True),
    )  # fmt: skip


def pairs(precision: str) -> list[Any]:
    """Matrices in which each special number meets each other, and whole numbers."""
    special = np.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, 1.0, -2.5], precision)
    a, b = (np.ascontiguousarray(m) for m in np.meshgrid(special, special))
    a[:, -1], b[-1] = np.arange(8), np.arange(8)  # a column, and a row, without any
    whole = rng(1).integers(-(2**63), 2**63 - 1, a.shape, endpoint=True)
    whole[0, :2] = -(2**63), 2**63 - 1
    return [a, b, whole, whole.astype(np.uint32)]


def test_what_is_not_finite_goes_through_kernels_as_through_numpy(
    compiled: dict[str, Compiled], precision: str
) -> None:
    operands, step = pairs(precision), compiled[f"edges_{precision}"]
    arrays = step.arrays({f"in{i}": a for i, a in enumerate(operands)})
    assert step(arrays)
    with np.errstate(all="ignore"):
        expected = edges(np, *operands)
    for i, e in enumerate(expected):
        g = arrays[f"new:out{i}"].reshape(e.shape)
        finite = np.isfinite(e)
        assert np.array_equal(np.where(finite, 0.0, g), np.where(finite, 0.0, e), equal_nan=True), i
        assert error(g[finite], e[finite]) <= tolerance(precision, e[finite]), i


# -- what is printed -------------------------------------------------------------------------------


def square_sum() -> Kernel:
    """out[r] = the sum of x[r, j]^2 over j, times what comes with the step."""
    formals = (Formal("D", ONE, 1, 1), Formal("T", CELL, 4, 3), Formal("T", COLUMN, 4, 1))
    squared = Let("v4", "T", "mul", ("v3", "v3"))
    inner = (Load("v3", "T", 1, CELL), squared, Join("v2", "T", "sum", "v4"))
    body = (
        Begin("v2", "T", "sum"), Loop(3, inner),
        Let("v5", "T", "mul", ("v1", "v2")), Store(2, COLUMN, "v5"),
    )  # fmt: skip
    return Kernel(formals, (Load("v1", "T", 0, ONE),), body, (), 4, 1)


def test_a_kernel_is_a_function_over_a_part_of_the_rows() -> None:
    assert Printer(square_sum()).function("f").splitlines() == [
        "static void f(const D* a0, const T* a1, T* a2, long first, long count) {",
        "    const T v1 = T(a0[0]);",
        "    for (long r = first; r < first + count; ++r) {",
        "        T v2 = T(0.0);",
        "        for (long j = 0; j < 3; ++j) {",
        "            const T v3 = a1[r * 3 + j];",
        "            const T v4 = v3 * v3;",
        "            v2 = v2 + v4;",
        "        }",
        "        const T v5 = v1 * v2;",
        "        a2[r] = v5;",
        "    }",
        "}",
    ]


@pytest.mark.parametrize(
    ("number", "host", "cuda"),
    [
        (Number(0.1, "T"), "T(0.1)", "T(0.1)"),
        (Number(-math.inf, "T"), "T(-INFINITY)", "T(-__int_as_float(0x7f800000))"),
        (Number(math.nan, "T"), "T(NAN)", "T(__int_as_float(0x7fc00000))"),
        (Number(True, "bool"), "true", "true"),
        (Number(-(2**63), "I"), "I(-9223372036854775807 - 1)", "I(-9223372036854775807 - 1)"),
        (Number(2**32 - 1, "U"), "U(4294967295)", "U(4294967295)"),
    ],
)
def test_a_constant_is_written_as_the_target_knows_it(number: Number, host: str, cuda: str) -> None:
    assert operand(number, "host") == host
    assert operand(number, "cuda") == cuda


def test_a_largest_begins_with_the_least_number_of_its_kind() -> None:
    assert neutral("max", "T", "host") == "T(-INFINITY)"
    assert neutral("min", "I", "host") == "I(9223372036854775807)"
    assert neutral("sum", "I", "host") == "I(0)"


def test_equal_kernels_are_printed_once() -> None:
    layer = gpubp.Sequential(*(gpubp.MLP([5], 5) for _ in range(4)))
    task = Task(layer, gpubp.MeanSquaredError(), gpubp.SGD(0.1), X, DRAW.normal(size=(ROWS, 5)))
    program = build(task.record("float32").phases, "float32")
    launches = sum(isinstance(call, Launch) for call in program.calls)
    assert unit(program, "step").text.count("static void") < launches


def test_a_program_for_several_threads_is_refused() -> None:
    program = build(TASKS["mlp"].record("float32").phases, "float32", threads=2)
    with pytest.raises(ValueError, match="2 threads"):
        unit(program, "step")
