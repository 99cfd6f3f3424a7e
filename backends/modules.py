"""Generated modules on disk: written once, compiled once, found again by what they are made of.

The folder is that of the environment variable GPUBP_CACHE, or `gpubp` in the user's cache. A
module is named after its text and the versions of all that it is compiled with; numba keeps the
machine code beside it, for each processor its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import sys
import tempfile
import threading
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_loading = threading.RLock()


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
    places = [base.stat()]
    if (base / "__pycache__").exists():
        places.append((base / "__pycache__").stat())
    return all(p.st_uid == os.geteuid() and not p.st_mode & 0o022 for p in places)


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
def _made_with() -> str:
    """The versions, and the source, of what a module's machine code has in it."""
    parts = [sys.version, *(version(name) for name in ("numba", "llvmlite", "numpy", "scipy"))]
    here = Path(__file__).parent
    names = ("loops", "numba_narrow", "numba_parts", "products", "spinning", "team", "vector_math",
             "vector_parts", "vector_formats")  # fmt: skip
    parts += [(here / f"{name}.py").read_text() for name in names]
    return "\0".join(parts)


def _name(text: str) -> str:
    digest = hashlib.sha256(f"{_made_with()}\0{text}".encode()).hexdigest()[:20]
    return f"gpubp_step_{digest}"


def known(text: str) -> bool:
    """Whether the machine code of that module is here already: loading it is quick.

    >>> known("answer = 43")
    False
    """
    name = _name(text)
    return name in sys.modules or any((folder() / "__pycache__").glob(f"{name}.*.nbi"))


def load(text: str) -> Any:
    """Return the module of that text.

    >>> load("answer = 42").answer
    42
    """
    with _loading:
        name = _name(text)
        if name not in sys.modules:
            _load(name, text)
        return sys.modules[name]


def forget(text: str) -> None:
    """Remove a module and its machine code, of which something is damaged.

    >>> forget("answer = 44")
    """
    with _loading:
        name = _name(text)
        sys.modules.pop(name, None)
        for path in (folder() / "__pycache__").glob(f"{name}.*"):
            path.unlink(missing_ok=True)


def _load(name: str, text: str) -> None:
    path, wanted = folder() / f"{name}.py", text.encode()
    if not path.exists() or path.read_bytes() != wanted:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(wanted)
        os.replace(file.name, path)  # whole or not at all: others may look for it too
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
