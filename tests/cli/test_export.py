"""`gpubp export`: what it writes is the network, and what it cannot write it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import gpubp
from gpubp.cli import main
from gpubp.interchange import from_torch_file
from tests.conftest import require

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


@pytest.fixture
def net(tmp_path: Path) -> gpubp.Network:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    net.fit(X, [0, 1, 1, 0, 1], epochs=2)
    net.save(tmp_path / "net")
    return net


def test_weights_for_torch(
    tmp_path: Path, net: gpubp.Network, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path / "net"), "--torch", str(tmp_path / "out"), "--json"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"model": str(tmp_path / "net"), "torch": str(tmp_path / "out")}
    back = gpubp.Network(net.layer, inputs=3, seed=5)
    from_torch_file(back, tmp_path / "out")
    assert np.array_equal(back.predict(X), net.predict(X))


@pytest.mark.parametrize("probabilities", [False, True])
def test_an_onnx_model(tmp_path: Path, net: gpubp.Network, probabilities: bool) -> None:
    require("onnx")
    runtime = require("onnxruntime")
    options = ["--probabilities"] if probabilities else ["--opset", "18"]
    out = str(tmp_path / "net.onnx")
    assert main(["export", str(tmp_path / "net"), "--onnx", out, *options]) == 0
    (y,) = runtime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    expected = net.predict_proba(X) if probabilities else net.predict(X)
    assert np.abs(y - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "say what to write"),
        ("--torch {0}/none/out", "no folder"),
        ("--torch {0}/out --member 0", "no ensemble"),
        ("--torch {0}/out --onnx {0}/none/net.onnx", "no folder"),
        ("--torch", "expected one argument"),
    ],
)
@pytest.mark.usefixtures("net")
def test_what_cannot_be_written_is_said(
    tmp_path: Path, options: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options.format(tmp_path).split()
    assert main(["export", str(tmp_path / "net"), *given]) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--torch {0}/net", "--torch {0}/net is what is read"),
        ("--onnx {0}/net", "--onnx {0}/net is what is read"),
        ("--torch {0}/../{1}/net", "is what is read"),
        ("--torch {0}/link", "--torch {0}/link is what is read"),
        ("--torch {0}/out --onnx {0}/out", "both be written to {0}/out"),
        ("--torch {0}/out --onnx {0}/./out", "both be written to {0}/out"),
    ],
)
def test_no_file_is_written_over_another(
    tmp_path: Path, net: gpubp.Network, options: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "net")
    given = options.format(tmp_path, tmp_path.name).split()
    assert main(["export", str(tmp_path / "net"), *given]) == 2
    assert told.format(tmp_path) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "net"]
    assert np.array_equal(gpubp.load(tmp_path / "net").predict(X), net.predict(X))


def test_a_model_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none"), "--torch", str(tmp_path / "out")]) == 2
    assert "there is no file" in capsys.readouterr().err
