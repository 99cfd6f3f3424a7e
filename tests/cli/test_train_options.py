"""What `gpubp train` hands on to the library."""

from __future__ import annotations

import json
from typing import Any

import pytest

import gpubp
from gpubp.cli import main
from gpubp.data import digits


def summary(capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    asked = ["train", "digits", "--hidden", "12", "--epochs", "2", "--json", *options]
    assert main(asked) == 0
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_each_option_reaches_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    """The accuracy printed is that of the same network trained by hand."""
    told = summary(
        capsys, "--norm", "layer", "--dropout", "0.1", "--l1", "1e-5", "--l2", "1e-4",
        "--clip", "1", "--weight-decay", "0.01", "--schedule", "cosine", "--lr", "0.01",
        "--seed", "3", "--optimizer", "nadam",
    )  # fmt: skip
    data = digits()
    net = gpubp.Network(gpubp.MLP([12], 10, norm="layer", dropout=0.1), inputs=64, seed=3)
    updates = 2 * -(-len(data.x) // 32)
    method = gpubp.NAdam(
        gpubp.CosineDecay(0.01, updates), weight_decay=0.01, clip=gpubp.ClipGlobalNorm(1.0),
        penalty=[gpubp.L1(1e-5), gpubp.L2(1e-4)],
    )  # fmt: skip
    net.fit(data.x, data.y, optimizer=method, epochs=2, shuffle_seed=3)
    assert told["test_accuracy"] == net.evaluate(data.x_test, data.y_test)["accuracy"]
    assert told["train_loss"] == net.history["loss"][-1]


def test_restarts_keep_the_best_by_the_training_data(capsys: pytest.CaptureFixture[str]) -> None:
    told = summary(capsys, "--restarts", "3")
    data = digits()
    losses, accuracies = [], []
    for seed in range(3):
        net = gpubp.Network(gpubp.MLP([12], 10), inputs=64, seed=seed)
        net.fit(data.x, data.y, epochs=2)
        losses.append(net.evaluate(data.x, data.y)["loss"])
        accuracies.append(net.evaluate(data.x_test, data.y_test)["accuracy"])
    assert told["test_accuracy"] == accuracies[losses.index(min(losses))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--norm", "bach"], "unknown normalisation 'bach'"),
        (["--dropout", "1"], "rate is 1.0"),
        (["--l2", "-1"], "strength is -1.0"),
        (["--clip", "0"], "limit is 0.0"),
        (["--weight-decay", "nan"], "weight_decay is nan"),
        (["--restarts", "0"], "restarts is 0"),
        (["--optimizer", "adan"], "nearest: 'adam'"),
    ],
)
def test_what_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["train", "digits", "--epochs", "1", *options]) == 2
    assert message in capsys.readouterr().err
