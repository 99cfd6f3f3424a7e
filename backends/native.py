"""Machine code of our own: compiled by LLVM for this processor, and kept on disk.

The folder is that of the environment variable GPUBP_CACHE, or `gpubp` in the user's cache. A file
is named after all that its code is a function of: what was to be written, the source of what
writes it, LLVM's version and the processor. It has the digest of what it holds in front, so that
a damaged one is made anew and not run.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_DIGEST = 32
_KEPT = 1000
"""Files in the folder; beyond, those that were not used for the longest are removed."""

_loading = threading.RLock()
_engines: dict[Path, Any] = {}  # machine code lives as long as its engine


@cache
def available() -> str | None:
    """Return why nothing can be compiled here; None where it can.

    >>> available() is None or "gpubp[cpu]" in available()
    True
    """
    try:
        import_module("llvmlite.binding")
    except ImportError as error:
        return f"llvmlite cannot be imported ({error}); pip install 'gpubp[cpu]'"
    return None


def folder() -> Path:
    """Where modules lie; made if it is not there, or a new one in the place for temporary files.

    >>> folder().is_dir()
    True
    """
    chosen = os.environ.get("GPUBP_CACHE")
    base = Path(chosen) if chosen else _user_cache() / "gpubp"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(base, os.W_OK) and _our_own(base):
            return base
    except OSError:
        pass
    return _temporary(base)


def _our_own(base: Path) -> bool:
    """Whether nobody else can put files there: what lies there is run."""
    if not hasattr(os, "geteuid"):
        return True
    place = base.stat()
    return place.st_uid == os.geteuid() and not place.st_mode & 0o022


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@cache
def _temporary(instead_of: Path) -> Path:
    logging.getLogger("gpubp").warning(
        "machine code is not kept in %s, which is not this user's alone or cannot be written; set "
        "GPUBP_CACHE to a folder that is", instead_of,
    )  # fmt: skip
    return Path(tempfile.mkdtemp(prefix="gpubp-"))


@cache
def features() -> frozenset[str]:
    """Return what this processor can do beside the least of its kind, by LLVM's names."""
    found = import_module("llvmlite.binding").get_host_cpu_features()
    return frozenset(name for name, there in found.items() if there)


@cache
def _made_with() -> str:
    """What all machine code depends on: the source of what writes it, LLVM and the processor."""
    llvm = import_module("llvmlite.binding")
    here = Path(__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in sorted(here.glob("*.py"))]
    cpu = [llvm.get_host_cpu_name(), *sorted(features()), str(llvm.llvm_version_info), sys.platform]
    return "\0".join([*sources, *cpu])


def address(name: str, text: Callable[[], str], key: str) -> int:
    """Return where the function `name` of a module of LLVM's code begins.

    The text is a function of the `key`: with it machine code is found again, and no text has to
    be written.
    """
    with _loading:
        path = _path(key)
        if path not in _engines:
            code = _kept(path)
            if code is None:
                code = _compiled(text())
                _keep(path, code)
            _engines[path] = _loaded(code)
        found: int = _engines[path].get_function_address(name)
        return found


def function(where: int, count: int) -> Any:
    """Return what lies at an address as a function of `count` numbers, which gives nothing.

    Python's lock is let go while it runs.
    """
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(where)


def _path(key: str) -> Path:
    digest = hashlib.sha256(f"{_made_with()}\0{key}".encode()).hexdigest()[:24]
    return folder() / f"gpubp_{digest}.o"


def _kept(path: Path) -> bytes | None:
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    code = whole[_DIGEST:]
    if hashlib.sha256(code).digest() != whole[:_DIGEST]:
        return None
    with suppress(OSError):
        os.utime(path)
    return code


def _keep(path: Path, code: bytes) -> None:
    """Write a file whole or not at all: others may look for it too."""
    made = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            made = file.name
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(made, path)
    except OSError:  # no room: it is compiled anew the next time
        Path(made).unlink(missing_ok=True)
        return
    with suppress(OSError):  # another process may tidy up too
        files = sorted(path.parent.glob("gpubp_*.o"), key=lambda p: p.stat().st_mtime)
        for old in files[:-_KEPT]:
            old.unlink(missing_ok=True)


def _machine() -> Any:
    llvm = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    flags = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=flags, opt=3, jit=True
    )


def _compiled(text: str) -> bytes:
    """What is written by `gpubp.backends.native_code` needs none of LLVM's passes to be quick."""
    machine = _machine()
    module = import_module("llvmlite.binding").parse_assembly(text)
    module.verify()
    code: bytes = machine.emit_object(module)
    return code


def _loaded(code: bytes) -> Any:
    llvm = import_module("llvmlite.binding")
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine
