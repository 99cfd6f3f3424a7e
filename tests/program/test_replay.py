"""The replay by NumPy: every sort of call, poisoned memory, and threads that do not meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpubp.program.calls import Barrier, Buffer, Guard, Launch, Program, Scatter
from gpubp.program.replay import Replay
from tests.program.recorded import Sheet


def test_a_table_is_gathered_and_scattered() -> None:
    sheet = Sheet(a=np.arange(6.0), y=np.zeros(8), s=np.zeros(6))
    index = sheet.be.asarray(np.asarray([2, 0, 2, 1]), "int64")
    taken = sheet.be.gather(sheet["a"].shaped((3, 2)), index)
    sheet.recorder.write(sheet["y"].shaped((4, 2)).region, taken + 0.0)
    added = sheet.be.scatter(index, taken, 3)
    sheet.recorder.write(sheet["s"].shaped((3, 2)).region, added)
    after = sheet.after()
    assert after["y"].tolist() == [4.0, 5.0, 0.0, 1.0, 4.0, 5.0, 2.0, 3.0]
    assert after["s"].tolist() == [0.0, 1.0, 2.0, 3.0, 8.0, 10.0]


def test_an_index_beyond_the_table_is_an_error() -> None:
    out, rows = Buffer("s", 0, 2, 1, "T"), Buffer("r", 0, 2, 1, "T")
    calls = (Scatter(out, Buffer("i", 0, 2, 1, "I"), rows),)
    memories = {"s": np.zeros(2), "r": np.ones(2), "i": np.asarray([0, -1])}
    with pytest.raises(IndexError, match="an index from -1 to 0 into 2 rows"):
        Replay(Program(calls, {}, {}, 1, "float64"), memories).step({})


def test_a_buffer_beyond_its_memory_is_an_error() -> None:
    sheet = Sheet(a=np.zeros(4))
    sheet.recorder.write(sheet["a"].region, sheet["a"] + 1.0)
    with pytest.raises(IndexError, match="reaches beyond 3 elements"):
        Replay(sheet.program(), {"a": np.zeros(3)}).step({})


def test_a_false_guard_ends_the_step() -> None:
    sheet = Sheet(a=np.asarray([-1.0]), b=np.asarray([5.0]))
    sheet.recorder.cut((sheet["a"] > 0.0).value)
    sheet.recorder.write(sheet["b"].region, sheet["b"] + 1.0)
    program = sheet.program()
    for sign, moved in ((-1.0, 5.0), (1.0, 6.0), (np.nan, 5.0)):
        held = {"a": np.asarray([sign]), "b": np.asarray([5.0])}
        assert Replay(program, held).step({}) is (moved == 6.0)
        assert held["b"][0] == moved


def test_what_is_read_before_it_is_written_is_seen() -> None:
    sheet = Sheet(x=np.ones((4, 3)), y=np.zeros(12))
    x = sheet["x"]
    y = x - sheet.be.xp.mean(x, axis=-2, keepdims=True)
    sheet.recorder.write(sheet["y"].shaped((4, 3)).region, y)
    program = sheet.program()
    launches = [call for call in program.calls if isinstance(call, Launch)]
    held = {"x": np.ones(12), "y": np.zeros(12)}
    Replay(replace(program, calls=tuple(launches[1:])), held).step({})
    assert np.isnan(held["y"]).all()


def test_threads_that_do_not_meet_are_an_error() -> None:
    """Each thread asks the guard before the first one, who is last, has written it."""
    truth = Buffer("go", 0, 1, 1, "bool")
    sheet = Sheet(a=np.zeros(1))
    sheet.recorder.write(sheet["a"].region, sheet["a"] + 1.0)
    (launch,) = sheet.program().calls
    program = Program((Guard(truth), launch, Barrier()), {}, {}, 2, "float64")

    class Turning(Replay):
        def _do(self, call: object, thread: int) -> None:
            self.memory("go")[0] = False

    with pytest.raises(RuntimeError, match="threads do not meet"):
        Turning(program, {"go": np.asarray([True]), "a": np.zeros(1)}).step({})


def test_rows_are_divided_whatever_their_number() -> None:
    x = np.random.default_rng(0).normal(size=(35, 3))
    sheet = Sheet(x=x, y=np.zeros(105), s=np.zeros(3))
    z = sheet["x"]
    sheet.recorder.write(sheet["y"].shaped((35, 3)).region, z * 2.0)
    total = sheet.be.xp.sum(z, axis=-2, keepdims=True)
    sheet.recorder.write(sheet["s"].shaped((1, 3)).region, total)
    for threads in (1, 2, 3, 4):
        after = sheet.after(threads)
        assert np.array_equal(after["y"], 2.0 * x.reshape(-1))
        assert np.allclose(after["s"], x.sum(0), rtol=1e-13, atol=1e-13)
