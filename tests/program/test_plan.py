"""Plans: levels, what is computed again and what is kept, and hazards of writing in place."""

from __future__ import annotations

import numpy as np
import pytest

from gpubp.program.plan import Plan
from tests.fuzz.mutations import Mutation
from tests.program.recorded import Sheet, recording

PUT_OFF = Mutation("", Plan, "_put_off", "self.level[value] = top", "pass")


def two_levels() -> Sheet:
    """m <- m / 2 at once, and theta <- theta - m / |theta| where m, as it was, is read later."""
    sheet = Sheet(theta=[3.0, 4.0], m=[1.0, 2.0])
    theta, m, xp = sheet["theta"], sheet["m"], sheet.be.xp
    norm = xp.sqrt(xp.sum(theta * theta, axis=-1, keepdims=True))
    moved = theta - m / norm
    sheet.recorder.write(m.region, m * 0.5)
    sheet.recorder.write(theta.region, moved)
    return sheet


def test_what_is_read_at_two_levels_is_written_behind_both() -> None:
    after = two_levels().after()
    assert after["theta"].tolist() == [3.0 - 1.0 / 5.0, 4.0 - 2.0 / 5.0]
    assert after["m"].tolist() == [0.5, 1.0]
    with PUT_OFF.planted():  # or this would test nothing
        assert two_levels().after()["theta"].tolist() != after["theta"].tolist()


def test_memories_may_change_places() -> None:
    sheet = Sheet(a=[1.0, 2.0], b=[3.0, 4.0])
    a, b = sheet["a"] * 1.0, sheet["b"] * 1.0
    sheet.recorder.write(sheet["a"].region, b)
    sheet.recorder.write(sheet["b"].region, a)
    after = sheet.after()
    assert after["a"].tolist() == [3.0, 4.0]
    assert after["b"].tolist() == [1.0, 2.0]


def test_a_sum_over_rows_is_read_one_level_higher() -> None:
    sheet = Sheet(x=np.ones((4, 3)), y=np.zeros(12))
    x = sheet["x"]
    mean = sheet.be.xp.mean(x, axis=-2, keepdims=True)
    sheet.recorder.write(sheet["y"].shaped((4, 3)).region, x - mean)
    plan = Plan(sheet.recorder.phases[0])
    assert [step.level for step in plan.steps] == [0, 1]
    assert not sheet.after()["y"].any()


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_nothing_is_loaded_before_it_is_stored(name: str) -> None:
    for phase in recording(name).phases:
        plan = Plan(phase)
        made = [out for step in plan.steps for out in step.outs]
        assert len(made) == len(set(made))
        assert set(plan.sinks) <= set(made)
        assert [s.level for s in plan.steps] == sorted(s.level for s in plan.steps)


def test_cheap_matrices_are_computed_again_and_costly_ones_kept() -> None:
    def stored(function: str) -> set[str]:
        sheet = Sheet(x=np.ones((4, 3)), y=np.zeros(12))
        xp, x = sheet.be.xp, sheet["x"]
        z = xp.exp(x) if function == "exp" else x * 2.0
        y = z - xp.mean(z, axis=-2, keepdims=True)
        sheet.recorder.write(sheet["y"].shaped((4, 3)).region, y)
        return {value.op for value in Plan(sheet.recorder.phases[0]).stored}

    assert "exp" in stored("exp")
    assert stored("mul") == {"colsum", "sub"}
