"""The module of a program: tables of threads, equal functions once, and steps in one call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import seeds
from gpubp.program.calls import (
    Barrier,
    Buffer,
    Gather,
    Guard,
    Launch,
    Opaque,
    Product,
    Program,
    Scatter,
    Total,
)  # fmt: skip
from gpubp.program.program import build
from gpubp.recording import Shadow
from tests.conftest import require
from tests.program.recorded import recording

pytestmark = pytest.mark.compiled

LANES = 8


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    require("llvmlite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("steps")))
        yield


def module(program: Program, members: int, threads: int, timed: bool = False) -> Any:
    from gpubp.backends.step_code import Module

    return Module(program, members, threads, LANES, timed)


def program(layer: gpubp.Layer, inputs: int, rows: int, threads: int = 1) -> Any:
    net, optimizer = gpubp.Network(layer, inputs=inputs, dtype="float64"), gpubp.Momentum(0.1)
    shadow = Shadow(net, optimizer, rows)
    width = net.spec.shape[-1]
    recorded = shadow.record(gpubp.SquaredError(), optimizer, (width, "T"), False)
    return build(recorded.phases, "float64", threads)


def recorded(name: str, threads: int = 1, rows: int = 5) -> Program:
    found = recording(name, rows)
    return build(found.phases, found.precision, threads)


def function(text: str, name: str) -> str:
    """The text of one function."""
    [found] = re.findall(rf"^define [^\n]*@\"{name}\"\(.*?^}}", text, re.DOTALL | re.MULTILINE)
    return str(found)


def spans(of: Any, memory: str) -> list[list[int]]:
    """Where each thread's entries of a memory begin, in elements of float64."""
    number = of.memories[memory]
    return [
        sorted({int(o) // 8 for w, o in zip(which, offsets, strict=True) if w == number})
        for which, offsets in zip(of.which, of.offsets, strict=True)
    ]  # fmt: skip


# -- the tables ------------------------------------------------------------------------------------


def test_threads_divide_the_rows_of_the_batch() -> None:
    made = module(program(gpubp.Linear(2), 3, 17, threads=2), 0, 2)
    assert spans(made, "x") == [[0], [3 * 8]]  # 17 rows are 8 and 9
    assert spans(made, "t") == [[0], [2 * 8]]
    assert [8, 9] in made.offsets.T.tolist()  # how many each does


def test_threads_divide_a_large_product() -> None:
    """Its rows, and the terms of the sum that is the gradient of the weights."""
    made = module(program(gpubp.Linear(30), 20, 40, threads=3), 0, 3)
    assert made.sizes == {(40, 30, 20), (20, 30, 40)}
    columns = made.offsets.T.tolist()
    for parts in ([13, 13, 14], [30, 30, 30], [20, 20, 20]):
        assert parts in columns
    assert spans(made, "x") == [[0], [13 * 20], [26 * 20]]


def test_one_thread_has_one_table_without_barriers() -> None:
    made = module(program(gpubp.MLP([4], 2), 3, 17), 0, 1)
    assert made.which.shape == made.offsets.shape
    assert made.which.shape[0] == 1
    assert "barrier" not in made.text(False)
    shared = program(gpubp.MLP([4], 2), 3, 17, threads=2)
    text = module(shared, 0, 2).text(False)
    meetings = sum(isinstance(call, Barrier) for call in shared.calls)
    assert meetings > 0
    assert function(text, "one_step").count('call i64 @"barrier"') == meetings


def test_what_moves_is_what_is_another_in_each_step() -> None:
    from gpubp.backends.step_code import MOVING

    made = module(program(gpubp.MLP([4], 2), 3, 17, threads=2), 0, 2)
    names = list(made.memories)
    assert tuple(names[: len(MOVING)]) == MOVING
    assert made.moving.shape[0] == 2
    for moving, which in zip(made.moving, made.which, strict=True):
        assert {names[w] for w in which[moving]} == {"x", "t", "numbers"}
        rest = np.delete(which, moving)
        assert not {names[w] for w in rest if w >= 0} & set(MOVING)


def test_threads_have_copies_of_their_own_where_they_add_up() -> None:
    shared = program(gpubp.Linear(2), 3, 64, threads=2)
    [total] = [c for c in shared.calls if isinstance(c, Total) and c.out.memory == "grad"][:1]
    made = module(shared, 0, 2)
    number = made.memories[total.parts.memory]
    begins = [
        {int(o) // 8 for w, o in zip(made.which[t], made.offsets[t], strict=True) if w == number}
        for t in range(2)
    ]
    assert total.parts.start in begins[0]
    assert total.parts.start + total.parts.cols in begins[1]
    assert total.parts.start + total.parts.cols not in begins[0]


def test_memories_of_a_thread() -> None:
    from gpubp.backends.step_code import BOOK, WORK, own_of_thread

    own = {"arena:T", "arena:U", "new:0.mean", "loss", WORK, BOOK}
    assert all(own_of_thread(name) for name in own)
    assert not any(own_of_thread(name) for name in ("theta", "grad", "slot:m", "constant0", "x"))


def test_a_layer_that_is_not_compiled_is_refused() -> None:
    buffer = Buffer("arena:T", 0, 2, 2, "T")
    opaque = Opaque(buffer, buffer, 0, "forward", (2,), (2,))
    made = replace(program(gpubp.Linear(2), 3, 4), calls=(opaque,))
    with pytest.raises(ValueError, match=r"not compiled; see gpubp\.backends\.segmented"):
        module(made, 0, 1)


# -- the text --------------------------------------------------------------------------------------


def test_equal_layers_have_one_function() -> None:
    def functions(depth: int) -> int:
        text = module(program(gpubp.MLP([8] * depth, 8), 8, 4), 0, 1).text(True)
        return int(text.count("\ndefine "))

    assert functions(4) == functions(8) > 5


def test_the_text_knows_no_sizes_of_memory() -> None:
    """Offsets are in the table: two networks that differ in them alone have one text."""
    plain = program(gpubp.MLP([40], 30), 20, 40, threads=2)
    moved = replace(plain, calls=tuple(further(call, 1000) for call in plain.calls))
    here, there = module(plain, 0, 2), module(moved, 0, 2)
    assert here.text(True) == there.text(True)
    known = here.which >= 0
    shift = (there.offsets - here.offsets)[known]
    assert set(shift.tolist()) <= {0, 1000, 8000}  # those of work are its own
    assert (shift > 0).mean() > 0.8
    assert not (there.offsets - here.offsets)[~known].any()
    for name in ("theta", "grad", "slot", "arena"):
        assert name not in here.text(True)


def further(x: Any, count: int) -> Any:
    """A call with all that it works on further behind in memory."""
    if isinstance(x, Buffer):
        return replace(x, start=x.start + count)
    if isinstance(x, tuple):
        return tuple(further(each, count) for each in x)
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{f.name: further(getattr(x, f.name), count) for f in fields(x)})
    return x


@pytest.mark.parametrize(("members", "threads"), [(0, 1), (0, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_llvm_accepts_the_text(name: str, members: int, threads: int) -> None:
    import llvmlite.binding

    made = recorded(name, 1 if members else threads, 40)
    for shuffled, timed in ((True, False), (False, True)):
        text = module(made, members, threads, timed).text(shuffled)
        parsed = llvmlite.binding.parse_assembly(text)
        parsed.verify()
        names = {f.name for f in parsed.functions if not f.is_declaration}
        assert {"run", "one_step"} <= names
        assert ("take" in names) is shuffled
        assert ('call void @"take"' in function(text, "run")) is shuffled
        assert ("llvm.readcyclecounter" in text) is timed


def test_each_call_is_there() -> None:
    table = gpubp.Sequential(gpubp.layers.Embedding(5, 3), gpubp.layers.Flatten(), gpubp.Linear(2))
    for layer, inputs, rows, kinds in (
        (gpubp.MLP([4], 2), 3, 5, (Launch, Product)),
        (gpubp.MLP([40], 30), 20, 40, (Launch, Product)),
        (table, 2, 4, (Gather, Scatter)),
    ):
        made = program(layer, inputs, rows)
        step = function(module(made, 0, 1).text(True), "one_step")
        done = [c for c in made.calls if not isinstance(c, Guard)]
        assert all(any(isinstance(c, kind) for c in done) for kind in kinds)
        assert step.count("\n  call void @") == len(done)
        assert step.count('call void @"gather"') == sum(isinstance(c, Gather) for c in done)
        assert step.count('call void @"scatter"') == sum(isinstance(c, Scatter) for c in done)
        large = [c for c in done if isinstance(c, Product) and c.out.size * c.inner > 4096]
        assert step.count('call void @"gpubp_product_float64"') == len(large)
        guards = sum(isinstance(call, Guard) for call in made.calls)
        assert step.count("ret i64 0") == guards > 0


def test_what_is_not_shared_is_done_by_the_first_thread() -> None:
    made = program(gpubp.MLP([4], 2), 3, 17, threads=2)
    alone = [
        c for c in made.calls
        if not isinstance(c, Barrier | Guard) and not getattr(c, "shared", "")
    ]  # fmt: skip
    assert 0 < len(alone) < len(made.calls)
    step = function(module(made, 0, 2).text(True), "one_step")
    [thread] = re.findall(r"@\"one_step\"\(i64 (%\"[.0-9]+\")", step)
    assert step.count(f"icmp eq i64 {thread}, 0") == len(alone)


# -- steps that are done ---------------------------------------------------------------------------


class Alone:
    """A team of which one thread does its part, and the others have failed."""

    def __init__(self, number: int) -> None:
        from gpubp.backends.spinning import fail, new_state

        self.number, self.state = number, new_state()
        fail(self.state)

    def run(self, f: Any, *args: Any) -> None:
        f(self.number, *args)


class Trained:
    """Steps of a small network over 64 examples."""

    def __init__(
        self, members: int | None = None, threads: int = 1, timed: bool = False, rows: int = 16
    ) -> None:
        from gpubp.backends import compiled

        self.members, self.rows = members or 1, rows
        self.net = gpubp.Network(gpubp.MLP([3], 1), inputs=2, dtype="float64", members=members)
        optimizer = gpubp.Momentum(0.1)
        shadow = Shadow(self.net, optimizer, rows)
        found = shadow.record(gpubp.SquaredError(), optimizer, (1, "T"), False)
        self.program = build(found.phases, "float64", 1 if members else threads)
        arrays = {
            "theta": self.net.theta, "grad": self.net.grad, "state": self.net.arrays._state,
        } | found.constants  # fmt: skip
        arrays |= {f"slot:{name}": np.zeros_like(self.net.theta) for name in optimizer.slots}
        self.steps = compiled.Steps(self.program, members, arrays, threads, timed)
        rng = np.random.default_rng(0)
        self.x, self.t = rng.normal(size=(64, 2)), rng.normal(size=(64, 1))
        self.rate = self.net.steps.numbers(optimizer, 1, 0.1)

    def run(self, count: int = 4) -> tuple[Any, Any]:
        numbers = np.tile([0.1, *self.rate], (count, self.members, 1))
        keys = seeds.keys(self.net.seeds, self.net._lead).reshape(-1)
        going = np.ones(self.members, bool)
        return self.steps.run(
            self.x, self.t, None, None, self.rows, 0, 0, numbers, keys, going, True
        )


@pytest.mark.parametrize("thread", [0, 1])
def test_members_are_for_whoever_has_time_and_not_the_rows(thread: int) -> None:
    both = Trained(5, 2)
    made = both.steps._module
    assert np.array_equal(made.which[0], made.which[1])
    assert np.array_equal(made.offsets[0], made.offsets[1])
    expected, _ = both.run(1)
    one = Trained(5, 2)
    one.steps._team = Alone(thread)  # type: ignore[assignment]
    losses, _ = one.run()
    assert np.array_equal(losses[0], expected[0])
    assert np.isnan(losses[1:]).all()  # nobody waits for the others in vain
    assert np.array_equal(one.net.theta, both.net.theta)


def test_a_thread_that_is_left_alone_takes_no_step() -> None:
    trained = Trained(threads=2)
    trained.steps._team = Alone(0)  # type: ignore[assignment]
    losses, bad = trained.run()
    assert np.isnan(losses).all()
    assert not bad.any()


@pytest.mark.parametrize(("members", "threads"), [(None, 1), (None, 2), (3, 2)])
def test_timed_steps_count_the_ticks_of_each_call(members: int | None, threads: int) -> None:
    """Between them and the first one all ticks are in the book, from 0 to the last stamp."""
    from gpubp.backends.step_code import BOOK

    timed, plain = Trained(members, threads, timed=True), Trained(members, threads)
    calls = len(timed.program.calls)
    text = timed.steps.text(False)
    assert function(text, "one_step").count("llvm.readcyclecounter") == 1 + calls
    assert "llvm.readcyclecounter" not in plain.steps.text(False)
    assert np.array_equal(timed.run()[0], plain.run()[0])
    assert np.array_equal(timed.net.theta, plain.net.theta)
    before = timed.steps.ticks.copy()
    assert before.shape == (threads, calls)
    assert (before >= 0).all()
    assert (before.sum(axis=1) > 0).all()
    timed.run()
    after, book = timed.steps.ticks, timed.steps._memories[BOOK]
    assert (after >= before).all()
    assert (after.sum(axis=1) > before.sum(axis=1)).all()
    assert np.array_equal(book[:, 1] + after.sum(axis=1), book[:, 0])
    assert not book[:, 2 + calls :].any()
    plain.run()
    assert not plain.steps._memories[BOOK].any()


def test_a_step_that_is_timed_has_a_key_of_its_own() -> None:
    made = recorded("mlp")
    keys = [
        of.key(shuffled)
        for of in (module(made, 0, 1), module(made, 0, 1, True), module(made, 2, 1),
                   module(made, 2, 2), module(recorded("residual"), 0, 1))
        for shuffled in (True, False)
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert module(recorded("mlp"), 0, 1).key(True) == keys[0]


def test_what_the_wrong_thread_does_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpubp.backends.step_code import Module

    monkeypatch.setattr(Module, "_begins", lambda self, n: [0] * self._threads + [n])
    with pytest.raises(AssertionError):
        test_threads_divide_the_rows_of_the_batch()
