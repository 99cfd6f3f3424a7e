"""Parameters, gradients and optimizer slots: one flat array each, seen through named views.

A vector `(n,)` is seen by its layer as a row `(..., 1, n)`, so that it broadcasts over a batch.
Each parameter starts at a multiple of 16 elements: aligned for vector loads on every device. The
elements in the gaps are zero and stay so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from .backend import Array, Backend
from .errors import InputError, nearest

Shape: TypeAlias = tuple[int, ...]
_ALIGN = 16
# What `w`, `g` and `run` have of their own.
_TAKEN = {
    "add", "add_matmul", "bits", "children", "path", "put", "replay", "spec", "state", "step",
    "training", "use", "wants_input_gradient",
}  # fmt: skip
KINDS = ("weight", "bias", "norm", "slope")


@dataclass(frozen=True)
class Param:
    """The shape of a named array and the initialiser `(rng, shape) -> values` that fills it.

    `kind` is `"weight"`, `"bias"`, `"norm"` (gain and shift of a normalisation) or `"slope"` (of an
    activation): weight decay and penalties are for weights alone unless they are told otherwise.

    >>> import gpubp
    >>> Param((3, 2), gpubp.HeNormal()).kind
    'weight'
    """

    shape: Shape
    init: Any
    kind: str = "weight"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a parameter of kind {self.kind!r}; {nearest(self.kind, KINDS)}")


@dataclass(frozen=True)
class Spec:
    """What a layer needs for examples of a given shape.

    `shape` is that of one example it puts out. `entry` names the children that see the layer's
    own input before any parameter: their input gradient is needed only if the layer's is.

    `inputs` is the shape of one example it takes, for a layer that asks for it in a pass
    (`run.spec.inputs`). `least_rows` is how many examples a training batch must have; that of a
    layer is the largest of those inside it. `categories` says of each feature it takes (flattened)
    whether it is a number, 0, or one of n categories 0..n-1, n; empty where all are numbers.
    `selects` says of each feature put out which of those taken it is, and is empty for a layer
    that computes: categories are told through the one kind and not through the other.

    >>> import gpubp
    >>> gpubp.Linear(2).build((3,)).params["W"].shape
    (3, 2)
    """

    shape: Shape
    params: Mapping[str, Param] = field(default_factory=dict)
    state: Mapping[str, Param] = field(default_factory=dict)
    children: Mapping[str, Spec] = field(default_factory=dict)
    entry: tuple[str, ...] = ()
    inputs: Shape = ()
    least_rows: int = 1
    categories: tuple[int, ...] = ()
    selects: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        least = max([self.least_rows, *(child.least_rows for child in self.children.values())])
        object.__setattr__(self, "least_rows", least)
        for name in (*self.params, *self.state, *self.children):
            if not (name.isidentifier() or name.isdecimal()) or name in _TAKEN:
                raise ValueError(f"a layer cannot call a part {name!r}; give it another name")

    @property
    def trainable(self) -> bool:
        """Whether this layer or one inside it has parameters.

        >>> Spec((3,), children={"0": Spec((3,), {"b": Param((3,), None)})}).trainable
        True
        """
        return bool(self.params) or any(child.trainable for child in self.children.values())


class Place(NamedTuple):
    """Where a named array lies in a flat one."""

    path: str
    start: int
    param: Param

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.param.shape)


class Layout:
    """The places of all parameters (or all running state) of a layer tree, in order.

    >>> spec = Spec((2,), children={"0": Spec((2,), {"W": Param((3, 2), None)})})
    >>> layout = Layout(spec, "params")
    >>> layout.size, list(layout.places), layout.count
    (16, ['0.W'], 6)
    """

    def __init__(self, spec: Spec, kind: str) -> None:
        self.places: dict[str, Place] = {}
        self.size = 0
        for path, param in _walk(spec, kind, ""):
            self.places[path] = Place(path, self.size, param)
            self.size += -(-math.prod(param.shape) // _ALIGN) * _ALIGN

    @property
    def count(self) -> int:
        """How many numbers the arrays hold, gaps not counted."""
        return sum(math.prod(place.param.shape) for place in self.places.values())

    def view(self, be: Backend, flat: Array, path: str) -> Array:
        """Return the named part of `flat`, in its own shape, sharing memory."""
        place = self.places[path]
        lead = tuple(flat.shape[:-1])
        return _reshape(be, flat[..., place.start : place.stop], lead + place.param.shape)

    def row(self, be: Backend, flat: Array, path: str) -> Array:
        """The same as a layer sees it: a vector is a row, a number a row of one."""
        place = self.places[path]
        missing = max(0, 2 - len(place.param.shape))
        shape = (1,) * missing + place.param.shape
        return _reshape(be, flat[..., place.start : place.stop], tuple(flat.shape[:-1]) + shape)


def _walk(spec: Spec, kind: str, prefix: str) -> Iterator[tuple[str, Param]]:
    for name, param in getattr(spec, kind).items():
        yield prefix + name, param
    for name, child in spec.children.items():
        yield from _walk(child, kind, f"{prefix}{name}.")


def _reshape(be: Backend, part: Array, shape: Shape) -> Array:
    return be.xp.reshape(part, shape, copy=False)  # a silent copy would lose every write


class Views:
    """The arrays of one layer as attributes, and the views of the layers inside it by name."""

    def __init__(self, arrays: Mapping[str, Array], children: Mapping[str, Views]) -> None:
        self.children = tuple(children.values())
        self.__dict__.update(arrays)
        self.__dict__.update(children)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this layer declares no array or child named {name!r}")


def views(be: Backend, spec: Spec, layout: Layout, flat: Array, kind: str, path: str = "") -> Views:
    """See a flat array as the tree of arrays that `spec` describes."""
    arrays = {name: layout.row(be, flat, path + name) for name in getattr(spec, kind)}
    children = {
        name: views(be, child, layout, flat, kind, f"{path}{name}.")
        for name, child in spec.children.items()
    }
    return Views(arrays, children)


class Gradients:
    """The gradients of one layer; `add` is the only way in, so that uses accumulate.

    The first addition of a step overwrites, so nothing need be cleared; `written` is shared by
    the tree and names what holds a value of this step, `frozen` what needs no gradient.
    """

    def __init__(
        self, be: Backend, path: str, arrays: Views, spec: Spec, written: set[str],
        frozen: set[str] | frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self._be, self._written, self._frozen = be, written, frozen
        self._places = {name: (path + name, getattr(arrays, name)) for name in spec.params}
        self.children = tuple(
            Gradients(be, f"{path}{name}.", getattr(arrays, name), child, written, frozen)
            for name, child in spec.children.items()
        )
        self.__dict__.update(zip(spec.children, self.children, strict=True))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this layer has no child named {name!r}")

    def add(self, name: str, value: Array) -> None:
        """Add `value` to the gradient of parameter `name`, whose shape it has."""
        path, out = self._places[name]
        if value.shape != out.shape:
            raise ValueError(
                f"a gradient for {path!r} of shape {value.shape}, not {out.shape}: sum over the "
                "rows with axis=-2, keepdims=True"
            )
        if path in self._frozen:
            return
        if path in self._written:
            self._be.accumulate(out, value)
        else:
            self._be.write(out, value)
            self._written.add(path)

    def add_matmul(self, name: str, a: Array, b: Array) -> None:
        """Add the product of `a` and `b` to the gradient of parameter `name`."""
        path, out = self._places[name]
        if path in self._frozen:
            return
        if path in self._written:
            self._be.accumulate(out, self._be.matmul(a, b))
        else:
            self._be.write_matmul(out, a, b)
            self._written.add(path)
