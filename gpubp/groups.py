"""Which parameters something is for: by kind, or by path.

A group is `"weights"`, `"biases"`, `"norms"` (gains and shifts of normalisations), `"slopes"` (of
activations) or `"all"`; a path names an array (`"0.W"`), everything below it (`"body"`) or, with
wildcards, several (`"*.W"`). Several of them may be given in a tuple.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np

from .backend import Array, Backend
from .errors import InputError, nearest
from .storage import Layout

On: TypeAlias = "str | tuple[str, ...]"

GROUPS = {"weights": "weight", "biases": "bias", "norms": "norm", "slopes": "slope"}


def names(what: str, on: object) -> tuple[str, ...]:
    """Return the groups and paths that were given; `InputError` unless they are texts.

    >>> names("L2", "weights"), names("L2", ["0", "*.b"])
    (('weights',), ('0', '*.b'))
    """
    given = (on,) if isinstance(on, str) else on
    if not isinstance(given, tuple | list) or not given or any(type(n) is not str for n in given):
        raise InputError(
            f"{what}: parameters are named {on!r}; expected a group such as 'weights', a path "
            "such as '0.W' or '*.W', or several of them"
        )
    return tuple(given)


def chosen(layout: Layout, what: str, on: On) -> list[str]:
    """Return the paths that `on` names, in the order of the layout.

    Raises `InputError` for a name that is neither a group nor fits any path.

    >>> import gpubp
    >>> layout = Layout(gpubp.MLP([3], 1).build((2,)), "params")
    >>> chosen(layout, "L2", "weights"), chosen(layout, "L2", ("2", "0.b"))
    (['0.W', '2.W'], ['0.b', '2.W', '2.b'])
    """
    found: set[str] = set()
    for name in names(what, on):
        exact = name in layout.places and name not in (*GROUPS, "all")
        fitting = {name} if exact else {p for p in layout.places if _fits(layout, p, name)}
        if not fitting and name not in (*GROUPS, "all"):
            known = [*GROUPS, "all", *layout.places]
            raise InputError(f"{what}: no parameter is called {name!r}; {nearest(name, known)}")
        found |= fitting
    return [path for path in layout.places if path in found]


def _fits(layout: Layout, path: str, name: str) -> bool:
    if name == "all":
        return True
    if name in GROUPS:
        return layout.places[path].param.kind == GROUPS[name]
    return fnmatchcase(path, name) or fnmatchcase(path, f"{name}.*")


def spread(be: Backend, layout: Layout, values: dict[str, float]) -> Array:
    """Return a flat array `(n,)` that holds a number for each parameter named, 0 elsewhere.

    >>> import gpubp
    >>> layout = Layout(gpubp.Linear(1).build((2,)), "params")
    >>> spread(gpubp.select("cpu"), layout, {"W": 0.5}).tolist()[:4]
    [0.5, 0.5, 0.0, 0.0]
    """
    flat = np.zeros(layout.size)
    for path, value in values.items():
        place = layout.places[path]
        flat[place.start : place.stop] = value
    return be.asarray(flat)
