"""What is said on standard error beside the results."""

from __future__ import annotations

import sys

from ..errors import shown


def say(text: str) -> None:
    """Tell a choice on standard error."""
    print(text, file=sys.stderr)


def unknown_text(found: dict[str, dict[str, int]]) -> list[str]:
    """Return a line for each column that holds what no training row held.

    >>> unknown_text({"town": {"Rom": 2, "Oslo": 1}})
    ["column 'town': no training row held 'Rom', 'Oslo' (3 rows); they count as none of the \
categories"]
    """
    lines = []
    for name, entries in found.items():
        first = ", ".join(shown(text) for text in list(entries)[:5])
        more = f" and {len(entries) - 5:,} others" if len(entries) > 5 else ""
        rows = f"{sum(entries.values()):,} rows"
        lines.append(f"column {shown(name)}: no training row held {first}{more} ({rows}); they "
                     "count as none of the categories")  # fmt: skip
    return lines
