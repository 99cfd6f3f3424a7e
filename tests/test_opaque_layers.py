"""A layer that cannot be recorded goes the plain path in the midst of compiled steps."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import explained, layers
from gpubp.check.tolerance import error, tolerance
from gpubp.passages import Passages
from gpubp.program.c_program import unit
from gpubp.program.calls import Opaque
from gpubp.program.program import build
from gpubp.program.replay import Replay
from gpubp.program.tensors import Untraceable
from gpubp.programs import Compiled, Job, arrays_of, keys_of
from tests.conftest import require, rng
from tests.opaque_layers import (
    Coins,
    Fragile,
    HostBack,
    Idle,
    Inside,
    Nothing,
    Remembers,
    Sine,
    Sums,
    Twice,
)  # fmt: skip

ROWS, N = 4, 24
X = rng(5).normal(size=(N, 3))
T = rng(6).normal(size=(N, 2))
LOSS = gpubp.MeanSquaredError()
Linear, Sequential = gpubp.Linear, gpubp.Sequential
TANH = gpubp.Activation("tanh")
SUMMED = ROWS * 16
"""No sum of these small networks has more terms."""


def job(rows: int = ROWS, optimizer: Any = None) -> Job:
    method = gpubp.Adam(0.01) if optimizer is None else optimizer
    return Job(LOSS, method, rows, (2, "T"), False, 1, False)


def network(*parts: Any, **how: Any) -> gpubp.Network:
    return gpubp.Network(Sequential(*parts), inputs=3, dtype="float64", **how)


# -- what a program with such layers means -----------------------------------------------------

WHERE: dict[str, tuple[Any, ...]] = {
    "in the middle": (Linear(4), layers.Dropout(0.2), Sums(), layers.Dropout(0.3), Linear(2)),
    "two": (Linear(4), Sums(), TANH, HostBack(), Linear(2)),
    "one after the other": (Linear(4), Sums(), Sine(), Linear(2)),
    "first": (Sums(), Linear(2)),
    "first, without parameters": (Sine(), Linear(2)),
    "last": (Linear(2), Sums()),
    "backward alone": (Linear(4), HostBack(), Linear(2)),
    "random bits": (Linear(4), Coins(), Coins(), Linear(2)),
    "layers inside": (Linear(4), Inside([Linear(3), layers.Dropout(0.5), Sums()]), Linear(2)),
    "no gradient": (Linear(4), Idle(), Linear(2)),
    "one number": (Nothing(), Sums(), Linear(2)),
    "shared weights": (Linear(3), layers.Tied(Sums(), 3), Linear(2)),
    "shared weights, several layers":
        (Linear(3), layers.Tied(Sequential(Sine(), Coins(), Linear(3)), 2), Linear(2)),
    "computed again": (Linear(4), layers.Checkpoint(Sequential(Linear(4), Sums())), Linear(2)),
    "around it": (Linear(3), layers.Residual(Sequential(Sums(), Linear(3))), Linear(2)),
    "back through it twice": (Linear(3), Twice(Sums()), Linear(2)),
    "side by side": (layers.Concatenate(Sums(), Linear(3), Sine()), Linear(2)),
    "examples of two axes":
        (Linear(6), layers.Reshape(2, 3), Sine(), layers.Flatten(), Linear(2)),
    "no parameters elsewhere": (Inside([Sums(), Linear(2)]), TANH),
}  # fmt: skip


def replayed(net: gpubp.Network, how: Job, steps: int = 3) -> list[float]:
    """Losses of steps done call by call, in the arrays of the network itself."""
    compiled = Compiled(net, how)
    passes = Passages(net, compiled.recording.passages)
    memories = arrays_of(net, how.optimizer) | compiled.recording.constants
    replay = Replay(compiled.program, memories, passes=passes)
    losses = []
    for i in range(steps):
        batch = slice(i * how.rows, (i + 1) * how.rows)
        rate = net.steps.rate_at(how.optimizer, i + 1)
        numbers = [rate, *net.steps.numbers(how.optimizer, i + 1, rate)]
        passes.begin(i)
        moving = {"x": X[batch], "t": T[batch], "numbers": np.asarray(numbers)}
        sound = replay.step(moving | {"key": keys_of(net), "step": np.asarray([i], np.uint32)})
        passes.end(i)
        assert sound
        losses.append(float(replay.memory("loss")[0]))
    return losses


def stepped(net: gpubp.Network, how: Job, steps: int = 3) -> list[float]:
    """The same on the plain path."""
    net.steps.slots.of(how.optimizer)
    found = []
    for i in range(steps):
        batch = slice(i * how.rows, (i + 1) * how.rows)
        value, ok = net.train_step(X[batch], T[batch], how.loss, how.optimizer)
        assert ok
        found.append(float(value))
    return found


def agree(one: gpubp.Network, other: gpubp.Network, how: Job) -> None:
    given, wanted = replayed(one, how), stepped(other, how)
    assert error(given, wanted) <= tolerance("float64", wanted, SUMMED)
    for name, array in arrays_of(other, how.optimizer).items():
        mine = arrays_of(one, how.optimizer)[name]
        assert error(mine, array) <= tolerance("float64", array, SUMMED), name


@pytest.mark.parametrize("where", WHERE)
def test_a_step_is_that_of_the_plain_path(where: str) -> None:
    parts = WHERE[where]
    agree(network(*parts), network(*parts), job())


def test_a_layer_that_is_the_whole_network() -> None:
    layer = Inside([Linear(2)])
    one, other = (gpubp.Network(layer, inputs=3, dtype="float64") for _ in range(2))
    agree(one, other, job())


@pytest.mark.parametrize("frozen", ["2.s", "0.W"])
def test_what_is_frozen_stays(frozen: str) -> None:
    one, other = (network(*WHERE["in the middle"]) for _ in range(2))
    before = one.parameter(frozen).copy()
    for net in (one, other):
        net.freeze(frozen)
    agree(one, other, job())
    assert np.array_equal(one.parameter(frozen), before)


@pytest.mark.parametrize(
    "optimizer",
    [gpubp.SGD(0.1, penalty=gpubp.L2(0.1)), gpubp.Adam(0.1, clip=gpubp.ClipGlobalNorm(0.1))],
    ids=["penalty", "clip"],
)
def test_gradients_that_are_changed_before_the_update(optimizer: Any) -> None:
    for where in ("in the middle", "no parameters elsewhere"):
        agree(network(*WHERE[where]), network(*WHERE[where]), job(optimizer=optimizer))


def test_a_batch_of_one() -> None:
    agree(network(*WHERE["two"]), network(*WHERE["two"]), job(rows=1))


def test_what_can_be_recorded_has_no_such_calls() -> None:
    recording = Compiled(network(Linear(4), TANH, Linear(2)), job()).recording
    assert recording.passages == recording.refused == ()


# -- what is said, and what is refused ---------------------------------------------------------


def test_the_layer_and_the_call_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gpubp"):
        compiled = Compiled(network(*WHERE["two"]), job())
    first, second = (record.getMessage() for record in caplog.records)
    assert "layer '1' (Sums): xp.cumulative_sum" in first
    assert "layer '3' (HostBack): a value was taken out" in second
    assert len(compiled.recording.refused) == 2


def test_running_state_is_refused() -> None:
    net = network(Linear(4), Remembers(), Linear(2))
    with pytest.raises(Untraceable, match=r"layer '1' \(Remembers\): TypeError: .*running state"):
        Compiled(net, job())


def test_what_is_no_layer_of_its_own_is_refused() -> None:
    class Around(layers.Residual):
        def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
            y, context = super().forward(be, w, x, run)
            return np.sin(y), context

    net = network(Linear(3), Around(Linear(3)), Linear(2))
    with pytest.raises(Untraceable, match="ufunc"):
        Compiled(net, job())


def test_what_cannot_do_such_calls_says_so() -> None:
    compiled = Compiled(network(*WHERE["first"]), job())
    program = compiled.program
    assert any(isinstance(call, Opaque) for call in program.calls)
    with pytest.raises(ValueError, match="not compiled"):
        unit(program, "step")
    with pytest.raises(ValueError, match="not compiled"):
        Replay(program, {})
    with pytest.raises(ValueError, match="2 threads"):
        build(compiled.recording.phases, "float64", 2)


def test_it_is_seen_in_what_a_step_comes_to() -> None:
    found = explained.explain(network(*WHERE["first"]), LOSS, gpubp.SGD(0.1), ROWS, threads=2)
    plain = [(row.layer, row.shape) for row in found.rows if row.what == "plain"]
    assert plain == [("0", "4 rows forward"), ("0", "4 rows backward")]


# -- training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What it takes to compile, and a folder for machine code: all tests here share one program."""
    require("llvmlite")
    before = os.environ.get("GPUBP_CACHE")
    os.environ["GPUBP_CACHE"] = before or str(tmp_path_factory.mktemp("steps"))
    yield
    if before is None:
        del os.environ["GPUBP_CACHE"]


def trained(compile: bool | str, members: int | None = None, rate: Any = 0.01, **how: Any) -> Any:
    parts = Linear(4), layers.Dropout(0.2), Fragile(), layers.Dropout(0.3), Linear(2)
    net = network(*parts, members=members)
    given = {"loss": LOSS, "optimizer": gpubp.Adam(rate), "batch_size": ROWS, "epochs": 3, **how}
    try:
        net.fit(X, T, compile=compile, **given)
    except (ValueError, KeyboardInterrupt, gpubp.NonFiniteError) as mishap:
        return net, mishap
    return net, None


def alike(one: gpubp.Network, other: gpubp.Network) -> None:
    k = SUMMED * max(1, other.updates)
    assert one.updates == other.updates
    assert one.steps.slots.updates == other.steps.slots.updates
    for (path, given), wanted in zip(
        one.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert error(given, wanted) <= tolerance("float64", wanted, k), path
    losses = other.history["loss"] if other.history.records else [0.0]
    given = one.history["loss"] if one.history.records else [0.0]
    assert error(given, losses) <= tolerance("float64", losses, k)


@pytest.mark.compiled
@pytest.mark.usefixtures("machine")
class TestTraining:
    def test_one_module_does_not_make_such_calls(self) -> None:
        from gpubp.backends.step_code import Module

        with pytest.raises(ValueError, match="not compiled"):
            Module(Compiled(network(*WHERE["first"]), job()).program, 0, 1, 8)

    @pytest.mark.parametrize("members", [None, 3])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_it_is_that_of_the_plain_path(self, members: int | None, shuffle: bool) -> None:
        (one, _), (other, _) = (trained(c, members, shuffle=shuffle) for c in (True, False))
        alike(one, other)
        assert one.history.path == "compiled"
        assert "layer '2' (Fragile): xp.cumulative_sum" in one.history.reason

    @pytest.mark.parametrize("calls", [3, 9])
    @pytest.mark.parametrize("mishap", [ValueError("a fuse has blown"), KeyboardInterrupt()])
    def test_an_error_leaves_the_steps_before_it(self, calls: int, mishap: Any) -> None:
        found = []
        for compile in (True, False):  # the first call is made to compare a step, on either path
            with Fragile.after(calls + 2 * compile, mishap):
                net, met = trained(compile)
            assert met is mishap
            found.append(net)
        alike(*found)
        assert found[0].updates == calls - 1
        for net in found:  # and it can go on
            net.fit(X, T, loss=LOSS, optimizer=gpubp.Adam(0.01), batch_size=ROWS, epochs=1,
                    compile=net is found[0])  # fmt: skip
        alike(*found)

    def test_a_step_that_is_not_finite_is_not_taken(self) -> None:
        with np.errstate(all="ignore"):
            (one, met), (other, wanted) = (trained(c, rate=1e200) for c in (True, False))
        assert isinstance(met, gpubp.NonFiniteError)
        assert (met.step, met.layer) == (wanted.step, wanted.layer)
        assert str(met) == str(wanted)
        alike(one, other)

    def test_a_member_that_is_lost_leaves_the_others(self) -> None:
        rates = (0.01, 1e200, 0.02)
        with np.errstate(all="ignore"):
            nets = [self._tolerant(compile, rates) for compile in (True, False)]
        for given, wanted in zip(*(n.state_dict().values() for n in nets), strict=True):
            assert error(given[::2], wanted[::2]) <= tolerance("float64", wanted[::2], 18 * SUMMED)
        assert nets[0].steps.lost.tolist() == nets[1].steps.lost.tolist() == [False, True, False]

    @staticmethod
    def _tolerant(compile: bool, rates: tuple[float, ...]) -> gpubp.Network:
        parts = Linear(4), layers.Dropout(0.2), Fragile(), layers.Dropout(0.3), Linear(2)
        net = network(*parts, members=3)
        net.steps.tolerant = True
        net.fit(X, T, loss=LOSS, optimizer=gpubp.Adam(rates), batch_size=ROWS, epochs=3,
                compile=compile)  # fmt: skip
        return net
