"""Who takes part in the GPU benchmark: one module for each library, imported when it is asked for.

Each module has `build(problem, setting, **options)`, which returns a `Contender` or raises
`UnavailableError`. The device is a parameter, so that all of them run on the CPU as well.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..workloads import Problem
from .base import Contender, Setting, UnavailableError


class Entry(NamedTuple):
    """Where a contender is built and how; `peer` is one that gpubp is measured against.

    `imports` are what its library imports, sooner or later.
    """

    module: str
    options: Mapping[str, Any] = MappingProxyType({})
    imports: tuple[str, ...] = ()
    peer: bool = True


_TORCH, _INDUCTOR = ("torch", "torch._dynamo"), "torch._inductor.compile_fx"
CONTENDERS = {
    "gpubp compiled": Entry("gpubp_steps", {"compiled": True}, peer=False),
    "gpubp plain": Entry("gpubp_steps", peer=False),
    "torch eager": Entry("torch_steps", imports=_TORCH),
    "torch graph": Entry("torch_steps", {"way": "graph"}, _TORCH),
    "torch vmap": Entry("torch_steps", {"way": "vmap"}, _TORCH),
    "jax.jit": Entry("jax_steps", imports=("jax",)),
    "jax.scan": Entry("jax_steps", {"scan": True}, ("jax",)),
    "torch.compile": Entry("torch_steps", {"way": "compile"}, (*_TORCH, _INDUCTOR)),
}
"""In the order in which they are built: what takes long comes last."""


def load(names: Iterable[str]) -> None:
    """Import the libraries of contenders: an import that is broken off leaves a library broken.

    One that is missing is told of when its contender is built.
    """
    for library in dict.fromkeys(i for name in names for i in CONTENDERS[name].imports):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)


def build(name: str, problem: Problem, setting: Setting) -> Contender:
    """Return a contender at the start of its training; `UnavailableError` where it cannot run."""
    entry = CONTENDERS[name]
    module = importlib.import_module(f".{entry.module}", __name__)
    try:
        built: Contender = module.build(problem, setting, **entry.options)
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{error.name} is not installed") from error
    return built


__all__ = ["CONTENDERS", "Contender", "Entry", "Setting", "UnavailableError", "build", "load"]
