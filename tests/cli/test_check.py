"""`gpubp check`: what it goes through, what it prints, and what it exits with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpubp.activations import ACTIVATIONS, Activation
from gpubp.check.repertoire import PARTS
from gpubp.cli import main


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, dict[str, Any]]:
    code = main(["check", *arguments, "--json"])
    *lines, last = capsys.readouterr().out.strip().splitlines()
    found: dict[str, Any] = json.loads(last)
    return code, "\n".join(lines), found


def lacking(found: dict[str, Any]) -> set[str]:
    """The part that cannot be checked without llvmlite, which is said then."""
    said = "compiled steps were not compared on cpu: llvmlite cannot be imported"
    return {"compiled steps"} if any(said in remark for remark in found["remarks"]) else set()


@pytest.fixture
def no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the network of digits alone: the parts have tests of their own."""
    for part in PARTS:
        monkeypatch.setitem(PARTS, part, lambda device: iter(()))


def test_all_there_is_passes_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, found = checked(capsys)
    assert code == 0
    assert found["ok"]
    assert all(row["multiple"] <= 1 for row in found["rows"])
    assert {row["backend"] for row in found["rows"]} >= {"finite differences"}
    assert {row["group"] for row in found["rows"]} == {"digits", *PARTS} - lacking(found)
    shown = {(row["group"], row["backend"], row["dtype"]) for row in found["rows"]}
    told = [line for line in text.splitlines() if "were not compared" not in line]
    lines = [line for line in told if line.startswith(("digits", *PARTS))]
    assert len(lines) == len(shown) < 20 < len(found["rows"])
    assert text.endswith(f"{len(found['rows'])} comparisons, 0 beyond tolerance")


def test_verbose_shows_every_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, found = checked(capsys, "losses", "--verbose")
    assert all(row["what"] in text for row in found["rows"])
    assert len(text.splitlines()) >= len(found["rows"]) + 2


def test_a_part_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, found = checked(capsys, "activations")
    assert code == 0
    assert {row["group"] for row in found["rows"]} == {"activations"}


def test_one_device_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, found = checked(capsys, "optimizers", "--device", "cpu")
    assert {row["backend"] for row in found["rows"]} == {"cpu"}


def test_a_wrong_pullback_is_named_and_exits_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Activation(ACTIVATIONS["mish"].f, lambda xp, delta, z: delta * 0.5)
    monkeypatch.setitem(ACTIVATIONS, "mish", wrong)
    code, text, found = checked(capsys, "activations")
    assert code == 1
    assert not found["ok"]
    assert "mish: gradient of input" in text
    assert "DISAGREES: at [" in text
    wrong_rows = {row["what"].partition(":")[0] for row in found["rows"] if not row["ok"]}
    assert wrong_rows == {"mish"}


@pytest.mark.usefixtures("no_parts")
def test_the_network_of_digits_is_checked_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activation that is wrong there shows in the network that uses it."""
    wrong = Activation(ACTIVATIONS["relu"].f, lambda xp, delta, a: delta, kinks=(0.0,))
    monkeypatch.setitem(ACTIVATIONS, "relu", wrong)
    code, text, found = checked(capsys, "digits")
    assert code == 1
    assert "DISAGREES" in text
    assert {row["group"] for row in found["rows"]} == {"digits"}


def test_something_that_is_neither_part_nor_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "layerz"]) == 2
    err = capsys.readouterr().err
    assert "give digits, layers, activations, losses, optimizers, compiled steps or a model" in err


@pytest.mark.thorough
def test_compiled_steps_of_cuda_are_among_what_is_checked(
    on_cuda: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in set(PARTS) - {"compiled steps"}:
        monkeypatch.setitem(PARTS, part, lambda device: iter(()))
    code, text, found = checked(capsys, "digits", "--device", on_cuda)
    rows = [row for row in found["rows"] if row["group"] == "compiled steps"]
    assert code == 0
    assert {row["backend"] for row in rows} == {"cuda:0"}
    assert {row["dtype"] for row in rows} == {"float64", "float32", "tf32", "bf16", "fp16"}
    assert "compiled steps  cuda:0" in text
