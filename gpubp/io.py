"""Networks as files: one safetensors file with the arrays and, as JSON, what they belong to.

Loading runs no code from the file: a layer or a loss is rebuilt from gpubp's own classes by name.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .bound import Bound
from .describe import describe, describe_loss, rebuild, rebuild_loss
from .errors import InputError
from .files import read_tensors, tensor_bytes, write_atomically
from .headers import parse, shown
from .layers import Layer
from .losses import Loss
from .version import __version__

FORMAT = 2
"""The version of the description; files of a later one are refused."""
PATHS = ("plain",)
"""The ways of computing that a file may name."""


def encode(
    net: Any,
    loss: Loss | None,
    epochs: int,
    arrays: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the bytes of a model file.

    `arrays` are NumPy arrays that go into it beside weights and running state, under names with
    a colon in them, which paths never have; `more` adds entries, plain data, to the description.
    `read` returns both, and `gpubp.load` passes over them.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(2), inputs=3)
    >>> len(encode(net, None, 0)) > 200
    True
    """
    held = {path: net.be.to_numpy(array) for path, array in net.state_dict().items()}
    extra = dict(arrays or {})
    if wrong := [name for name in extra if ":" not in name]:
        raise ValueError(f"arrays beside the weights need a colon in their names: {wrong}")
    held |= {name: np.asarray(array) for name, array in extra.items()}
    prepared = getattr(net, "preprocessing", None)
    description = {
        "format": FORMAT,
        "layer": describe(net.layer),
        "inputs": list(net.inputs),
        "path": "plain",
        "dtype": net.be.precision,
        "seeds": net.seeds,
        "members": net.members,
        "updates": net.updates,
        "frozen": list(net.frozen),
        "epochs": epochs,
        "loss": describe_loss(loss),
        "preprocessing": None if prepared is None else prepared.plain(),
        "versions": _versions(),
        "digest": digest(held),
    }
    if taken := description.keys() & (more or {}).keys():
        raise ValueError(f"the description has entries {sorted(taken)} of its own")
    text = json.dumps({**description, **(more or {})}, allow_nan=False)
    return tensor_bytes(held, {"gpubp": text})


def save(net: Bound, path: str | os.PathLike[str], loss: Loss | None, epochs: int) -> None:
    """Write a network; a file of that name is replaced only by a complete one."""
    write_atomically(path, encode(net, loss, epochs))


def digest(arrays: Mapping[str, Any]) -> str:
    """Return SHA-256 over names, dtypes, shapes and bytes of NumPy arrays, in hexadecimal.

    >>> digest({"a": np.zeros(2)})[:16]
    '198934c195363c2e'
    """
    from hashlib import sha256

    found = sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode() + b"\n")
        found.update(array.reshape(-1).data)
    return found.hexdigest()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and all arrays, on the host, of a file that `encode` wrote.

    Raises `InputError` for a file that is none, or is of a later format, and where the arrays are
    not those it was written with.
    """
    metadata, arrays = read_tensors(path)
    if "gpubp" not in metadata:
        raise InputError(f"{path} was not written by gpubp: it holds no description")
    description = parse(path, "its description", metadata["gpubp"])
    found = description.get("format") if isinstance(description, dict) else description
    if type(found) is not int or not 1 <= found <= FORMAT:
        raise InputError(
            f"{path} has format {shown(found)}; this gpubp reads formats 1 to {FORMAT}"
        )
    if found == 1:
        description |= {"path": "plain", "preprocessing": None, "versions": None}
    elif description.get("digest") != digest(arrays):
        raise InputError(f"the arrays in {path} are not those it was written with")
    return description, arrays


class Saved(NamedTuple):
    """What a network is made of again: `Network(**options)`, then `fill`, and the rest."""

    options: dict[str, Any]
    arrays: dict[str, Any]
    updates: int
    frozen: tuple[str, ...]
    loss: Loss | None
    epochs: int
    preprocessing: Any

    def fill(self, net: Bound) -> None:
        """Give a network made with `options` the weights, and what counts its steps."""
        net.load_state_dict(self.arrays)
        net.restore_updates(self.updates)
        net.freeze(*self.frozen)


def restore(
    given: str | os.PathLike[str] | tuple[dict[str, Any], dict[str, Any]],
    device: Any,
    layer: Layer | None = None,
) -> Saved:
    """Return what a network is made of, from a file or from what `read` returned.

    Arrays beside weights and running state are passed over. Raises `InputError` where the
    description is wrong.
    """
    described, arrays = given if isinstance(given, tuple) else read(given)
    path = "the description" if isinstance(given, tuple) else f"the description in {given}"
    try:
        several = described["members"] is not None
        options = {
            "layer": rebuild(described["layer"]) if layer is None else layer,
            "inputs": described["inputs"],
            "device": device,
            "dtype": described["dtype"] if isinstance(device, str) else None,
            "seed": described["seeds"] if several else described["seeds"][0],
        }
        return Saved(
            options,
            {name: array for name, array in arrays.items() if ":" not in name},
            int(described["updates"]),
            tuple(described.get("frozen", ())),
            rebuild_loss(described["loss"]),
            int(described["epochs"]),
            _prepared(described["preprocessing"]),
        )
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is incomplete or wrong: {error!r}") from error


def _prepared(plain: Any) -> Any:
    if plain is None:
        return None
    from .data.preprocessing import Preprocessing

    return Preprocessing.rebuild(plain)


def _versions() -> dict[str, str]:
    return {"gpubp": __version__, "numpy": np.__version__, "python": platform.python_version()}
