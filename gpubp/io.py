"""Networks as files: one safetensors file with the arrays and, as JSON, what they belong to.

Loading runs no code from the file: a layer or a loss is rebuilt from gpubp's own classes by name.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import initializers, layers, losses
from .bound import Bound
from .errors import InputError, nearest
from .initializers import Initializer
from .layers import Layer
from .losses import Loss

FORMAT = 1
"""The version of the description; files of a later one are refused."""

_OWN: dict[str, type] = {
    name: kind
    for module in (layers, initializers)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Layer | Initializer)
}
_LOSSES = {type(loss).__name__: type(loss) for loss in losses.LOSSES.values()}


def describe(thing: Layer | Initializer | Loss) -> dict[str, Any]:
    """Return a layer or a loss as plain data: its class by name and the arguments that rebuild it.

    >>> import gpubp
    >>> describe(gpubp.Activation("tanh"))
    {'type': 'Activation', 'name': 'tanh'}
    """
    described: dict[str, Any] = {"type": type(thing).__name__}
    for parameter in _parameters(type(thing)):
        described[parameter.name] = _plain(getattr(thing, parameter.name))
    return described


def rebuild(described: Mapping[str, Any]) -> Any:
    """Return the layer or initialiser that `describe` described.

    >>> rebuild({"type": "Linear", "n_out": 2, "W": "zeros", "b": None})
    Linear(n_out=2, W='zeros', b=None)
    """
    hint = ": for a layer of your own call gpubp.load(path, layer=...)"
    return _rebuild(described, "layer", _OWN, hint)


def rebuild_loss(described: Any) -> Loss | None:
    """Return the loss of that name or description; None stays None.

    >>> rebuild_loss({"type": "Huber", "delta": 2.0}), rebuild_loss("hinge")
    (Huber(delta=2.0), Hinge())
    """
    if described is None:
        return None
    if isinstance(described, Mapping):
        found: Loss = _rebuild(described, "loss", _LOSSES, "")
        return found
    return losses.loss(described)


def _rebuild(described: Any, what: str, kinds: Mapping[str, type], hint: str) -> Any:
    if not isinstance(described, Mapping):
        raise InputError(
            f"the file describes a {what} as {described!r}; expected its type and more"
        )
    name = described.get("type")
    if not isinstance(name, str) or name not in kinds:
        raise InputError(
            f"the file holds a {what} of unknown type {name!r}; {nearest(name, kinds)}{hint}"
        )
    kind = kinds[name]
    unknown = described.keys() - {"type"} - {p.name for p in _parameters(kind)}
    if unknown:
        raise InputError(f"the file gives {name} the unknown arguments {sorted(unknown)}")
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in _parameters(kind):
        if parameter.name not in described:
            continue
        value = _value(described[parameter.name])
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        else:
            named[parameter.name] = value
    return kind(*positional, **named)


def _parameters(kind: type) -> list[inspect.Parameter]:
    return list(inspect.signature(kind).parameters.values())


def _plain(value: Any) -> Any:
    if isinstance(value, Layer | Initializer):
        return describe(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value  # a number of NumPy's


def _value(plain: Any) -> Any:
    if isinstance(plain, dict):
        return rebuild(plain)
    return [_value(v) for v in plain] if isinstance(plain, list) else plain


def save(net: Bound, path: str | os.PathLike[str], loss: Loss | None, epochs: int) -> None:
    """Write a network; a file of that name is replaced only by a complete one."""
    from safetensors.numpy import save as to_bytes

    arrays = {
        name: np.asarray(net.be.to_numpy(value), order="C")  # safetensors needs rows in order
        for name, value in net.state_dict().items()
    }
    description = {
        "format": FORMAT,
        "layer": describe(net.layer),
        "inputs": list(net.inputs),
        "dtype": net.be.precision,
        "seeds": net.seeds,
        "members": net.members,
        "updates": net.updates,
        "frozen": list(net.frozen),
        "epochs": epochs,
        "loss": None if loss is None else _plain_loss(loss),
    }
    write_atomically(path, to_bytes(arrays, {"gpubp": json.dumps(description)}))


def _plain_loss(loss: Loss) -> str | dict[str, Any] | None:
    """The name of a loss with its default arguments, a description of another, None of another's.

    A file with a name can also be read by a gpubp that knows no other form.
    """
    if type(loss) not in _LOSSES.values():
        return None
    by_name = (name for name, known in losses.LOSSES.items() if known == loss)
    return next(by_name, None) or describe(loss)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and the arrays of a file that `save` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("gpubp")
            if text is None:
                raise InputError(f"{path} was not written by gpubp: it holds no description")
            description = json.loads(text)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except (SafetensorError, ValueError, TypeError, RecursionError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable gpubp model file: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        given = description.get("format") if isinstance(description, dict) else description
        raise InputError(f"{path} has format {given!r}; this gpubp reads format {FORMAT}")
    return description, arrays


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, whatever happens, either the old or the new one is there whole."""
    path, temporary = check_writable(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return a file's path and that of a temporary one beside it; `InputError` unless it can be.

    >>> check_writable("no-such-folder/net")
    Traceback (most recent call last):
    gpubp.errors.InputError: cannot write no-such-folder/net: there is no folder no-such-folder
    """
    try:
        path = Path(path)
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        with open(temporary, "xb"):
            pass
        temporary.unlink()
    except InputError:
        raise
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"cannot write {path!r}: {error}") from error
    return path, temporary


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle for a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
