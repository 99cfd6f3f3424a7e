"""Compiled steps on CUDA: what a run takes and gives, graphs, and what they may not do."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.layers import BatchNorm, Dropout, LayerNorm
from gpubp.number_table import NumberTable
from gpubp.program.halves import first_scales
from gpubp.programs import Compiled, Job, keys_of
from tests import compiled
from tests.conftest import rng

ROWS, WIDTH, CLASSES = 12, 7, 4


def layer() -> gpubp.Layer:
    """Sums over rows and columns, random bits, running state, and rows that end in the middle."""
    return gpubp.Sequential(
        gpubp.Linear(20), BatchNorm(), gpubp.Activation("tanh"), Dropout(0.3), LayerNorm(),
        gpubp.Linear(CLASSES),
    )  # fmt: skip


def network(device: str, members: int | None = None, dtype: str = "float32") -> gpubp.Network:
    return gpubp.Network(layer(), WIDTH, device=device, seed=5, members=members, dtype=dtype)


def data(n: int = 3 * ROWS) -> tuple[Any, Any]:
    draw = rng(1)
    return draw.normal(size=(n, WIDTH)), draw.integers(0, CLASSES, n)


class Run:
    """Compiled steps of a network over some data on its device."""

    def __init__(
        self, net: gpubp.Network, precision: str = "", captured: bool = True,
        optimizer: gpubp.Optimizer | None = None,
    ) -> None:  # fmt: skip
        self.net, self.optimizer = net, optimizer or gpubp.Adam(0.01)
        job = Job(gpubp.CrossEntropy(), self.optimizer, ROWS, (1, "int64"), False, 1, True,
                  precision)  # fmt: skip
        x, y = data()
        with net.be.activate():
            self.steps = Compiled(net, job).steps(net)
            self.steps.captured = captured
            self.x, self.t = net.be.asarray(x), net.be.asarray(y[:, None], "int64")
        self.order = rng(2).permutation(len(x))
        self.table = NumberTable(net.steps, self.optimizer, net.members or 1)
        self.going = np.ones(net.members or 1, bool)

    def __call__(
        self, count: int, first: int = 0, scales: Any = None, stop_at_once: bool = True
    ) -> tuple[Any, Any]:
        """Do steps from `first` on; all of them from one batch on where there are more."""
        with self.net.be.activate():
            more = {} if scales is None else {"scales": scales}
            found: tuple[Any, Any] = self.steps.run(
                self.x, self.t, None, self.order, ROWS, 0, first,
                self.table.of(first + 1, count), keys_of(self.net), self.going, stop_at_once,
                **more,
            )  # fmt: skip
        return found

    def theta(self) -> Any:
        return self.net.be.to_numpy(self.net.theta)


@pytest.mark.parametrize("members", [None, 3])
def test_graphs_give_the_bits_of_calls(on_cuda: str, members: int | None) -> None:
    one, other = (Run(network(on_cuda, members), captured=c) for c in (True, False))
    one.steps.unroll = 2  # a graph of two, and one of one
    (losses, bad), (expected, _) = one(3), other(3)
    assert not bad.any()
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(one.theta(), other.theta())
    assert one.steps.captured


@pytest.mark.thorough
def test_what_moves_from_step_to_step_moves_on_the_device(on_cuda: str) -> None:
    optimizer = gpubp.Momentum(gpubp.CosineDecay(0.1, 10))
    together, apart = (Run(network(on_cuda), optimizer=optimizer) for _ in range(2))
    losses, _ = together(3)
    with apart.net.be.activate():
        numbers, alone = apart.table.of(1, 3), []
        for i in range(3):
            found, _ = apart.steps.run(
                apart.x, apart.t, None, apart.order, ROWS, i, i, numbers[i : i + 1],
                keys_of(apart.net), apart.going, True,
            )  # fmt: skip
            alone.append(found[0])
    np.testing.assert_array_equal(losses, alone)
    np.testing.assert_array_equal(together.theta(), apart.theta())
    assert len({float(x) for x in losses[:, 0]}) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("members", [None, 3])
def test_a_thousand_steps_from_graphs_have_the_bits_of_calls(
    a_gpu: str, members: int | None
) -> None:
    one, other = (Run(network(a_gpu, members), captured=c) for c in (True, False))
    for first in range(0, 1002, 3):
        np.testing.assert_array_equal(one(3, first)[0], other(3, first)[0])
    np.testing.assert_array_equal(one.theta(), other.theta())


def test_runs_are_the_same_from_run_to_run(on_cuda: str) -> None:
    found = [Run(network(on_cuda)) for _ in range(2)]
    np.testing.assert_array_equal(found[0](3)[0], found[1](3)[0])
    np.testing.assert_array_equal(found[0].theta(), found[1].theta())


def test_the_host_waits_once_however_many_steps_there_are(stand_in: Any) -> None:
    run, counted = Run(network("cuda")), []
    run.steps.unroll = 1
    for count in (1, 1, 3):
        stand_in.counts.reset()
        run(count)
        counted.append({k: v for k, v in vars(stand_in.counts).items() if k != "launches"})
    first, second, third = counted
    assert second["synchronizations"] == third["synchronizations"] == 1
    assert (second["to_device"], second["to_host"]) == (third["to_device"], third["to_host"])
    assert second["allocations"] == third["allocations"] == 0
    assert (second["graph_launches"], third["graph_launches"]) == (1, 3)
    assert first["allocations"] > 0


@pytest.mark.parametrize("when", ["begin_capture", "end_capture"])
def test_what_cannot_be_captured_goes_call_by_call(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    expected = Run(network("cuda"), captured=False)
    expected(3)
    run, true = Run(network("cuda")), getattr(stand_in.cuda.Stream, when)

    def refuse(self: Any, *given: Any) -> None:
        true(self, *given)
        if when == "begin_capture":
            self.end_capture()
        raise RuntimeError("not on this driver")

    monkeypatch.setattr(stand_in.cuda.Stream, when, refuse)
    with pytest.warns(UserWarning, match="call by call: RuntimeError: not on this driver"):
        run(3)
    np.testing.assert_array_equal(run.theta(), expected.theta())
    assert not run.steps.captured


def test_an_error_within_a_capture_ends_it(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(network("cuda"))
    with run.net.be.activate():
        run.steps._prepare(run.x, run.t, None, ROWS, run.table.of(1, 1).shape[-1], 1)
    true, calls = run.steps._calls.enqueue, []

    def enqueue() -> None:
        calls.append(stand_in.capturing())
        if calls[-1]:
            raise ValueError("in the middle")
        true()

    monkeypatch.setattr(run.steps._calls, "enqueue", enqueue)
    with pytest.warns(UserWarning, match="ValueError: in the middle"):
        losses, bad = run(2)
    assert np.isfinite(losses).all()
    assert not bad.any()
    assert calls == [False, True, False, False]  # all is loaded, the attempt, and two steps


def test_other_shapes_are_captured_anew(on_cuda: str) -> None:
    run = Run(network(on_cuda))
    run(2)
    graphs = dict(run.steps._graphs)
    with run.net.be.activate():
        run.t = run.net.be.asarray(np.zeros((3 * ROWS, 1)), "int64")
    run(2)
    assert run.steps._graphs == graphs  # the same shapes: other data, the same graphs
    with run.net.be.activate():
        run.steps._bind(ROWS, WIDTH, 1, "int64", False, 9)
    assert run.steps._graphs == {}


def test_a_member_that_is_bad_stands_still_and_the_others_go_on(on_cuda: str) -> None:
    run, alone = (Run(network(on_cuda, 3)) for _ in range(2))
    be = run.net.be
    with be.activate():
        run.net.parameter("0.W")[1, 0, 0] = np.nan
        before = run.theta()
    losses, bad = run(3, stop_at_once=False)
    expected, _ = alone(3)
    assert bad.tolist() == [0, 1, 0]
    assert run.going.tolist() == [True, False, True]
    np.testing.assert_array_equal(run.theta()[1], before[1])
    np.testing.assert_array_equal(run.theta()[[0, 2]], alone.theta()[[0, 2]])
    np.testing.assert_array_equal(losses[:, [0, 2]], expected[:, [0, 2]])
    assert np.isnan(losses[1:, 1]).all()


def test_with_stop_at_once_nobody_takes_a_step_behind_the_bad_one(on_cuda: str) -> None:
    run, alone = (Run(network(on_cuda, 2)) for _ in range(2))
    with run.net.be.activate():
        run.net.parameter("0.W")[0, 0, 0] = np.nan
        before = run.theta()
    losses, bad = run(3)
    alone(1)
    assert bad.tolist() == [1, 0]
    np.testing.assert_array_equal(run.theta()[0], before[0])
    np.testing.assert_array_equal(run.theta()[1], alone.theta()[1])  # the first step, and no other
    assert np.isnan(losses[1:]).all()


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_products_of_fewer_bits_are_near(on_cuda: str, precision: str) -> None:
    scales = first_scales(None) if precision == "fp16" else None
    run, exact = Run(network(on_cuda), precision), Run(network(on_cuda))
    losses, bad = run(3, scales=scales)
    expected, _ = exact(3)
    assert not bad.any()
    off = np.abs(losses - expected).max()
    assert 0.0 < off < 0.05
    if scales is not None:
        assert scales.tolist() == [[65536.0, 3.0]]


@pytest.mark.thorough
def test_a_gradient_that_overflows_is_left_out_and_the_scale_halved(on_cuda: str) -> None:
    run = Run(network(on_cuda), "fp16")
    before, scales = run.theta(), np.asarray([[2.0**100, 5.0]])
    losses, bad = run(1, scales=scales)
    assert bad.tolist() == [0]
    assert np.isfinite(losses).all()
    assert scales.tolist() == [[2.0**99, 0.0]]
    np.testing.assert_array_equal(run.theta(), before)


def test_the_scale_is_doubled_behind_steady_steps(on_cuda: str) -> None:
    run, scales = Run(network(on_cuda), "fp16"), np.asarray([[256.0, 1998.0]])
    run(3, scales=scales)
    assert scales.tolist() == [[512.0, 1.0]]


def test_a_scale_of_one_that_overflows_is_a_bad_step(on_cuda: str) -> None:
    run = Run(network(on_cuda), "fp16")
    with run.net.be.activate():
        run.net.parameter("0.W")[0, 0] = np.nan
    _, bad = run(1, scales=np.asarray([[1.0, 0.0]]))
    assert bad.tolist() == [1]


@pytest.mark.thorough
def test_a_clip_does_not_hide_a_gradient_that_overflows(on_cuda: str) -> None:
    clipped = gpubp.SGD(1e-3, clip=gpubp.ClipValue(100.0))
    run = Run(network(on_cuda), "fp16", optimizer=clipped)
    before, scales = run.theta(), np.asarray([[2.0**100, 0.0]])
    run(1, scales=scales)
    assert scales.tolist() == [[2.0**99, 0.0]]
    np.testing.assert_array_equal(run.theta(), before)


def test_an_error_before_a_capture_is_raised_and_changes_nothing(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, expected = Run(network("cuda")), Run(network("cuda"))
    with run.net.be.activate():
        run.steps._prepare(run.x, run.t, None, ROWS, run.table.of(1, 1).shape[-1], 1)
    true = run.steps._calls.enqueue
    monkeypatch.setattr(run.steps._calls, "enqueue", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(2)
    monkeypatch.setattr(run.steps._calls, "enqueue", true)
    np.testing.assert_array_equal(run(2)[0], expected(2)[0])
    np.testing.assert_array_equal(run.theta(), expected.theta())


def test_a_run_that_is_interrupted_leaves_no_work_behind(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(network("cuda"))
    run.steps.unroll = 1
    run(1)
    stand_in.counts.reset()
    true = run.steps._graph

    def graph(steps: int) -> Any:
        if stand_in.counts.graph_launches == 2:
            raise KeyboardInterrupt
        return true(steps)

    monkeypatch.setattr(run.steps, "_graph", graph)
    with pytest.raises(KeyboardInterrupt):
        run(3, 1)
    assert run.steps._stream.done
    assert stand_in.counts.synchronizations == 1


def test_more_members_than_a_grid_has_are_refused(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubp.backends.cuda_calls._MOST_MEMBERS", 2)
    with pytest.raises(gpubp.DeviceError, match="3 members; CUDA takes 2 in one step"):
        Run(network("cuda", 3))(1)


def test_what_the_compiler_refuses_is_told(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, name: str) -> Any:
        raise RuntimeError("cannot open source file cuda_fp16.h")

    monkeypatch.setattr(stand_in.RawModule, "get_function", refuse)
    with pytest.raises(gpubp.DeviceError, match=r"could not be made for cuda:0 .*cuda_fp16\.h"):
        Run(network("cuda"))(1)
    x, y = data()
    net = network("cuda")
    assert net.fit(x, y, batch_size=ROWS, epochs=1).path == "plain"
    with pytest.raises(gpubp.DeviceError, match="compile=True: a training step could not be made"):
        net.fit(x, y, batch_size=ROWS, epochs=1, compile=True)


@pytest.mark.thorough
def test_numbers_beyond_16_bits_are_no_fault_of_the_library(on_cuda: str) -> None:
    x, y = data()
    net = gpubp.Network(gpubp.Linear(CLASSES), WIDTH, device=on_cuda)
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(gpubp.InputError, match="beyond 65504, the largest in 16-bit floats"),
    ):
        net.fit(1e6 * x, y, precision="fp16")


def test_16_bit_steps_need_their_scales(stand_in: Any) -> None:
    with pytest.raises(ValueError, match="needs the scales"):
        Run(network("cuda"), "fp16")(1)


def test_texts_are_those_of_equal_steps(stand_in: Any) -> None:
    one, other = Run(network("cuda")), Run(network("cuda"))
    assert one.steps.texts() == {}
    one(1)
    other(1)
    texts = one.steps.texts()
    assert texts == other.steps.texts()
    assert {"stage", "judge", "k0"} <= texts.keys()
    assert all("__global__" in text for text in texts.values())
    wide = Run(network("cuda", 2))
    wide(1)
    assert wide.steps.texts()["k0"] != texts["k0"]


def test_memory_does_not_grow(stand_in: Any) -> None:
    run = Run(network("cuda"))
    run(3)
    held = run.steps.arena_bytes
    stand_in.counts.reset()
    with warnings.catch_warnings(action="error"):
        for _ in range(5):
            run(3)
    assert stand_in.counts.allocations == 0
    assert run.steps.arena_bytes == held > 0


def test_arrays_and_devices_may_not_be_mixed(stand_in: Any) -> None:
    run = Run(network("cuda:1"))
    with stand_in.cuda.Device(0):  # another one is current; the network's is taken
        losses, _ = run(2)
    assert np.isfinite(losses).all()
    assert compiled.cuda.Device().id == 0
