"""How many threads a team should have, and BLAS libraries held to one."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gpubp.backends import blas_threads, processors
from gpubp.backends.team import Team, cores, one_blas_thread


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight processors, two to a core, and no wish of the user."""
    for number in range(8):
        folder = tmp_path / f"devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    monkeypatch.setattr(processors, "_SYSTEM", tmp_path)
    monkeypatch.setattr(processors, "_allowed", lambda: set(range(8)))
    for name in processors._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_two_processors_of_a_core_count_once(machine: Path) -> None:
    assert cores() == 4
    (machine / "devices/system/cpu/cpu3/topology/thread_siblings_list").unlink()
    assert cores() == 8  # nobody knows


@pytest.mark.parametrize(
    ("blas", "openmp", "expected"),
    [("2", "3", 2), ("", "3,2", 3), ("0", "1", 1), ("many", "-1", 4), ("64", "1", 4)],
)
def test_the_user_may_ask_for_less(
    machine: Path, monkeypatch: pytest.MonkeyPatch, blas: str, openmp: str, expected: int
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", blas)
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    assert cores() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("", 4), ("900000 100000", 4)],
)
def test_a_container_may_have_less(machine: Path, text: str, expected: int) -> None:
    (machine / "fs/cgroup").mkdir(parents=True)
    (machine / "fs/cgroup/cpu.max").write_text(text)
    assert cores() == expected


def test_a_system_that_tells_a_number_alone(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_allowed", lambda: 6)
    assert cores() == 6


class Library:
    user_api = "blas"

    def __init__(self, path: str, threads: int) -> None:
        self.filepath, self.num_threads = path, threads

    def set_num_threads(self, threads: int) -> None:
        self.num_threads = threads


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the process has loaded, as the test says."""
    found: list[Any] = [Library("a", 4), Library("b", 1)]

    class Controller:
        @property
        def lib_controllers(self) -> list[Any]:
            return list(found)

    monkeypatch.setattr(blas_threads, "ThreadpoolController", Controller)
    monkeypatch.setattr(blas_threads, "_limit", blas_threads._Limit())
    return found


def test_a_library_that_is_loaded_later_is_held_too(
    libraries: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with one_blas_thread():
        assert [x.num_threads for x in libraries] == [1, 1]
        libraries.append(Library("c", 8))
        monkeypatch.setitem(sys.modules, "gpubp_test_late", ModuleType("gpubp_test_late"))
        with one_blas_thread():
            assert [x.num_threads for x in libraries] == [1, 1, 1]
        assert [x.num_threads for x in libraries] == [1, 1, 1]
    assert [x.num_threads for x in libraries] == [4, 1, 8]


def test_the_last_who_leaves_sets_the_threads_back(libraries: list[Any]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with suppress(ZeroDivisionError), one_blas_thread():
        thread.start()
        entered.wait()
        raise ZeroDivisionError
    assert libraries[0].num_threads == 1
    leave.set()
    thread.join()
    assert libraries[0].num_threads == 4


def test_openmp_is_held_in_the_threads_of_a_team_alone(libraries: list[Any]) -> None:
    """A BLAS that runs on OpenMP asks it in each thread anew how many threads to use."""
    held = []
    openmp = Library("d", 4)
    openmp.user_api = "openmp"
    openmp.set_num_threads = lambda n: held.append((threading.current_thread().name, n))
    libraries.append(openmp)
    with one_blas_thread():
        Team(2).run(lambda thread: None)
    assert held == [("gpubp-team", 1)]
    assert openmp.num_threads == 4


def test_the_libraries_there_are() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        return [pool["num_threads"] for pool in pools]

    np.ones((2, 2)) @ np.ones((2, 2))
    before = threads()
    with one_blas_thread():
        assert set(threads()) <= {1}
    assert threads() == before
