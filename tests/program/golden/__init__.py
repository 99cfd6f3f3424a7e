"""Programs as text, to be read: `python -m tests.program.golden` writes them anew.

A change of the planner or the generator changes them: look whether it is the one that was meant.
"""

from __future__ import annotations

from pathlib import Path

from gpubp.program.c_program import unit
from gpubp.program.program import build
from tests.program.recorded import NETWORKS, recording

FOLDER = Path(__file__).parent


def texts() -> dict[str, str]:
    """The files by name: the values of the first phase, and the text of the whole step."""
    found: dict[str, str] = {}
    for name in NETWORKS:
        recorded = recording(name)
        found[f"{name}.values.txt"] = "".join(
            f"{value}\n" for phase in recorded.phases for value in phase.graph.values
        )
        program = build(recorded.phases, recorded.precision, 1)
        found[f"{name}.step.txt"] = unit(program, name).text
    return found
