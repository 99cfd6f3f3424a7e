"""Ctrl-C: the step under way is finished, what was learned is kept, and nothing is swallowed."""

from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.interrupts import Interrupts

X = np.random.default_rng(3).normal(size=(12, 3))
Y = np.arange(12) % 2
OPTIONS: dict[str, Any] = {"batch_size": 4, "optimizer": gpubp.Adam(0.01)}  # three steps an epoch


def mlp() -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2), inputs=3)


def bits_of(net: gpubp.Network) -> dict[str, bytes]:
    return {path: value.tobytes() for path, value in net.state_dict().items()}


def interrupt_in_step(net: gpubp.Network, number: int, times: int = 1) -> list[Any]:
    """Send SIGINT in the middle of that step; return a list for the weights after each step."""
    take, states = net.train_step, []

    def step(*arguments: Any) -> Any:
        if len(states) + 1 == number:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        result = take(*arguments)
        states.append(bits_of(net))
        return result

    net.train_step = step
    return states


class Signal(gpubp.Callback):
    """Sends SIGINT at the end of one epoch, and counts what it is told."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.ended = epoch, 0

    def on_epoch_end(self, net: Any, record: Any) -> None:
        if record["epoch"] == self.epoch:
            signal.raise_signal(signal.SIGINT)

    def on_fit_end(self, net: Any, history: Any) -> None:
        self.ended += 1


def test_the_step_under_way_is_finished_and_the_records_are_kept() -> None:
    net, told = mlp(), Signal(epoch=99)
    states = interrupt_in_step(net, number=5)  # the second of the second epoch
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=4, callbacks=[told], **OPTIONS)
    assert len(states) == net.updates == 5
    assert bits_of(net) == states[4] != states[3]
    assert net.history["epoch"] == [1]
    assert net.epochs == 1
    assert told.ended == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_network_is_usable_afterwards() -> None:
    net = mlp()
    interrupt_in_step(net, number=2)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=4, **OPTIONS)
    assert np.isfinite(net.predict(X)).all()
    history = net.fit(X, Y, epochs=2, **OPTIONS)
    assert history["epoch"] == [1, 2]
    assert net.updates == 2 + 6


def test_a_second_one_is_not_held_back() -> None:
    net = mlp()
    states = interrupt_in_step(net, number=2, times=2)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=1, **OPTIONS)
    assert len(states) == net.updates == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("epoch", "steps"), [(1, 4), (2, 6)])
def test_one_between_two_epochs_or_after_the_last_is_not_lost(epoch: int, steps: int) -> None:
    net = mlp()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=2, callbacks=[Signal(epoch)], **OPTIONS)
    assert net.updates == steps
    assert len(net.history) == epoch


def test_the_best_weights_are_restored_after_one() -> None:
    kept: list[Any] = []

    class Keep(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            kept.append(bits_of(net))

    net = mlp()
    interrupt_in_step(net, number=8)
    stopping = gpubp.EarlyStopping(patience=9, monitor="loss", mode="max")  # the first is best
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=4, callbacks=[Keep(), stopping], **OPTIONS)
    assert len(kept) == 2
    assert bits_of(net) == kept[0]


def test_a_step_that_is_refused_restores_the_handler() -> None:
    with pytest.raises(gpubp.NonFiniteError):
        mlp().fit(1e30 * X, Y, check_finite=False, optimizer=gpubp.SGD(1e30), epochs=3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_programs_own_is_left_alone() -> None:
    caught: list[int] = []

    def handler(number: int, frame: Any) -> None:
        caught.append(number)

    signal.signal(signal.SIGINT, handler)
    history = mlp().fit(X, Y, epochs=2, callbacks=[Signal(1)], **OPTIONS)
    assert caught == [signal.SIGINT]
    assert len(history) == 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_another_thread_trains_and_touches_no_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def train() -> None:
        net = mlp()
        try:
            net.fit(X, Y, epochs=2, **OPTIONS)
        finally:
            found.append(net.updates)

    def refuse(*_: Any) -> None:
        raise AssertionError("a handler was set")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", refuse)
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert found == [6]


def test_the_first_one_is_noted_inside_with_only() -> None:
    with Interrupts() as interrupts:
        assert not interrupts.pending
        signal.raise_signal(signal.SIGINT)
        noted = interrupts.pending
        interrupts.pending = False
    assert noted
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
