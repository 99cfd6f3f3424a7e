"""Networks as files: one safetensors file with the arrays and, as JSON, what they belong to.

Loading runs no code from the file: a layer or a loss is rebuilt from gpubp's own classes by name.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from .backend import Backend
from .bound import Bound
from .bounds import check_plain
from .describe import describe, describe_loss, own_loss
from .errors import InputError, shown
from .files import write_atomically
from .headers import parse
from .layers import Layer
from .losses import Loss
from .saved import PATHS as PATHS
from .saved import Saved, examine
from .tensors import read_tensors, tensor_bytes
from .version import __version__

FORMAT = 2
"""The version of the description; files of a later one are refused."""


def encode(
    net: Any,
    loss: Loss | None,
    epochs: int,
    arrays: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the bytes of a model file.

    `arrays` are NumPy arrays that go into it beside weights and running state, under names with
    a colon in them, which paths never have. `read` returns them, and `gpubp.load` passes over
    them. Raises `InputError` for a network that
    no file holds: one that is larger than `gpubp.bounds` allows, or with a layer of another's
    whose arguments are no plain data.

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
        "layer": _described(net.layer),
        "inputs": list(net.inputs),
        "path": getattr(net, "path", PATHS[0]),
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
    # A network that was loaded without its own loss keeps the name.
    if named := getattr(net, "own_loss", None) if loss is None else own_loss(loss):
        description["own_loss"] = named
    try:
        text = json.dumps(description, allow_nan=False)
        examine(json.loads(text), held, net.be, net.layer)  # what is written can be read
    except (RecursionError, TypeError, ValueError) as error:
        raise InputError(f"the network cannot be written to a file: {error}") from error
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
        description = {"frozen": [], **description, "path": "plain", "preprocessing": None}
    elif description.get("digest") != digest(arrays):
        raise InputError(f"the arrays in {path} are not those it was written with")
    return description, arrays


def restore(
    given: str | os.PathLike[str] | tuple[dict[str, Any], dict[str, Any]],
    device: Any,
    layer: Layer | None = None,
) -> Saved:
    """Return what a network is made of, from a file or from what `read` returned of one.

    Arrays beside weights and running state are passed over. Raises `InputError` where anything
    in the description is wrong or larger than the arrays justify.
    """
    described, arrays = given if isinstance(given, tuple) else read(given)
    file = "a file" if isinstance(given, tuple) else given
    try:
        saved = examine(described, arrays, device, layer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # cut: what a layer was given instead of a number may be anything
        raise InputError(f"the description in {file} is wrong: {error!s:.600}") from error
    if isinstance(device, Backend) and device.precision != described["dtype"]:
        raise InputError(
            f"{file} holds a network in {described['dtype']}, and the backend that it was to be "
            f"loaded on has {device.precision}: give one in {described['dtype']}, or the name of "
            "the device"
        )
    return saved


def _described(layer: Layer) -> dict[str, Any]:
    try:
        described = describe(layer)
    except (AttributeError, RecursionError) as error:
        raise InputError(
            f"a layer of your own cannot be written to a file: {error}; keep each argument of its "
            "constructor as an attribute of that name, as dataclasses do"
        ) from error
    check_plain(described)
    return described


def _versions() -> dict[str, str]:
    return {"gpubp": __version__, "numpy": np.__version__, "python": platform.python_version()}
