"""CuPy's ElementwiseKernel with g++ for a compiler: the very text, run on the CPU."""

from __future__ import annotations

import atexit
import ctypes
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .compiled_arrays import here, in_place, ndarray
from .compiled_device import counts
from .compiled_queues import capturing
from .compiled_rooms import poisoned

Text = tuple[str, str, str, str, bool, str]
"""The arguments of `ElementwiseKernel`, as `gpubp.backends.cuda.kernel_text` gives them."""

_C_NAMES = {
    "float32": "float", "float64": "double", "uint32": "unsigned int", "int64": "long long",
    "bool": "bool",
}  # fmt: skip


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
            make = poisoned if capturing() else np.empty
            arrays += [make(shape, dtype) for dtype, _ in self._out]
        operands = arrays[:n_in], arrays[n_in:]
        in_place(lambda: self._launch(shape, *operands))
        given = arguments[n_in:]
        outs = given or tuple(ndarray(out) for out in arrays[n_in:])
        return outs[0] if n_out == 1 else outs

    def _launch(self, shape: tuple[int, ...], ins: list[Any], outs: list[Any]) -> None:
        counts.launches += 1
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
    if here(x).dtype != np.dtype(dtype):
        raise TypeError(f"Type is mismatched: {x.dtype} given for {dtype}")
    return x.values


def _parameters(text: str) -> list[tuple[str, str]]:
    pairs = (part.split() for part in text.split(","))
    return [(dtype, name) for dtype, name in pairs]


# What a device knows beside the words of C++.
_HEAD = '#include "device.h"\n#define __device__'

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
    stem.with_suffix(".cpp").write_text("\n".join([_HEAD, *parts]))
    # A bare literal in a float32 kernel is a double: -Wdouble-promotion refuses it.
    command = ["g++", "-O0", "-ffp-contract=off", "-Werror=double-promotion", "-shared", "-fPIC"]
    command.append(f"-I{Path(__file__).parent / 'simt'}")
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
    return f"""namespace n_{name} {{ using namespace simt; {preamble}
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
