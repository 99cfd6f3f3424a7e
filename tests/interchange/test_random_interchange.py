"""Random networks of the whole repertoire in torch and onnxruntime; the long run has more."""

from __future__ import annotations

import pytest

from gpubp import layers
from tests.conftest import require
from tests.random_interchange import OPSETS, in_onnx, main


@pytest.mark.parametrize("number", range(20))
def test_onnxruntime_puts_out_the_same(number: int, precision: str) -> None:
    in_onnx(3, number, precision, OPSETS[number % len(OPSETS)])


def test_the_long_run_tells_which_network_disagrees(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch", "onnx", "onnxruntime"):
        require(name)
    assert main(["--n", "2", "--seed", "7"]) == 0
    assert capsys.readouterr().out == "2 networks, 0 disagree\n"
    monkeypatch.setattr(layers.Linear, "forward", lambda layer, be, w, x, run: (x @ w.W + 1.0, x))
    assert main(["--n", "4", "--seed", "7"]) == 1
    assert "--seed 7 --first 0 --n 1: torch, member" in capsys.readouterr().out
