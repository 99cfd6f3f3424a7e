"""The choice between the plain path and compiled steps, for one `fit`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .bound import Bound
from .errors import DeviceError, InputError, nearest, shown, whole
from .found import Way
from .training import Trainer

if TYPE_CHECKING:  # a training on the plain path does without them
    from .blocks import CompiledTrainer
    from .programs import Compiled

SECONDS = 3.0
"""What a training must take on the plain path, as it is estimated, before steps are compiled.

Machine code takes about a second to make, and a step of it half the time or less.
"""

_STEP, _FLOPS = 1e-4, 2e10  # seconds of a small step, and what a core does in one
_SHARE = 1e7  # floating-point operations in a step for each thread: a few barriers are short then


def check_compile(compile: Any, threads: Any) -> None:
    """Raise `InputError` for a `compile` or a number of `threads` that is none.

    >>> check_compile("on", None)
    Traceback (most recent call last):
    gpubp.errors.InputError: compile is 'on'; expected True, False or 'auto'
    """
    if not isinstance(compile, bool) and compile != "auto":
        raise InputError(f"compile is {shown(compile)}; expected True, False or 'auto'")
    if threads is not None and (not whole(threads) or threads < 1):
        raise InputError(
            f"threads is {shown(threads)}; expected a whole number of at least 1, or None for as "
            "many as there are cores"
        )


PRECISIONS = ("float32", "tf32", "bf16", "fp16")
"""What products of a float32 network can be made in; weights and all else stay float32."""


def check_precision(precision: Any, dtype: str, compile: Any) -> str:
    """Return the precision of products that is asked for, "" for that of the network.

    Raises `InputError` for one that a network of that dtype cannot have.

    >>> check_precision(None, "float64", "auto"), check_precision("bf16", "float32", "auto")
    ('', 'bf16')
    """
    if precision is None:
        return ""
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {shown(precision)}; {nearest(precision, PRECISIONS)}")
    if dtype != "float32":
        raise InputError(f"precision={precision!r} is for networks in float32, and this one is in "
                         f"{dtype}: leave it out")  # fmt: skip
    if precision == "float32":
        return ""
    if compile is False:
        raise InputError(f"precision={precision!r} is of compiled steps: leave compile=False out")
    return str(precision)


def trainer(
    plain: Trainer, compile: Any, threads: int | None, epochs: int, going_on: Way | None = None,
    precision: str = "",
) -> tuple[Trainer, str]:  # fmt: skip
    """Return what trains: `plain`, or the same in compiled steps; and why it, or a layer, is plain.

    With `compile="auto"` steps are compiled where that can be done and pays, by an estimate that
    is the same in every run: the seconds of the plain path, at 100 microseconds a step and 20
    billion floating-point operations a second, are to be more than `SECONDS`. With True they are,
    or it is said why not: `InputError` for what cannot be compiled, `DeviceError` for a machine
    that cannot. A training that is `going_on` from a checkpoint stays as it was. Products of
    another `precision` than that of the network are for compiled steps alone.
    """
    if compile is False:
        return plain, "compile=False was given"
    asked = "compile=True"
    if precision:
        asked, compile = f"precision={precision!r}", True
    if going_on is not None:
        if compile == "auto" and going_on.path != "compiled":
            return plain, f"{going_on.file} was written on the plain path"
        if compile == "auto":
            asked = f"{going_on.file} was written by a training in compiled steps"
            compile = True
        threads = going_on.threads if threads is None else threads
    try:
        made = _compiled(plain, threads, None if compile is True else epochs, precision)
        return made, made.aside
    except _NotWorthIt as reason:
        return plain, str(reason)
    except (DeviceError, _Refused, MemoryError) as reason:
        if compile is True:
            if isinstance(reason, MemoryError):
                raise
            kind = DeviceError if isinstance(reason, DeviceError) else InputError
            raise kind(f"{asked}: {reason}") from reason
        import logging

        logging.getLogger("gpubp").info("training on the plain path: %s", reason)
        return plain, str(reason)


def sharing(net: Bound, rows: int, threads: int | None, cores: int) -> int:
    """Return how many threads share steps of so many rows; None: as many as gain by it.

    Not more than cores, which would wait for one another, awake.

    >>> import gpubp
    >>> sharing(gpubp.Network(gpubp.Linear(1), inputs=1), rows=32, threads=None, cores=8)
    1
    """
    if threads is None:
        threads = max(1, int(_flops(net, rows) / _SHARE))
    return min(threads, cores, net.members or threads)


def _flops(net: Bound, rows: int) -> float:
    """About how many floating-point operations a step of so many rows has."""
    return 6.0 * net.n_parameters * rows * (net.members or 1)


class _NotWorthIt(Exception):  # noqa: N818 - no mishap
    """Compiling would take longer than it saves."""


class _Refused(Exception):  # noqa: N818 - becomes an InputError where it was asked for
    """What is trained, or how, is for the plain path."""


def _compiled(
    plain: Trainer, threads: int | None, epochs: int | None, precision: str
) -> CompiledTrainer:
    net, data = plain.net, plain.data
    if reason := _refusal(plain):
        raise _Refused(reason)
    rows, rest = plain.batch_size, data.n % plain.batch_size
    seconds = 0.0
    if epochs is not None:
        seconds = epochs * plain.batches * (_STEP + _flops(net, rows) / _FLOPS)
        if seconds < SECONDS:
            raise _NotWorthIt("it is short: compile=True (--compile on) compiles it")
    if precision and net.be.device == "cpu":
        raise _Refused(f"the CPU makes products in {net.be.precision}; give device='cuda'")
    compiler = net.be.compiler()
    from .blocks import CompiledTrainer
    from .program.tensors import Untraceable
    from .programs import Job, compiled, own_parts

    threads = sharing(net, rows, threads, compiler.cores())
    made = CompiledTrainer(net, data, plain.loss, plain.optimizer, plain.batch_size,
                           plain.shuffle_seed)  # fmt: skip
    target = int(data.t.shape[1]), "int64" if data.t.dtype == np.int64 else "T"

    def steps(rows: int) -> Compiled:
        job = Job(plain.loss, plain.optimizer, rows, target, data.w is not None, threads,
                  plain.shuffle_seed is not None, precision)  # fmt: skip
        try:
            made = compiled(net, job)
        except Untraceable as reason:
            raise _Refused(str(reason)) from reason
        if made.recording.passages and compiler.Segmented is None:
            raise _Refused("; ".join(made.recording.refused))
        return made

    def choose() -> None:
        several = [steps(size) for size in (rows, rest) if size]
        for each in several:
            _hold(net, each, data)
        made.prepare(several[0], several[1] if rest else None)

    choose()
    made.choose = choose
    made.own_parts = own_parts(net, plain.loss, plain.optimizer)
    return made


def _hold(net: Bound, steps: Compiled, data: Any) -> None:
    """Hold new steps against the plain path; where they differ, warn, and refuse them."""
    from .held_against import BeyondHalf, difference

    if steps.sound:
        return
    batch = slice(0, steps.job.rows)
    w = None if data.w is None else data.w[batch]
    try:
        found = difference(net, steps, data.x[batch], data.t[batch], w)
    except BeyondHalf as reason:
        raise _Refused(str(reason)) from reason
    if found:
        text = f"the compiled step differs from that of the plain path: {found}"
        warnings.warn(f"{text}; this is a fault of gpubp: please report it", stacklevel=6)
        raise _Refused(text)
    steps.sound = True


def _refusal(plain: Trainer) -> str:
    """Why a training stays on the plain path, whatever its layers are."""
    net = plain.net
    if type(plain) is not Trainer:
        kind = type(plain.optimizer).__name__
        return (f"{kind} searches along a line" if not plain.optimizer.stepwise
                else "rows of a source are read one batch at a time")  # fmt: skip
    if isinstance(plain.data.x, np.memmap):
        return "a memory map is read one batch at a time"
    if plain.on_host and net.be.device != "cpu":
        return f"the data do not fit on {net.be.device} and are read one batch at a time"
    if plain.micro_batch is not None and plain.micro_batch < plain.batch_size:
        return "micro_batch is for the plain path"
    if type(net).train_step is not Bound.train_step or "train_step" in vars(net):
        return "the network has a train_step of its own"
    if not net.arrays.params.places:
        return "the network has no parameters"
    return ""


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Inside `with`, matrix products of the plain path take so many threads, None: as they do."""
    if threads is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=threads, user_api="blas"):
        yield
