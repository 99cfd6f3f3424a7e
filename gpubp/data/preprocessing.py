"""From raw data to what a network sees: fitted on training rows alone, kept with the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..backend import DTYPES
from ..errors import InputError, named, nearest, shown
from . import fitted, plain, raw
from .chosen import chosen, numbers_of
from .encoders import Categorical, Encoder, Numeric, Pixels, Standardised
from .on_host import array
from .outcomes import Classes, Numbers
from .table import Arrays, Table

Inputs = tuple[Numeric | Categorical, ...] | Pixels | Standardised
_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Numeric, Categorical, Pixels, Standardised, Classes, Numbers)
}


@dataclass(frozen=True)
class Preprocessing:
    """What is done to raw data, as plain numbers and names; `fit` makes it of training rows.

    `inputs` says how columns, or an array, become features; `outputs` what the target is, None
    where there is none. Equal ones do the same.

    >>> import gpubp
    >>> table = Table({
    ...     "age": [20.0, 40.0, 30.0, 50.0], "town": ["Ulm", "Bonn", "Ulm", "Ulm"],
    ...     "bought": ["no", "yes", "no", "yes"],
    ... })
    >>> prep = Preprocessing.fit(table, target="bought")
    >>> prep.task, prep.classes, prep.names
    ('classification', ['no', 'yes'], ('age', 'town=Bonn', 'town=Ulm'))
    >>> net = gpubp.Network(gpubp.MLP([8], len(prep.classes)), inputs=prep.width)
    >>> _ = net.fit(prep.features(table), prep.targets(table), epochs=100, batch_size=4)
    >>> prep.decode(net.predict_class(prep.features(table))).tolist()
    ['no', 'yes', 'no', 'yes']
    """

    inputs: Inputs
    outputs: Classes | Numbers | None = None

    def __post_init__(self) -> None:
        if isinstance(self.inputs, Pixels | Standardised):
            return
        if not self.inputs:
            raise InputError("there is no column to learn from")
        plain.distinct("Preprocessing", "columns", tuple(column.name for column in self.inputs))

    @classmethod
    def fit(
        cls,
        data: Any,
        target: str | None = None,
        *,
        task: str | None = None,
        impute: str | None = None,
        one_hot_limit: int = 1000,
        rows: Any = None,
        centre: bool = True,
    ) -> Preprocessing:
        """Return what the training rows say: nothing else is looked at but for missing entries.

        `data` is a `Table` (or a mapping of columns, or a data frame), whose other columns than
        `target` become features, or `Arrays` or a pair `(x, y)`. `rows` are the training rows
        in it, an index array or a mask `(n,)`; all if None. Numbers are standardised by mean and
        population deviation, texts become one feature for each category, arrays of uint8 are
        divided by 255.

        `task` is `"classification"` or `"regression"`; None: texts, booleans and few distinct
        whole numbers are classes. `impute` fills what is missing by the training rows'
        `"mean"`, `"median"` or `"most_frequent"`, and texts by the most frequent; None: a missing
        entry is an error. The numbers of a target are standardised too; without `centre` they are
        divided by their mean magnitude, so that counts stay positive, as `Poisson` needs them.

        Raises `InputError` that names file, row and column.
        """
        named("task", "classification" if task is None else task, fitted.TASKS)
        if impute is not None:
            named("impute", impute, fitted.IMPUTE)
        table = raw.as_table(data)
        y, where, called = None, f"the target {target!r}", None
        if table is not None:
            called = table.numbers
            rows = None if rows is None else chosen(rows, len(table))
            if target is not None:
                y, where = table[target], raw.place(table, target)
            inputs: Any = fitted.columns_of(table, target, impute, one_hot_limit, rows)
        else:
            data = data if isinstance(data, Arrays) else Arrays(*pair_of(data))
            x = raw.as_array(data.x, f"{data.source}: x")
            rows = None if rows is None else chosen(rows, len(x))
            inputs = fitted.array_of(x, f"{data.source}: x", impute, rows)
            y, where, target = data.y, f"{data.source}: y", target or "y"
        if y is None:
            return cls(inputs)
        y, called = array(y, where), numbers_of(called, rows)
        if table is None and y.shape[:1] != x.shape[:1]:
            held = f"has {len(y)}" if y.ndim else "is a single value"
            raise InputError(f"{data.source}: x has {len(x)} rows and y {held}; expected a target "
                             "for each")  # fmt: skip
        some = y if rows is None else y[rows]
        if table is not None and some.dtype.kind == "O":
            texts = Counter(entry for entry in some.tolist() if isinstance(entry, str))
            fitted.refuse_commas(table, str(target), texts)
        return cls(inputs, fitted.outputs_of(str(target), some, where, task, centre, called))

    # -- features ------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """How many features a network gets."""
        if isinstance(self.inputs, tuple):
            return sum(column.width for column in self.inputs)
        return self.inputs.width

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each feature; `town=Ulm` for a category of a column."""
        if isinstance(self.inputs, tuple):
            return tuple(name for column in self.inputs for name in column.names)
        return self.inputs.names

    def column_names(self, kind: type[Encoder] | None = None) -> tuple[str, ...]:
        """Return the names of the columns that are read, of one kind or of all; () for arrays."""
        if not isinstance(self.inputs, tuple):
            return ()
        return tuple(c.name for c in self.inputs if kind is None or isinstance(c, kind))

    def features(self, data: Any, rows: Any = None, dtype: str = "float32") -> Any:
        """Return the features `(n, width)` of the (chosen) rows of a table or an array.

        Columns are found by name, in any order; others, the target's too, are left alone. `rows`
        is an index array or a mask `(n,)`.
        Raises `InputError` for a column that is not there and for an entry that cannot be used.
        """
        named("dtype", dtype, dict.fromkeys(DTYPES))
        if not isinstance(self.inputs, tuple):
            where = f"{data.source}: x" if isinstance(data, Arrays) else "x"
            x = self._array(data, where)
            rows = None if rows is None else chosen(rows, len(x))
            return self.inputs.encode(x if rows is None else x[rows], where, dtype, rows)
        table = self._table(data)
        if rows is not None:
            table = table.only(self.column_names()).rows(rows)
        fitted.complete(table, self._unfilled(), fitted.TRAINED_WITHOUT)
        out, start = np.empty((len(table), self.width), dtype=dtype), 0
        for encoder in self.inputs:
            where = raw.place(table, encoder.name)
            column = raw.column(table[encoder.name], where, table.numbers)
            stop = start + encoder.width
            encoder.encode(column, where, out[:, start:stop], table.numbers)
            start = stop
        return out

    def unknown(self, data: Any) -> dict[str, dict[str, int]]:
        """Return what no training row held: by column, each category and how often it occurs.

        >>> prep = Preprocessing((Categorical("town", ("Bonn", "Ulm")),))
        >>> prep.unknown({"town": ["Ulm", "Rom", "Rom"]})
        {'town': {'Rom': 2}}
        """
        if not isinstance(self.inputs, tuple):
            return {}
        table, found = self._table(data), {}
        for encoder in self.inputs:
            if isinstance(encoder, Categorical):
                where = raw.place(table, encoder.name)
                column = raw.column(table[encoder.name], where, table.numbers)
                entries = encoder.unknown(column, where)
                found[encoder.name] = {text: n for text, n in entries.items() if text is not None}
        return {name: entries for name, entries in found.items() if entries}

    def _unfilled(self) -> list[str]:
        return [c.name for c in self.inputs if c.fill is None]  # type: ignore[union-attr]

    def _table(self, data: Any) -> Table:
        table = raw.as_table(data)
        if table is None:
            known = _listed(self.column_names())
            raise InputError(f"expected a table with the columns {known}, as in training, not an "
                             "array")  # fmt: skip
        absent = [name for name in self.column_names() if name not in table.columns]
        if absent:
            others = f" and {len(absent) - 1} more that the network" if absent[1:] else ", which it"
            lacks = f"{table.source} has no column {shown(absent[0])}"
            raise InputError(f"{lacks}{others} was trained on; {nearest(absent[0], table.columns)}"
                             )  # fmt: skip
        return table

    def _array(self, data: Any, where: str) -> Any:
        assert not isinstance(self.inputs, tuple)
        if raw.as_table(data) is not None:
            raise InputError("expected an array, as in training, not a table with columns")
        x, shape = raw.as_array(data, where), self.inputs.shape
        if x.shape[1:] not in (shape, (self.width,)):
            raise InputError(f"{where} has shape {x.shape}; expected (n, {_lengths(shape)}), as in "
                             "training")  # fmt: skip
        return x

    # -- targets -------------------------------------------------------------------------------

    @property
    def task(self) -> str | None:
        """`"classification"`, `"regression"`, or None without a target."""
        if self.outputs is None:
            return None
        return "classification" if isinstance(self.outputs, Classes) else "regression"

    @property
    def target(self) -> str | None:
        """The name of the target."""
        return None if self.outputs is None else self.outputs.name

    @property
    def classes(self) -> list[Any] | None:
        """The classes as they were given, in the order of the outputs; None for numbers."""
        return list(self.outputs.names) if isinstance(self.outputs, Classes) else None

    def targets(self, data: Any, rows: Any = None) -> Any:
        """Return int64 labels `(n,)`, or standardised numbers `(n, k)` float64.

        `data` is a table or `Arrays` that holds the target, or the target itself; `rows`, an index
        array or a mask `(n,)`, chooses some of its rows.
        """
        if self.outputs is None:
            raise InputError("this preprocessing was fitted without a target")
        y, where = self.target_of(data)
        if y is None:
            raise InputError(f"{where}: there is no target")
        y, numbers = array(y, where), data.numbers if isinstance(data, Table) else None
        if rows is not None:
            rows = chosen(rows, len(y) if y.ndim else 0)
            y, numbers = y[rows], numbers_of(numbers, rows)
        if isinstance(self.outputs, Classes):
            return self.outputs.labels(y, where, numbers)
        return self.outputs.standardised(y, where, numbers)

    def target_of(self, data: Any) -> tuple[Any, str]:
        """Return the raw target in a table or arrays, or what was given, and what to call it."""
        table = raw.as_table(data)
        if table is not None:
            return table[str(self.target)], raw.place(table, str(self.target))
        if isinstance(data, Arrays):
            return data.y, f"{data.source}: y"
        return array(data, str(self.target)), f"the target {self.target!r}"

    def decode(self, labels: Any) -> Any:
        """Return the class of each label; `InputError` where the target is no class."""
        if not isinstance(self.outputs, Classes):
            raise InputError("the target is no class: use values")
        return self.outputs.decode(labels)

    def values(self, y_hat: Any) -> Any:
        """Return outputs `(..., n, k)` in the target's own unit; `(..., n)` of one number."""
        if not isinstance(self.outputs, Numbers):
            raise InputError("the target is no number: use decode")
        return self.outputs.values(y_hat)

    # -- plain data ----------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON takes it; `rebuild` makes an equal one of it."""
        several = isinstance(self.inputs, tuple)
        inputs = [c.plain() for c in self.inputs] if several else self.inputs.plain()  # type: ignore[union-attr]
        outputs = None if self.outputs is None else self.outputs.plain()
        return {"inputs": inputs, "outputs": outputs}

    @classmethod
    def rebuild(cls, given: Any) -> Preprocessing:
        """Return what `plain` described; `InputError` for anything else, whoever wrote it.

        >>> prep = Preprocessing((Numeric("age", 40.0, 10.0),))
        >>> Preprocessing.rebuild(prep.plain()) == prep
        True
        """
        told = plain.parts("Preprocessing", given, ["inputs", "outputs"])
        if isinstance(told["inputs"], list):
            inputs: Any = plain.several("Preprocessing", "inputs", told["inputs"], _column)
        else:
            inputs = _encoder(told["inputs"], ("Pixels", "Standardised"))
        if told["outputs"] is None:
            return cls(inputs)
        return cls(inputs, _encoder(told["outputs"], ("Classes", "Numbers")))


def _column(kind: str, name: str, given: Any) -> Any:
    return _encoder(given, ("Numeric", "Categorical"))


def _encoder(given: Any, allowed: tuple[str, ...]) -> Any:
    if not isinstance(given, Mapping):
        raise InputError(f"Preprocessing: expected a mapping with the type {' or '.join(allowed)}")
    kind = named("type", given.get("type"), {name: _KINDS[name] for name in allowed})
    return kind(**plain.parts(kind.__name__, given, [field.name for field in fields(kind)]))


def pair_of(data: Any) -> tuple[Any, Any]:
    """Return `(x, y)` of a pair; `(x, None)` of an array.

    >>> pair_of(np.zeros((2, 3)))[1] is None
    True
    """
    if isinstance(data, tuple):
        if len(data) != 2:
            raise InputError(f"expected a pair (x, y), not {len(data)} things")
        return data
    return data, None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(shown, names[:5])) + (", ..." if len(names) > 5 else "")


def _lengths(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
