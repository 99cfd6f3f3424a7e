"""What changes from step to step, as a layer sees it: mode, step, random bits, running state."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .backend import Array, Backend
from .storage import Spec, Views


@dataclass
class Pass:
    """What all layers share in one pass: `keys` are `(..., 1, 1)`, one per member.

    A function that returns the keys will do: it is called when the first random bits are drawn.
    `pending` holds the new running state of the pass by path; the network writes it after a step
    that is finite, and nobody does in inference. `first_row` is where a part of a batch begins.
    """

    be: Backend
    keys: Array | Callable[[], Array]
    training: bool = False
    step: int = 0
    wants_input_gradient: bool = False
    pending: dict[str, Array] = field(default_factory=dict)
    replaying: bool = False
    first_row: int = 0

    def key(self) -> Array:
        """Return the keys."""
        if callable(self.keys):
            self.keys = self.keys()
        return self.keys


class State:
    """The running state of one layer by name: as it was left by its last use in this pass."""

    def __init__(self, shared: Pass, prefix: str, committed: Views) -> None:
        self._shared, self._prefix, self._committed = shared, prefix, committed

    def __getattr__(self, name: str) -> Array:
        committed = getattr(self._committed, name)
        if self._shared.replaying:
            return committed
        return self._shared.pending.get(self._prefix + name, committed)


class Run:
    """One layer's window on the pass: its own state, streams named by its path, the mode.

    `spec` is what the layer's `build` returned, `path` its place in the tree.

    >>> import gpubp
    >>> from gpubp.storage import Spec, Views
    >>> be = gpubp.select("cpu")
    >>> shared = Pass(be, be.asarray([[7]], "uint32"), training=True)
    >>> run = Run(shared, "0", Views({}, {}), Spec((4,)), on_entry=True)
    >>> run.training, run.bits((2, 4)).shape, run.wants_input_gradient
    (True, (2, 4), False)
    """

    def __init__(
        self,
        shared: Pass,
        path: str,
        state: Views,
        spec: Spec,
        on_entry: bool = True,
        use: str = "",
    ) -> None:
        prefix = f"{path}." if path else ""
        self.path, self.spec, self.state = path, spec, State(shared, prefix, state)
        self._shared, self._on_entry, self._prefix, self._use = shared, on_entry, prefix, use
        self._names = {name: getattr(state, name) for name in spec.state}
        self._parts = path, state, spec, on_entry
        self._uses: dict[int, Run] = {}
        self.children = tuple(
            Run(
                shared,
                prefix + name,
                getattr(state, name),
                child,
                on_entry and name in spec.entry,
                use,
            )
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
        number = zlib.crc32(f"{self.path}{self._use}/{stream}".encode())
        step = shared.step & 0xFFFFFFFF
        return shared.be.bits(*shape, shared.key(), number, step, shared.first_row)

    def put(self, name: str, value: Array) -> None:
        """Hand in the next value of running state `name`; it counts after a finite step."""
        if name not in self._names:
            raise AttributeError(f"layer {self.path!r} declares no running state {name!r}")
        if value.shape != self._names[name].shape:
            wanted = self._names[name].shape
            raise ValueError(f"state {name!r} was put with shape {value.shape}, not {wanted}")
        if self._shared.training and not self._shared.replaying:
            self._shared.pending[self._prefix + name] = value

    def use(self, number: int) -> Run:
        """This run for one of several uses of a layer in a pass, with random streams of its own.

        Weights and running state stay shared; each use goes on from the state the last one put.
        """
        if number not in self._uses:
            self._uses[number] = Run(self._shared, *self._parts, f"{self._use}@{number}")
        return self._uses[number]

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Inside, a forward pass is made for the second time: what it puts does not count."""
        before, self._shared.replaying = self._shared.replaying, True
        try:
            yield
        finally:
            self._shared.replaying = before

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"run has no {name!r}, and layer {self.path!r} no such child")
