"""Any namespace of the array API whose arrays are mutable and whose reshapes share memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np

from gpubp.backend import Array, Backend, Formula, check_dtype
from gpubp.bits import bits, words
from gpubp.errors import DeviceError
from gpubp.foreign import device_number, on_cuda

_ONE_HOT = 1 << 24  # elements of a one-hot matrix: 64 MiB in float32


class StandardBackend(Backend):
    """The plain path: every call runs on the namespace as written.

    `xp` is an array-API namespace such as `array_api_strict` or `array_api_compat.torch`, `device`
    one of its device objects (None for its default). Raises `DeviceError` for a namespace whose
    arrays cannot be written in place through a reshaped view, such as jax.numpy.

    >>> import numpy as np
    >>> StandardBackend(np, dtype="float64").device
    'numpy'
    """

    def __init__(self, xp: Any, device: Any = None, dtype: str = "float32") -> None:
        self.xp = xp
        self.precision = check_dtype(dtype)
        self.dtype = getattr(xp, dtype)
        self._device = {} if device is None else {"device": device}
        name = getattr(xp, "__name__", str(xp)).removeprefix("array_api_compat.")
        quoted = re.search(r"'([^']+)'", str(device))  # Device('x') is shown as x
        self.device = name if device is None else f"{name}:{quoted[1] if quoted else device}"
        example = self.zeros((1,))
        self._array_type, self._home = type(example), getattr(example, "device", None)
        self._refuse_without_views()

    def _refuse_without_views(self) -> None:
        try:
            flat = self.zeros((4,))
            view = self.xp.reshape(flat[..., 0:4], (2, 2), copy=False)
            view[...] = self.asarray([[1.0, 1.0], [1.0, 1.0]])
            shared = bool(self.xp.all(flat == 1.0))
        except Exception as error:
            raise DeviceError(self._refusal(f"{type(error).__name__}: {error}")) from error
        if not shared:
            raise DeviceError(self._refusal("a reshaped view did not share its memory"))

    def _refusal(self, why: str) -> str:
        return (
            f"{self.device}: gpubp needs mutable arrays and reshapes that share memory ({why}); "
            "use NumPy (device='cpu'), CuPy (device='cuda') or PyTorch through array_api_compat"
        )

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        wanted = self.dtype if dtype is None else getattr(self.xp, dtype)
        if not self.owns(x):
            x = self.adopt(x)
        return self.xp.asarray(x, dtype=wanted, **self._device)

    def adopt(self, x: Any) -> Any:
        if on_cuda(x):  # some libraries would copy it to the host in silence
            number = device_number(x)
            raise DeviceError(
                self._elsewhere(x, "a CUDA device" if number is None else f"cuda:{number}")
            )
        try:
            alone = hasattr(x, "__dlpack__") and not hasattr(x, "__array__")
            return np.from_dlpack(x) if alone else np.asarray(x)
        except Exception as error:  # each library refuses in its own way
            why = f" ({type(error).__name__}: {error})"
            raise DeviceError(self._elsewhere(x, getattr(x, "device", "?")) + why) from error

    def _elsewhere(self, x: Any, place: Any) -> str:
        return (
            f"a {type(x).__module__}.{type(x).__name__} on {place} was given where arrays are on "
            f"{self.device}; hand it over as host data or as an array of that device"
        )

    def to_numpy(self, x: Array) -> Any:
        return np.from_dlpack(x, device="cpu", copy=True)

    def owns(self, x: Any) -> bool:
        on = isinstance(x, self._array_type) and getattr(x, "device", None) == self._home
        return bool(on)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return self.xp.zeros(shape, dtype=self.dtype, **self._device)

    def arange(self, n: int, dtype: str) -> Array:
        return self.xp.arange(n, dtype=getattr(self.xp, dtype), **self._device)

    def map(self, formula: Formula, *arguments: Any) -> Any:
        return formula(self.xp, *arguments)

    def matmul(self, a: Array, b: Array) -> Array:
        return self.xp.matmul(a, b)

    def write(self, out: Array, value: Array) -> None:
        same_type(out, value)
        out[...] = value

    def accumulate(self, out: Array, value: Array) -> None:
        self.write(out, out + value)

    def write_matmul(self, out: Array, a: Array, b: Array) -> None:
        self.write(out, self.matmul(a, b))

    def take(self, x: Array, rows: Array) -> Array:
        return self.xp.take(x, rows, axis=0)

    def reshape(self, x: Array, rank: int, shape: tuple[int, ...]) -> Array:
        return self.xp.reshape(x, (*x.shape[: len(x.shape) - rank], *shape))

    def concat(self, arrays: Sequence[Array]) -> Array:
        leads = [tuple(x.shape[:-1]) for x in arrays]
        if len(set(leads)) > 1:
            lead = np.broadcast_shapes(*leads)
            arrays = [self.xp.broadcast_to(x, (*lead, x.shape[-1])) for x in arrays]
        return self.xp.concat(list(arrays), axis=-1)

    def gather(self, table: Array, index: Array) -> Array:
        if len(index.shape) == 1:
            return self.xp.take(table, index, axis=len(table.shape) - 2)
        xp, (n, d), m = self.xp, table.shape[-2:], index.shape[-1]
        lead = np.broadcast_shapes(tuple(table.shape[:-2]), tuple(index.shape[:-1]))
        tables = math.prod(lead)
        first = xp.reshape(self.arange(tables, "int64"), (*lead, 1)) * n  # of each table, stacked
        stacked = xp.reshape(xp.broadcast_to(table, (*lead, n, d)), (tables * n, d))
        return xp.reshape(xp.take(stacked, xp.reshape(index + first, (-1,)), axis=0), (*lead, m, d))

    def scatter(self, index: Array, rows: Array, n: int) -> Array:
        # Products with columns of a one-hot matrix, as many at a time as the memory should hold.
        xp, width = self.xp, max(1, _ONE_HOT // max(1, math.prod(index.shape)))
        parts = []
        for start in range(0, n, width):
            column = self.arange(min(width, n - start), "int64") + start
            hot = xp.astype(index[..., None] == column, rows.dtype)
            parts.append(self.matmul(hot.mT, rows))
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=-2)

    def bits(
        self, rows: int, columns: int, key: Array, stream: int, step: int, first_row: int = 0
    ) -> Array:
        index = self._index(rows, columns, first_row)
        first, second = words(self.xp, key, stream, step)
        return self.map(bits, index, first, second)

    def _index(self, rows: int, columns: int, first_row: int) -> Array:
        """The number of each element of a draw, of which these are the rows from `first_row`."""
        index = self.xp.reshape(self.arange(rows * columns, "uint32"), (rows, columns))
        return index + (first_row * columns & 0xFFFFFFFF) if first_row else index

    def finite(self, flat: Array, value: Array, reach: Any) -> Any:
        sound = self._sound(flat, value, reach)
        return True if bool(self.xp.all(sound)) else sound

    def _sound(self, flat: Array, value: Array, reach: Any) -> Array:
        farthest = np.clip(reach, 1.0, float(np.finfo(self.precision).max))
        [scale] = self.per_member([float(farthest) if farthest.ndim == 0 else farthest])
        scaled = flat * scale
        squares = self.xp.sum(scaled * scaled, axis=-1)
        return (self.xp.isfinite(squares) & self.xp.isfinite(value))[..., None]

    def update(
        self,
        formula: Formula,
        state: Sequence[Array],
        arrays: Sequence[Array],
        numbers: Sequence[Any],
        ok: Any,
    ) -> None:
        operands = self.per_member(numbers)
        if ok is not True:
            formula, operands = guarded(formula, len(state)), [*operands, ok]
        self._replace(formula, state, arrays, operands)

    def _replace(
        self, formula: Formula, state: Sequence[Array], arrays: Sequence[Array], numbers: list[Any]
    ) -> None:
        """Write the new state over the old."""
        new = self.map(formula, *state, *arrays, *numbers)
        for out, value in zip(state, apart(self.xp, state, new), strict=True):
            self.write(out, value)

    def per_member(self, numbers: Sequence[Any]) -> list[Any]:
        """Numbers stay; one number for each member becomes a column `(members, 1)`."""
        one = (int, float)
        return [n if isinstance(n, one) else self.asarray(n)[:, None] for n in numbers]

    def activate(self) -> AbstractContextManager[Any]:
        # A step that overflows is found and refused; NumPy's warning on the way there says less.
        return np.errstate(over="ignore", invalid="ignore", divide="ignore")

    def sharing(self, threads: int) -> Any:
        from gpubp.program.sharing import Threads  # with it comes the whole planner

        return Threads(threads)

    def synchronize(self) -> None:
        return None


def same_type(out: Array, *values: Array) -> None:
    """Raise rather than cast in silence: a float64 value betrays a slip in a layer."""
    for value in values:
        if value.dtype != out.dtype:
            raise TypeError(f"a value of {value.dtype} was given for an array of {out.dtype}")


def apart(xp: Any, state: Sequence[Array], new: Sequence[Array]) -> list[Array]:
    """The new state, copied where it is the old state itself, which is about to be written."""
    return [xp.asarray(n, copy=True) if any(n is s for s in state) else n for n in new]


@lru_cache(maxsize=1024)
def guarded(formula: Callable[..., Any], states: int) -> Callable[..., Any]:
    """The formula with one more argument `ok`: where that is false, the state stays."""

    def update(xp: Any, *arguments: Any) -> tuple[Any, ...]:
        *arguments_, ok = arguments
        new = formula(xp, *arguments_)
        return tuple(xp.where(ok, n, old) for n, old in zip(new, arguments_, strict=False))

    update.__name__ = f"guarded_{formula.__name__}"
    return update
