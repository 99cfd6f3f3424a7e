"""What a file holds, before anything of it is made a feature: named columns, or arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import InputError, nearest


@dataclass(frozen=True)
class Table:
    """Named columns of equal length, and what they were read from.

    A column is a NumPy array `(n,)`: float64 where every entry is a number, with NaN for what is
    missing, otherwise of dtype object, with texts and None for what is missing. Row r of a table
    is called row r + 1 in messages, as its reader counts, a header not counted.

    >>> import numpy as np
    >>> table = Table({"age": np.asarray([31.0, np.nan]), "town": np.asarray(["Ulm", None])}, "a")
    >>> len(table), list(table.columns), table["age"].tolist()
    (2, ['age', 'town'], [31.0, nan])
    """

    columns: Mapping[str, Any]
    source: str = "the table"

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"{self.source}: the columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Any:
        if name not in self.columns:
            raise InputError(f"{self.source} has no column {name!r}; {nearest(name, self.columns)}")
        return self.columns[name]

    def rows(self, chosen: Any) -> Table:
        """Return the rows that an index array or a mask `(n,)` chooses.

        >>> import numpy as np
        >>> Table({"a": np.asarray([1.0, 2.0, 3.0])}).rows([2, 0])["a"].tolist()
        [3.0, 1.0]
        """
        return Table({name: c[chosen] for name, c in self.columns.items()}, self.source)

    def without(self, *names: str) -> Table:
        """Return the other columns.

        >>> import numpy as np
        >>> list(Table({"a": np.zeros(1), "b": np.zeros(1)}).without("a").columns)
        ['b']
        """
        left = {name: column for name, column in self.columns.items() if name not in names}
        return Table(left, self.source)


class Arrays(NamedTuple):
    """Examples `(n, *shape)` and targets `(n, ...)` of a file; None for what it does not hold.

    Arrays are memory-mapped where the file allows it. `x_test` and `y_test` are there where the
    file or folder has a test part of its own.

    >>> import numpy as np
    >>> Arrays(np.zeros((3, 28, 28), dtype=np.uint8)).y is None
    True
    """

    x: Any
    y: Any = None
    x_test: Any = None
    y_test: Any = None
    source: str = "the arrays"
