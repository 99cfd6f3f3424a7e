"""A stand-in for the CUDA backend that lists the kernels it would make, and computes by NumPy.

How operands become kinds, and which formulas are asked for, is the CUDA backend's own code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

import gpubp.backend
from gpubp.backend import Array, Formula
from gpubp.program.formula import trace

from .kernel_texts import Collection, element_wise

# By name, for only an installed package has its backends below it.
cuda: Any = importlib.import_module("gpubp.backends.cuda")
standard: Any = importlib.import_module("gpubp.backends.standard")


class Listing(standard.StandardBackend):  # type: ignore[misc]
    """NumPy's arrays; the text of every kernel goes to `texts`."""

    texts: ClassVar[Collection] = Collection()
    deferred = True
    bits = cuda.CudaBackend.bits
    finite = cuda.CudaBackend.finite
    sharing = cuda.CudaBackend.sharing

    def __init__(self, index: int = 0, dtype: str = "float32") -> None:
        super().__init__(np, dtype=dtype)
        self.device = "listing"

    def map(self, formula: Formula, *arguments: Any) -> Any:
        return self._kernel(formula, arguments)(*arguments)

    def _replace(
        self, formula: Formula, state: Sequence[Array], arrays: Sequence[Array], numbers: list[Any]
    ) -> None:
        operands = [*state, *arrays, *numbers]
        new = self._kernel(formula, operands)(*operands)
        for out, value in zip(state, standard.apart(self.xp, state, new), strict=True):
            self.write(out, value)

    def _kernel(self, formula: Formula, operands: Sequence[Any]) -> Callable[..., Any]:
        kinds = tuple(map(cuda._kind, operands))
        self.texts.enter(*element_wise(cuda.kernel_text(trace(formula, kinds), self.precision)))
        return lambda *given: formula(np, *given)


class _ListingFirst(WeakSet[Any]):
    """Backends, of which those that list are asked first whether an array is theirs.

    Their arrays are NumPy's, and so the CPU's, too: which is asked first would be chance.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=lambda be: not isinstance(be, Listing)))


@contextmanager
def listing() -> Iterator[Collection]:
    """Make `"listing"` a device inside of `with`; yield the texts of the kernels it was asked."""
    known = gpubp.backend._BUILT_IN
    Listing.texts = found = Collection()
    known["listing"] = f"{__name__}:Listing"
    others = gpubp.backend._known
    gpubp.backend._known = _ListingFirst(others)
    try:
        yield found
    finally:
        gpubp.backend._known = others
        del known["listing"]
        gpubp.backend._named.cache_clear()
