"""Recording: phases begin where memory is read that was written otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from gpubp.program.tensors import Untraceable
from tests.program.recorded import Sheet


def test_the_same_window_gives_what_was_written() -> None:
    sheet = Sheet(a=np.ones(4))
    sheet.recorder.write(sheet["a"].region, sheet["a"] + 1.0)
    sheet.recorder.write(sheet["a"].region, sheet["a"] * 3.0)
    assert len(sheet.recorder.phases) == 1
    assert sheet.after()["a"].tolist() == [6.0] * 4


def test_reading_across_what_was_written_begins_a_phase() -> None:
    sheet = Sheet(a=np.arange(4.0), b=np.zeros(2))
    sheet.recorder.write(sheet["a"].region, sheet["a"] + 1.0)
    sheet.recorder.write(sheet["b"].region, sheet["a"][..., 1:3] * 10.0)
    assert len(sheet.recorder.phases) == 2
    assert sheet.after()["b"].tolist() == [20.0, 30.0]


def test_what_was_computed_before_cannot_be_written_behind() -> None:
    sheet = Sheet(a=np.arange(4.0), b=np.zeros(4))
    early = sheet["b"] * 2.0
    sheet.recorder.write(sheet["a"].region, sheet["a"] + 1.0)
    sheet["a"][..., 1:3] * 1.0
    with pytest.raises(Untraceable, match="computed before"):
        sheet.recorder.write(sheet["b"].region, early)


def test_overlapping_writes_of_one_phase_are_refused() -> None:
    sheet = Sheet(a=np.arange(4.0))
    part = sheet["a"][..., 0:2]
    sheet.recorder.write(part.region, part + 1.0)
    with pytest.raises(Untraceable, match="used in one phase"):
        sheet.recorder.write(sheet["a"].region, sheet.be.zeros((4,)))


def test_equal_constants_are_held_once() -> None:
    sheet = Sheet(a=np.zeros(2))
    first = sheet.be.asarray(np.asarray([1.0, 2.0]))
    again = sheet.be.asarray(np.asarray([1.0, 2.0]))
    assert first.region == again.region
    assert sheet.be.asarray(np.asarray([1, 2]), "int64").region != first.region
    assert list(sheet.recorder.constants) == ["constant0", "constant1"]


def test_parts_of_no_width_are_left_out_of_a_concatenation() -> None:
    sheet = Sheet(x=np.arange(3.0).reshape(3, 1), y=np.zeros(3))
    x = sheet["x"]
    none = sheet.be.zeros((3, 0))
    joined = sheet.be.concat([none, x, none])
    assert joined.value is x.value
    sheet.recorder.write(sheet["y"].shaped((3, 1)).region, joined * 2.0)
    assert sheet.after()["y"].tolist() == [0.0, 2.0, 4.0]
