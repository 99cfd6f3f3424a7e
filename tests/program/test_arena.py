"""Blocks of memory: what lives at one time lies apart, and what dies makes room."""

from __future__ import annotations

import pytest

import gpubp
from gpubp.program.arena import ALIGN, Arena, Block, _placed, assert_apart
from gpubp.program.emit import Emit
from gpubp.program.plan import Plan
from gpubp.program.values import Value
from gpubp.recording import Shadow
from tests.program.recorded import recording


def arena(phase: object) -> Arena:
    plan = Plan(phase)  # type: ignore[arg-type]
    emits = {n: Emit(plan, n) for n, step in enumerate(plan.steps) if not step.call}
    return Arena(plan, emits, {})


def test_two_blocks_that_meet_in_memory_are_an_error() -> None:
    a, b = Block("T", 20, 0, 3, start=0), Block("T", 4, 3, 5, start=16)
    with pytest.raises(AssertionError, match="same memory"):
        assert_apart([a, b])
    assert_apart([a, Block("T", 4, 4, 5, start=16)])  # at another time
    assert_apart([a, Block("U", 4, 3, 5, start=16)])  # of another kind
    assert_apart([a, Block("T", 4, 3, 5, start=32)])  # elsewhere


def test_blocks_are_used_again() -> None:
    blocks = [Block("T", 40, n, n + 1) for n in range(6)]
    assert _placed(blocks) == {"T": 96}
    assert_apart(blocks)
    assert all(block.start % ALIGN == 0 for block in blocks)


def test_nothing_is_placed_where_it_has_no_room() -> None:
    blocks = [Block("T", 16, 0, 9), Block("T", 32, 0, 2), Block("T", 48, 3, 4), Block("T", 1, 1, 3)]
    _placed(blocks)
    assert_apart(blocks)


def test_a_result_takes_the_place_of_what_dies() -> None:
    found = arena(recording("mlp").phases[0])
    several = [b for b in found.blocks if sum(isinstance(x, Value) for x in b.holds) > 1]
    assert several


def test_two_results_of_a_kernel_do_not_take_one_place() -> None:
    """The slice is made of what only this kernel reads; another result must not lie there."""
    layer = gpubp.Sequential(
        gpubp.Linear(5), gpubp.Activation("hard_sigmoid"), gpubp.layers.Columns(0, 4),
        gpubp.Linear(3),
    )  # fmt: skip
    net, optimizer = gpubp.Network(layer, inputs=8), gpubp.SGD()
    shadow = Shadow(net, optimizer, 2)
    phases = shadow.record(gpubp.SquaredError(), optimizer, (3, "T"), False).phases
    plan = Plan(phases[0])
    found = arena(phases[0])
    for step in plan.steps:
        places = [found.block[out] for out in step.outs if out in found.block]
        assert len({id(block) for block in places}) == len(places)
