"""Compiled training steps on CUDA: a step is captured once as a graph, and replayed.

All that changes from step to step lies on the device and is moved on there: which batch is next,
the rate and the other numbers of an update, the number of the step, which members go on. The host
launches graphs of several steps each, and waits once, when all were launched.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import warnings
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

import numpy as np

from gpubp.errors import DeviceError, GpubpError
from gpubp.program.calls import Program

from .cublas import Blas
from .cuda_calls import Calls, Memory
from .cuda_text import BOOK

UNROLL = 16
"""Steps in one graph; what is left of a run goes by graphs of one step."""

_ROOM = 1024
"""Steps of a run for whose numbers and losses there is memory from the first."""

_WIDTH = 16  # elements: what is of one member begins at 16 bytes, of every kind of number


class Steps:
    """The steps of one program over the arrays of a network on the current device.

    `arrays` are those that the program names: parameters, gradients and slots, `(n,)` or for an
    ensemble `(members, n)`, on the device, and constants, which may be NumPy's. With `captured`
    steps are replayed from a graph, otherwise launched call by call: the same calls, and so the
    same bits. Products of float32 numbers are made in TF32 where `tf32`. `threads`, those of the
    host, have no part in it.
    """

    def __init__(
        self, program: Program, members: int | None, arrays: Mapping[str, Any], threads: int = 1,
        tf32: bool = False, unroll: int = UNROLL, captured: bool = True,
    ) -> None:  # fmt: skip
        self.program, self.members, self.unroll, self.captured = program, members, unroll, captured
        self._cupy = cupy = importlib.import_module("cupy")
        self._pinned = importlib.import_module("cupyx").empty_pinned
        self._many, self._tf32, self._scaled = members or 1, tf32, program.half == "fp16"
        self._device = cupy.cuda.Device()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        memories = {name: self._by_member(array) for name, array in arrays.items()}
        self._memory = Memory(memories, program, members)
        own = {f"arena:{kind}": size for kind, size in program.arena.items()} | dict(program.own)
        for name, size in own.items():
            dtype = self._memory.stored(name.removeprefix("arena:"))
            self._memory.arrays[name] = self._made(self._many, size, dtype)
        self._memory.arrays |= {
            "book": self._made(1, len(BOOK), "int64"), "going": self._made(1, self._many, "int32"),
            "sound": self._made(1, self._many, "int32"), "bad": self._made(1, self._many, "int64"),
            "key": cupy.zeros((self._many, 1), dtype="uint32"),
            "step": self._made(1, 1, "uint32"),
            **({"scale": self._made(self._many, 2, program.precision)} if self._scaled else {}),
        }  # fmt: skip
        self._blas: Any = None
        self._calls: Any = None
        self._shape: Any = None
        self._graphs: dict[int, Any] = {}
        self._stream.wait_event(cupy.cuda.get_current_stream().record())
        self._room = 0
        self._order: tuple[Any, Any] = (None, None)

    # -- memory --------------------------------------------------------------------------------

    def _by_member(self, array: Any) -> Any:
        """An array by member; its memory is that of the network."""
        own = self.members if not isinstance(array, np.ndarray) and array.ndim > 1 else None
        array, rows = self._cupy.asarray(array), own or 1
        return array.reshape(rows, -1)

    def _made(self, rows: int, size: int, dtype: Any) -> Any:
        return self._cupy.zeros((rows, -(-max(size, 1) // _WIDTH) * _WIDTH), dtype=dtype)

    @property
    def arena_bytes(self) -> int:
        """Memory beside that of the network itself."""
        arrays = self._memory.arrays.items()
        return sum(int(a.nbytes) for name, a in arrays if name.startswith("arena:"))

    def texts(self) -> dict[str, str]:
        """The text of each kernel by name; there are none before the first run."""
        return {} if self._calls is None else self._calls.texts()

    # -- a run ---------------------------------------------------------------------------------

    def run(
        self, x: Any, t: Any, w: Any, order: Any, rows: int, start: int, step: int, numbers: Any,
        keys: Any, going: Any, stop_at_once: bool, scales: Any = None,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Do as many steps as `numbers` `(steps, members, n)` has, from batch `start` on.

        `x`, `t` and `w` are all examples on the device, rows by columns; `order`, int64, says there
        or on the host which come in which place, None as they lie. `scales` `(members, 2)` says for
        each member what its gradients are multiplied by, and how many steps it has been so; it is
        changed. See `gpubp.backends.compiled.Steps.run` for what comes back, on the host.
        """
        count = len(numbers)
        if self._scaled and scales is None:
            raise ValueError("a step of 16-bit floats needs the scales of its gradients")
        with self._device:
            self._prepare(x, t, w, rows, numbers.shape[-1], count)
            before = self._cupy.cuda.get_current_stream().record()
            self._stream.wait_event(before)
            with self._stream, self._waiting():
                self._begin(x, t, w, order, start, step, numbers, keys, going, stop_at_once)
                if self._scaled:
                    self._send("scale", np.pad(scales, ((0, 0), (0, _WIDTH - 2))))
                self._launch(count)
                return self._ended(count, going, scales)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Whatever ends a run, nothing of it goes on behind: no other stream waits for this one."""
        try:
            yield
        except BaseException:
            self._stream.synchronize()
            raise

    def _prepare(self, x: Any, t: Any, w: Any, rows: int, width: int, count: int) -> None:
        """Make what depends on the shapes of the data, once; and room for the numbers of a run."""
        shape = (rows, x.shape[1], t.shape[1], str(t.dtype), w is not None, width)
        if shape != self._shape:
            self._bind(*shape)
            self._shape = shape
        if count > self._room:
            self._room = max(_ROOM, 1 << (count - 1).bit_length())
            sizes = {"table": (self._room, self._many, width), "losses": (self._room, self._many)}
            real = self.program.precision
            self._long = {n: self._cupy.empty(s, dtype=real) for n, s in sizes.items()}
            self._host = {n: self._pinned(s, real) for n, s in sizes.items()}
            told = ("book", "going", "key", *(("scale",) if self._scaled else ()))
            self._host |= {name: self._like(name) for name in told}
            found = ("bad", *(("scale",) if self._scaled else ()))
            self._found = {name: self._like(name) for name in found}

    def _like(self, name: str) -> Any:
        """Pinned memory for an array of the device."""
        array = self._memory.arrays[name]
        return self._pinned(array.shape, array.dtype)

    def _bind(self, rows: int, x: int, t: int, labels: str, weighted: bool, width: int) -> None:
        arrays, real = self._memory.arrays, self.program.precision
        arrays |= {"x": self._made(1, rows * x, real), "t": self._made(1, rows * t, labels),
                   "numbers": self._cupy.zeros((self._many, width), dtype=real)}  # fmt: skip
        arrays.pop("w", None)
        if weighted:
            arrays["w"] = self._made(1, rows, real)
        self._graphs = {}
        if self._blas is None:
            self._blas = Blas(self._cupy, self._stream)
        with _told(f"cuda:{self._device.id}"):
            self._calls = Calls(
                self._cupy, self.program, self._memory, self._blas, (rows, x, t),
                labels == "int64", self._tf32,
            )  # fmt: skip

    def _begin(
        self, x: Any, t: Any, w: Any, order: Any, start: int, step: int, numbers: Any, keys: Any,
        going: Any, stop_at_once: bool,
    ) -> None:  # fmt: skip
        """Tell the device what the run is about."""
        book = np.zeros(self._memory.arrays["book"].shape, np.int64)
        told = {
            "x": x.data.ptr, "t": t.data.ptr, "w": 0 if w is None else w.data.ptr,
            "order": self._ordered(order), "numbers": self._long["table"].data.ptr,
            "losses": self._long["losses"].data.ptr, "start": start, "step": step,
            "stop_at_once": bool(stop_at_once),
        }  # fmt: skip
        for name, value in told.items():
            book[0, BOOK[name]] = value
        self._send("book", book)
        whole = np.zeros(self._memory.arrays["going"].shape, np.int32)
        whole[0, : self._many] = going
        self._send("going", whole)
        self._send("key", np.asarray(keys, np.uint32).reshape(-1, 1))
        self._memory.arrays["bad"].fill(0)
        table = self._host["table"][: len(numbers)]
        table[...] = numbers
        self._long["table"][: len(numbers)].set(table, self._stream)

    def _send(self, name: str, value: Any) -> None:
        """Copy an array from pinned memory, which is not written again before the run ended."""
        self._host[name][...] = value
        self._memory.arrays[name].set(self._host[name], self._stream)

    def _ordered(self, order: Any) -> int:
        """Where the order of the rows lies on the device; it is copied once an epoch."""
        if order is None:
            return 0
        if not isinstance(order, np.ndarray):
            return int(order.data.ptr)
        if self._order[0] is not order:
            self._order = order, self._cupy.asarray(np.ascontiguousarray(order, np.int64))
        return int(self._order[1].data.ptr)

    def _ended(self, count: int, going: Any, scales: Any) -> tuple[Any, Any]:
        """Wait, and return the losses and which step of each member was not finite."""
        losses = self._host["losses"][:count]
        self._long["losses"][:count].get(self._stream, out=losses, blocking=False)
        for name, host in self._found.items():
            self._memory.arrays[name].get(self._stream, out=host, blocking=False)
        self._stream.synchronize()
        if self._scaled:
            scales[...] = self._found["scale"][:, :2]
        found = self._found["bad"][0, : self._many].copy()
        going[found > 0] = False
        return losses.astype(np.float64), found

    # -- launches ------------------------------------------------------------------------------

    def _launch(self, count: int) -> None:
        while count:
            steps = self.unroll if count >= self.unroll else 1
            graph = self._graph(steps) if self.captured else None
            if graph is None:
                self._calls.enqueue()
                count -= 1
            else:
                graph.launch(self._stream)
                count -= steps

    def _graph(self, steps: int) -> Any:
        """The graph of so many steps, captured when it is first asked for; None if it cannot be."""
        if not self._graphs:
            self._rehearse()
        if steps not in self._graphs:
            try:
                self._graphs[steps] = self._capture(steps)
            except Exception as error:  # the driver, cuBLAS and CuPy refuse each in their own way
                why = f"{type(error).__name__}: {error}"
                warnings.warn(
                    f"a step could not be captured as a CUDA graph, and goes call by call: {why}",
                    stacklevel=4,
                )
                self.captured = False
                return None
        return self._graphs[steps]

    def _capture(self, steps: int) -> Any:
        """Record so many steps."""
        with _uncollected():
            self._stream.begin_capture()
            try:
                for _ in range(steps):
                    self._calls.enqueue()
            except BaseException:
                with contextlib.suppress(Exception):  # the stream must leave capture
                    self._stream.end_capture()
                raise
            graph = self._stream.end_capture()
        graph.upload(self._stream)
        return graph

    def _rehearse(self) -> None:
        """Do a step in which no member takes part, so that all is loaded before a capture.

        It changes no weight, and counts for nothing.
        """
        going, book = (self._memory.arrays[name] for name in ("going", "book"))
        kept = going.copy(), book.copy()
        going.fill(0)
        try:
            self._calls.enqueue()
        finally:
            going[...], book[...] = kept


@contextlib.contextmanager
def _told(device: str) -> Iterator[None]:
    """Inside, what compiler, loader and driver have to say becomes an error of the library."""
    try:
        yield
    except (GpubpError, MemoryError):
        raise
    except Exception as error:  # each in its own way
        raise DeviceError(
            f"a training step could not be made for {device} ({type(error).__name__}: {error})"
        ) from error


_capturing = Lock()
"""Held by the thread that captures; another waits."""


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Inside, no garbage is collected: a handle of cuBLAS that goes would wait for the device."""
    with _capturing:
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


PRECISIONS = ("tf32", "bf16", "fp16")
"""What products can be made in beside the network's own precision."""

Segmented = None
"""There are no steps with layers that are not compiled."""


def cores() -> int:
    """One: what shares a step are the blocks of a GPU, whatever the host has."""
    return 1
