"""Writing: whatever happens, the old file or the new one is there whole, and nothing else."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpubp
from gpubp.files import check_writable, write_atomically

NET = gpubp.Network(gpubp.Linear(1), inputs=3, seed=2)


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), PermissionError(13, "Permission denied"),
     OSError(30, "Read-only file system")],
)  # fmt: skip
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: OSError
) -> None:
    (tmp_path / "net").write_bytes(b"old")
    if call == "write":
        real = open

        def full(path: Any, mode: str = "r") -> Any:
            file = real(path, mode)
            return Full(file, error) if mode == "xb" else file

        monkeypatch.setattr("builtins.open", full)
    else:
        monkeypatch.setattr(os, call, fail(error))
    with pytest.raises(gpubp.InputError, match=f"cannot write .*net: .*{error.strerror}"):
        NET.save(tmp_path / "net")
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_bytes() == b"old"


class Full:
    """A file on a disk that has room for some bytes."""

    def __init__(self, file: Any, error: OSError) -> None:
        self._file, self._error = file, error

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        self._file.write(data[:7])
        raise self._error


def test_a_folder_that_may_not_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.open", fail(PermissionError(13, "Permission denied")))
    with pytest.raises(gpubp.InputError, match=r"cannot write .*Permission denied"):
        NET.save(tmp_path / "net")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_interrupt_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "net").write_bytes(b"old")
    monkeypatch.setattr(os, call, fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        NET.save(tmp_path / "net")
    assert [file.name for file in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_bytes() == b"old"


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    told = {"folder": "it is a folder", "none/net": "there is no folder",
            "file/net": "there is no folder", "a" * 300: "File name too long"}  # fmt: skip
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        told["pipe"] = "it is no regular file"
    before = sorted(tmp_path.iterdir())
    for name, what in told.items():
        with pytest.raises(gpubp.InputError, match=what):
            NET.save(tmp_path / name)
        with pytest.raises(gpubp.InputError, match=what):
            check_writable(tmp_path / name)
    for wrong in (None, 3, "a\0b"):
        with pytest.raises(gpubp.InputError, match="cannot write"):
            NET.save(wrong)  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("stem", ["a" * 252, "网" * 80, "é" * 126, "a" + "é" * 125, "\udcff" * 240])
def test_every_name_that_a_file_can_have(tmp_path: Path, stem: str) -> None:
    """What is written first and renamed has a name of its own, which must not be too long."""
    path = tmp_path / f"{stem}.st"
    try:
        path.write_bytes(b"old")
    except (OSError, UnicodeError):
        pytest.skip("no such name here")
    NET.save(path)
    assert gpubp.load(path).seed == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["checkpoint-000012-000003.safetensors", "best.safetensors"])
def test_what_a_killed_training_leaves_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    _, temporary = check_writable(tmp_path / name)
    temporary.write_bytes(b"half")
    (tmp_path / "other").write_bytes(b"")
    gpubp.Checkpoints(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    NET.save(tmp_path / "net")
    (tmp_path / "net").chmod(0o640)
    NET.save(tmp_path / "net")
    assert stat.S_IMODE((tmp_path / "net").stat().st_mode) == (0o640 if os.name != "nt" else 0o666)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "runs" / "net")
    for data in (b"first", b"second"):
        write_atomically(tmp_path / "latest", data)
        assert (tmp_path / "latest").is_symlink()
        assert (tmp_path / "runs" / "net").read_bytes() == data
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["net"]


LIMITED = """
import resource, sys
import gpubp
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
net = gpubp.Network(gpubp.Linear(1000), inputs=3)
try:
    net.save(sys.argv[1])
except gpubp.InputError as error:
    print(error)
"""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    NET.save(tmp_path / "net")
    old = (tmp_path / "net").read_bytes()
    asked = [sys.executable, "-c", LIMITED, str(tmp_path / "net")]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"cannot write {tmp_path / 'net'}: ")
    assert "too large" in told
    assert [file.name for file in tmp_path.iterdir()] == ["net"]
    assert (tmp_path / "net").read_bytes() == old


ENDLESS = """
import sys
import gpubp
nets = [gpubp.Network(gpubp.Linear(2000), inputs=50, seed=seed) for seed in (1, 2)]
print("ready", flush=True)
while True:
    for net in nets:
        net.save(sys.argv[1])
"""


def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("no SIGKILL here")
    for delay in (0.05, 0.11):
        asked = [sys.executable, "-c", ENDLESS, str(tmp_path / "net")]
        with subprocess.Popen(asked, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        if (tmp_path / "net").exists():
            assert gpubp.load(tmp_path / "net").seed in (1, 2)
