"""What a check found, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison: `what` on `backend`, the largest `error` and what rounding explains.

    `group` is what it belongs to in a check of many things; `note` says more where it disagrees.

    >>> Row("cpu", "float64", "output of 0", 1e-13, 1e-12).ok
    True
    """

    backend: str
    dtype: str
    what: str
    error: float
    tolerance: float
    group: str = ""
    note: str = ""

    @property
    def multiple(self) -> float:
        """The error in units of the tolerance; above 1 is a disagreement."""
        return self.error / self.tolerance

    @property
    def ok(self) -> bool:
        return math.isfinite(self.error) and self.error <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data; an infinite error is null, as JSON has none."""
        return {
            "group": self.group,
            "backend": self.backend,
            "dtype": self.dtype,
            "what": self.what,
            "error": self.error if math.isfinite(self.error) else None,
            "tolerance": self.tolerance,
            "multiple": self.multiple if math.isfinite(self.multiple) else None,
            "ok": self.ok,
            "note": self.note,
        }


@dataclass(frozen=True)
class Report:
    """All rows of a check, with remarks such as a device that is not here.

    >>> report = Report((Row("cpu", "float64", "gradient of W", 1.0, 1e-7),))
    >>> report.ok
    False
    """

    rows: Sequence[Row]
    remarks: Sequence[str] = ()
    broken_rule: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every row is within its tolerance; a broken rule alone is no disagreement."""
        return all(row.ok for row in self.rows)

    def __str__(self) -> str:
        """A table of all rows."""
        return "\n".join([*_table(self.rows), *self._end()])

    def summary(self) -> str:
        """A line for each group and backend with its worst row, and all rows that disagree.

        >>> row = Row("cpu", "float64", "output of 0", 1e-13, 1e-12, group="layers")
        >>> print(Report((row,)).summary().splitlines()[1])
        layers  cpu                          float64     1        0.100  output of 0
        """
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.group, row.backend, row.dtype), []).append(row)
        wide = max((len(group) for group, _, _ in groups), default=4)
        lines = [f"{'':{wide}}  {'backend':28} {'dtype':8} rows  x tolerance  of"]
        for (group, backend, dtype), rows in groups.items():
            worst = max(rows, key=lambda row: (not row.ok, row.multiple))
            lines.append(
                f"{group:{wide}}  {backend:28} {dtype:8} {len(rows):4} {_shown(worst.multiple)}  "
                f"{worst.what}{'' if worst.ok else '  DISAGREES'}"
            )
        wrong = [row for row in self.rows if not row.ok]
        return "\n".join([*lines, *(["", *_table(wrong)] if wrong else []), *self._end()])

    def _end(self) -> list[str]:
        lines = list(self.remarks)
        if self.broken_rule is not None:
            lines.append(f"not traceable, so it runs on the plain path: {self.broken_rule}")
        wrong = sum(not row.ok for row in self.rows)
        return [*lines, f"{len(self.rows)} comparisons, {wrong} beyond tolerance"]


def _table(rows: Iterable[Row]) -> list[str]:
    rows = list(rows)
    wide = max((len(row.what) for row in rows), default=4)
    lines = [f"{'':{wide}}  {'backend':28} {'dtype':8} {'error':>9} {'x tolerance':>12}"]
    for row in rows:
        told = f"  DISAGREES{': ' if row.note else ''}{row.note}" if not row.ok else ""
        lines.append(
            f"{row.what:{wide}}  {row.backend:28} {row.dtype:8} {row.error:9.1e} "
            f"{_shown(row.multiple)}{told}"
        )
    return lines


def _shown(multiple: float) -> str:
    return f"{multiple:12.3f}" if multiple < 1e6 else f"{multiple:12.1e}"
