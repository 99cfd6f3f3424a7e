"""Who takes part in the CPU benchmark: one module for each library, imported when it is asked for.

Each module has `build(problem, threads, **options)`, which returns a `Contender` or raises
`UnavailableError` with what is missing. A library is imported by name, so that types are checked
in the same way where it is not installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..workloads import Problem
from .base import Contender, UnavailableError


class Entry(NamedTuple):
    """Where a contender is built, how, and whether it is one that gpubp is measured against."""

    module: str
    options: Mapping[str, Any] = MappingProxyType({})
    peer: bool = False
    same_precision: bool = True
    only_with_dropout: bool = False


_RBG = {"random": "rbg"}
CONTENDERS = {
    "gpubp compiled": Entry("gpubp_compiled"),
    "gpubp plain": Entry("gpubp_plain"),
    "textbook": Entry("textbook"),
    "torch eager": Entry("torch_steps", peer=True),
    "torch fused": Entry("torch_steps", {"fused": True}, peer=True),
    "torch.compile": Entry("torch_steps", {"fused": True, "compiled": True}, peer=True),
    "jax.jit": Entry("jax_steps", peer=True),
    "jax.scan": Entry("jax_steps", {"scan": True}, peer=True),
    "jax.jit rbg": Entry("jax_steps", _RBG, peer=True, only_with_dropout=True),
    "jax.scan rbg": Entry("jax_steps", {"scan": True, **_RBG}, peer=True, only_with_dropout=True),
    "scikit-learn": Entry("sklearn_steps", peer=True),
    "torch bf16": Entry("torch_steps", {"fused": True, "bf16": True}, same_precision=False),
}
REFERENCE = "textbook"
"""The contender whose losses all others are held against."""


def build(name: str, problem: Problem, threads: int) -> Contender:
    """Return a contender at the start of its training; `UnavailableError` where it cannot run."""
    entry = CONTENDERS[name]
    if entry.only_with_dropout and not problem.load.has_dropout:
        raise UnavailableError("differs in its random bits alone")
    module = importlib.import_module(f".{entry.module}", __name__)
    try:
        built: Contender = module.build(problem, threads, **entry.options)
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{error.name} is not installed") from error
    return built


__all__ = ["CONTENDERS", "REFERENCE", "Contender", "Entry", "UnavailableError", "build"]
