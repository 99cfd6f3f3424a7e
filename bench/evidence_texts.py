"""The texts of all kernels that the ledger of evidence goes through, made without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gpubp
from gpubp import programs
from gpubp.backend import DTYPES
from gpubp.check.networks import network as check_network
from gpubp.check.repertoire import repertoire
from gpubp.data import digits

from .contenders.gpubp_network import sequential
from .gpu_contenders import Setting
from .gpu_contenders.gpubp_steps import job
from .gpu_parts import agreement, capture
from .gpu_parts.loads import ENSEMBLE, LARGE, LARGE_PRECISIONS, SCALING, SMALL
from .listing import listing
from .step_texts import step_texts
from .workloads import Problem, Workload


def all_texts() -> dict[str, str]:
    """Return every text by the name that results on a GPU have for it."""
    return {**checked(), **steps(*benchmark()), **digits_steps()}


def benchmark() -> list[tuple[Workload, Setting]]:
    """Every workload whose steps `bench.gpu` compiles, and the precision of its products."""
    found = [(contest.load, Setting()) for contest in (*SMALL, ENSEMBLE, *SCALING)]
    large = [(LARGE.load, Setting(precision=precision)) for precision in LARGE_PRECISIONS]
    return [*found, (capture.LOAD, Setting()), *large]


def steps(*loads: tuple[Workload, Setting]) -> dict[str, str]:
    """Return the kernels of the compiled steps of workloads."""
    found: dict[str, str] = {}
    with listing():
        for load, setting in loads:
            net = gpubp.Network(sequential(load.net), load.widths[0], device="listing",
                                members=load.members)  # fmt: skip
            texts = step_texts(net, job(Problem(load, None, None, []), setting))
            found |= _named(setting.label(load), texts)
    return found


def digits_steps() -> dict[str, str]:
    """Return the kernels of the training on digits: whole batches, and the one at the end."""
    found: dict[str, str] = {}
    rest = len(digits().x) % agreement.BATCH
    whole = programs.Job(gpubp.CrossEntropy(), agreement.OPTIMIZER, agreement.BATCH, (1, "int64"),
                         False, 1, True)  # fmt: skip
    with listing():
        for precision in DTYPES:
            net = agreement.network("listing", precision)
            for each in (whole, replace(whole, rows=rest)):
                where = agreement.where_of(precision, each.rows)
                found |= _named(where, step_texts(net, each))
    return found


def checked(*parts: str) -> dict[str, str]:
    """Return the element-wise kernels that `gpubp check digits` launches, or some of its parts."""
    with listing() as found:
        for _ in _checks(*parts):
            pass
    return dict(found)


def _checks(*parts: str) -> Iterator[Any]:
    if not parts:
        data = digits()
        net = gpubp.Network(gpubp.MLP([64, 32], 10, activation="relu"), inputs=data.x.shape[1])
        yield check_network(net, data.x, data.y, gpubp.CrossEntropy(), "listing")
    yield repertoire(*parts, device="listing")


def _named(where: str, texts: dict[str, str]) -> dict[str, str]:
    return {f"{where}: {name}": text for name, text in texts.items()}
