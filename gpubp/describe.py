"""Layers and losses as plain data, and back: by the names of gpubp's own classes alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from . import initializers, layers, losses
from .bounds import check_plain
from .errors import InputError, nearest, shown
from .initializers import Initializer
from .layers import Layer
from .losses import Loss

_OWN: dict[str, type] = {
    name: kind
    for module in (layers, initializers)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Layer | Initializer)
    if kind not in (Layer, layers.Branches, Initializer)
}
_HINT = ": for a layer of your own call gpubp.load(path, layer=...)"
OWN_LOSS = 200
"""How many letters of the name of a loss that is not gpubp's a file keeps."""
_LOSSES = {type(loss).__name__: type(loss) for loss in losses.LOSSES.values()}


def describe(thing: Layer | Initializer | Loss) -> dict[str, Any]:
    """Return a layer or a loss as plain data: its class by name and the arguments that rebuild it.

    >>> import gpubp
    >>> describe(gpubp.Activation("tanh"))
    {'type': 'Activation', 'name': 'tanh'}
    """
    kind: Any = type(thing)
    described: dict[str, Any] = {"type": kind.__name__}
    for parameter in _parameters(kind):
        described[parameter.name] = _plain(getattr(thing, parameter.name))
    return described


def describe_loss(loss: Loss | None) -> str | dict[str, Any] | None:
    """Return the name of a loss with its default arguments, or a description of another.

    None for one of another's class, whose name `own_loss` tells. A name can also be read by a
    gpubp that knows no other form.

    >>> import gpubp
    >>> describe_loss(gpubp.Huber()), describe_loss(gpubp.Huber(2.0))
    ('huber', {'type': 'Huber', 'delta': 2.0})
    """
    if loss is None or type(loss) not in _LOSSES.values():
        return None
    by_name = (name for name, known in losses.LOSSES.items() if known == loss)
    return next(by_name, None) or describe(loss)


def own_loss(loss: Loss | None) -> str | None:
    """Return the name of the type of a loss that `describe_loss` does not describe.

    >>> import gpubp
    >>> class Mine(gpubp.Huber):
    ...     pass
    >>> own_loss(Mine()), own_loss(gpubp.Huber()), own_loss(None)
    ('Mine', None, None)
    """
    if loss is None or type(loss) in _LOSSES.values():
        return None
    name = type(loss).__name__[:OWN_LOSS]
    return name if name.isidentifier() else "Loss"


def rebuild(described: Mapping[str, Any]) -> Any:
    """Return the layer or initialiser that `describe` described.

    Raises `InputError` for an unknown type or argument, where the class refuses a value, and for
    more values than a network has, see `gpubp.bounds`.

    >>> rebuild({"type": "Linear", "n_out": 2, "W": "zeros", "b": None})
    Linear(n_out=2, W='zeros', b=None)
    """
    check_plain(described)
    return _rebuild(described, "layer", _OWN, _HINT)


def rebuild_loss(described: Any) -> Loss | None:
    """Return the loss of that name or description; None stays None.

    >>> rebuild_loss({"type": "Huber", "delta": 2.0}), rebuild_loss("hinge")
    (Huber(delta=2.0), Hinge())
    """
    if described is None:
        return None
    check_plain(described)
    if isinstance(described, Mapping):
        found: Loss = _rebuild(described, "loss", _LOSSES, "")
        return found
    return losses.loss(described)


def _rebuild(described: Any, what: str, kinds: Mapping[str, type], hint: str) -> Any:
    if not isinstance(described, Mapping):
        raise InputError(
            f"the file describes a {what} as {shown(described)}; expected its type and more"
        )
    name = described.get("type")
    if not isinstance(name, str) or name not in kinds:
        raise InputError(
            f"the file holds a {what} of unknown type {shown(name)}; "
            f"{nearest(name if isinstance(name, str) else '', kinds)}{hint}"
        )
    kind = kinds[name]
    unknown = described.keys() - {"type"} - {p.name for p in _parameters(kind)}
    if unknown:
        given = ", ".join(map(shown, sorted(unknown)[:5]))
        raise InputError(f"the file gives {name} the unknown arguments {given}")
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in _parameters(kind):
        if parameter.name not in described:
            continue
        value = _value(described[parameter.name])
        if parameter.kind is parameter.VAR_POSITIONAL:
            if not isinstance(value, list):
                what = f"{name}: {parameter.name} is {shown(value)}"
                raise InputError(f"the file says {what}; expected several")
            positional.extend(value)
        else:
            named[parameter.name] = value
    try:
        return kind(*positional, **named)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"the file describes a {name} that cannot be: {error}") from error


@lru_cache(maxsize=256)
def _parameters(kind: type) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(kind).parameters.values())


def _plain(value: Any) -> Any:
    if isinstance(value, Layer | Initializer):
        return describe(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value  # a number of NumPy's


def _value(plain: Any) -> Any:
    if isinstance(plain, dict):
        return _rebuild(plain, "layer", _OWN, _HINT)
    return [_value(v) for v in plain] if isinstance(plain, list) else plain
