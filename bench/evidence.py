"""Which kernels have run on a GPU as they are now: the ledger of evidence.

    python -m bench.evidence [--json] [--report] [--results FOLDER]

The texts of all kernels are made afresh: those of the compiled steps that `bench.gpu` trains, and
those that `gpubp check` launches one by one. Each is looked for in the results of runs on a GPU, by
its SHA-256. It is fresh where this very text has run, and stale where only another one has under
its name. The exit code is 1 when something is stale, 0 otherwise and always with `--report`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .kernel_texts import fingerprint

RESULTS = Path(__file__).resolve().parent / "results"
FRESH, STALE, NEVER = "fresh", "stale", "not yet run on a GPU"


class Run(NamedTuple):
    """Where a kernel was recorded: the file of results, the device, the date and the commit."""

    file: str
    device: str
    date: str
    commit: str

    def __str__(self) -> str:
        return f"{self.device}, {self.date[:10]}, {self.commit}, {self.file}"


@dataclass(frozen=True)
class Entry:
    """What is known of a kernel; `run` is the last one of this text, or of its name if stale."""

    name: str
    sha256: str
    state: str
    run: Run | None

    def as_dict(self) -> dict[str, Any]:
        run = None if self.run is None else self.run._asdict()
        return {"name": self.name, "sha256": self.sha256, "state": self.state, "run": run}


def recorded(folder: Path) -> list[tuple[str, str, Run]]:
    """Return name, fingerprint and run of each kernel that results on a GPU tell of, oldest first.

    A result that is an error is evidence of nothing.
    """
    found: list[tuple[str, str, Run]] = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        device = result.get("device") if isinstance(result, dict) else None
        if not isinstance(device, dict) or device.get("kind") != "cuda":
            continue
        run = Run(path.name, str(device.get("name")), str(result.get("date")),
                  str(result.get("commit")))  # fmt: skip
        found += [(name, sha, run) for name, sha in _kernels(result)]
    return sorted(found, key=lambda entry: entry[2].date)


def _kernels(result: Any) -> Iterator[tuple[str, str]]:
    """Every kernel that is recorded anywhere in a result."""
    if isinstance(result, list):
        for part in result:
            yield from _kernels(part)
    elif isinstance(result, dict) and "error" in result and "kernels" in result:
        return
    elif isinstance(result, dict):
        for key, part in result.items():
            if key == "kernels" and isinstance(part, dict) and _are_fingerprints(part):
                yield from part.items()
            else:
                yield from _kernels(part)


def _are_fingerprints(part: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in part.values())


def ledger(texts: Mapping[str, str], runs: Sequence[tuple[str, str, Run]]) -> list[Entry]:
    """Return the state of each kernel, given its text now and what was recorded.

    >>> run = Run("gpu.json", "a card", "2026-01-02", "abc")
    >>> [e.state for e in ledger({"a": "x", "b": "y"}, [("a", fingerprint("x"), run)])]
    ['fresh', 'not yet run on a GPU']
    >>> ledger({"a": "x, another"}, [("a", fingerprint("x"), run)])[0].state
    'stale'
    """
    by_text = {sha: run for _, sha, run in runs}
    by_name = {name: run for name, _, run in runs}
    found = []
    for name, text in texts.items():
        sha = fingerprint(text)
        if sha in by_text:
            found.append(Entry(name, sha, FRESH, by_text[sha]))
        elif name in by_name:
            found.append(Entry(name, sha, STALE, by_name[name]))
        else:
            found.append(Entry(name, sha, NEVER, None))
    return found


def lines(entries: Sequence[Entry]) -> list[str]:
    """Return the ledger as lines of text, and how many kernels are in which state."""
    said = [
        f"{entry.name}: {entry.state}" + ("" if entry.run is None else f" ({entry.run})")
        for entry in entries
    ]
    counted = Counter(entry.state for entry in entries)
    counts = ", ".join(f"{counted[state]} {state}" for state in (FRESH, STALE, NEVER))
    return [*said, f"{len(entries)} kernels: {counts}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the ledger; return the exit code."""
    from . import evidence_texts

    parser = argparse.ArgumentParser(prog="python -m bench.evidence", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--report", action="store_true", help="exit with 0 whatever is stale")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(arguments)
    if not options.results.is_dir():
        parser.error(f"--results: there is no folder {options.results}")
    entries = ledger(evidence_texts.all_texts(), recorded(options.results))
    print("\n".join(lines(entries)))
    if options.json:
        print(json.dumps([entry.as_dict() for entry in entries]))
    return int(not options.report and any(entry.state == STALE for entry in entries))


if __name__ == "__main__":
    sys.exit(main())
