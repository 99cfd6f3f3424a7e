"""The command line: what it prints, and what it exits with."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.cli import main
from gpubp.data import digits


def last_json(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found


def test_train_reports_what_it_did(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    code = main(["train", "digits", "--epochs", "8", "--json", "--seed", "3", "--save", str(path)])
    out, err = capsys.readouterr()
    assert code == 0
    result = last_json(out)
    assert result["task"] == "digits"
    assert result["device"] == "cpu"
    assert result["path"] == "plain"
    assert result["epochs"] == 8
    assert result["parameters"] == 64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10
    assert result["test_accuracy"] > 0.9
    assert result["train_loss"] > 0
    assert err.count("\nepoch ") == 8  # a figure per epoch
    net, data = gpubp.load(path), digits()
    assert net.evaluate(data.x_test, data.y_test)["accuracy"] == result["test_accuracy"]


def test_train_takes_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--hidden 16 --activation gelu --optimizer nesterov --lr 0.05 --epochs 2"
    options += " --batch-size 64 --dtype float64 --seed 7 --json"
    assert main(["train", "digits", *options.split()]) == 0
    result = last_json(capsys.readouterr().out)
    assert (result["dtype"], result["seed"], result["parameters"]) == ("float64", 7, 1210)
    data = digits()
    net = gpubp.Network(gpubp.MLP([16], 10, activation="gelu"), inputs=64, dtype="float64", seed=7)
    net.fit(data.x, data.y, optimizer=gpubp.Nesterov(0.05), epochs=2, batch_size=64, shuffle_seed=7)
    assert result["test_accuracy"] == net.evaluate(data.x_test, data.y_test)["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("train digitz", 2, "nearest: 'digits'"),
        ("train digits --activation rellu", 2, "nearest: 'relu'"),
        ("train digits --optimizer adamm", 2, "nearest: 'adam'"),
        ("train digits --hidden 12,x", 2, "--hidden"),
        ("train digits --lr -1", 2, "lr is -1.0"),
        ("train digits --batch-size 0", 2, "batch_size is 0"),
        ("train digits --dtype float16", 2, "float16"),
        ("train digits --device tpu", 2, "unknown device 'tpu'"),
        ("train digits --lr 1e30 --optimizer sgd --epochs 1", 1, "is not finite"),
        ("train digits --epochs 1 --save /no/such/folder/x", 2, "no folder"),
        ("check no-such-model", 2, "no file"),
        ("check --device tpu", 2, "unknown device 'tpu'"),
        ("check --device f", 2, "unknown device 'f'"),
        ("train digits --device auto:1", 2, "'auto' chooses"),
        ("train digits --save ''", 2, "cannot write"),
        ("train digits --hidden 9999999999999", 1, "out of memory"),
        ("fly", 2, "invalid choice"),
        ("", 2, "required"),
    ],
)
def test_exit_codes(
    arguments: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(arguments)) == code
    assert said in capsys.readouterr().err


def test_an_interrupt_keeps_and_saves_the_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gpubp import training

    def interrupted(self: Any, number: int, interrupts: Any, position: Any) -> dict[str, Any]:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, number, interrupts)

    epoch = training.Trainer.epoch
    monkeypatch.setattr(training.Trainer, "epoch", interrupted)
    path = tmp_path / "kept.safetensors"
    assert main(["train", "digits", "--epochs", "9", "--json", "--save", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "interrupted in epoch 3" in err
    assert last_json(out)["epochs"] == 2
    assert np.isfinite(gpubp.load(path).predict(digits().x_test)).all()


def test_check_of_a_saved_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    gpubp.Network(gpubp.MLP([5], 3, activation="silu"), inputs=4, dtype="float64").save(path)
    assert main(["check", str(path)]) == 0
    assert "gradient of 2.W" in capsys.readouterr().out


def test_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert main(["info", "--json"]) == 0
    found = last_json(capsys.readouterr().out)
    assert found["versions"]["numpy"] == np.__version__
    assert found["devices"][0].startswith("cpu")
    assert found["cuda"]
    assert found["compiled"]["cpu"]
    assert any("OPENBLAS_CORETYPE=Haswell" in line for line in found["warnings"])
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "gpubp" in text
    assert "OPENBLAS_CORETYPE" not in text


def test_info_says_what_compiled_steps_lack(
    stand_in: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpubp.backends import cublas_library, cuda, native

    def missing() -> str:
        raise gpubp.DeviceError("cannot load libcublas; pip install 'gpubp[cuda13]'")

    monkeypatch.setattr(cuda, "devices", lambda: ["cuda:0 (a card, 8 GiB)"])
    monkeypatch.setattr(cublas_library, "version", lambda: "13.1.0")
    monkeypatch.setattr(native, "available", lambda: "llvmlite is missing")
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "compiled steps on cpu: llvmlite is missing\n" in text
    assert "compiled steps on cuda: CuPy and cuBLAS 13.1.0\n" in text
    monkeypatch.setattr(cublas_library, "version", missing)
    assert main(["info", "--json"]) == 0
    assert "gpubp[cuda13]" in last_json(capsys.readouterr().out)["compiled"]["cuda"]


def test_python_dash_m_is_the_same() -> None:
    asked = [sys.executable, "-m", "gpubp", "--version"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"gpubp {gpubp.__version__}"
