"""`gpubp train` on files: what is held out, what is reported, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.cli import main
from gpubp.data import Preprocessing, read, split
from tests.cli.files import command, flowers, refused, write

Said = pytest.CaptureFixture[str]
QUICK = ("--hidden", "16", "--epochs", "30", "--lr", "0.02")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "flowers.csv", flowers())


def test_classes_are_reported_by_name(table: Path, capsys: Said) -> None:
    told, err = command(capsys, "train", table, "--target", "kind", *QUICK)
    assert (told["kind"], told["train_rows"], told["test_rows"]) == ("classification", 96, 24)
    assert told["test_accuracy"] > 0.9
    assert [row["class"] for row in told["classes"]] == ["iris", "rose", "tulip"]
    assert [row["train_rows"] for row in told["classes"]] == [32, 32, 32]
    assert [row["test_rows"] for row in told["classes"]] == [8, 8, 8]
    share = sum(row["recall"] * row["test_rows"] for row in told["classes"]) / 24
    assert share == pytest.approx(told["test_accuracy"])
    assert "column 'kind': texts, hence classification" in err
    assert "96 training rows: 30 epochs in batches of 32, adam at" in err


def test_nothing_that_is_read_is_overwritten(table: Path, capsys: Said) -> None:
    folder = table.parent
    np.save(folder / "x.npy", np.zeros((9, 2)))
    np.save(folder / "y.npy", np.zeros(9))
    (folder / "idx").mkdir()
    images = folder / "idx" / "train-images-idx3-ubyte"
    images.write_bytes(b"images")
    before = {path: path.read_bytes() for path in (*folder.glob("*.*"), images)}
    for data, target, out in [
        (table, "kind", table),
        (table, "kind", folder / "idx" / ".." / "flowers.csv"),
        (folder / "x.npy", folder / "y.npy", folder / "y.npy"),
        (images.parent, "kind", images),
    ]:
        said = refused(capsys, "train", data, "--target", target, "--save", out)
        assert f"--save {out} is what is read" in said
    assert before == {path: path.read_bytes() for path in before}


def test_a_model_may_be_called_as_a_column_or_the_digits_are(
    table: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    short = ("--hidden", "4", "--epochs", "1")
    for _ in range(2):  # and be trained anew
        command(capsys, "train", table, "--target", "kind", *short, "--save", "kind")
    command(capsys, "train", "digits", *short, "--save", "digits")
    assert gpubp.load("kind").n_parameters < gpubp.load("digits").n_parameters


def test_numbers_are_reported_in_their_unit(table: Path, tmp_path: Path, capsys: Said) -> None:
    """What is printed is what the library says of the same network, in grams."""
    model = tmp_path / "net"
    asked = ("train", table, "--target", "weight", *QUICK, "--drop", "kind", "--save", model)
    told, _ = command(capsys, *asked)
    data, net = read(table), gpubp.load(model)
    _, test = split(len(data), 0.2, seed=0)
    prep = net.preprocessing
    assert prep.names == ("stem", "colour=blue", "colour=red", "colour=white", "leaf")
    guess = prep.values(net.predict(prep.features(data, test)))
    wanted = data["weight"][test]
    assert told["test_rmse"] == pytest.approx(np.sqrt(((guess - wanted) ** 2).mean()), rel=1e-9)
    r2 = 1 - ((guess - wanted) ** 2).mean() / wanted.var()
    assert told["test_r2"] == pytest.approx(r2, rel=1e-9)
    assert 3.0 < told["test_rmse"] < 0.5 * wanted.std()
    assert main([*map(str, asked)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"test r2 0\.\d{4}, root mean squared error \d+\.\d+ \(in the unit of "
                     r"'weight'\) after 30 epochs", printed)  # fmt: skip


def test_test_rows_change_nothing_of_what_is_learnt(table: Path, capsys: Said) -> None:
    """Weights and preprocessing are the same when the test rows hold something else."""
    columns = flowers()
    _, test = split(np.arange(120) % 3, 0.2, seed=0)
    other = {name: list(values) for name, values in columns.items()}
    for row in test:
        other["stem"][row], other["leaf"][row], other["colour"][row] = 99.0, -77.0, "green"
    changed = write(table.parent / "changed.csv", other)
    models = []
    for path in (table, changed):
        model = table.parent / f"{path.stem}.net"
        _, err = command(capsys, "train", path, "--target", "kind", *QUICK, "--drop", "weight",
                         "--save", model)  # fmt: skip
        models.append(gpubp.load(model))
    assert "column 'colour': no training row held 'green' (24 rows)" in err
    first, second = models
    assert first.preprocessing == second.preprocessing
    for path, array in first.state_dict().items():
        assert array.tobytes() == second.state_dict()[path].tobytes()


def test_the_network_is_the_one_that_python_trains(table: Path, capsys: Said) -> None:
    model = table.parent / "net"
    command(capsys, "train", table, "--target", "kind", *QUICK, "--lr", "0.01", "--l2", "0.001",
            "--schedule", "none", "--batch-size", "full", "--seed", "3", "--split-seed", "5",
            "--test", "30", "--save", model)  # fmt: skip
    data = read(table)
    train, test = split(np.arange(120) % 3, 30, seed=5)
    assert len(test) == 30
    prep = Preprocessing.fit(data, "kind", rows=train)
    net = gpubp.Network(gpubp.MLP([16], 3), inputs=prep.width, seed=3)
    net.fit(prep.features(data, train), prep.targets(data, train), epochs=30, batch_size=None,
            optimizer=gpubp.Adam(0.01, penalty=gpubp.L2(0.001)), shuffle_seed=3)  # fmt: skip
    loaded = gpubp.load(model)
    assert loaded.preprocessing == prep
    assert loaded.classes == ["iris", "rose", "tulip"]
    for path, array in net.state_dict().items():
        assert array.tobytes() == loaded.state_dict()[path].tobytes()


def test_early_stopping_holds_out_some_of_the_training_rows(table: Path, capsys: Said) -> None:
    told, err = command(capsys, "train", table, "--target", "kind", "--hidden", "16",
                        "--lr", "0.1", "--early-stopping", "2")  # fmt: skip
    assert (told["train_rows"], told["validation_rows"], told["test_rows"]) == (86, 10, 24)
    assert told["epochs"] < 40
    assert "val_loss" in err
    told, _ = command(capsys, "train", table, "--target", "kind", *QUICK, "--restarts", "3",
                      "--validation", "0.25", "--test", "0")  # fmt: skip
    assert (told["train_rows"], told["validation_rows"], told["test_rows"]) == (90, 30, 0)
    assert told["test_accuracy"] is None
    assert "--validation 0" in refused(capsys, "train", table, "--target", "kind",
                                       "--early-stopping", "2", "--validation", "0")  # fmt: skip


def test_digits_hold_out_training_rows_too(capsys: Said) -> None:
    told, _ = command(capsys, "train", "digits", "--hidden", "8", "--epochs", "2",
                      "--early-stopping", "5")  # fmt: skip
    assert (told["train_rows"], told["validation_rows"], told["test_rows"]) == (1298, 144, 355)


@pytest.mark.parametrize(
    ("loss", "target", "figure"),
    [("binary_cross_entropy", "is_rose", "accuracy"), ("hinge", "is_rose", "accuracy"),
     ("focal", "kind", "accuracy"), ("multi_class_hinge", "kind", "accuracy"),
     ("huber", "weight", "r2"), ("quantile", "weight", "r2"), ("poisson", "weight", "r2"),
     ("gaussian_nll", "weight", "r2")],
)  # fmt: skip
def test_losses(table: Path, capsys: Said, loss: str, target: str, figure: str) -> None:
    columns = flowers() | {"is_rose": [str(kind == "rose") for kind in flowers()["kind"]]}
    write(table, columns)
    told, _ = command(capsys, "train", table, "--target", target, "--loss", loss, "--hidden", "16",
                      "--epochs", "60")  # fmt: skip
    assert told[f"test_{figure}"] > (0.75 if figure == "accuracy" else 0.4)


def test_balanced_classes_weigh_the_same(table: Path, capsys: Said) -> None:
    rare = flowers()["kind"]
    rows = [i for i, name in enumerate(rare) if name != "rose" or i % 10 == 1]
    write(table, {name: [values[i] for i in rows] for name, values in flowers().items()})
    model = table.parent / "net"
    command(capsys, "train", table, "--target", "kind", *QUICK, "--class-weight", "balanced",
            "--save", model)  # fmt: skip
    weights = gpubp.load(model).loss.class_weight  # type: ignore[union-attr]
    assert weights[1] > 4 * weights[0]


def test_arrays_with_a_test_part_of_their_own(tmp_path: Path, capsys: Said) -> None:
    x = np.random.default_rng(0).integers(0, 256, (80, 2, 2)).astype(np.uint8)
    y = (x[:, 0, 0] > 127).astype(np.uint8)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    told, err = command(capsys, "train", path, *QUICK)
    assert (told["train_rows"], told["test_rows"]) == (60, 20)
    assert told["test_accuracy"] > 0.8
    assert "leave --test away" in refused(capsys, "train", path, "--test", "0.5")
    assert "no columns with names" in refused(capsys, "train", path, "--drop", "a")
    assert "integers from 0 to 1 without a gap, hence classification" in err


def test_a_column_of_an_array_as_the_target(tmp_path: Path, capsys: Said) -> None:
    x = np.random.default_rng(2).normal(size=(80, 4))
    x[:, 1] = 3.0 * x[:, 0] - x[:, 3] + 100.0
    np.save(tmp_path / "x.npy", x)
    model = tmp_path / "net"
    told, _ = command(capsys, "train", tmp_path / "x.npy", "--target", "1", *QUICK, "--save", model)
    assert told["test_r2"] > 0.8
    again, _ = command(capsys, "predict", model, tmp_path / "x.npy", "--target", "-3", "--out",
                       tmp_path / "out.csv")  # fmt: skip
    assert again["r2"] > 0.8
    assert "expected (n, 3)" in refused(capsys, "predict", model, tmp_path / "x.npy", "--out",
                                        tmp_path / "out.csv")  # fmt: skip
    told, _ = command(capsys, "train", tmp_path / "x.npy", "--target", "1", *QUICK, "--test", "1")
    assert told["test_r2"] is None  # of one row
    np.save(tmp_path / "y.npy", x[:, 1])
    command(capsys, "train", tmp_path / "x.npy", "--target", tmp_path / "y.npy", *QUICK,
            "--save", model)  # fmt: skip
    assert gpubp.load(model).preprocessing.target == "y"


@pytest.mark.parametrize("ending", ["npz", "csv"])
def test_what_is_larger_than_memory_is_encoded_batch_by_batch(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Rows that are encoded as they are read give the bits of those encoded before."""
    from gpubp.data import Rows

    random = np.random.default_rng(1)
    x = random.normal(5.0, 2.0, size=(300, 6))
    y = (x[:, 0] + x[:, 1] > 10).astype(int)
    if ending == "npz":
        np.savez(tmp_path / "large.npz", x=x, y=y)
    else:
        columns = {f"x{i}": x[:, i].tolist() for i in range(6)}
        colours = [("red", "blue")[k] for k in random.integers(0, 2, 300)]
        write(tmp_path / "large.csv", {**columns, "colour": colours, "y": y.tolist()})
    path, how = tmp_path / f"large.{ending}", () if ending == "npz" else ("--target", "y")
    made, states = [], []

    class Seen(Rows):
        def __init__(self, *given: Any, **how: Any) -> None:
            made.append(given)
            super().__init__(*given, **how)

    monkeypatch.setattr("gpubp.data.Rows", Seen, raising=False)
    for limit in (1 << 30, 100):
        monkeypatch.setattr("gpubp.cli.parts.AT_ONCE", limit)
        told, _ = command(capsys, "train", path, *how, *QUICK, "--early-stopping", "20",
                          "--save", tmp_path / "net")  # fmt: skip
        states.append((told["test_accuracy"], gpubp.load(tmp_path / "net").state_dict()))
    assert len(made) == 2  # to train on, and to validate on
    (once, first), (later, second) = states
    assert once == later
    assert all(first[path].tobytes() == second[path].tobytes() for path in first)


def test_missing_entries_and_how_to_fill_them(table: Path, capsys: Said) -> None:
    columns = flowers()
    columns["stem"][7] = ""
    columns["colour"][3] = "NA"
    write(table, columns)
    err = refused(capsys, "train", table, "--target", "kind")
    assert "row 4, column 'colour' has no entry, nor has 1 other in 2 columns" in err
    assert "--impute" in err
    told, _ = command(capsys, "train", table, "--target", "kind", "--impute", "median", *QUICK)
    assert told["test_accuracy"] > 0.8
    columns["kind"][0] = ""
    write(table, columns)
    err = refused(capsys, "train", table, "--target", "kind", "--impute", "median")
    assert "column 'kind': row 1 has no entry" in err


def test_numbers_that_name_categories(table: Path, capsys: Said) -> None:
    columns = flowers()
    columns["colour"] = [["red", "white", "blue"].index(name) for name in columns["colour"]]
    write(table, columns)
    model = table.parent / "net"
    command(capsys, "train", table, "--target", "kind", "--text", "colour", *QUICK, "--save", model)
    assert gpubp.load(model).preprocessing.names[1:4] == ("colour=0", "colour=1", "colour=2")


def test_a_training_is_gone_on_with(table: Path, capsys: Said) -> None:
    folder = table.parent / "checkpoints"
    asked = ["train", table, "--target", "kind", "--hidden", "16", "--schedule", "none"]
    whole, _ = command(capsys, *asked, "--epochs", "6", "--save", table.parent / "whole")
    command(capsys, *asked, "--epochs", "4", "--checkpoint", folder, "--every", "2")
    told, _ = command(capsys, *asked, "--epochs", "6", "--checkpoint", folder, "--resume",
                      "--save", table.parent / "resumed")  # fmt: skip
    assert told["epochs"] == whole["epochs"] == 6
    first, second = (gpubp.load(table.parent / name) for name in ("whole", "resumed"))
    assert first.preprocessing == second.preprocessing
    for path, array in first.state_dict().items():
        assert array.tobytes() == second.state_dict()[path].tobytes()
    assert "give checkpoint" in refused(capsys, *asked, "--resume")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "say by --target which column"),
        ("--target kin", "nearest: 'kind'"),
        ("--target kind --drop kind", "this column is the target"),
        ("--target kind --drop colr", "nearest: 'colour'"),
        ("--target kind --task regression", "holds texts, such as 'rose' in row 2"),
        ("--target weight --task classification", r"holds \d+ classes in 120 rows"),
        ("--target kind --loss huber", "--loss huber is not for a target of classes"),
        ("--target weight --loss focal", "--loss focal is not for a target of numbers"),
        ("--target kind --loss bce", "is for two classes, and the target has 3"),
        ("--target kind --loss kl_divergence", "not for a target of classes"),
        ("--target kind --loss hubr", "nearest: 'huber'"),
        ("--target kind --class-weight balanced --loss focal", "is for --loss cross_entropy"),
        ("--target weight --class-weight balanced", "is for --loss cross_entropy"),
        ("--target kind --test 1.5", "test is 1.5"),
        ("--target kind --test 120", "test is 120"),
        ("--target kind --test x", "neither a share such as 0.2"),
        ("--target kind --validation 2.5", "2.5"),
        ("--target kind --split-seed -1", "seed is -1"),
        ("--target kind --batch-size all", "neither a number nor full"),
        ("--target kind --batch-size 0", "batch_size is 0"),
        ("--target kind --epochs 0", "epochs is 0"),
        ("--target kind --early-stopping 0", "patience 0"),
        ("--target kind --numeric colour", "colour"),
        ("--target kind --encoding klingon", "klingon"),
        ("--target kind --every 2", "give checkpoint"),
        ("--target kind --dtype float16", "float16"),
    ],
)
def test_what_cannot_be_is_refused(table: Path, capsys: Said, options: str, said: str) -> None:
    assert re.search(said, refused(capsys, "train", table, *options.split()))


def test_data_that_are_not_there(tmp_path: Path, capsys: Said) -> None:
    assert "there is no file" in refused(capsys, "train", tmp_path / "no.csv", "--target", "a")
    assert "--task is for data from a file" in refused(
        capsys, "train", "digits", "--task", "regression"
    )


def test_decimal_commas(tmp_path: Path, capsys: Said) -> None:
    path = tmp_path / "german.csv"
    rows = [f"{i % 7},5;{i % 5},25;{2 * (i % 7) - i % 5},75" for i in range(60)]
    path.write_text("\n".join(["a;b;c", *rows, ""]))
    assert "decimal comma" in refused(capsys, "train", path, "--target", "c")
    model = tmp_path / "german.safetensors"
    given = (path, "--decimal", ",")
    told, _ = command(capsys, "train", *given, "--target", "c", *QUICK, "--save", model)
    assert told["kind"] == "regression"
    assert told["test_r2"] > 0.9
    out = tmp_path / "out.csv"
    told, _ = command(capsys, "predict", model, *given, "--out", out)
    assert told["r2"] > 0.9
