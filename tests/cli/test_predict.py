"""`gpubp predict`: what is written, what is told, and what is refused."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.cli import main
from gpubp.data import Arrays, digits, split
from gpubp.data import read as read_data
from tests.cli.files import command, flowers, read, refused, write
from tests.conftest import require

Said = pytest.CaptureFixture[str]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "flowers.csv", flowers())


@pytest.fixture
def model(table: Path, capsys: Said) -> Path:
    path = table.parent / "flowers.net"
    command(capsys, "train", table, "--target", "kind", "--drop", "weight", "--hidden", "16",
            "--epochs", "15", "--save", path)  # fmt: skip
    return path


def test_classes_and_probabilities_in_the_order_of_the_rows(
    table: Path, model: Path, capsys: Said
) -> None:
    out = table.parent / "out.csv"
    told, err = command(capsys, "predict", model, table, "--out", out)
    net, data = gpubp.load(model), read_data(table)
    chances = net.predict_proba(net.preprocessing.features(data))
    found = read(out)
    assert list(found) == ["predicted", "p_iris", "p_rose", "p_tulip"]
    assert found["predicted"] == [net.classes[k] for k in chances.argmax(-1)]
    written = np.stack([np.float32(found[f"p_{name}"]) for name in net.classes], axis=1)
    assert written.tobytes() == chances.tobytes()  # to the bit
    share = np.mean([a == b for a, b in zip(found["predicted"], flowers()["kind"], strict=True)])
    assert told["accuracy"] == pytest.approx(share)
    assert f"accuracy {share:.4f}" in err


class Mine(gpubp.CrossEntropy):
    """A loss that is not gpubp's own."""


def test_a_loss_that_a_file_does_not_hold_is_named(table: Path, model: Path, capsys: Said) -> None:
    net = gpubp.load(model, loss=Mine())
    net.save(model)
    out = table.parent / "out.csv"
    assert "trained with Mine, a loss that is not gpubp's" in refused(
        capsys, "predict", model, table, "--out", out
    )
    assert not out.exists()


def test_the_test_rows_give_the_figure_that_was_reported(table: Path, capsys: Said) -> None:
    columns = flowers()
    for target, figure in (("kind", "accuracy"), ("weight", "rmse")):
        rows = np.arange(120) % 3 if target == "kind" else 120
        test = split(rows, 0.2, seed=0)[1]
        held = {name: [values[i] for i in test] for name, values in columns.items()}
        part = write(table.parent / "held.csv", held)
        saved = table.parent / f"{target}.net"
        told, _ = command(capsys, "train", table, "--target", target, "--hidden", "16",
                          "--epochs", "9", "--save", saved)  # fmt: skip
        again, _ = command(capsys, "predict", saved, part, "--out", table.parent / "o.csv")
        assert again[figure] == pytest.approx(told[f"test_{figure}"], rel=1e-12)


def test_numbers_come_in_their_own_unit(table: Path, capsys: Said) -> None:
    saved, out = table.parent / "net", table.parent / "out.csv"
    command(capsys, "train", table, "--target", "weight", "--hidden", "16", "--save", saved)
    told, err = command(capsys, "predict", saved, table, "--out", out)
    values = np.asarray(read(out)["predicted"], dtype=float)
    assert 400 < values.min() < values.max() < 800
    assert told["rmse"] < 0.5 * np.std(flowers()["weight"])
    assert "in the unit of 'weight'" in err
    del told
    bare = {name: values for name, values in flowers().items() if name != "weight"}
    told, err = command(capsys, "predict", saved, write(table.parent / "bare.csv", bare),
                        "--out", out)  # fmt: skip
    assert told == {"rows": 120, "out": str(out)}
    assert np.asarray(read(out)["predicted"], dtype=float).tobytes() == values.tobytes()


def test_rows_come_in_blocks(
    table: Path, model: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for block in (16_384, 7):
        monkeypatch.setattr("gpubp.cli.predicting.BLOCK", block)
        for ending in ("csv", "npz"):
            assert (
                main(["predict", str(model), str(table), "--out", str(model) + f".{ending}"]) == 0
            )
        texts.append(Path(f"{model}.csv").read_text())
        with np.load(f"{model}.npz") as file:
            assert file["predicted"].tolist() == read(Path(f"{model}.csv"))["predicted"]
            assert file["p_rose"].dtype == np.float32
    first, second = texts
    assert np.allclose(*[np.loadtxt(io.StringIO(t), delimiter=",", skiprows=1, usecols=(1, 2, 3))
                         for t in texts], atol=1e-6)  # fmt: skip
    assert [line.split(",")[0] for line in first.split()] == [
        line.split(",")[0] for line in second.split()
    ]


def test_parquet_and_standard_output(table: Path, model: Path, capsys: Said) -> None:
    parquet = require("pyarrow.parquet")
    out = table.parent / "out.parquet"
    command(capsys, "predict", model, table, "--out", out)
    found = parquet.read_table(out)
    assert found.column_names == ["predicted", "p_iris", "p_rose", "p_tulip"]
    assert main(["predict", str(model), str(table), "--out", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "predicted,p_iris,p_rose,p_tulip"
    assert [line.split(",")[0] for line in lines[1:]] == found["predicted"].to_pylist()
    assert "would both write" in refused(capsys, "predict", model, table, "--out", "-", "--json")


def test_columns_go_by_name_and_unknown_ones_are_told(
    table: Path, model: Path, capsys: Said
) -> None:
    columns = flowers()
    columns["colour"][5:8] = ["green"] * 3
    columns["kind"][:2] = ["lily", ""]
    other = write(table.parent / "other.csv", dict(reversed(columns.items())) | {"new": [1] * 120})
    told, err = command(capsys, "predict", model, other, "--out", table.parent / "out.csv")
    assert "column 'colour': no training row held 'green' (3 rows)" in err
    assert "of the 119 rows whose target is known" in err
    guesses = read(table.parent / "out.csv")["predicted"]
    right = sum(a == b for a, b in zip(guesses, columns["kind"], strict=True))
    assert told["accuracy"] == pytest.approx(right / 119)  # a lily is never right
    del columns["leaf"]
    write(other, columns)
    assert "'leaf'" in refused(capsys, "predict", model, other, "--out", table.parent / "out.csv")


def test_columns_are_read_as_they_were_in_training(table: Path, capsys: Said) -> None:
    """Texts that look like numbers stay texts, in features and in the target."""
    columns = flowers()
    columns["colour"] = [
        ["1", "2", "x"][("red", "white", "blue").index(c)] for c in columns["colour"]
    ]
    columns["kind"] = [["3", "4", "y"][("iris", "rose", "tulip").index(k)] for k in columns["kind"]]
    write(table, columns)
    saved, out = table.parent / "net", table.parent / "out.csv"
    command(capsys, "train", table, "--target", "kind", "--hidden", "16", "--save", saved)
    rows = [i for i in range(120) if columns["colour"][i] != "x" and columns["kind"][i] != "y"]
    some = {name: [values[i] for i in rows] for name, values in columns.items()}
    told, _ = command(capsys, "predict", saved, write(table.parent / "some.csv", some),
                      "--out", out)  # fmt: skip
    assert told["accuracy"] > 0.9
    columns["stem"][4] = "tall"
    write(table, columns)
    err = refused(capsys, "predict", saved, table, "--out", out)
    assert "'stem'" in err
    assert "'tall'" in err


def test_without_a_target_nothing_is_said_of_it(table: Path, model: Path, capsys: Said) -> None:
    columns = flowers()
    columns["kind"] = [1.5] * 120
    other = write(table.parent / "other.csv", columns)
    told, err = command(capsys, "predict", model, other, "--out", table.parent / "out.csv")
    assert told["rows"] == 120
    columns["kind"] = [""] * 120
    told, err = command(capsys, "predict", model, write(other, columns), "--out",
                        table.parent / "out.csv")  # fmt: skip
    assert "accuracy" not in told
    assert "accuracy" not in err


# -- networks without preprocessing ------------------------------------------------------------


def arrays(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "arrays.npz"
    np.savez(path, **arrays)
    return path


def test_digits_again(tmp_path: Path, capsys: Said) -> None:
    saved, out = tmp_path / "net", tmp_path / "out.csv"
    told, _ = command(capsys, "train", "digits", "--epochs", "3", "--save", saved)
    data = digits()
    x = arrays(tmp_path, x=data.x_test, y=data.y_test)
    again, _ = command(capsys, "predict", saved, x, "--out", out)
    assert again["accuracy"] == told["test_accuracy"]
    assert list(read(out)) == ["predicted", *(f"p_{k}" for k in range(10))]
    again, _ = command(capsys, "predict", saved, "digits", "--part", "test", "--out", out)
    assert again["accuracy"] == told["test_accuracy"]
    images = arrays(tmp_path, x=data.x_test.reshape(-1, 8, 8))
    assert "accuracy" not in command(capsys, "predict", saved, images, "--out", out)[0]
    bad = arrays(tmp_path, x=data.x_test[:, :63])
    assert "63 features in each row; this network takes 64" in refused(
        capsys, "predict", saved, bad, "--out", out
    )


def test_a_table_gives_its_columns_in_order(tmp_path: Path, capsys: Said) -> None:
    net = gpubp.Network(gpubp.Linear(1, W="ones"), inputs=2)
    net.save(tmp_path / "net")
    path = write(tmp_path / "t.csv", {"a": [1, 2], "b": [10, 20]})
    command(capsys, "predict", tmp_path / "net", path, "--out", tmp_path / "out.csv")
    assert read(tmp_path / "out.csv") == {"predicted": ["11.0", "22.0"]}
    write(path, {"a": [1, 2], "y": [5, 5], "b": [10, 20]})
    command(capsys, "predict", tmp_path / "net", path, "--target", "y", "--out",
            tmp_path / "out.csv")  # fmt: skip
    assert read(tmp_path / "out.csv") == {"predicted": ["11.0", "22.0"]}
    asked = ("predict", tmp_path / "net", path, "--out", tmp_path / "out.csv")
    assert "3 features in each row; this network takes 2" in refused(capsys, *asked)
    write(path, {"a": [1, 2], "b": ["x", "y"]})
    assert "column 'b' holds texts" in refused(capsys, *asked)
    write(path, {"a": [1, 2], "b": [1, ""]})
    assert "column 'b' misses an entry in row 2" in refused(capsys, *asked)


@pytest.mark.parametrize(
    ("loss", "width", "columns"),
    [
        ("cross_entropy", 3, ["predicted", "p_0", "p_1", "p_2"]),
        ("binary_cross_entropy", 1, ["predicted", "p_0", "p_1"]),
        ("binary_cross_entropy", 2, ["predicted_0", "predicted_1", "p_0", "p_1"]),
        ("hinge", 1, ["predicted"]),
        ("multi_class_hinge", 3, ["predicted"]),
        ("mean_squared_error", 2, ["predicted_0", "predicted_1"]),
        ("gaussian_nll", 2, ["predicted"]),
        (None, 2, ["predicted_0", "predicted_1"]),
    ],
)
@pytest.mark.parametrize("members", [None, 3])
def test_each_kind_of_network(
    tmp_path: Path, capsys: Said, loss: str | None, width: int, columns: list[str],
    members: int | None,
) -> None:  # fmt: skip
    """Of an ensemble, probabilities and numbers are the mean over its members."""
    net = gpubp.Network(gpubp.MLP([4], width), inputs=2, members=members, seed=1)
    net.loss = loss
    net.save(tmp_path / "net")
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    command(capsys, "predict", tmp_path / "net", arrays(tmp_path, x=x), "--out",
            tmp_path / "out.csv")  # fmt: skip
    found = read(tmp_path / "out.csv")
    assert list(found) == columns
    if loss in ("cross_entropy", "binary_cross_entropy"):
        chances = np.asarray(net.predict_proba(x))
        chances = chances.mean(0) if members else chances
        last = np.asarray(found[columns[-1]], dtype=np.float32)
        assert np.allclose(last, chances[:, -1], atol=1e-6)
        if width == 1:
            assert found["predicted"] == [str(int(p > 0.5)) for p in chances[:, 0]]
    if loss in (None, "mean_squared_error"):
        raw = np.asarray(net.predict(x))
        raw = raw.mean(0) if members else raw
        assert np.allclose(np.asarray(found["predicted_1"], dtype=float), raw[:, 1], atol=1e-6)


def test_targets_beside_arrays_are_judged(tmp_path: Path, capsys: Said) -> None:
    net = gpubp.Network(gpubp.Linear(1, W="ones"), inputs=2, dtype="float64")
    net.loss = "mean_squared_error"
    net.save(tmp_path / "net")
    x = np.arange(6.0).reshape(3, 2)
    data = arrays(tmp_path, x=x, y=x.sum(1) + 2.0)
    told, err = command(capsys, "predict", tmp_path / "net", data, "--out", tmp_path / "o.csv")
    assert told["rmse"] == pytest.approx(2.0)
    data = arrays(tmp_path, x=x, y=np.zeros((3, 2)))
    told, err = command(capsys, "predict", tmp_path / "net", data, "--out", tmp_path / "o.csv")
    assert "no figure: the target in the data" in err


# -- files -------------------------------------------------------------------------------------


def test_nothing_that_is_read_is_overwritten(table: Path, model: Path, capsys: Said) -> None:
    before = table.read_bytes()
    link = table.parent / "link.csv"
    os.link(table, link)
    for out in (table, link, table.parent / "." / "flowers.csv"):
        assert "is what is read" in refused(capsys, "predict", model, table, "--out", out)
    assert table.read_bytes() == before
    named = Path(f"{model}.csv")
    model.rename(named)
    assert "is what is read" in refused(capsys, "predict", named, table, "--out", named)


def test_a_failure_leaves_the_old_file(
    table: Path, model: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = table.parent / "out.csv"
    out.write_text("old")
    before = sorted(table.parent.iterdir())

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left" in refused(capsys, "predict", model, table, "--out", out)
    monkeypatch.undo()
    columns = flowers()
    columns["stem"][100] = 1e300
    monkeypatch.setattr("gpubp.cli.predicting.BLOCK", 10)
    write(table, columns)
    assert "too far from all" in refused(capsys, "predict", model, table, "--out", out)
    assert out.read_text() == "old"
    assert sorted(table.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("out", "said"),
    [("out.txt", "ends in none of"), ("no/such/out.csv", "no folder"), ("", "ends in none of")],
)
def test_where_nothing_can_be_written(
    table: Path, model: Path, capsys: Said, out: str, said: str
) -> None:
    assert said in refused(capsys, "predict", model, table, "--out", out)


def test_parquet_without_pyarrow(
    table: Path, model: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    err = refused(capsys, "predict", model, table, "--out", table.parent / "out.parquet")
    assert "pip install 'gpubp[data]'" in err


def test_a_model_whose_parts_do_not_fit_is_refused(table: Path, model: Path, capsys: Said) -> None:
    net = gpubp.load(model)
    for other, said in (
        (gpubp.Network(gpubp.MLP([4], 3), inputs=9), "makes 5 features; its network takes 9"),
        (gpubp.Network(gpubp.MLP([4], 2), inputs=5), "names 3 classes; its network tells 2"),
    ):
        other.preprocessing, other.loss = net.preprocessing, "cross_entropy"
        other.save(model)
        assert said in refused(capsys, "predict", model, table, "--out", table.parent / "o.csv")
    other.loss = "mean_squared_error"
    other.save(model)
    assert "is not" in refused(capsys, "predict", model, table, "--out", table.parent / "o.csv")
    net.save(model)
    assert "no test part" in refused(
        capsys, "predict", model, table, "--part", "test", "--out", table.parent / "o.csv"
    )


def test_arrays_go_with_the_preprocessing_of_arrays(tmp_path: Path, capsys: Said) -> None:
    random = np.random.default_rng(3)
    x = random.integers(0, 256, (90, 3, 3)).astype(np.uint8)
    y = (x[:, 1, 1] > 100).astype(np.int64) + 5
    np.save(tmp_path / "x.npy", x)
    data, saved = arrays(tmp_path, x=x, y=y), tmp_path / "net"
    command(capsys, "train", data, "--hidden", "8", "--save", saved)
    assert gpubp.load(saved).classes == [5, 6]
    command(capsys, "predict", saved, tmp_path / "x.npy", "--out", tmp_path / "out.csv")
    assert set(read(tmp_path / "out.csv")["predicted"]) == {"5", "6"}
    assert "expected an array, as in training" in refused(
        capsys, "predict", saved, write(tmp_path / "t.csv", flowers()), "--out",
        tmp_path / "out.csv",
    )  # fmt: skip
    assert isinstance(read_data(data), Arrays)
