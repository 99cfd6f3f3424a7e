"""How many threads a team should have."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpubp.backends import processors
from gpubp.backends.team import cores


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
