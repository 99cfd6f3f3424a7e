"""What a network is made of again: the description in a file, looked at entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .backend import DTYPES
from .bound import Bound
from .bounds import AXES, check_growth
from .describe import OWN_LOSS, rebuild, rebuild_loss
from .errors import InputError, shown
from .layers import Layer
from .losses import Loss

PATHS = ("plain", "compiled")
"""The ways of computing that a file may name."""
_MEMBERS, _SEED, _COUNT = 100_000, 2**128, 2**63


class Saved(NamedTuple):
    """What a network is made of: `Network(**options)`, then `settle`, and the rest."""

    options: dict[str, Any]
    updates: int
    frozen: tuple[str, ...]
    loss: Loss | None
    own_loss: str | None
    epochs: int
    preprocessing: Any
    path: str

    def settle(self, net: Bound) -> None:
        """Let a network made with `options` go on where the saved one ended."""
        net.restore_updates(self.updates)
        if unknown := [path for path in self.frozen if path not in net.arrays.params.places]:
            raise InputError(f"the frozen parameter {shown(unknown[0])} is none of the network's")
        net.freeze(*self.frozen)


def examine(
    described: Mapping[str, Any], arrays: Mapping[str, Any], device: Any, layer: Layer | None
) -> Saved:
    """Return what a network is made of; `InputError` that says what is wrong otherwise.

    Nothing is allocated, and sizes are bounded by those of the arrays. Those with a colon in
    their names are passed over.

    >>> import gpubp
    >>> examine({"layer": {"type": "Identity"}}, {}, "cpu", None)
    Traceback (most recent call last):
    gpubp.errors.InputError: it is incomplete: there is no 'inputs'
    """
    for name, (fits, expected) in _ENTRIES.items():
        if name not in described:
            raise InputError(f"it is incomplete: there is no {name!r}")
        if not fits(described[name]):
            raise InputError(f"its {name!r} is {shown(described[name])}; expected {expected}")
    _check_members(described["seeds"], described["members"])
    own = {name: array for name, array in arrays.items() if ":" not in name}
    _check_types(own, described["dtype"])
    shape = tuple(described["inputs"])
    whole = rebuild(described["layer"]) if layer is None else layer
    if not isinstance(whole, Layer):
        raise InputError(f"its 'layer' is {whole!r}; expected a layer")
    check_growth(whole, shape, sum(math.prod(array.shape) for array in own.values()))
    options = {
        "layer": whole,
        "inputs": shape,
        "device": device,
        "dtype": described["dtype"] if isinstance(device, str) else None,
        "seed": described["seeds"] if described["members"] else described["seeds"][0],
        "weights": own,
    }
    return Saved(
        options,
        described["updates"],
        tuple(described["frozen"]),
        rebuild_loss(described["loss"]),
        _named(described.get("own_loss")),
        described["epochs"],
        _prepared(described["preprocessing"]),
        described["path"],
    )


def _whole(value: Any, least: int, below: int) -> bool:
    return type(value) is int and least <= value < below


def _several(value: Any, most: int, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) <= most and all(map(fits, value))


_NUMBER = "a whole number of at least 0"
_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "layer": (lambda v: isinstance(v, dict), "the description of a layer"),
    "inputs": (
        lambda v: _several(v, AXES, lambda n: _whole(n, 1, 2**63)) and bool(v),
        "the shape of an example",
    ),
    "path": (lambda v: v in PATHS, f"one of {', '.join(PATHS)}"),
    "dtype": (lambda v: v in DTYPES, f"one of {', '.join(DTYPES)}"),
    "seeds": (
        lambda v: _several(v, _MEMBERS, lambda n: _whole(n, 0, _SEED)) and bool(v),
        f"at most {_MEMBERS:,} whole numbers, from 0 to below 2^128",
    ),
    "members": (lambda v: v is None or _whole(v, 1, _MEMBERS + 1), "how many there are, or null"),
    "updates": (lambda v: _whole(v, 0, _COUNT), _NUMBER),
    "epochs": (lambda v: _whole(v, 0, _COUNT), _NUMBER),
    "frozen": (
        lambda v: _several(v, _MEMBERS, lambda n: isinstance(n, str)), "the names of parameters",
    ),
    "loss": (lambda v: v is None or isinstance(v, str | dict), "the description of a loss"),
    "preprocessing": (lambda v: v is None or isinstance(v, dict), "plain data of it, or null"),
}  # fmt: skip


def _check_members(seeds: list[int], members: int | None) -> None:
    if len(seeds) != (members or 1):
        whose = "one network" if members is None else f"{members:,} members"
        raise InputError(f"it gives {len(seeds):,} seeds for {whose}")


def _check_types(arrays: Mapping[str, Any], dtype: str) -> None:
    for name, array in arrays.items():
        if array.dtype != dtype:
            raise InputError(f"it says {dtype}, and the array {shown(name)} has {array.dtype}")


def _named(own_loss: Any) -> str | None:
    if own_loss is None:
        return None
    if isinstance(own_loss, str) and len(own_loss) <= OWN_LOSS and own_loss.isidentifier():
        return own_loss
    raise InputError(f"its 'own_loss' is {shown(own_loss)}; expected the name of a class")


def _prepared(plain: Any) -> Any:
    if plain is None:
        return None
    from .data.preprocessing import Preprocessing

    return Preprocessing.rebuild(plain)
