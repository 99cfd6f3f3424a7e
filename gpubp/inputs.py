"""What comes in from outside: arrays of any kind, looked at before anything is changed.

NumPy arrays (read-only memory maps too), lists, and whatever NumPy can see are host data and go
to any device; arrays of the network's own device are used as they are, without a copy, those of
other libraries too; arrays on another device are refused. Features and real targets are converted
to the network's dtype: float64, integers and booleans become float32 in a float32 network.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .backend import Array, Backend
from .categories import check_categories
from .errors import DeviceError, InputError, OutOfMemoryError
from .foreign import masked, on_cuda

_BLOCK = 1 << 20  # elements looked at in one go: no second copy of a large data set


def numbers(be: Backend, x: Any, name: str) -> Array:
    """Return `x` as it is on the device, or as a NumPy array; `InputError` unless real numbers.

    >>> import gpubp
    >>> numbers(gpubp.select("cpu"), [1, 2], "x").tolist()
    [1, 2]
    """
    if not isinstance(x, np.ndarray) and not be.owns(x):
        x = _host(be, x, name)
    if type(x) is not np.ndarray and _masked(x):
        raise InputError(f"{name} has masked elements; fill them, as with {name}.filled(value)")
    if isinstance(x, np.ndarray):
        real = x.dtype.kind in "buif"
    else:
        real = be.xp.isdtype(x.dtype, ("bool", "integral", "real floating"))
    if not real:
        raise InputError(
            f"{name} has dtype {x.dtype}; expected numbers (float, integer or bool): "
            "encode text and objects as numbers first"
        )
    return x


def features(
    be: Backend,
    x: Any,
    shape: tuple[int, ...],
    name: str = "x",
    categories: tuple[int, ...] = (),
    stay: bool = False,
) -> Array:
    """Return examples `(n, *shape)` on the device in its dtype.

    `categories` (see `Spec`) says which features are categories: `InputError` for a value that is
    not a whole number among them. To look, the host waits for the device.

    A read-only or larger-than-memory NumPy memory map stays what it is: batches are converted. So
    does any array of NumPy's that is told to `stay`.

    >>> import gpubp
    >>> features(gpubp.select("cpu"), [[1, 2]], (2,)).dtype.name
    'float32'
    """
    x = numbers(be, x, name)
    if tuple(x.shape[1:]) != shape or x.ndim != len(shape) + 1:
        wanted = ", ".join(["n", *map(str, shape)])
        raise InputError(f"{name} has shape {tuple(x.shape)}; the network takes ({wanted})")
    _not_empty(x, name)
    kept = isinstance(x, np.ndarray) and (stay or isinstance(x, np.memmap))
    x = x if kept else be.asarray(x)
    if any(categories):
        check_categories(be, x, categories, name)
    return x


def targets(
    be: Backend,
    y: Any,
    kind: str,
    width: int,
    n: int,
    name: str = "y",
    columns: int | None = None,
    one_column: bool = False,
) -> Array:
    """Return targets on the device: labels `(n, 1)` int64, or numbers `(n, columns)`.

    `kind` is what the loss asks for, see `gpubp.Loss`, of a network of output width `width`, as
    many as `columns` where these are not given; with `one_column`, `(n,)` and `(n, 1)` will do.

    >>> import gpubp
    >>> targets(gpubp.select("cpu"), [0, 2], "labels", 3, 2).tolist()
    [[0], [2]]
    """
    y = numbers(be, y, name)
    _not_empty(y, name)
    if y.shape[0] != n:
        raise InputError(
            f"x has {n} examples and {name} has {y.shape[0]}; give one target for each"
        )
    if kind in ("labels", "classes") and y.ndim == 1:
        labels = _labels(be, y, width, name, soft=kind == "labels")
        return be.xp.reshape(be.asarray(labels, "int64"), (n, 1))
    if kind == "classes":
        raise InputError(f"{name} has shape {tuple(y.shape)}; expected integer labels ({n},)")
    columns = width if columns is None else columns
    if y.ndim == 1 and (columns == 1 or one_column):
        y = y.reshape((n, 1)) if isinstance(y, np.ndarray) else be.xp.reshape(y, (n, 1))
    if tuple(y.shape) not in ((n, columns), (n, 1 if one_column else columns)):
        also = f" or integer labels ({n},)" if kind == "labels" else ""
        also = f" or ({n}, 1)" if one_column else also
        raise InputError(
            f"{name} has shape {tuple(y.shape)}; a network of output width {width} takes "
            f"({n}, {columns}){also}"
        )
    if kind != "real":
        _check_range(be, y, 0.0, float("inf") if kind == "count" else 1.0, name, kind)
    return be.asarray(y)


def weights(be: Backend, w: Any, n: int, rows: Any = None) -> Array | None:
    """Return example weights as a column `(n, 1)`, or None.

    `rows` are the numbers of these examples where they are a part, which may weigh nothing.

    >>> import gpubp
    >>> weights(gpubp.select("cpu"), [1, 3], 2).tolist()
    [[1.0], [3.0]]
    """
    if w is None:
        return None
    w = numbers(be, w, "sample_weight")
    if tuple(w.shape) not in ((n,), (n, 1)):
        raise InputError(f"sample_weight has shape {tuple(w.shape)}; expected ({n},)")
    w = be.asarray(w)
    finite(be, w, "sample_weight", rows)
    _check_range(be, w, 0.0, float("inf"), "sample_weight")
    total = float(be.xp.sum(w))
    if (rows is None and not total > 0.0) or total == float("inf"):
        raise InputError(f"sample_weight adds up to {total:g}; expected a finite sum above zero")
    return be.xp.reshape(w, (n, 1))


def finite(be: Backend, x: Array, name: str, rows: Any = None) -> None:
    """Raise `InputError` that names the first NaN or infinity of `x`; block by block.

    `rows` are the numbers of the rows where these are not 0, 1, ...

    >>> import gpubp
    >>> finite(gpubp.select("cpu"), np.asarray([[1.0, float("nan")]]), "x")
    Traceback (most recent call last):
    gpubp.errors.InputError: x[0, 1] is nan; clean the data or replace what is missing
    """
    if x.ndim == 0:
        x = x[None]
    size = max(1, _BLOCK // max(1, int(np.prod(x.shape[1:]))))
    xp = np if isinstance(x, np.ndarray) else be.xp
    if not xp.isdtype(x.dtype, "real floating"):
        return
    for start in range(0, x.shape[0], size):
        block = x[start : min(start + size, x.shape[0]), ...]
        if isinstance(x, np.ndarray) and on_host(be, x):  # not converted yet: 1e300 may be inf
            with np.errstate(over="ignore"):
                block = block.astype(be.precision, copy=False)
        if bool(xp.all(xp.isfinite(block))):
            continue
        host = np.asarray(block) if isinstance(x, np.ndarray) else be.to_numpy(block)
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
        row = first[0] + start if rows is None else int(rows[first[0] + start])
        where = ", ".join(map(str, (row, *first[1:])))
        message = f"{name}[{where}] is {host[first]}; clean the data or replace what is missing"
        raise InputError(message)


def on_host(be: Backend, x: Array) -> bool:
    """Whether examples stayed on the host, and go to the device batch by batch.

    >>> import gpubp
    >>> on_host(gpubp.select("cpu"), np.zeros((2, 1)))
    False
    """
    return isinstance(x, np.memmap) or (isinstance(x, np.ndarray) and not be.owns(x))


def brought(be: Backend, a: Any) -> Any:
    """Return an array on the device as one of NumPy's, and anything else as it is."""
    if a is None or isinstance(a, np.ndarray) or not (be.owns(a) or on_cuda(a)):
        return a
    return be.to_numpy(be.adopt(a) if not be.owns(a) else a)


def is_labels(be: Backend, t: Array) -> bool:
    """Whether targets on the device are integer labels."""
    return bool(t.dtype == be.xp.int64)


def like(given: Any, be: Backend, result: Array) -> Any:
    """Return `result` as the kind of array that `given` is: the same library, on its device.

    Host data without DLPack gives NumPy's arrays, those of a device (Numba's, cuDF's) CuPy's.

    >>> import gpubp
    >>> be = gpubp.select("cpu")
    >>> type(like([[1.0]], be, be.asarray([[2.0]]))).__name__
    'ndarray'
    """
    if be.owns(given) and not isinstance(given, np.ndarray):
        return result
    if not on_cuda(given):
        result = be.to_numpy(result)
    if isinstance(given, np.ndarray) or not hasattr(given, "__dlpack__"):
        return result
    from array_api_compat import array_namespace, is_array_api_obj

    return array_namespace(given).from_dlpack(result) if is_array_api_obj(given) else result


def _masked(x: Any) -> bool:
    if "numpy.ma" not in sys.modules:  # then nobody has made one, and it takes time to load
        return False
    return isinstance(x, np.ma.MaskedArray) and bool(np.ma.is_masked(x))


def _host(be: Backend, x: Any, name: str) -> Array:
    if masked(x):
        raise InputError(f"{name} has nulls; fill them first, as with {name}.fillna(value)")
    if hasattr(x, "__dlpack__") or hasattr(x, "__array__") or on_cuda(x):
        try:
            return be.adopt(x)
        except OutOfMemoryError:
            raise
        except DeviceError as error:
            raise DeviceError(f"{name}: {error}") from error
    try:
        return np.asarray(x)
    except ValueError as error:
        raise InputError(f"{name} is ragged: its rows differ in length ({error})") from error


def _not_empty(x: Array, name: str) -> None:
    if x.ndim == 0 or 0 in x.shape:
        raise InputError(f"{name} has shape {tuple(x.shape)}; give at least one example")


def _labels(be: Backend, y: Array, width: int, name: str, soft: bool) -> Array:
    xp = np if isinstance(y, np.ndarray) else be.xp
    if not xp.isdtype(y.dtype, ("integral", "bool")):
        raise InputError(
            f"{name} has dtype {y.dtype}; class labels are integers 0..{width - 1}: use "
            f"{name}.astype('int64')" + (f", or give soft targets (n, {width})" if soft else "")
        )
    if y.dtype == xp.bool:
        low, high = int(xp.all(y)), int(xp.any(y))
    else:
        low, high = int(xp.min(y)), int(xp.max(y))
    if low < 0 or high >= width:
        raise InputError(
            f"{name} holds the label {low if low < 0 else high}; a network of output width "
            f"{width} takes labels 0..{width - 1}"
        )
    return y


def _check_range(
    be: Backend, y: Array, low: float, high: float, name: str, kind: str = "real"
) -> None:
    xp = np if isinstance(y, np.ndarray) else be.xp
    if y.dtype == xp.bool:
        return
    expected = f"numbers in [{low:g}, {high:g}]"
    if high == float("inf"):
        expected = f"numbers of at least {low:g}"
    if kind == "binary":
        expected = "0 or 1 for each output; of -1 and 1 make them by (y + 1) / 2"
    least, most = float(xp.min(y)), float(xp.max(y))
    bad = least if least < low else most if most > high else None
    if kind == "binary" and bad is None:
        whole = (y == 0) | (y == 1) | (y != y)  # a NaN is told as such later
        if not bool(xp.all(whole)):
            host = y if isinstance(y, np.ndarray) else be.to_numpy(y)
            bad = float(host[(host != 0) & (host != 1) & (host == host)][0])
    if bad is not None:
        raise InputError(f"{name} holds {bad:g}; expected {expected}")
