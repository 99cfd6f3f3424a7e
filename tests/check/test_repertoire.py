"""`gpubp check digits` goes through everything there is."""

from __future__ import annotations

from typing import Any

import pytest

import gpubp
from gpubp import layers, losses, optimizers
from gpubp.activations import ACTIVATIONS
from gpubp.check.repertoire import LAYERS, LOSS_OPTIONS, OPTIONS, PARTS, repertoire

OF_FORMULAS = sorted(PARTS.keys() - {"compiled steps"})  # which have tests of their own
BASES = {"Layer", "Branches", "Loss", "ElementWise", "Optimizer", "Clip", "Penalty", "Averaging"}


def kinds(module: Any, base: type) -> set[str]:
    """The classes of a package that are of some kind, but for bases, which do nothing alone."""
    named = {name: getattr(module, name) for name in module.__all__}
    found = {n for n, k in named.items() if isinstance(k, type) and issubclass(k, base)}
    return found - BASES


@pytest.mark.parametrize("name", sorted(kinds(layers, gpubp.Layer)))
def test_every_layer_has_an_instance(name: str) -> None:
    """A layer that is new and fails here belongs into `gpubp.check.repertoire.LAYERS`."""
    assert name in {type(layer).__name__ for layer, _ in LAYERS.values()}


def test_every_loss_is_among_them() -> None:
    known = {type(loss).__name__ for loss in [*losses.LOSSES.values(), *LOSS_OPTIONS.values()]}
    assert known >= kinds(losses, gpubp.Loss)


def test_every_optimizer_and_what_it_takes_is_among_them() -> None:
    known = {kind.__name__ for kind in optimizers.OPTIMIZERS.values()}
    # EMA and SWA wrap another optimizer, LBFGS is driven by the host: tests of their own
    assert known >= kinds(optimizers, gpubp.Optimizer) - {"EMA", "SWA", "LBFGS"}
    values = [v for given in OPTIONS.values() for v in given.values()]
    parts = {type(v).__name__ for v in values}
    assert parts >= kinds(optimizers, gpubp.Clip) | kinds(optimizers, gpubp.Penalty)
    assert "max_norm" in {name for given in OPTIONS.values() for name in given}


@pytest.mark.thorough
@pytest.mark.parametrize("part", OF_FORMULAS)
def test_a_part_passes(part: str) -> None:
    report = repertoire(part)
    assert report.ok, report.summary()
    assert not [remark for remark in report.remarks if "traceable" in remark]
    assert {row.backend for row in report.rows} >= {"array_api_strict:device1"}
    names = {row.what.partition(":")[0] for row in report.rows}
    wanted = {
        "layers": LAYERS.keys(),
        "activations": ACTIVATIONS.keys(),
        "losses": losses.LOSSES.keys() | LOSS_OPTIONS.keys(),
        "optimizers": {"SGD", "SGD, ClipNorm", "Adam", "AdamW, everything"},
    }[part]
    assert names >= wanted


@pytest.mark.thorough
@pytest.mark.parametrize("part", OF_FORMULAS)
def test_a_part_passes_on_kernels_that_are_compiled(part: str, stand_in: Any) -> None:
    report = repertoire(part, device="cuda")
    assert report.ok, report.summary()
    assert {row.dtype for row in report.rows if row.backend == "cuda:0"} == {"float32", "float64"}


def test_a_part_that_there_is_not() -> None:
    with pytest.raises(gpubp.InputError, match=r"unknown part 'layerz'; .*nearest: 'layers'"):
        repertoire("layerz")


def test_the_summary_is_a_line_for_each_group_and_what_disagrees() -> None:
    rows = [
        gpubp.check.Row("cuda:0", "float32", f"row {i}", error, 1.0, group="layers", note="why")
        for i, error in enumerate((0.25, 0.5, 3.0, float("inf")))
    ]
    sound = gpubp.check.Report(rows[:2], ["a remark"]).summary()
    assert sound.splitlines()[1:] == [
        "layers  cuda:0                       float32     2        0.500  row 1",
        "a remark",
        "2 comparisons, 0 beyond tolerance",
    ]
    wrong = gpubp.check.Report(rows).summary()
    assert "row 1 " not in wrong
    assert wrong.count("DISAGREES: why") == 2
    assert "4 comparisons, 2 beyond tolerance" in wrong
