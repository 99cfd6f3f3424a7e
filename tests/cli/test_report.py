"""`gpubp train --report`: what is written, said and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import gpubp
from gpubp.cli import main
from gpubp.data import digits
from tests.conftest import require

FILES = {
    f"{name}.{ending}" for name in ("loss", "gradients", "updates") for ending in ("png", "svg")
} | {"report.json", "report.md"}


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_a_report_holds_pictures_figures_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("matplotlib")
    folder = tmp_path / "report"
    command = ["train", "digits", "--epochs", "3", "--hidden", "32", "--json"]
    assert main([*command, "--report", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert {path.name for path in folder.iterdir()} == FILES
    found = report(folder)
    assert [record["epoch"] for record in found["history"]] == [1, 2, 3]
    assert [record["step"] for record in found["health"]][:3] == [1, 3, 6]  # of 138 updates
    assert found["findings"] == []
    assert found["options"]["hidden"] == "32"
    assert "warning" not in err
    page = (folder / "report.md").read_text()
    assert all(f"({name}.svg)" in page for name in ("loss", "gradients", "updates"))
    assert "After 3 epochs" in page
    assert str(tmp_path) not in page
    # what is trained is what is trained without a report
    assert main(command) == 0
    plain, watched = (json.loads(text.splitlines()[-1]) for text in (capsys.readouterr().out, out))
    for name in ("test_accuracy", "train_loss"):
        assert plain[name] == watched[name]


def test_findings_are_told_when_they_come_up_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("matplotlib")
    hidden = ",".join(["16"] * 12)
    command = f"train digits --epochs 2 --hidden {hidden} --activation sigmoid --lr 1e-5"
    assert main([*command.split(), "--report", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    assert err.count("warning: vanishing gradients: layer '0'") == 1
    assert err.index("warning: vanishing") < err.index("epoch   2")
    [first, *_] = report(tmp_path)["findings"]
    assert first["name"] == "vanishing gradients"
    assert first["text"] in err
    assert first["text"] in (tmp_path / "report.md").read_text()


def test_a_training_that_fails_is_reported_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("matplotlib")
    command = "train digits --epochs 1 --hidden 8 --optimizer sgd --lr 1e30"
    assert main([*command.split(), "--report", str(tmp_path)]) == 1
    found = report(tmp_path)
    assert found["non_finite"]["step"] == 1
    assert found["non_finite"]["message"] in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "loss.png").exists()  # no epoch has ended


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--report", "/no/such/folder"], "cannot write the report"), (["--report", ""], "empty")],
)
def test_a_folder_that_cannot_be_written_is_refused_before_training(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    require("matplotlib")
    assert main(["train", "digits", *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "epoch" not in err


def test_a_file_in_the_place_of_the_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("matplotlib")
    (tmp_path / "file").write_text("kept")
    assert main(["train", "digits", "--report", str(tmp_path / "file")]) == 2
    assert (tmp_path / "file").read_text() == "kept"


def test_bad_options_leave_no_report(tmp_path: Path) -> None:
    require("matplotlib")
    assert main(["train", "digits", "--lr", "-1", "--report", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["train", "digits", "--report", str(tmp_path / "r")]) == 1
    err = capsys.readouterr().err
    assert "pip install 'gpubp[plots]'" in err
    assert "epoch" not in err
    assert not (tmp_path / "r").exists()


def test_the_held_out_loss_is_that_of_the_test_digits(tmp_path: Path) -> None:
    require("matplotlib")
    assert main(["train", "digits", "--epochs", "1", "--report", str(tmp_path)]) == 0
    data = digits()
    net = gpubp.Network(gpubp.MLP([256, 128], 10), inputs=64)
    net.fit(data.x, data.y, epochs=1)
    assert (
        report(tmp_path)["history"][0]["val_loss"] == net.evaluate(data.x_test, data.y_test)["loss"]
    )
