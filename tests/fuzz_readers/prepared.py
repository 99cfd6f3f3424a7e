"""What is fuzzed of the way from a file to features: tables as text, and what they are told by."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gpubp.data import Preprocessing, Table
from gpubp.data.delimited import read_delimited
from gpubp.errors import InputError

Target = tuple[Callable[[bytes], None], list[bytes]]


def _features(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d.csv"
        path.write_bytes(data)
        try:
            table = read_delimited(path)
        except InputError:
            return
    for impute in (None, "mean", "median", "most_frequent"):
        for task in (None, "classification", "regression"):
            _fit(table, impute, task)


def _fit(table: Table, impute: str | None, task: str | None) -> None:
    try:
        target = list(table.columns)[-1]
        prep = Preprocessing.fit(
            table, target, impute=impute, task=task, rows=range(len(table) - 1)
        )
        x, t = prep.features(table), prep.targets(table, range(len(table) - 1))
    except InputError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 2000
    if message:
        return
    assert x.shape == (len(table), prep.width)
    assert np.isfinite(x).all()
    assert np.isfinite(t).all()
    assert Preprocessing.rebuild(prep.plain()) == prep
    back = prep.decode(t) if prep.task == "classification" else prep.values(t)
    assert len(back) == len(table) - 1


_TABLES = [
    b"a,b,y\n1,x,p\n2,y,q\n,x,p\n4,z,q\n5,x,p\n",
    b"a,y\n1,0\n1e300,1\n-1e300,0\n5e-324,1\n",
    b"a,b,y\nu,NA,1.5\nv,3,2.5\nu,4,1e308\nw,,-1e308\n",
    b"a,y\n1,NA\n2,2\n3,3\n",
    b"y,a\n1,1\n",
]

TARGETS: dict[str, Target] = {"features": (_features, _TABLES)}
"""By name: what takes bytes and raises for a defect only, and bytes to begin with."""
