"""Random networks of the whole repertoire, three steps each, against torch in float64."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

import gpubp
from gpubp import layers, losses, optimizers
from gpubp.activations import ACTIVATIONS
from tests.conftest import require
from tests.random_layers import WIDTHS
from tests.random_repertoire import Case, check, draw_case, main

COUNT, LEAST = 300, 5
KINDS = {
    kind
    for package in (layers, losses, optimizers)
    for name in package.__all__
    if isinstance(kind := getattr(package, name), type)
}
BASES = {
    gpubp.Layer, layers.Branches, gpubp.Loss, losses.ElementWise, gpubp.Optimizer, gpubp.Clip,
    gpubp.Penalty, gpubp.Averaging,
    gpubp.EMA, gpubp.SWA, gpubp.LBFGS,  # around another optimizer, or driven by the host
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Products this small are slower on several threads; optimizers keep numbers in float64."""
    torch = require("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("number", range(COUNT))
def test_three_steps_are_torchs(number: int) -> None:
    check(0, number)


def arguments(kind: type) -> dict[str, Any]:
    """The arguments of a description that need not be given, and what they are then."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def told(kind: type, name: str) -> str:
    """An argument by the class that has it first: what all optimizers take is `Optimizer`'s."""
    first = [c for c in reversed(kind.__mro__) if name in inspect.get_annotations(c)]
    return f"{(first or [kind])[0].__name__}.{name}"


def traits(described: Any) -> set[str]:
    """The kinds in a description, the activations, and the arguments that are no default."""
    if isinstance(described, tuple | list):
        return {trait for item in described for trait in traits(item)}
    if not is_dataclass(described):
        return set()
    kind = type(described)
    found = {kind.__name__}
    for name in inspect.signature(kind).parameters.keys() & vars(described).keys():
        value = getattr(described, name)
        if arguments(kind).get(name, value) != value:
            found.add(told(kind, name))
        if isinstance(value, str) and value in ACTIVATIONS:
            found.add(value)
        found |= traits(value)
    return found | traits(getattr(described, "layers", ()))


def circumstances(case: Case) -> set[str]:
    return {
        f"batch of {case.batch}",
        f"width {case.layer.build(_shape(case.inputs)).shape[-1]}",
        *(name for name in ("members", "frozen", "weighted", "input_gradient") if vars(case)[name]),
        *(["rate for each member"] if isinstance(case.method.lr, tuple) else []),
        *(["schedule"] if isinstance(case.method.lr, gpubp.Schedule) else []),
    }


def _shape(inputs: int | tuple[int, ...]) -> tuple[int, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def test_everything_there_is_comes_up_often() -> None:
    counted: Counter[str] = Counter()
    for number in range(COUNT):
        case, _, _ = draw_case(0, number)
        counted.update(traits((case.layer, case.loss, case.method)) | circumstances(case))
    wanted = {kind.__name__ for kind in KINDS - BASES} | set(ACTIVATIONS)
    wanted |= {told(kind, name) for kind in KINDS - BASES for name in arguments(kind)}
    wanted |= {f"batch of {n}" for n in (1, 2, 7)} | {f"width {n}" for n in WIDTHS}
    wanted |= {"members", "frozen", "weighted", "input_gradient", "schedule"}
    rare = {trait: counted[trait] for trait in wanted if counted[trait] < LEAST}
    assert not rare


def test_the_long_run_tells_which_network_disagrees(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--n", "2", "--seed", "3"]) == 0
    monkeypatch.setattr(layers.Linear, "forward", lambda layer, be, w, x, run: (x @ w.W + 1.0, x))
    assert main(["--n", "8", "--seed", "3"]) == 1
    told = capsys.readouterr().out
    assert "--seed 3 --first 0 --n 1: output at step 0" in told
    assert "Linear(n_out=" in told
