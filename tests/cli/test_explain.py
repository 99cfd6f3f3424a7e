"""`gpubp explain`, and the figures behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gpubp
from gpubp.cli import main
from gpubp.explained import explain


def _saved(folder: Path) -> str:
    net = gpubp.Network(gpubp.MLP([8], 3), inputs=5)
    net.fit([[0.0] * 5, [1.0] * 5], [0, 1], loss="cross_entropy", batch_size=2)
    path = folder / "model.gpubp"
    net.save(path)
    return str(path)


def test_a_step_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _saved(tmp_path)
    assert main(["explain", path, "--batch-size", "16", "--text"]) == 0
    out = capsys.readouterr().out
    for wanted in ("16 x 5 x 8", "5 products", "arena", "int one_step(", "gpubp::product("):
        assert wanted in out


def test_a_step_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", _saved(tmp_path), "--json", "--threads", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["products"] == 5
    assert found["barriers"] > 0
    assert found["peak"] > found["arena"] > 0


@pytest.mark.parametrize("option", ["--batch-size", "--threads"])
def test_counts_below_one(tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", _saved(tmp_path), option, "0"]) == 2
    assert f"{option} is 0; at least 1" in capsys.readouterr().err


def test_products_are_counted_exactly() -> None:
    net = gpubp.Network(gpubp.MLP([128], 10), inputs=64)
    found = explain(net, gpubp.CrossEntropy(), gpubp.Adam(), batch_size=32)
    forward = 32 * (64 * 128 + 128 * 10)
    backward = forward + 32 * 128 * 10  # all weights, and the input of the second layer
    assert sum(r.flops for r in found.rows if r.what == "product") == 2 * (forward + backward)
    assert found.held == 4 * (2 + 2) * net.theta.size


@pytest.mark.parametrize(
    ("dtype", "precision", "said"),
    [("float32", "bf8", "unknown precision 'bf8'"), ("float64", "bf16", "networks in float32")],
)
def test_a_precision_that_the_network_cannot_have(dtype: str, precision: str, said: str) -> None:
    net = gpubp.Network(gpubp.MLP([3], 2), inputs=4, dtype=dtype)
    with pytest.raises(gpubp.InputError, match=said):
        explain(net, gpubp.CrossEntropy(), gpubp.Adam(), 8, precision=precision)
