"""What changes from step to step, as a layer sees it: mode, step, random bits, running state."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

from .backend import Array, Backend
from .storage import Spec, Views


@dataclass
class Pass:
    """What all layers share in one pass: `keys` are `(..., 1, 1)`, one per member.

    `pending` holds the new running state of the pass by path; the network writes it after a step
    that is finite, and nobody does in inference.
    """

    be: Backend
    keys: Array
    training: bool = False
    step: int = 0
    wants_input_gradient: bool = False
    pending: dict[str, Array] = field(default_factory=dict)


class Run:
    """One layer's window on the pass: its own state, streams named by its path, the mode.

    >>> import gpubp
    >>> from gpubp.storage import Spec, Views
    >>> be = gpubp.select("cpu")
    >>> shared = Pass(be, be.asarray([[7]], "uint32"), training=True)
    >>> run = Run(shared, "0", Views({}, {}), Spec((4,)), on_entry=True)
    >>> run.training, run.bits((2, 4)).shape, run.wants_input_gradient
    (True, (2, 4), False)
    """

    def __init__(
        self, shared: Pass, path: str, state: Views, spec: Spec, on_entry: bool = True
    ) -> None:
        self.path, self.state = path, state
        self._shared, self._on_entry = shared, on_entry
        self._names = frozenset(spec.state)
        prefix = f"{path}." if path else ""
        self._prefix = prefix
        self.children = tuple(
            Run(shared, prefix + name, getattr(state, name), child, on_entry and name in spec.entry)
            for name, child in spec.children.items()
        )
        self.__dict__.update(zip(spec.children, self.children, strict=True))

    @property
    def training(self) -> bool:
        """True in a training step, False in inference."""
        return self._shared.training

    @property
    def step(self) -> int:
        """How many updates the network has made."""
        return self._shared.step

    @property
    def wants_input_gradient(self) -> bool:
        """False where nobody needs `dx`; a layer may then return None from `backward`."""
        return not self._on_entry or self._shared.wants_input_gradient

    def bits(self, shape: tuple[int, int], stream: str = "") -> Array:
        """Return uint32 random bits, `(..., rows, columns)`, fixed by key, path, stream and step.

        Members of an ensemble draw as each would alone. Several draws in one layer take several
        names for `stream`.
        """
        shared = self._shared
        number = zlib.crc32(f"{self.path}/{stream}".encode())
        return shared.be.bits(*shape, shared.keys, number, shared.step & 0xFFFFFFFF)

    def put(self, name: str, value: Array) -> None:
        """Hand in the next value of running state `name`; it counts after a finite step."""
        if name not in self._names:
            raise AttributeError(f"layer {self.path!r} declares no running state {name!r}")
        if value.shape != getattr(self.state, name).shape:
            wanted = getattr(self.state, name).shape
            raise ValueError(f"state {name!r} was put with shape {value.shape}, not {wanted}")
        if self._shared.training:
            self._shared.pending[self._prefix + name] = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"run has no {name!r}, and layer {self.path!r} no such child")
