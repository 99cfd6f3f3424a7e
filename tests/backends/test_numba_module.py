"""The module of a program: tables of threads, equal functions once, and steps in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backends.numba_module import Module, own_of_thread
from gpubp.program.calls import Guard, Launch, Product, Scatter
from gpubp.program.program import build
from gpubp.recording import Shadow
from tests.program.recorded import recording


def program(layer: gpubp.Layer, inputs: int, rows: int, threads: int = 1) -> Any:
    net, optimizer = gpubp.Network(layer, inputs=inputs, dtype="float64"), gpubp.Momentum(0.1)
    shadow = Shadow(net, optimizer, rows)
    width = net.spec.shape[-1]
    recorded = shadow.record(gpubp.SquaredError(), optimizer, (width, "T"), False)
    return build(recorded.phases, "float64", threads)


def spans(module: Module, memory: str) -> list[list[int]]:
    """Where each thread's entries of a memory begin, in elements of float64."""
    number = module.memories[memory]
    return [
        sorted({int(o) // 8 for w, o in zip(which, offsets, strict=True) if w == number})
        for which, offsets in zip(module.which, module.offsets, strict=True)
    ]  # fmt: skip


def test_threads_divide_the_rows_of_the_batch() -> None:
    module = Module(program(gpubp.Linear(2), 3, 17, threads=2), 0, 2)
    assert spans(module, "x") == [[0], [3 * 8]]  # 17 rows are 8 and 9
    assert spans(module, "t") == [[0], [2 * 8]]
    assert [8, 9] in module.offsets.T.tolist()  # how many each does


def test_one_thread_has_one_table_without_barriers() -> None:
    module = Module(program(gpubp.MLP([4], 2), 3, 17), 0, 1)
    assert module.which.shape == module.offsets.shape
    assert module.which.shape[0] == 1
    assert "barrier(meeting" not in module.text(False, "t")


def test_equal_layers_have_one_function() -> None:
    def functions(depth: int) -> int:
        return Module(program(gpubp.MLP([8] * depth, 8), 8, 4), 0, 1).text(True, "t").count("def ")

    assert functions(4) == functions(8)


def test_members_are_shared_out_and_not_the_rows() -> None:
    module = Module(program(gpubp.Linear(2), 3, 40), 5, 2)
    text = module.text(False, "t")
    assert "for k in range(thread * 5 // 2, (thread + 1) * 5 // 2):" in text
    assert module.which.shape[0] == 2
    assert np.array_equal(module.which[0], module.which[1])
    assert np.array_equal(module.offsets[0], module.offsets[1])


def test_the_text_knows_no_sizes_of_memory() -> None:
    """Offsets are in the table: two networks that differ in them alone have one text."""
    wide = Module(program(gpubp.Sequential(gpubp.Linear(2, b=None)), 3, 40), 0, 1)
    assert "theta" not in wide.text(True, "t")


@pytest.mark.parametrize("shuffled", [True, False])
def test_the_text_is_python(shuffled: bool) -> None:
    recorded = recording("residual")
    module = Module(build(recorded.phases, recorded.precision), 0, 1)
    text = module.text(shuffled, "t")
    compile(text, "t", "exec")
    assert ("take(" in text.partition("def run")[2]) is shuffled


def test_each_call_has_a_line() -> None:
    recorded = recording("mlp")
    made = build(recorded.phases, recorded.precision)
    step = Module(made, 0, 1).text(True, "t").partition("def one_step")[2].partition("def run")[0]
    done = [call for call in made.calls if isinstance(call, Launch | Product | Scatter)]
    assert step.count("(table, I(") + step.count(", table, I(") == len(done)
    assert step.count("if flat_bool(") == sum(isinstance(call, Guard) for call in made.calls)


def test_memories_of_a_thread() -> None:
    own = {"arena:T", "arena:U", "new:0.mean", "loss"}
    assert all(own_of_thread(name) for name in own)
    assert not any(own_of_thread(name) for name in ("theta", "grad", "slot:m", "constant0"))
