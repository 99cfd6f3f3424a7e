"""What training rows say about columns, arrays and targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError, shown, whole
from . import outcomes, raw, statistics
from .chosen import row
from .decimal_commas import comma
from .encoders import Categorical, Numeric, Pixels, Standardised
from .outcomes import Classes, Numbers
from .table import Table

TASKS = dict.fromkeys(("classification", "regression"))
IMPUTE = dict.fromkeys(("mean", "median", "most_frequent"))

TRAINED_WITHOUT = "the network was trained on complete rows: complete these, or train with impute="
_REMEDY = (
    "fill such entries by impute='mean', 'median' or 'most_frequent' (--impute), leave out the "
    "columns (--drop), or the rows"
)
_MOSTLY = 0.75  # a column with a larger share of distinct texts names its rows


def complete(table: Table, names: list[str], remedy: str) -> None:
    """Raise `InputError` that names the first missing entry, and counts the others.

    >>> complete(Table({"a": np.asarray([1.0, np.nan])}), ["a"], "fill it")
    Traceback (most recent call last):
    gpubp.errors.InputError: the table: row 2, column 'a' has no entry; fill it
    """
    first, total, held = None, 0, []
    for name in names:
        where = raw.place(table, name)
        gone = raw.missing(raw.column(table[name], where, table.numbers))
        at = np.flatnonzero(gone) if table.numbers is None else np.sort(table.numbers[gone])
        if len(at):
            first = (at[0], name) if first is None or at[0] < first[0] else first
            total += len(at)
            held.append(name)
    if first is None:
        return
    number, name = first
    others = ""
    if total > 1:
        where = shown(held[0]) if len(held) == 1 else f"{len(held)} columns"
        counted = "has 1 other" if total == 2 else f"have {total - 1:,} others"
        others = f", nor {counted} in {where}"
    raise InputError(f"{table.source}: {row(number)}, column {shown(name)} has no entry{others}; "
                     f"{remedy}")  # fmt: skip


def columns_of(
    table: Table, target: str | None, impute: str | None, limit: int, rows: Any
) -> tuple[Numeric | Categorical, ...]:
    """Return the encoder of each column but the target's."""
    if not whole(limit) or limit < 1:
        raise InputError(f"one_hot_limit is {limit!r}; expected a whole number of at least 1")
    names = [name for name in table.columns if name != target]
    if not names:
        raise InputError(f"{table.source}: there is no column to learn from beside the target")
    if not len(table) or (rows is not None and not len(rows)):
        raise InputError(f"{table.source}: there is no row to learn from")
    if impute is None:
        complete(table, names, _REMEDY)
    return tuple(_column(table, name, impute, limit, rows) for name in names)


def _column(
    table: Table, name: str, impute: str | None, limit: int, rows: Any
) -> Numeric | Categorical:
    where = raw.place(table, name)
    entries = raw.column(table[name], where, table.numbers)
    entries = entries if rows is None else entries[rows]
    if raw.missing(entries).all():
        raise InputError(
            f"{where} has no entry in any training row; leave it out (--drop {shown(name)})"
        )
    if entries.dtype.kind == "f":
        found = statistics.moments(entries)
        mean, scale = float(found.means[0]), float(found.scales[0])
        if impute is None:
            return Numeric(name, mean, scale)
        return Numeric(name, mean, scale, float(statistics.fills(entries, impute, [mean])[0]))
    texts = entries[~raw.missing(entries)]
    counts: dict[str, int] = {}
    for text in texts.tolist():
        counts[text] = counts.get(text, 0) + 1
    refuse_commas(table, name, counts)
    if len(counts) > limit or (len(counts) > outcomes.FEW and len(counts) > _MOSTLY * len(texts)):
        raise InputError(_too_many(where, name, counts, len(texts), limit))
    categories = tuple(sorted(counts))
    most = None if impute is None else max(categories, key=counts.__getitem__)
    return Categorical(name, categories, most)


def refuse_commas(table: Table, name: str, counts: Mapping[str, int]) -> None:
    """Raise `InputError` for texts that are numbers with decimal commas, unless they are to be.

    >>> refuse_commas(Table({}), "a", {"1,5": 1, "2": 1})
    Traceback (most recent call last):
    gpubp.errors.InputError: the table: column 'a' holds numbers with decimal commas, such as \
'1,5'; read it with decimal=',', or save it with points; for categories name it in text=['a'] \
(--text a)
    """
    found = None if name in table.texts else comma(counts)
    if found is not None:
        raise InputError(
            f"{table.source}: column {name!r} holds numbers with decimal commas, such as {found!r};"
            " read it with decimal=',', or save it with points; for categories name it in "
            f"text=[{name!r}] (--text {name})"
        )


def _too_many(where: str, name: str, counts: dict[str, int], n: int, limit: int) -> str:
    parsed = sum(count for text, count in counts.items() if _is_number(text))
    if 2 * parsed > n:
        bad = shown(next(text for text in counts if not _is_number(text)))
        return (f"{where} holds {parsed:,} numbers and {n - parsed:,} texts such as {bad}; mend "
                f"these, or leave the column out (--drop {shown(name)})")  # fmt: skip
    why = f"more than {limit:,} categories" if len(counts) > limit else "names its rows"
    return (f"{where} holds {len(counts):,} different texts in {n:,} rows: {why}; leave it out "
            f"(--drop {shown(name)})")  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def array_of(given: Any, where: str, impute: str | None, rows: Any) -> Pixels | Standardised:
    """Return the encoder of an array `(n, *shape)`, looked at block by block."""
    x = raw.as_array(given, where)
    if not len(x) or (rows is not None and not len(rows)):
        raise InputError(f"{where} has no row to learn from")
    if x.dtype == np.uint8:
        return Pixels(x.shape[1:])
    for start, block in statistics.blocks(x):
        bad = ~np.isfinite(block) if impute is None else np.isinf(block)
        if bad.any():
            at, feature = np.argwhere(bad)[0].tolist()
            hint = "; fill what is missing by impute='mean' (--impute mean)"
            raise InputError(
                f"{where}: {row(start + at)}, feature {feature + 1} is {block[at, feature]}"
                + (hint if np.isnan(block[at, feature]) else "; expected finite numbers")
            )
    found = statistics.moments(x, rows)
    empty = np.flatnonzero(found.counts == 0)
    if len(empty):
        raise InputError(f"{where}: feature {empty[0] + 1} has no entry in any training row")
    fills = None
    if impute is not None:
        fills = tuple(statistics.fills(x, impute, found.means, rows).tolist())
    return Standardised(x.shape[1:], tuple(found.means.tolist()), tuple(found.scales.tolist()),
                        fills)  # fmt: skip


def outputs_of(
    name: str, y: Any, where: str, task: str | None, centre: bool, called: Any = None
) -> Any:
    """Return the classes or the numbers of a target; `called` are the numbers of its rows."""
    if task is None:
        task = "classification" if outcomes.is_classes(y, where, called)[0] else "regression"
    if task == "classification":
        return Classes.of(name, y, where, called)
    numbers = outcomes.numbers_of(y, where, called)
    if not centre:
        sizes = np.abs(numbers).mean(axis=0)
        scales = np.where(sizes > 0.0, sizes, 1.0)
        return Numbers(name, (0.0,) * len(scales), tuple(scales.tolist()))
    found = statistics.moments(numbers)
    return Numbers(name, tuple(found.means.tolist()), tuple(found.scales.tolist()))
