"""Texts of CUDA kernels run on the CPU: g++ compiles what NVRTC would, threads are fibres.

    kernel = function(text, "scale")
    kernel.launch((4,), (128,), [x.ctypes.data, np.int64(x.size)], seed=3)

Blocks, warps and lanes take turns in an order drawn from the seed, and shared memory holds no
numbers before a block starts, so that what lacks a barrier gives a wrong result under some seed.
What a GPU leaves undefined at a barrier, a shuffle or a vector access is a `KernelError`.
"""

from __future__ import annotations

from .compiling import compile_all, function
from .function import Function, KernelError, Packed

__all__ = ["Function", "KernelError", "Packed", "compile_all", "function"]
