"""What a file holds, before anything of it is made a feature: named columns, or arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..errors import InputError, nearest, shown
from .chosen import chosen, numbers_of
from .on_host import array


@dataclass(frozen=True)
class Table:
    """Named columns of equal length, and what they were read from.

    A column is a NumPy array `(n,)`: float64 where every entry is a number, with NaN for what is
    missing, otherwise of dtype object, with texts and None for what is missing. Row r of a table
    is called row r + 1 in messages, as its reader counts, a header not counted; of rows that were
    chosen `numbers` says which they were. `texts` names columns that are texts because somebody
    said so, even if they look like numbers.

    >>> import numpy as np
    >>> table = Table({"age": np.asarray([31.0, np.nan]), "town": np.asarray(["Ulm", None])}, "a")
    >>> len(table), list(table.columns), table["age"].tolist()
    (2, ['age', 'town'], [31.0, nan])
    """

    columns: Mapping[str, Any]
    source: str = "the table"
    numbers: Any = field(default=None, repr=False, compare=False)
    texts: Collection[str] = ()

    def __post_init__(self) -> None:
        columns = {n: array(c, f"{self.source}: column {n!r}") for n, c in self.columns.items()}
        for name, column in columns.items():
            if not column.ndim:
                raise InputError(f"{self.source}: column {name!r} is {shown(self.columns[name])}; "
                                 "expected an entry for each row")  # fmt: skip
        object.__setattr__(self, "columns", columns)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"{self.source}: the columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Any:
        if name not in self.columns:
            raise InputError(f"{self.source} has no column {name!r}; {nearest(name, self.columns)}")
        return self.columns[name]

    def rows(self, rows: Any) -> Table:
        """Return the rows that an index array or a mask `(n,)` chooses; they keep their numbers.

        >>> import numpy as np
        >>> Table({"a": np.asarray([1.0, 2.0, 3.0])}).rows([2, 0])["a"].tolist()
        [3.0, 1.0]
        """
        at = chosen(rows, len(self), f"{self.source}: rows")
        columns = {name: column[at] for name, column in self.columns.items()}
        return replace(self, columns=columns, numbers=numbers_of(self.numbers, at))

    def only(self, names: Iterable[str]) -> Table:
        """Return these columns.

        >>> import numpy as np
        >>> list(Table({"a": np.zeros(1), "b": np.zeros(1)}).only(["b"]).columns)
        ['b']
        """
        return replace(self, columns={name: self[name] for name in names})

    def without(self, *names: str) -> Table:
        """Return the other columns.

        >>> import numpy as np
        >>> list(Table({"a": np.zeros(1), "b": np.zeros(1)}).without("a").columns)
        ['b']
        """
        left = {name: column for name, column in self.columns.items() if name not in names}
        return replace(self, columns=left)


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
