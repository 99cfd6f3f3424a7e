"""Features that are categories: whole numbers 0..n-1 in a network's own floating type."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend import Array, Backend
from .errors import InputError

_BLOCK = 1 << 20  # elements looked at in one go


def check_categories(
    be: Backend, x: Array, categories: tuple[int, ...], name: str, rows: Any = None
) -> None:
    """Raise `InputError` that names the first value of `x` which is no category of its feature.

    `x` is `(n, *shape)`; `categories` says of each feature of the flattened shape how many there
    are, 0 for a number. `rows` are the numbers of the rows where these are not 0, 1, ...

    >>> import gpubp
    >>> check_categories(gpubp.select("cpu"), np.asarray([[0.5, 1.0], [0.5, 2.0]]), (0, 2), "x")
    Traceback (most recent call last):
    gpubp.errors.InputError: x[1, 1] is 2; that feature is a category, 0..1
    """
    columns = [i for i, n in enumerate(categories) if n]
    counts = [categories[i] for i in columns]
    chosen, most = be.asarray(np.asarray(columns), "int64"), be.asarray(np.asarray(counts))
    size = max(1, _BLOCK // len(categories))
    for start in range(0, x.shape[0], size):
        block: Any = be.asarray(x[start : min(start + size, x.shape[0]), ...])
        flat = be.xp.reshape(block, (block.shape[0], len(categories)))
        given = be.xp.take(flat, chosen, axis=1)
        sound = (given >= 0.0) & (given < most) & (given == be.xp.floor(given))
        if bool(be.xp.all(sound)):
            continue
        row, column = (int(i) for i in np.argwhere(~be.to_numpy(sound))[0])
        place = np.unravel_index(columns[column], tuple(x.shape[1:]))
        number = start + row if rows is None else int(rows[start + row])
        where = ", ".join(str(int(i)) for i in [number, *place])  # type: ignore[call-overload]
        raise InputError(
            f"{name}[{where}] is {be.to_numpy(given)[row, column]:.9g}; that feature is a "
            f"category, 0..{counts[column] - 1}"
        )
