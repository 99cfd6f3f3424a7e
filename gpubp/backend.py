"""What a device must be able to do, and how one is chosen.

Layers, losses and optimizers are handed a `Backend` and use nothing else. Implementations live in
`gpubp.backends` and are loaded by name when they are asked for; a third party adds one through
an entry point of the group `gpubp.backends` that names a class taking `(index, dtype)`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from functools import cache
from threading import Lock
from typing import Any, TypeAlias
from weakref import WeakSet

from .errors import DeviceError, InputError, UnknownDeviceError, nearest

Array: TypeAlias = Any
Formula: TypeAlias = Callable[..., Any]
Rows: TypeAlias = tuple[Any, Any, Any]
"""Examples, their targets and weights; None for what is not there."""

DTYPES = ("float32", "float64")
_BUILT_IN = {"cpu": "gpubp.backends.cpu:CpuBackend", "cuda": "gpubp.backends.cuda:CudaBackend"}


class Backend(ABC):
    """An array namespace on one device, with the few things that the array API cannot say.

    `xp` is the namespace, `device` its name such as `"cpu"` or `"cuda:0"`, `precision` the
    floating type of the network by name and `dtype` the namespace's own object for it. `deferred`
    is true where reading a value back makes the host wait for the device.

    >>> be = select("cpu", "float64")
    >>> be.device, be.precision, be.deferred
    ('cpu', 'float64', False)
    >>> be.to_numpy(be.matmul(be.asarray([[1, 2]]), be.asarray([[3], [4]])))
    array([[11.]])
    """

    xp: Any
    device: str
    precision: str
    dtype: Any
    deferred: bool = False

    @abstractmethod
    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """Return host data, or an array of this device, as an array here (`dtype` by name)."""

    @abstractmethod
    def adopt(self, x: Any) -> Array:
        """Return a foreign array as one of this device, or as a NumPy array if it is host data.

        Raises `DeviceError`, naming both devices, where it is on another device.
        """

    @abstractmethod
    def to_numpy(self, x: Array) -> Any:
        """Return a NumPy copy of `x`."""

    def room(self) -> int | None:
        """Return about how many bytes more this device can hold; None: as many as the host."""
        return None

    def rows(self, x: Any, t: Any = None, w: Any = None) -> Rows:
        """Return rows that are on the host as arrays here; int64 targets are labels and stay so.

        >>> import numpy as np
        >>> x, t, w = select("cpu").rows(np.zeros((2, 3), "int64"), np.zeros((2, 1), "int64"))
        >>> x.dtype.name, t.dtype.name, w
        ('float32', 'int64', None)
        """
        t = None if t is None else self.asarray(t, "int64" if str(t.dtype) == "int64" else None)
        return self.asarray(x), t, None if w is None else self.asarray(w)

    def ahead(self, batches: Generator[Rows]) -> Generator[Rows]:
        """Yield batches that are on the host as arrays here, and close `batches` in the end.

        Where a device works beside the host, the next one is on its way while one is in use; what
        was yielded is written over after the next is asked for. An error of `batches` is raised
        once all before it was yielded. The device has to be the current one all the while.
        """
        with closing(batches):
            for batch in batches:
                yield self.rows(*batch)

    @abstractmethod
    def owns(self, x: Any) -> bool:
        """Whether `x` is an array of this namespace on this device."""

    @abstractmethod
    def zeros(self, shape: tuple[int, ...]) -> Array: ...

    @abstractmethod
    def arange(self, n: int, dtype: str) -> Array: ...

    @abstractmethod
    def map(self, formula: Formula, *arguments: Any) -> Any:
        """Apply an element-wise formula to arrays that broadcast and to numbers."""

    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array: ...

    @abstractmethod
    def write(self, out: Array, value: Array) -> None:
        """Set `out` to `value`, in place."""

    @abstractmethod
    def accumulate(self, out: Array, value: Array) -> None:
        """Add `value` to `out`, in place."""

    @abstractmethod
    def write_matmul(self, out: Array, a: Array, b: Array) -> None:
        """Set `out` to the product of `a` and `b`, in place."""

    @abstractmethod
    def take(self, x: Array, rows: Array) -> Array:
        """Return the named rows of `x` (int64 indices) as a new array."""

    @abstractmethod
    def reshape(self, x: Array, rank: int, shape: tuple[int, ...]) -> Array:
        """Return `x` with its last `rank` lengths replaced by `shape`.

        Here, because a layer may not read the leading lengths that `xp.reshape` asks for.
        """

    @abstractmethod
    def concat(self, arrays: Sequence[Array]) -> Array:
        """Return the arrays joined along the last axis; all other axes broadcast.

        Here, because one part may have an axis of members that another lacks.
        """

    @abstractmethod
    def gather(self, table: Array, index: Array) -> Array:
        """Return the rows of `table` `(..., n, d)` named by `index` `(..., m)`: `(..., m, d)`.

        The index is int64, 0..n-1. Here, because `xp.take` knows no leading axes.
        """

    @abstractmethod
    def scatter(self, index: Array, rows: Array, n: int) -> Array:
        """Return `(..., n, d)`, the sum of the `rows` `(..., m, d)` with each `index` `(..., m)`.

        The transpose of `gather`. Here, because the array API cannot say it, and because the
        order of a sum must be the same in every run: no atomic additions.
        """

    @abstractmethod
    def bits(
        self, rows: int, columns: int, key: Array, stream: int, step: int, first_row: int = 0
    ) -> Array:
        """Return uint32 random bits, `(..., rows, columns)` where `key` is `(..., 1, 1)`.

        They are rows `first_row` and on of the draw, so that a part of a batch has its own.
        """

    @abstractmethod
    def finite(self, flat: Array, value: Array, reach: Any) -> Any:
        """Whether a loss `(...,)` and the norm of a flat gradient `(..., n)` are, per member.

        `reach` is the rate, or one for each member: the norm times it must be finite too, for a
        weight would not be. `True` where the host knows at once that all are, otherwise an array
        `(..., 1)` of truth.
        """

    @abstractmethod
    def update(
        self,
        formula: Formula,
        state: Sequence[Array],
        arrays: Sequence[Array],
        numbers: Sequence[Any],
        ok: Any,
    ) -> None:
        """Replace the flat `state` arrays by `formula(xp, *state, *arrays, *numbers)` where `ok`.

        `arrays` have the shape of the state; `numbers` are Python numbers or one per member.
        """

    @abstractmethod
    def activate(self) -> AbstractContextManager[Any]:
        """Make this the current device inside a `with` block."""

    def compiler(self) -> Any:
        """Return what compiles programs of training steps for this device.

        It has `Steps` and `cores`, see `gpubp.backends.compiled`. Raises `DeviceError` where there
        is none, or where what it needs is missing.
        """
        raise DeviceError(f"training steps are compiled for CPU and CUDA, not for {self.device}")

    def sharing(self, threads: int) -> Any:
        """Return how the workers of this device share a compiled step.

        See `gpubp.program.sharing`; `threads` are those of a processor.
        """
        raise DeviceError(f"training steps are compiled for CPU and CUDA, not for {self.device}")

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done all that it was asked to do."""


_known: WeakSet[Backend] = WeakSet()
_knowing = Lock()  # a set must not grow while another thread goes through it


def remember(backend: Backend) -> None:
    """Let `owner` find this backend for as long as something uses it."""
    with _knowing:
        _known.add(backend)


def owner(x: Array) -> Backend:
    """Return the backend whose array `x` is.

    >>> import numpy as np
    >>> owner(np.zeros((1, 2))).precision
    'float64'
    """
    with _knowing:
        known = list(_known)
    for backend in known:
        if backend.owns(x) and x.dtype == backend.dtype:
            return backend
    for precision in DTYPES:
        cpu = select("cpu", precision)
        if cpu.owns(x) and x.dtype == cpu.dtype:
            return cpu
    kind = f"{type(x).__name__} of {getattr(x, 'dtype', 'no dtype')}"
    raise DeviceError(f"no network in this process computes with a {kind}")


def check_dtype(dtype: Any) -> str:
    """Return the name of a dtype (a name, or NumPy's object for it) that networks compute in."""
    name = getattr(dtype, "name", getattr(dtype, "__name__", dtype))
    if name not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; {nearest(dtype, DTYPES)}")
    return str(name)


def select(device: str | Backend = "cpu", dtype: Any = None) -> Backend:
    """Return the backend of a device: `"cpu"`, `"cuda"`, `"cuda:1"`, `"auto"` or an instance.

    `"auto"` takes CUDA where it works and otherwise the CPU, and logs which and why; every other
    name works or raises `DeviceError`. `dtype` is `"float32"` (default) or `"float64"`.

    >>> select("cpu").precision
    'float32'
    """
    if isinstance(device, Backend):
        if dtype is not None and check_dtype(dtype) != device.precision:
            raise InputError(f"dtype {dtype!r} was asked for, the backend has {device.precision!r}")
        return device
    if not isinstance(device, str):
        raise DeviceError(f"device is a {type(device).__name__}; expected a name or a Backend")
    precision = check_dtype("float32" if dtype is None else dtype)
    return _automatic(precision) if device == "auto" else _named(device, precision)


@cache
def _named(device: str, precision: str) -> Backend:
    name, colon, number = device.partition(":")
    if colon and not (number.isascii() and number.isdecimal()):
        message = f"device {device!r}: after the colon comes a number, as in '{name}:1'"
        raise UnknownDeviceError(message)
    if name == "auto":
        raise UnknownDeviceError(f"device {device!r}: 'auto' chooses the number too")
    backend: Backend = _load(name)(int(number) if number else 0, precision)
    return backend


def _load(name: str) -> Callable[[int, str], Backend]:
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        loaded: Callable[[int, str], Backend] = getattr(importlib.import_module(module), attribute)
        return loaded
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group="gpubp.backends")}
    if name not in found:
        known = ["auto", "cpu", "cuda", "cuda:N", *found]
        raise UnknownDeviceError(f"unknown device {name!r}; {nearest(name, known)}")
    return found[name].load()  # type: ignore[no-any-return]


def _automatic(precision: str) -> Backend:
    import logging

    log = logging.getLogger("gpubp")
    try:
        chosen = _named("cuda", precision)
    except DeviceError as error:
        log.warning("device 'auto': the CPU was chosen, for %s", error)
        return _named("cpu", precision)
    log.info("device 'auto': %s was chosen", chosen.device)
    return chosen
