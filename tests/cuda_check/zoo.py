"""The texts that are looked through: all that is launched on a CUDA device."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from gpubp.backend import DTYPES
from gpubp.program.c_expressions import REAL, TYPES, preludes
from gpubp.program.formula import Kernel, trace
from tests.conftest import OWN_FORMULAS
from tests.cuda_check.steps import random_texts, texts

_BUDGET = {"float32": 64, "float64": 80}
"""Registers of a thread: with 64 a multiprocessor holds half of the threads that it can."""


_STEP_BUDGET = {"float32": 128, "float64": 128}
"""What is kept of rows and of sums over rows takes registers, so that it need not be read again."""


class Text(NamedTuple):
    """A text of CUDA, what its kernels compute in, and the registers that each may have."""

    code: str
    precision: str
    budget: int


def zoo() -> dict[str, Text]:
    """Return every text by its name: element-wise formulas, and whole training steps."""
    return {**formulas(), **steps()}


def steps() -> dict[str, Text]:
    """Return the modules of whole training steps."""
    return _of_steps(texts())


def random_steps(first: int, count: int) -> dict[str, Text]:
    """Return the modules of the steps of random networks, from that number on."""
    return _of_steps(random_texts(first, count))


def _of_steps(modules: dict[str, tuple[str, str]]) -> dict[str, Text]:
    return {
        name: Text(code, precision, _STEP_BUDGET[precision])
        for name, (code, precision) in modules.items()
    }


def formulas() -> dict[str, Text]:
    """Return the library's own formulas in both precisions, those of a package in one text."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for formula, kinds in OWN_FORMULAS:
        package = ".".join(formula.__module__.split(".")[:2]).removeprefix("gpubp.")
        groups[package].append(trace(formula, kinds))
    return {
        f"{package} {precision}": Text(_text(kernels, precision), precision, _BUDGET[precision])
        for package, kernels in groups.items()
        for precision in DTYPES
    }


def _text(kernels: list[Kernel], precision: str) -> str:
    names: set[str] = set()
    functions = []
    for kernel in kernels:
        name = f"gpubp_{kernel.name.strip('_')}"
        while name in names:
            name += "_"
        names.add(name)
        functions.append(_function(kernel, name))
    begin = TYPES.format(real=REAL[precision]) + preludes("".join(functions))
    return "\n".join([begin, *functions])


def _function(kernel: Kernel, name: str) -> str:
    """A formula over contiguous arrays, an element at a time, as CuPy's loop has it."""
    operands = [(*each, "const ", f"_p{i}") for i, each in enumerate(kernel.inputs)]
    results = [(*each, "", f"_q{i}") for i, each in enumerate(kernel.outputs)]
    every = [*operands, *results]
    c_types = {"bool": "bool"}
    parameters = [f"{const}{c_types.get(kind, kind)}* {p}" for _, kind, const, p in every]
    references = [f"{const}{c_types.get(kind, kind)}& {n} = {p}[i];" for n, kind, const, p in every]
    newline = "\n    "
    return f"""
extern "C" __global__ void {name}({", ".join(parameters)}, const I n) {{
  for (I i = I(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += I(gridDim.x) * blockDim.x) {{
    {newline.join(references)}
    {kernel.body.replace(chr(10), newline)}
  }}
}}"""
