"""A short run of every fuzz target, and what the driver finds in targets with a defect each."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz_readers.__main__ import main
from tests.fuzz_readers.driver import Run, attempt, masked, modules, targets_in
from tests.fuzz_readers.mutations import MUTATIONS, mutate, tensors
from tests.hostile import apart, good, model
from tests.planted import SEEDS

pytestmark = pytest.mark.thorough

HOMES = modules()


@pytest.mark.parametrize("name", sorted(HOMES))
def test_a_short_run_finds_nothing(tmp_path: Path, name: str) -> None:
    run = Run(name, targets_in(HOMES[name])[name], tmp_path, "0/suite")
    run.begin()
    run.go(5.0, 100)
    found = [path.read_text()[:2000] for path in tmp_path.glob("*.txt")]
    assert (run.failures, found) == (0, [])
    assert run.cases > 0


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raises", "ZeroDivisionError: a number is 0"),
        ("warns", "UserWarning: beware"),
        ("is slow", "longer than 0.2 seconds"),
        ("takes memory", "more memory than a gigabyte"),
        ("crashes", "the process ended with -11"),
    ],
)
def test_a_defect_is_found_and_found_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    asked = ["--module", "tests.planted", "--folder", str(tmp_path), "--limit", "0.2"]
    assert main([name, *asked, "--cases", "3" if name == "crashes" else "8"]) == 1
    printed = capfd.readouterr().out
    assert f"FAILED {name}: " in printed
    assert told in printed
    assert re.search(rf"^{name} .* cases .* failures", printed, re.MULTILINE)
    if name not in ("raises", "takes memory"):
        return
    [*_, again] = re.findall(rf"{told}.*\n.* --replay (.*)", printed)
    done = subprocess.run([sys.executable, "-m", "tests.fuzz_readers", *asked, "--replay", again],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 1
    assert told in done.stderr


def test_a_sound_target_ends_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["--module", "tests.planted", "--folder", str(tmp_path), "--cases", "30"]
    assert main(["is sound", *asked]) == 0
    assert re.search(r"is sound +30 cases +0 failures +1 messages", capfd.readouterr().out)
    assert list(tmp_path.iterdir()) == []
    assert main(["no such", *asked]) == 2


def test_equal_seeds_spoil_equally() -> None:
    for mutation in MUTATIONS:
        runs = [[mutation(random.Random(n), SEEDS[0], SEEDS) for n in range(20)] for _ in range(2)]
        assert runs[0] == runs[1]
    spoilt = {mutate(random.Random(n), SEEDS[0], SEEDS) for n in range(100)}
    assert len(spoilt) > 80


def test_a_spoilt_model_file_is_one_still() -> None:
    """Most mutations of the header leave its length right, and some the digest."""
    data, rng = model(*good()), random.Random(0)
    spoilt = [tensors(rng, data, [data]) for _ in range(100)]
    assert all(apart(each)[0] is not None for each in spoilt)
    assert len(set(spoilt)) > 80


def test_messages_are_told_apart_by_what_they_say() -> None:
    a, b = (f"cannot read /x{n}/net: the array 'a{n}' has {n},000 bytes" for n in (1, 2))
    assert masked(a) == masked(b) == "cannot read / the array '' has 0 bytes"


def test_what_a_target_lets_pass_is_heard() -> None:
    def target(data: bytes) -> None:
        with pytest.raises(ValueError, match="bytes"):
            _fail(f"{len(data)} bytes")

    heard = attempt(target, b"abc", 1.0)
    assert [message.partition(" ")[2] for message in heard.messages] == ["0 bytes"]


def _fail(message: str) -> None:
    from gpubp import InputError

    raise InputError(message)
