"""Write the barrier of `gpubp.backends.spinning` as code for this processor."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib import import_module
from typing import Any

from .native_code import WORD, Code, Number, ir
from .spinning import ARRIVED, FAILED, ROUND, TICKET

_TURNS = 500  # some 20 us; a longer wait is for one that has no processor
YIELD = "gpubp_yield"
"""What code calls that has waited long: see `name_yield`."""


def barrier(module: Any) -> Any:
    """Write the function `(state, count)` into a module of LLVM's; it gives 1 where all is well.

    It returns when `count` threads have called it. With 0 some thread has failed, and the caller
    should return. What any of them stored before, all of them can load after. `state` is where one
    of `new_state` begins; it serves any number of rounds. Code with it is loaded after
    `name_yield`.
    """
    code = Code(module, "barrier", 2, internal=True, gives=True)
    state, count = code.given
    build, function = code.builder, code.function
    arrived, turn, failed = (code.pointer(state + at * 8, WORD) for at in (ARRIVED, ROUND, FAILED))

    def sound() -> Any:
        broken = Number(code, build.load_atomic(failed, "acquire", 8))
        return code.either(broken.is_zero, 1, 0)

    now = build.load_atomic(turn, "acquire", 8)
    before = Number(code, build.atomic_rmw("add", arrived, WORD(1), "acq_rel"))
    last = (count - before - 1).is_zero
    with code.when(last):
        build.store_atomic(WORD(0), arrived, "release", 8)
        build.store_atomic(build.add(now, WORD(1)), turn, "release", 8)  # lets the others go
        code.end(sound())
    start = build.block
    head, body, awake, pausing, tired, behind, lost = (
        function.append_basic_block() for _ in range(7)
    )
    build.branch(head)
    build.position_at_end(head)
    turns = build.phi(WORD)
    turns.add_incoming(WORD(0), start)
    waiting = build.icmp_unsigned("==", build.load_atomic(turn, "acquire", 8), now)
    build.cbranch(waiting, body, behind)
    build.position_at_end(body)
    build.cbranch(Number(code, build.load_atomic(failed, "acquire", 8)).is_zero, awake, lost)
    build.position_at_end(awake)
    build.cbranch(build.icmp_signed("<", turns, WORD(_TURNS)), pausing, tired)
    build.position_at_end(pausing)
    _pause(code)
    turns.add_incoming(build.add(turns, WORD(1)), build.block)
    build.branch(head)
    build.position_at_end(tired)
    code.call(code.outer(YIELD, 0))
    turns.add_incoming(turns, build.block)
    build.branch(head)
    build.position_at_end(lost)
    code.end(0)
    build.position_at_end(behind)
    code.end(sound())
    return function


def ticket(code: Code, state: Number) -> Number:
    """Draw a number that nobody else draws: 0 for the first, and so on."""
    place = code.pointer(state + 8 * TICKET, WORD)
    return Number(code, code.builder.atomic_rmw("add", place, WORD(1), "monotonic"))


def _pause(code: Code) -> None:
    """Tell the processor that this is a waiting loop, where it has a word for that."""
    machine = import_module("llvmlite.binding").get_process_triple().partition("-")[0]
    if machine in ("x86_64", "amd64", "i386", "i686"):
        code.intrinsic("llvm.x86.sse2.pause", ir.VoidType())
    elif machine in ("aarch64", "arm64"):
        code.intrinsic("llvm.aarch64.hint", ir.VoidType(), ir.IntType(32)(1))


@cache
def name_yield() -> None:
    """Name the system's call that lets another thread have this processor; nothing where none."""
    windows = sys.platform == "win32"
    try:
        library = ctypes.CDLL("kernel32" if windows else None)
        function = getattr(library, "SwitchToThread" if windows else "sched_yield")
    except (OSError, AttributeError, TypeError):
        function = _nothing
    address = ctypes.cast(function, ctypes.c_void_p).value
    import_module("llvmlite.binding").add_symbol(YIELD, address)


_nothing = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)
