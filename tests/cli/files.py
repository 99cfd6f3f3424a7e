"""Small files of data, and the command line as a function."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpubp.cli import main
from tests.conftest import rng


def command(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """Run a command with --json; return what it says last and all of standard error."""
    found = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert found == code, err
    return (json.loads(out.strip().splitlines()[-1]) if code == 0 else None), err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that is refused; return what it says."""
    assert main([*map(str, arguments)]) == 2
    err: str = capsys.readouterr().err
    assert "Traceback" not in err
    return err


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write columns as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


def read(path: Path) -> dict[str, list[str]]:
    """Read columns from CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def flowers(n: int = 120) -> dict[str, list[Any]]:
    """Three kinds, told apart by two numbers and a colour; and their weight in grams."""
    random = rng(4)
    kind = np.arange(n) % 3
    stem = kind * 2.0 + random.normal(0, 0.4, n)
    leaf = -kind + random.normal(0, 0.5, n)
    colour = [("red", "white", "blue")[(k + (random.random() < 0.2)) % 3] for k in kind]
    weight = 500.0 + 40.0 * stem - 25.0 * leaf + random.normal(0, 5.0, n)
    names = ["iris", "rose", "tulip"]
    return {
        "stem": stem.round(3).tolist(),
        "colour": colour,
        "leaf": leaf.round(3).tolist(),
        "kind": [names[k] for k in kind],
        "weight": weight.round(2).tolist(),
    }
