"""A team of threads: the barrier, hand-over of data, failures, several users, a fork."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.backends import native
from gpubp.backends.spinning import ARRIVED, FAILED, ROUND
from gpubp.backends.team import Team
from gpubp.errors import InputError
from tests.conftest import require

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 3000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    require("llvmlite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUBP_CACHE", str(tmp_path_factory.mktemp("team")))
        yield


def made(write: Callable[..., None], count: int, key: str = "") -> Callable[..., None]:
    """Compile a function of `count` numbers: `write(code, barrier, *given)` writes what it does.

    Where it takes a number it may be given an array, which is handed on as the place it begins at.
    """
    from gpubp.backends import barrier_code
    from gpubp.backends.native_code import Code, ir

    meeting = ir.Module()
    code = Code(meeting, "f", count)
    write(code, barrier_code.barrier(meeting), *code.given)
    code.end()
    barrier_code.name_yield()
    text = str(meeting)
    function = native.function(native.address("f", lambda: text, text + key), count)

    def run(*given: Any) -> None:
        function(*(x.ctypes.data if isinstance(x, np.ndarray) else x for x in given))

    return run


def relaying(key: str = "") -> Any:
    """Each thread writes its number of the round, and checks its neighbour's after the barrier."""

    def write(
        code: Any, barrier: Any, thread: Any, state: Any, threads: Any, data: Any, wrong: Any,
        rounds: Any,
    ) -> None:  # fmt: skip
        mine = wrong + thread * 8
        with code.loop(0, rounds) as turn:
            row = data + (turn - turn // 2 * 2) * threads * 8
            code.store(row + thread * 8, turn * threads + thread)
            with code.when(code.call(barrier, state, threads).is_zero):
                code.store(mine, code.word(mine) + rounds)
                code.end()
            other = thread + 1
            other = code.either((other - threads).is_zero, 0, other)
            amiss = code.word(row + other * 8) - (turn * threads + other)
            code.store(mine, code.word(mine) + code.either(amiss.is_zero, 0, 1))

    return made(write, 6, key)


def awaiting() -> Any:
    """All threads wait for one another at a barrier; but one, if any, raises instead."""

    def write(code: Any, barrier: Any, thread: Any, state: Any, passed: Any) -> None:
        code.store(passed + thread * 8, code.call(barrier, state, 3) + 1)

    function = made(write, 3)

    def waiting(thread: int, state: Any, culprit: int, passed: Any) -> None:
        if thread == culprit:
            raise ZeroDivisionError("planted")
        function(thread, state, passed)

    return waiting


@pytest.fixture(scope="module")
def relay(cache: None) -> Any:
    return relaying()


@pytest.fixture(scope="module")
def waiting(cache: None) -> Any:
    return awaiting()


@pytest.mark.compiled
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_data_are_handed_over_at_the_barrier(relay: Any, threads: int) -> None:
    team = Team(threads)
    rounds = ROUNDS if threads < 3 else ROUNDS // 10
    data, wrong = np.zeros((2, threads), np.int64), np.zeros(threads, np.int64)
    for _ in range(2):
        team.run(relay, team.state, threads, data, wrong, rounds)
        assert not wrong.any()
        assert data.sum() > 0 or threads == 1
        assert team.state[ROUND] == rounds
        assert team.state[ARRIVED] == team.state[FAILED] == 0


@pytest.mark.compiled
def test_a_system_without_a_call_to_yield_will_do(
    cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perhaps more threads than processors, which wait until the system takes one from them."""
    from gpubp.backends.barrier_code import name_yield

    name_yield()  # llvmlite loads a library of its own, once
    asked = []

    def missing(name: Any) -> Any:
        asked.append(name)
        raise OSError("planted")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    name_yield.cache_clear()
    try:
        relay = relaying("without a call")
    finally:
        monkeypatch.undo()
        name_yield.cache_clear()
        name_yield()
    assert len(asked) == 1
    data, wrong, team = np.zeros((2, 3), np.int64), np.zeros(3, np.int64), Team(3)
    team.run(relay, team.state, 3, data, wrong, 20)
    assert not wrong.any()
    assert team.state[ROUND] == 20


@pytest.mark.compiled
def test_two_users_take_turns(relay: Any) -> None:
    team, wrong = Team(2), np.zeros((2, 2), np.int64)

    def user(number: int) -> None:
        data = np.zeros((2, 2), np.int64)
        for _ in range(20):
            team.run(relay, team.state, 2, data, wrong[number], 50)

    users = [threading.Thread(target=user, args=(i,)) for i in range(2)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    assert not wrong.any()
    assert len(team._crews[os.getpid()].helpers) == 1


@pytest.mark.compiled
def test_all_pass_when_the_last_has_come(waiting: Any) -> None:
    team, passed = Team(3), np.zeros(3, np.int64)
    team.run(waiting, team.state, -1, passed)
    assert passed.tolist() == [2, 2, 2]  # each was told True


@pytest.mark.compiled
@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_one_that_fails_lets_the_others_go(waiting: Any, relay: Any, culprit: int) -> None:
    team = Team(3)
    fails(team, waiting, culprit)
    data, wrong = np.zeros((2, 3), np.int64), np.zeros(3, np.int64)
    team.run(relay, team.state, 3, data, wrong, 50)  # the team is as good as before
    assert not wrong.any()


def fails(team: Team, waiting: Any, culprit: int) -> None:
    passed = np.zeros(3, np.int64)
    with pytest.raises(ZeroDivisionError, match="planted"):
        team.run(waiting, team.state, culprit, passed)
    assert passed.tolist() == [int(i != culprit) for i in range(3)]  # each was told False


@pytest.mark.compiled
def test_a_barrier_that_knows_of_no_failure_would_be_found(
    cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpubp.backends import barrier_code
    from gpubp.backends.native_code import Code

    def careless(module: Any) -> Any:
        code = Code(module, "barrier", 2, internal=True, gives=True)
        code.end(1)
        return code.function

    monkeypatch.setattr(barrier_code, "barrier", careless)
    with pytest.raises(AssertionError):
        fails(Team(3), awaiting(), 1)


def test_the_first_of_several_errors_is_raised_and_kept_nowhere() -> None:
    kept = []

    def both(thread: int, first: threading.Event) -> None:
        if thread == 0:
            first.wait()
        else:
            threading.Timer(0.01, first.set).start()
        error = InputError(str(thread))
        kept.append(weakref.ref(error))
        raise error

    team = Team(2)
    with pytest.raises(InputError) as caught:
        team.run(both, threading.Event())
    assert str(caught.value) == "1"
    del caught
    gc.collect()
    assert [error() for error in kept] == [None, None]


def test_an_interrupt_waits_for_the_others_and_is_raised() -> None:
    ended, team = [], Team(2)

    def work(thread: int) -> None:
        if thread == 1:
            time.sleep(0.05)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
            ended.append(thread)

    with pytest.raises(KeyboardInterrupt):
        team.run(work)
    assert ended == [1]
    team.run(lambda thread: ended.append(thread))
    assert sorted(ended) == [0, 1, 1]


def test_a_run_that_was_torn_down_is_settled_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two interrupts on the heels of each other: the job is set, and its thread not woken."""
    team, seen = Team(2), []
    team.run(lambda thread: None)
    [helper] = team._crews[os.getpid()].helpers
    helper.job = seen.append, ("late",), lambda error: None
    team.run(lambda thread: seen.append(thread))
    assert seen[0] == "late"
    assert sorted(map(str, seen[1:])) == ["0", "1"]


def test_the_result_is_the_first_threads_and_arguments_are_let_go() -> None:
    class Held:
        pass

    held, team = Held(), Team(2)
    assert team.run(lambda thread, x: thread + 7, held) == 7
    assert sys.getrefcount(held) == 2


def test_one_thread_is_none_of_ours_and_unused_ones_end() -> None:
    before = set(threading.enumerate())  # some of them may be about to end
    one = Team(1)
    assert one.run(lambda thread: threading.current_thread()) is threading.current_thread()
    assert set(threading.enumerate()) <= before
    two = Team(3)
    two.run(lambda thread: None)
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 2
    del two
    for helper in helpers:
        helper.join(5.0)
        assert not helper.is_alive()


FORK = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
from gpubp.backends.team import Team
team, inside, leave = Team(2), threading.Event(), threading.Event()
def hold(thread):
    inside.set()
    leave.wait()
user = threading.Thread(target=team.run, args=(hold,))
user.start()
inside.wait()  # the team's lock is held while the process is forked
child = os.fork()
seen = []
if child == 0:
    team.run(lambda thread: seen.append(thread))
    os._exit(0 if sorted(seen) == [0, 1] else 1)
leave.set()
user.join()
team.run(lambda thread: seen.append(thread))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sorted(seen))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_makes_threads_of_its_own() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", FORK], env=env, capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == ("0 [0, 1]\n", "")


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_bad_numbers_of_threads(threads: Any) -> None:
    with pytest.raises(InputError, match="must be a whole number, at least 1"):
        Team(threads)
