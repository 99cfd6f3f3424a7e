"""What the figures of a run should be, and which of them are: written beside the figures."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..probes import Result

LEAST_SHARE = 0.85
"""Of the bandwidth of a copy, and of the rate of a large product, both of the same run."""
LEAST_RATIO = 1.0
"""As fast as the best peer."""
PART_OF = {"small", "ensembles", "scaling"}
"""The parts that are contests with peers."""


class Target(NamedTuple):
    """`measured` is None where there is no figure, and `met` with it."""

    part: str
    what: str
    wanted: float
    measured: float | None

    def as_dict(self, counts: bool) -> Result:
        met = None if self.measured is None or not counts else self.measured >= self.wanted
        return {**self._asdict(), "met": met}


def judged(parts: dict[str, Result], dry: bool) -> list[Result]:
    """Return each target with what was measured; nothing is met or missed without a GPU.

    >>> tanh = {"share_of_copy": 0.9}
    >>> judged({"kernels": {"results": {"tanh": tanh}}}, dry=False)[0]["met"]
    True
    """
    found: list[Target] = []
    for part, result in parts.items():
        rows = result.get("results", {})
        if part in ("agreement", "capture"):
            found += [Target(part, f"{name}: agrees", 1.0, _agrees(row))
                      for name, row in rows.items()]  # fmt: skip
        elif part == "kernels":
            found += [Target(part, f"{name}: share of a copy", LEAST_SHARE,
                             row.get("share_of_copy"))
                      for name, row in rows.items() if name != "copy"]  # fmt: skip
        elif part == "large":
            found += [Target(part, f"{name}: share of a product", LEAST_SHARE, row.get("share"))
                      for name, row in rows.items() if _ours(name)]  # fmt: skip
        if part in PART_OF or part == "large":
            found += [Target(part, f"{name}: to the best peer", LEAST_RATIO,
                             row.get("ratio_to_best_peer"))
                      for name, row in rows.items() if _ours(name)]  # fmt: skip
    return [target.as_dict(not dry) for target in found]


def _ours(name: str) -> bool:
    return name.endswith(": gpubp compiled")


def _agrees(row: Result) -> float:
    return 0.0 if "error" in row else 1.0


def add_shares(parts: dict[str, Result]) -> None:
    """Put beside each rate of the large networks its share of that of a large product."""
    ceilings: dict[str, Any] = parts.get("ceilings", {}).get("results", {})
    for row in parts.get("large", {}).get("results", {}).values():
        rate = ceilings.get(f"product {row.get('precision')}", {}).get("tflop_per_s")
        if rate and "tflop_per_s" in row:
            row["share"] = round(row["tflop_per_s"] / rate, 3)
