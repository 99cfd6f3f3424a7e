"""Machine code on disk: found again, made anew where it is damaged, and of nobody else."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.backends import native
from tests.conftest import require

ROOT = Path(__file__).resolve().parent.parent.parent

TEXT = """
define void @f(i64 %where) {{
  %place = inttoptr i64 %where to ptr
  store i64 {number}, ptr %place, align 8
  ret void
}}
"""

SCRIPT = f"""
import ctypes
from gpubp.backends import native

def text():
    print("written", end=" ")
    return {TEXT.format(number=42)!r}

place = ctypes.c_int64(0)
native.function(native.address("f", text, "the key"), 1)(ctypes.addressof(place))
print(place.value)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for machine code."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPUBP_CACHE", str(folder))
    return folder


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget what is loaded, as a new process would; the code stays in memory till the end."""
    require("llvmlite")
    kept = []

    def forget() -> None:
        kept.append(dict(native._engines))
        monkeypatch.setattr(native, "_engines", {})

    return forget


class Source:
    """A text that stores a number, and how often it was asked for."""

    def __init__(self, number: int = 42) -> None:
        self.asked, self._number = 0, number

    def __call__(self) -> str:
        self.asked += 1
        return TEXT.format(number=self._number)

    def run(self, key: str = "the key") -> int:
        out = np.zeros(1, np.int64)
        native.function(native.address("f", self, key), 1)(out.ctypes.data)
        return int(out[0])


def only(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


# -- found again -----------------------------------------------------------------------------------


@pytest.mark.compiled
def test_another_process_finds_what_one_has_made(place: Path) -> None:
    require("llvmlite")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for expected in ("written 42\n", "42\n"):
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True
        )
        assert (ran.stdout, ran.stderr) == (expected, "")
    assert only(place).suffix == ".o"  # nothing else is left lying


@pytest.mark.compiled
def test_no_text_is_written_for_what_is_loaded_or_on_disk(place: Path, fresh: Any) -> None:
    source = Source()
    assert source.run() == source.run() == 42
    assert source.asked == 1
    fresh()
    assert source.run() == 42
    only(place).unlink()
    assert source.run() == 42  # it is loaded
    assert source.asked == 1
    fresh()
    assert source.run() == 42
    assert source.asked == 2


@pytest.mark.compiled
def test_another_key_is_another_file(place: Path, fresh: Any) -> None:
    assert [Source(n).run(f"key {n}") for n in (1, 2)] == [1, 2]
    assert len(list(place.iterdir())) == 2
    fresh()
    swapped = [Source(0).run(f"key {n}") for n in (2, 1)]
    assert swapped == [2, 1]


@pytest.mark.compiled
def test_threads_that_want_the_same_compile_it_once(place: Path, fresh: Any) -> None:
    source, found = Source(), []
    ready = threading.Barrier(4)

    def user() -> None:
        ready.wait()
        found.append(source.run())

    users = [threading.Thread(target=user) for _ in range(4)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    assert found == [42] * 4
    assert source.asked == 1


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda b: bytes([b[0] ^ 1]) + b[1:],
    "end of the digest": lambda b: b[:31] + bytes([b[31] ^ 128]) + b[32:],
    "begin of the code": lambda b: b[:32] + bytes([b[32] ^ 1]) + b[33:],
    "middle": lambda b: b[: len(b) // 2] + bytes([b[len(b) // 2] ^ 1]) + b[len(b) // 2 + 1 :],
    "last byte": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    "half": lambda b: b[: len(b) // 2],
    "one byte less": lambda b: b[:-1],
    "one byte more": lambda b: b + b"\0",
    "digest alone": lambda b: b[:32],
    "less than a digest": lambda b: b[:20],
    "empty": lambda b: b"",
    "zeros": lambda b: bytes(len(b)),
}


@pytest.mark.compiled
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(place: Path, fresh: Any, damage: str) -> None:
    source = Source()
    assert source.run() == 42
    path = only(place)
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    fresh()
    assert source.run() == 42
    assert source.asked == 2
    assert only(place).read_bytes() == whole
    fresh()
    assert source.run() == 42
    assert source.asked == 2


@pytest.mark.compiled
def test_a_digest_that_is_not_looked_at_would_be_found(
    place: Path, fresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(path: Path) -> bytes | None:
        return path.read_bytes()[32:] if path.exists() else None

    monkeypatch.setattr(native, "_kept", trusting)
    with pytest.raises(AssertionError):
        test_a_damaged_file_is_made_anew(place, fresh, "first byte")


@pytest.mark.compiled
def test_code_that_llvm_refuses_is_not_kept(place: Path, fresh: Any) -> None:
    for text in ("define void @f(", "define void @f() {\n  %a = add i64 %a, 1\n  ret void\n}"):
        with pytest.raises(RuntimeError):
            native.address("f", lambda text=text: text, text)  # type: ignore[misc]
    assert not list(place.iterdir())


@pytest.mark.compiled
@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_function_is_given_its_numbers(place: Path, fresh: Any, count: int) -> None:
    """All 64 bits of each, and the sign."""
    given = [(-1) ** i * (2**40 + i) for i in range(count)]
    out = np.zeros(count, np.int64)
    lines = [f"define void @f({', '.join(f'i64 %a{i}' for i in range(count))}) {{"]
    for i in range(count):
        lines.append(f"  %p{i} = inttoptr i64 {out.ctypes.data + 8 * i} to ptr")
        lines.append(f"  store i64 %a{i}, ptr %p{i}, align 8")
    text = "\n".join([*lines, "  ret void", "}"])
    assert native.function(native.address("f", lambda: text, text), count)(*given) is None
    assert out.tolist() == given


# -- what machine code is a function of ------------------------------------------------------------

WRITERS = sorted(p.name for p in (ROOT / "backends").glob("*.py"))


@pytest.mark.parametrize("changed", [None, *WRITERS])
def test_another_source_makes_another_file(
    place: Path, fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str | None
) -> None:
    before = native._path("the key")
    copies = tmp_path / "backends"
    shutil.copytree(ROOT / "backends", copies, ignore=shutil.ignore_patterns("__pycache__"))
    if changed is not None:
        path = copies / changed
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setattr(native, "__file__", str(copies / "native.py"))
    native._made_with.cache_clear()
    try:
        assert (native._path("the key") == before) is (changed is None)
    finally:
        native._made_with.cache_clear()


@pytest.mark.compiled
@pytest.mark.parametrize("what", ["llvm_version_info", "get_host_cpu_name", "features"])
def test_another_processor_or_compiler_makes_another_file(
    place: Path, fresh: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    import llvmlite.binding

    before = native._path("the key")
    if what == "features":
        monkeypatch.setattr(native, "features", lambda: frozenset({"planted"}))
    else:
        other = (1, 2, 3) if what == "llvm_version_info" else lambda: "planted"
        monkeypatch.setattr(llvmlite.binding, what, other)
    native._made_with.cache_clear()
    try:
        assert native._path("the key") != before
    finally:
        native._made_with.cache_clear()


@pytest.mark.compiled
def test_features_are_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    require("llvmlite")
    import llvmlite.binding

    found = {"there": True, "missing": False}
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: found)
    native.features.cache_clear()
    try:
        assert native.features() == {"there"}
    finally:
        native.features.cache_clear()


# -- the folder ------------------------------------------------------------------------------------


def test_the_folder_is_made_for_this_user_alone(place: Path) -> None:
    assert native.folder() == place
    assert place.is_dir()
    if hasattr(os, "geteuid"):
        assert not place.stat().st_mode & 0o077


def test_without_a_wish_it_is_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wish in (None, ""):
        if wish is None:
            monkeypatch.delenv("GPUBP_CACHE", raising=False)
        else:
            monkeypatch.setenv("GPUBP_CACHE", wish)
        monkeypatch.setattr(native, "_user_cache", lambda: tmp_path / "user")
        assert native.folder() == tmp_path / "user" / "gpubp"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="where Linux has it")
def test_where_the_users_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert native._user_cache() == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert native._user_cache() == Path.home() / ".cache"


def refused(place: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """What is taken instead of a folder; a warning says once how to change that."""
    with caplog.at_level(logging.WARNING, "gpubp"):
        instead = native.folder()
        assert native.folder() == instead
    assert instead != place
    assert instead.is_dir()
    [record] = caplog.records
    assert str(place) in record.getMessage()
    assert "GPUBP_CACHE" in record.getMessage()
    return instead


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the modes of files")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
def test_a_folder_that_others_can_write_to_is_not_used(
    place: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    place.mkdir()
    place.chmod(mode)
    instead = refused(place, caplog)
    assert not instead.stat().st_mode & 0o077
    assert not list(place.iterdir())
    place.chmod(0o755)  # to read it does no harm
    assert native.folder() == place


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the owners of files")
def test_a_folder_of_somebody_else_is_not_used(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.mkdir(mode=0o700)
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    refused(place, caplog)


def test_a_folder_that_cannot_be_made_is_not_used(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place.write_text("a file")
    refused(place, caplog)


def test_a_folder_that_cannot_be_written_is_not_used(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(place, caplog)


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the modes of files")
def test_code_runs_from_another_folder_all_the_same(
    place: Path, fresh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    place.mkdir()
    place.chmod(0o777)
    assert Source().run() == 42
    assert not list(place.iterdir())
    assert len(list(refused(place, caplog).iterdir())) == 1


def test_old_files_are_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_KEPT", 3)
    place.mkdir()
    other = place / "note.txt"
    other.write_text("of somebody else")
    os.utime(other, (1, 1))
    for age in range(5):
        path = place / f"gpubp_{age}.o"
        native._keep(path, b"code %d" % age)
        os.utime(path, (1000 + age, 1000 + age))
    assert native._kept(place / "gpubp_2.o") == b"code 2"  # it is new again
    native._keep(place / "gpubp_new.o", b"new")
    assert {p.name for p in place.iterdir()} == {
        "gpubp_2.o",
        "gpubp_4.o",
        "gpubp_new.o",
        "note.txt",
    }


def test_without_llvmlite_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    native.available.cache_clear()
    try:
        reason = native.available()
        assert reason is not None
        assert "llvmlite cannot be imported" in reason
        assert "pip install 'gpubp[cpu]'" in reason
    finally:
        native.available.cache_clear()


@pytest.mark.compiled
def test_with_llvmlite_there_is_no_reason() -> None:
    require("llvmlite")
    assert native.available() is None
