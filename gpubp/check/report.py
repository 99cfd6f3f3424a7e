"""What a check found, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison: `what` on `path`, the largest `error` and what rounding explains.

    >>> Row("cpu", "float64", "output of 0", 1e-13, 1e-12).ok
    True
    """

    backend: str
    dtype: str
    what: str
    error: float
    tolerance: float

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
            "backend": self.backend,
            "dtype": self.dtype,
            "what": self.what,
            "error": self.error if math.isfinite(self.error) else None,
            "tolerance": self.tolerance,
            "multiple": self.multiple if math.isfinite(self.multiple) else None,
            "ok": self.ok,
        }


@dataclass(frozen=True)
class Report:
    """All rows of a check, with remarks such as a broken rule of tracing.

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
        wide = max((len(row.what) for row in self.rows), default=4)
        lines = [f"{'':{wide}}  {'backend':28} {'dtype':8} {'error':>9} {'x tolerance':>12}"]
        lines += [
            f"{row.what:{wide}}  {row.backend:28} {row.dtype:8} {row.error:9.1e} "
            f"{row.multiple:12.3f}{'' if row.ok else '  DISAGREES'}"
            for row in self.rows
        ]
        lines += self.remarks
        if self.broken_rule is not None:
            lines.append(f"not traceable, so it runs on the plain path: {self.broken_rule}")
        wrong = sum(not row.ok for row in self.rows)
        lines.append(f"{len(self.rows)} comparisons, {wrong} beyond tolerance")
        return "\n".join(lines)
