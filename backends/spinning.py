"""The barrier at which the threads of a team meet from inside compiled code.

Every thread writes its part of the data, calls `barrier(state, count)`, and reads what the others
wrote. Waking a sleeping thread takes tens of microseconds; whoever waits here stays awake, and
only gives its processor away after a while, so that more threads than processors also get on.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

_LINE = 16  # int64 in two lines of the cache: processors fetch them in pairs
_ARRIVED, _ROUND, _FAILED = 0, _LINE, _LINE + 1
_TURNS = 500  # some 20 us; a longer wait is for one that has no processor
_YIELD = "gpubp_yield"  # compiled code that is loaded from a cache looks for it


def new_state() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the state of a barrier, zeros `(32,)`; the counters lie on lines of their own.

    >>> new_state().shape
    (32,)
    """
    room = np.zeros(3 * _LINE, np.int64)
    skipped = -room.ctypes.data // 8 % _LINE
    return room[skipped : skipped + 2 * _LINE]


def reset(state: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Make a state new, at which nobody waits."""
    state[:] = 0


def fail(state: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Let all who wait, and all who come until the state is reset, go on with False."""
    state[_FAILED] = 1


@cache
def compiled() -> Any:
    """Return `barrier(state, count)`, for code under `numba.njit`; needs numba.

    It returns when `count` threads have called it, and says whether all is well: with False some
    thread has failed, and the caller should return. What any of them stored before, all of them
    can load after. `state` is from `new_state`; it serves any number of rounds.
    """
    numba = import_module("numba")
    add, load, store, pause = _atomics()
    give_way = _give_way(numba)

    def barrier(state: Any, count: int) -> bool:
        if count == 1:
            return True
        now = load(state, _ROUND)
        if add(state, _ARRIVED, 1) == count - 1:
            store(state, _ARRIVED, 0)
            store(state, _ROUND, now + 1)  # lets the others go, and must be the last
        else:
            turns = 0
            while load(state, _ROUND) == now:
                if load(state, _FAILED) != 0:
                    return False
                if turns < _TURNS:
                    turns += 1
                    pause()
                else:
                    give_way()
        return bool(load(state, _FAILED) == 0)

    return numba.njit(nogil=True, error_model="numpy")(barrier)


def _atomics() -> tuple[Any, ...]:
    """Functions on elements of an int64 array that the compiler moves no load or store across."""
    types, intrinsic = import_module("numba.types"), import_module("numba.extending").intrinsic

    def place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.gep(data, [context.cast(builder, values[1], signature.args[1], types.intp)])

    def number(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.cast(builder, values[2], signature.args[2], types.int64)

    def add(typingctx, state, index, value):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, *given: Any) -> Any:
            where, by = place(context, builder, *given), number(context, builder, *given)
            return builder.atomic_rmw("add", where, by, "acq_rel")

        return types.int64(state, index, value), code

    def load(typingctx, state, index):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, *given: Any) -> Any:
            return builder.load_atomic(place(context, builder, *given), "acquire", 8)

        return types.int64(state, index), code

    def store(typingctx, state, index, value):  # type: ignore[no-untyped-def]
        def code(context: Any, builder: Any, *given: Any) -> Any:
            where, what = place(context, builder, *given), number(context, builder, *given)
            builder.store_atomic(what, where, "release", 8)
            return context.get_dummy_value()

        return types.void(state, index, value), code

    def pause(typingctx):  # type: ignore[no-untyped-def]
        return types.void(), _pause

    return tuple(intrinsic(each) for each in (add, load, store, pause))


def _pause(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """Tell the processor that this is a waiting loop, where it has a word for that."""
    ir, cgutils = import_module("llvmlite.ir"), import_module("numba.core.cgutils")
    machine = import_module("llvmlite.binding").get_process_triple().partition("-")[0]
    hint, operands = "", []
    if machine in ("x86_64", "amd64", "i386", "i686"):
        hint = "llvm.x86.sse2.pause"
    elif machine in ("aarch64", "arm64"):
        hint, operands = "llvm.aarch64.hint", [ir.IntType(32)(1)]
    if hint:
        kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, hint), operands)
    return context.get_dummy_value()


def _give_way(numba: Any) -> Any:
    """The system's call that lets another thread have this processor; nothing if there is none."""
    windows = sys.platform == "win32"
    try:
        library = ctypes.CDLL("kernel32" if windows else None)
        function = getattr(library, "SwitchToThread" if windows else "sched_yield")
    except (OSError, AttributeError, TypeError):

        def nothing() -> int:
            return 0

        return numba.njit(nogil=True)(nothing)
    address = ctypes.cast(function, ctypes.c_void_p).value
    import_module("llvmlite.binding").add_symbol(_YIELD, address)
    return numba.types.ExternalFunction(_YIELD, numba.types.int32())
