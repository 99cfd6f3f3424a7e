"""The files that fuzzing begins with, and each beginning of them, go through without a defect."""

from __future__ import annotations

import pytest

from tests.fuzz_readers.data import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_first_files_of_fuzzing(name: str) -> None:
    target, seeds = TARGETS[name]
    assert seeds
    for seed in seeds:
        for size in {0, 1, len(seed) // 3, len(seed) // 2, len(seed) - 1, len(seed)}:
            target(seed[:size])
