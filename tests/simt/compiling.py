"""Compile texts of kernels by g++, many at once, each in a namespace of its own."""

from __future__ import annotations

import atexit
import ctypes
import itertools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from .function import MOST_THREADS, Function

_HERE = Path(__file__).resolve().parent
_COMPILE = (
    "g++", "-c", "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-exceptions",
    "-fno-rtti", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-sanitize-recover=all",
    "-fsanitize=alignment,null,bounds,shift-exponent,integer-divide-by-zero",
    f"-I{_HERE}", f"-I{_HERE / 'include'}",
)  # fmt: skip

_KERNEL = re.compile(
    r"__global__\s+(?:__launch_bounds__\s*\((?P<before>[^()]*)\)\s*)?void\s+"
    r"(?:__launch_bounds__\s*\((?P<after>[^()]*)\)\s*)?(?P<name>\w+)\s*\("
)
_DYNAMIC = re.compile(r"\bextern\s+__shared__\s+([^;]*?)\b(\w+)\s*\[\s*\]\s*;")
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)

_compiled: dict[tuple[str, bool], dict[str, Function]] = {}
_numbers, _lock = itertools.count(), Lock()


def function(text: str, name: str, single: bool = False) -> Function:
    """Return a kernel of the text; `single` refuses what turns a float into a double unasked.

    Raises RuntimeError with what g++ said, and KeyError for a name that the text has not.
    """
    compile_all([text], single)
    kernels = _compiled[text, single]
    if name not in kernels:
        raise KeyError(f"the text has no kernel {name!r}; it has {sorted(kernels)}")
    return kernels[name]


def compile_all(texts: Iterable[str], single: bool = False) -> None:
    """Compile several texts with one call of g++; what is compiled already is left alone."""
    with _lock:
        new = [text for text in dict.fromkeys(texts) if (text, single) not in _compiled]
        if not new:
            return
        numbered = [(next(_numbers), text) for text in new]
        library = _library([_source(n, text, single) for n, text in numbered])
        for n, text in numbered:
            found = {m["name"]: m["before"] or m["after"] for m in _KERNEL.finditer(text)}
            _compiled[text, single] = {
                name: Function(name, library, f"simt_{n}_{name}", _most(bound))
                for name, bound in found.items()
            }


def _most(bound: str | None) -> int:
    """Threads a block may have by `__launch_bounds__(threads, ...)`, where that is a number."""
    first = (bound or "").split(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isdigit() else MOST_THREADS


def _source(n: int, text: str, single: bool) -> str:
    """Put a text in a namespace, its kernels and its shared memory under names of its own."""
    names = list(dict.fromkeys(m["name"] for m in _KERNEL.finditer(text)))
    macros = list(dict.fromkeys(_MACRO.findall(text)))
    ends = f"__start_shared_{n}", f"__stop_shared_{n}"
    doubles = '#pragma GCC diagnostic error "-Wdouble-promotion"' if single else ""
    return "\n".join([
        f'#define SIMT_SECTION "shared_{n}"',
        'extern "C" __attribute__((weak, visibility("hidden"))) unsigned char '
        f"{ends[0]}[], {ends[1]}[];",
        *(f"#define {name} simt_{n}_{name}" for name in names),
        f"namespace text_{n} {{ using namespace simt;",
        "#pragma GCC diagnostic push", doubles,
        f'#line 1 "{names[0] if names else "text"}.cu"',
        _DYNAMIC.sub(r"\1* const \2 = simt::dynamic;", text),
        "#pragma GCC diagnostic pop", "}",
        *(f"#undef {macro}" for macro in macros),
        *(f"#undef {name}" for name in names),
        *(f"SIMT_ENTRY(simt_{n}_{name}, text_{n}::simt_{n}_{name}, {', '.join(ends)})"
          for name in names),
        "#undef SIMT_SECTION", "",
    ])  # fmt: skip


def _library(sources: list[str]) -> Any:
    stem = _folder() / f"texts{next(_numbers)}"
    source, made, library = (stem.with_suffix(end) for end in (".cpp", ".o", ".so"))
    source.write_text("\n".join(['#include "simt.h"', *sources]))
    # In two steps: linked with -fsanitize, g++ would add a runtime that simt.h replaces.
    for command in (
        [*_COMPILE, str(source), "-o", str(made)],
        ["g++", "-shared", str(made), "-o", str(library)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return ctypes.PyDLL(str(library))


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gpubp-simt-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
