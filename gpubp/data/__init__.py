"""Data: what files hold, what is made of it for a network, and digits that travel with gpubp."""

from typing import TYPE_CHECKING, Any

from .digits import Digits, digits
from .splits import class_weights, folds, split
from .table import Arrays, Table

if TYPE_CHECKING:
    from .preprocessing import Preprocessing
    from .reading import read
    from .sources import Rows
    from .stream import Stream

__all__ = [
    "Arrays",
    "Digits",
    "Preprocessing",
    "Rows",
    "Stream",
    "Table",
    "class_weights",
    "digits",
    "folds",
    "read",
    "split",
]

_LAZY = {
    "Preprocessing": "preprocessing",
    "Rows": "sources",
    "Stream": "stream",
    "read": "reading",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # brings much that the digits do not need
        from importlib import import_module

        return getattr(import_module(f"gpubp.data.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'gpubp.data' has no attribute {name!r}")
