"""A stand-in for the module `cupy` on the CPU: its arrays are NumPy's, its kernels go to g++.

Put in place of `cupy`, it lets `CudaBackend` itself run without a GPU: the dispatch, the deferred
steps and the very text of every kernel. As in CuPy, an array of the device is no NumPy array and
does not mix with one, nothing is converted unasked, a reduction gives an array of no axes, what
computes takes arrays of the current device only, and the parameters of a kernel are references
into memory, so that an output may be its own input.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

__version__ = "14.0 (a stand-in)"

Text = tuple[str, str, str, str, bool, str]
"""The arguments of `ElementwiseKernel`, as `gpubp.backends.cuda.kernel_text` gives them."""

_C_NAMES = {
    "float32": "float", "float64": "double", "uint32": "unsigned int", "int64": "long long",
    "bool": "bool",
}  # fmt: skip


# -- arrays ----------------------------------------------------------------------------------------


class Device(AbstractContextManager[Any]):
    """A device by number; arrays are made on the one whose `with` block is open."""

    current = 0

    def __init__(self, number: int = 0) -> None:
        self.id = number

    def __enter__(self) -> Device:
        self._before, Device.current = Device.current, self.id
        return self

    def __exit__(self, *_: object) -> None:
        Device.current = self._before


class ndarray:  # noqa: N801 - CuPy's name
    """An array on a device; `values` is its memory."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]
    __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012 - only looked for, never read

    def __init__(self, values: Any, number: int | None = None) -> None:
        self.values = np.asarray(values)
        self.device = Device(Device.current if number is None else number)

    dtype = property(lambda self: self.values.dtype)
    shape = property(lambda self: self.values.shape)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    mT = property(lambda self: ndarray(self.values.mT, self.device.id))  # noqa: N815

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self.values[_bare(key)], self.device.id)

    def __setitem__(self, key: Any, value: Any) -> None:
        _here(self).values[_bare(key)] = _bare(value)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device.id

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the stand-in exports nothing")

    def __bool__(self) -> bool:
        return bool(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def __int__(self) -> int:
        return int(self.values)


def _operator(name: str) -> Any:
    def method(self: ndarray, *others: Any) -> ndarray:
        with np.errstate(all="ignore"):  # a device does not warn
            return ndarray(getattr(_here(self).values, name)(*map(_bare, others)))

    return method


for _name in ("add", "sub", "mul", "truediv", "and", "or", "xor", "rshift", "lshift", "pow"):
    for _side in ("", "r"):
        setattr(ndarray, f"__{_side}{_name}__", _operator(f"__{_side}{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "invert", "abs"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def _bare(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, tuple | list):
        return type(x)(map(_bare, x))
    return _here(x).values if isinstance(x, ndarray) else x


def _here(x: ndarray) -> ndarray:
    if x.device.id != Device.current:
        raise ValueError(
            "Array device must be same as the current device: "
            f"array device = {x.device.id} while current = {Device.current}"
        )
    return x


def __getattr__(name: str) -> Any:
    """NumPy's function of that name for arrays of the device."""
    found = getattr(np, name)
    if isinstance(found, type) or not callable(found):
        return found

    def function(*arguments: Any, **named: Any) -> Any:
        named = {key: _bare(value) for key, value in named.items()}
        with np.errstate(all="ignore"):
            result = found(*map(_bare, arguments), **named)
        return ndarray(result) if isinstance(result, np.ndarray | np.generic) else result

    return function


def reshape(x: ndarray, shape: tuple[int, ...], *, copy: bool | None = None) -> ndarray:
    return ndarray(np.reshape(x.values, shape, copy=copy), x.device.id)


def asarray(x: Any, dtype: Any = None, *, copy: bool | None = None) -> ndarray:
    if isinstance(x, ndarray):
        same = dtype in (None, x.dtype) and not copy
        return x if same else ndarray(np.array(x.values, dtype=dtype))  # on the current device
    return ndarray(np.array(x, dtype=dtype))


def asnumpy(x: Any) -> Any:
    return np.array(x.values if isinstance(x, ndarray) else x)


def from_dlpack(x: Any) -> ndarray:
    return ndarray(np.from_dlpack(x))


cuda = SimpleNamespace(
    Device=Device,
    is_available=lambda: True,
    get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
    Stream=lambda **_: nullcontext(),
    runtime=SimpleNamespace(getDeviceCount=lambda: 2),
)


# -- kernels ---------------------------------------------------------------------------------------


class ElementwiseKernel:
    """A loop over elements: `operation` on references to one element of each parameter."""

    launched = 0

    def __init__(
        self, in_params: str, out_params: str, operation: str, name: str = "kernel",
        reduce_dims: bool = True, preamble: str = "",
    ) -> None:  # fmt: skip
        self.name = name
        self._in, self._out = _parameters(in_params), _parameters(out_params)
        self._run = _function((in_params, out_params, operation, name, reduce_dims, preamble))

    def __call__(self, *arguments: Any) -> Any:
        ElementwiseKernel.launched += 1
        n_in, n_out = len(self._in), len(self._out)
        if len(arguments) not in (n_in, n_in + n_out):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(arguments)}")
        typed = zip(arguments, [*self._in, *self._out], strict=False)
        arrays = [_operand(x, dtype) for x, (dtype, _) in typed]
        shape = np.broadcast_shapes(*[a.shape for a in arrays[:n_in]])
        if any(out.shape != shape for out in arrays[n_in:]):
            raise ValueError("Out shape is mismatched")
        if len(arrays) == n_in:
            arrays += [np.empty(shape, dtype) for dtype, _ in self._out]
        self._launch(shape, arrays[:n_in], arrays[n_in:])
        given = arguments[n_in:]
        outs = given or tuple(ndarray(out) for out in arrays[n_in:])
        return outs[0] if n_out == 1 else outs

    def _launch(self, shape: tuple[int, ...], ins: list[Any], outs: list[Any]) -> None:
        operands = [np.broadcast_to(a, shape) for a in ins] + outs
        size = 1
        for n in shape:
            size *= n
        strides = [s for a in operands for s in a.strides]
        self._run(
            len(shape),
            (ctypes.c_longlong * max(len(shape), 1))(*shape),
            ctypes.c_longlong(size),
            (ctypes.c_void_p * len(operands))(*[a.ctypes.data for a in operands]),
            (ctypes.c_longlong * max(len(strides), 1))(*strides),
        )


def _operand(x: Any, dtype: str) -> Any:
    if not isinstance(x, ndarray):  # a number is cast, as CuPy does
        if isinstance(x, np.ndarray):
            raise TypeError(f"Unsupported type {type(x)}")
        return np.asarray(x, dtype=dtype)
    if _here(x).dtype != np.dtype(dtype):
        raise TypeError(f"Type is mismatched: {x.dtype} given for {dtype}")
    return x.values


def _parameters(text: str) -> list[tuple[str, str]]:
    pairs = (part.split() for part in text.split(","))
    return [(dtype, name) for dtype, name in pairs]


_counter = itertools.count()
_compiled: dict[Text, Any] = {}
_folder: Path | None = None


def _function(text: Text) -> Any:
    if text not in _compiled:
        compile_all([text])
    return _compiled[text]


def compile_all(texts: Iterable[Text]) -> None:
    """Compile several kernels with one call of g++; what is compiled already is left alone."""
    global _folder
    new = [text for text in dict.fromkeys(texts) if text not in _compiled]
    if not new:
        return
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="gpubp-kernels-"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    stem = _folder / f"kernels{next(_counter)}"
    parts = [_source(text, f"k{i}") for i, text in enumerate(new)]
    stem.with_suffix(".cpp").write_text("\n".join(["#include <cmath>", *parts]))
    # A bare literal in a float32 kernel is a double: -Wdouble-promotion refuses it.
    command = ["g++", "-O1", "-ffp-contract=off", "-Werror=double-promotion", "-shared", "-fPIC"]
    files = ["-o", str(stem.with_suffix(".so")), str(stem.with_suffix(".cpp"))]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    library = ctypes.CDLL(str(stem.with_suffix(".so")))
    _compiled.update({text: getattr(library, f"k{i}") for i, text in enumerate(new)})


def _source(text: Text, name: str) -> str:
    in_params, out_params, operation, _, _, preamble = text
    ins, outs = _parameters(in_params), _parameters(out_params)
    n = len(ins) + len(outs)
    references = [
        f"{'const ' if k < len(ins) else ''}{_C_NAMES[dtype]}& {parameter} = "
        f"*({_C_NAMES[dtype]}*)(p[{k}] + at[{k}]);"
        for k, (dtype, parameter) in enumerate([*ins, *outs])
    ]
    return f"""namespace n_{name} {{ using namespace std; {preamble}
extern "C" void {name}(int nd, const long long* shape, long long n, char** p, const long long* s) {{
  for (long long i = 0; i < n; ++i) {{
    long long rest = i, at[{n}] = {{0}};
    for (int d = nd - 1; d >= 0; --d) {{
      for (int k = 0; k < {n}; ++k) at[k] += rest % shape[d] * s[k * nd + d];
      rest /= shape[d];
    }}
    {chr(10).join(references)}
    {{ {operation}; }}
  }}
}} }}"""
