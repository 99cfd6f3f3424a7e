"""Checkpoints: a training that was left at any step ends with the bits of one that was not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import io
from gpubp.backend import Backend
from gpubp.backends.standard import StandardBackend
from gpubp.data import Preprocessing
from tests.conftest import require
from tests.kill_training import ROOT, digest

DRAW = np.random.default_rng(11)
X, Y = DRAW.normal(size=(22, 5)), np.arange(22) % 3
BODY = gpubp.Sequential(gpubp.Linear(6), gpubp.BatchNorm(), gpubp.Activation("tanh"))
LAYER = gpubp.Sequential(BODY, gpubp.Dropout(0.3), gpubp.Linear(3))
VALIDATION = (X[:7], Y[:7])


def numbers(mlp: bool = True) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 1, activation="tanh"), inputs=5)


def plain() -> gpubp.Network:
    return gpubp.Network(LAYER, inputs=5, seed=3)


def by_example() -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([6], 3, dropout=0.2), inputs=5)


def frozen() -> gpubp.Network:
    net = plain()
    net.freeze("2")
    return net


def ensemble() -> gpubp.Network:
    return gpubp.Network(LAYER, inputs=5, members=3)


def trained_before() -> gpubp.Network:
    net = plain()
    net.fit(X, Y, epochs=2, batch_size=8, optimizer=gpubp.Momentum(0.02))
    return net


def watchers() -> list[gpubp.Callback]:
    return [
        gpubp.EarlyStopping(3, min_delta=0.05),
        gpubp.ReduceOnPlateau(patience=1, factor=0.5),
        gpubp.Health(every=4),
    ]


WARM = gpubp.LinearWarmup(0.05, 5).then(gpubp.CosineDecay(0.05, 90))
CASES: dict[str, tuple[Callable[[], gpubp.Network], dict[str, Any]]] = {
    "sgd by example": (by_example, {"batch_size": 1, "optimizer": gpubp.SGD(WARM)}),
    "adam": (plain, {"optimizer": gpubp.Adam(0.02)}),
    "schedule, clipping, penalty": (
        plain,
        {"optimizer": gpubp.AMSGrad(WARM, penalty=gpubp.L2(0.01), clip=gpubp.ClipNorm(0.5))},
    ),
    "micro-batches, no shuffle": (plain, {"micro_batch": 4, "shuffle": False}),
    "average": (plain, {"optimizer": gpubp.EMA(gpubp.AdamW(0.02), decay=0.8)}),
    "callbacks": (plain, {"validation": VALIDATION, "callbacks": watchers, "epochs": 12}),
    "frozen": (frozen, {}),
    "trained before": (trained_before, {"optimizer": gpubp.Momentum(0.02)}),
    "weights": (plain, {"sample_weight": np.arange(22.0)}),
    "float64": (lambda: gpubp.Network(LAYER, inputs=5, dtype="float64"), {}),
    "ensemble": (
        ensemble,
        {"validation": VALIDATION, "callbacks": watchers, "epochs": 12,
         "optimizer": gpubp.Adam((0.1, 0.01, 0.001))},
    ),
    "restarts": (plain, {"restarts": 3, "validation": VALIDATION}),
    "lbfgs": (
        numbers,
        {"y": X[:, 0], "loss": "mean_squared_error", "optimizer": gpubp.LBFGS(), "batch_size": None,
         "epochs": 8},
    ),
}  # fmt: skip


def fit(net: gpubp.Network, **given: Any) -> gpubp.Network:
    how = {"x": X, "y": Y, "epochs": 4, "batch_size": 8, **given}
    if callable(how.get("callbacks")):
        how["callbacks"] = how["callbacks"]()
    net.fit(**how)
    return net


def leave_at(monkeypatch: pytest.MonkeyPatch, update: int, number: int = signal.SIGINT) -> None:
    """Send a signal in the middle of that update, counted over all networks from now on."""
    take, made = gpubp.Network.train_step, []

    def step(self: Any, *arguments: Any) -> Any:
        made.append(1)
        if len(made) == update:
            signal.raise_signal(number)
        return take(self, *arguments)

    monkeypatch.setattr(gpubp.Network, "train_step", step)


@pytest.mark.parametrize("case", CASES)
def test_a_training_left_at_any_step_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    make, how = CASES[case]
    wanted = fit(make(), **how)
    assert digest(fit(make(), **how, checkpoint=tmp_path / "whole")) == digest(wanted)
    steps = wanted.updates - make().updates if case != "lbfgs" else 0
    for update in sorted({1, 2, 3, 4, 7, steps} & set(range(1, steps + 1))):
        folder = tmp_path / str(update)
        with monkeypatch.context() as patch:
            begun = make()
            leave_at(patch, update)
            with pytest.raises(KeyboardInterrupt):
                fit(begun, **how, checkpoint=folder, every=2)
        net = fit(make(), **how, checkpoint=folder, every=2, resume=True)
        assert digest(net) == digest(wanted), update


@pytest.mark.parametrize("members", [None, 3])
def test_on_every_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Backend, members: int | None
) -> None:
    """Also where the host is ahead of the device when it is asked to leave."""

    def make() -> gpubp.Network:
        return gpubp.Network(LAYER, inputs=5, seed=3, members=members, device=backend)

    how: dict[str, Any] = {"validation": VALIDATION, "callbacks": watchers, "epochs": 3}
    wanted = fit(make(), **how)
    for update in (2, 6):
        with monkeypatch.context() as patch:
            leave_at(patch, update)
            with pytest.raises(KeyboardInterrupt):
                fit(make(), **how, checkpoint=tmp_path / str(update))
        net = fit(make(), **how, checkpoint=tmp_path / str(update), resume=True)
        assert digest(net) == digest(wanted)


def test_another_device_is_warned_of(tmp_path: Path) -> None:
    wanted = fit(plain(), checkpoint=tmp_path)
    strict = require("array_api_strict")
    backend = StandardBackend(strict, strict.Device("device1"), "float32")
    net = gpubp.Network(LAYER, inputs=5, seed=3, device=backend)
    with pytest.warns(UserWarning, match="was written on cpu.*not with the same bits"):
        fit(net, checkpoint=tmp_path, resume=True, epochs=6)
    assert net.epochs == wanted.epochs + 2


@pytest.mark.parametrize("case", CASES)
def test_more_epochs_go_on_where_the_last_ended(tmp_path: Path, case: str) -> None:
    make, how = CASES[case]
    if case in ("schedule, clipping, penalty", "restarts"):
        how = {**how, "epochs": 4}
    epochs = how.get("epochs", 4)
    wanted = fit(make(), **how)
    first = {**how, "epochs": 2}
    if isinstance(how.get("callbacks"), Callable):  # what ends a training may undo its last epochs
        how = {**how, "callbacks": lambda: watchers()[1:]}
        first, wanted = {**how, "epochs": 2}, fit(make(), **how)
    fit(make(), **first, checkpoint=tmp_path)
    net = fit(make(), **{**how, "epochs": epochs}, checkpoint=tmp_path, resume=True)
    assert digest(net) == digest(wanted)
    assert len(net.history) == len(wanted.history)


def test_a_training_that_is_done_is_not_trained_on(tmp_path: Path) -> None:
    how = {"validation": VALIDATION, "callbacks": watchers, "epochs": 40}
    wanted = fit(plain(), **how, checkpoint=tmp_path)
    assert wanted.history.stopped
    again = fit(plain(), **how, checkpoint=tmp_path, resume=True)
    assert digest(again) == digest(wanted)
    assert again.history.stopped == wanted.history.stopped


def test_by_updates(tmp_path: Path) -> None:
    where = gpubp.Checkpoints(tmp_path, 2, unit="updates", keep=100)
    fit(plain(), checkpoint=where)
    names = [path.name for path in where.files()]
    assert names[:3] == [
        "checkpoint-000000-000002.safetensors",
        "checkpoint-000001-000001.safetensors",
        "checkpoint-000001-000003.safetensors",
    ]
    assert names[-1] == "checkpoint-000004-000000.safetensors"


def test_from_every_checkpoint_the_same_end(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    how: dict[str, Any] = {"validation": VALIDATION, "callbacks": watchers, "epochs": 5}
    where = gpubp.Checkpoints(folder, 1, unit="updates", keep=100)
    wanted = fit(plain(), **how, checkpoint=where)
    assert len(where.files()) == len(wanted.history) * 3 + 1
    for path in where.files():
        alone = tmp_path / path.stem
        alone.mkdir()
        (alone / path.name).write_bytes(path.read_bytes())
        net = fit(plain(), **how, checkpoint=alone, resume=True)
        assert digest(net) == digest(wanted), path.name


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    class Losses(gpubp.Callback):
        kept: dict[int, Any] = {}  # noqa: RUF012

        def on_epoch_end(self, net: Any, record: Any) -> None:
            self.kept[record["epoch"]] = net.state_dict()

    told = Losses()
    net = fit(
        plain(), epochs=9, validation=VALIDATION, callbacks=[told],
        optimizer=gpubp.Momentum(0.5), checkpoint=gpubp.Checkpoints(tmp_path, 2, keep=2),
    )  # fmt: skip
    names = sorted(os.listdir(tmp_path))
    assert names == [
        "best.safetensors",
        "checkpoint-000008-000000.safetensors",
        "checkpoint-000009-000000.safetensors",
    ]
    best = int(np.argmin(net.history["val_loss"])) + 1
    loaded = gpubp.load(tmp_path / "best.safetensors")
    assert loaded.epochs == best
    for path, array in loaded.state_dict().items():
        assert array.tobytes() == told.kept[best][path].tobytes()


def test_a_checkpoint_is_a_model(tmp_path: Path) -> None:
    net = fit(ensemble(), checkpoint=tmp_path)
    back = gpubp.load(gpubp.Checkpoints(tmp_path).files()[-1])
    assert back.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()
    assert back.epochs == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_it_is_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    leave_at(monkeypatch, 5, number)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as left:
        fit(plain(), checkpoint=tmp_path)
    assert isinstance(left.value, KeyboardInterrupt) or left.value.code == 143
    assert gpubp.Checkpoints(tmp_path).files()[-1].name == "checkpoint-000001-000002.safetensors"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_checkpoints_sigterm_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Look(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            seen.append(signal.getsignal(signal.SIGTERM))

    fit(plain(), callbacks=[Look()], epochs=1)
    assert seen == [signal.SIG_DFL]


@pytest.mark.thorough
def test_killed_at_random_moments() -> None:
    """A few of what `python -m tests.kill_training --n 300` does."""
    command = [sys.executable, "-m", "tests.kill_training", "--n", "2"]
    command += ["--epochs", "12", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert told["trials"] == 2
    assert told["killed"] > 0


def test_a_broken_file_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    wanted = fit(plain(), checkpoint=tmp_path / "a")
    files = gpubp.Checkpoints(tmp_path / "a").files()
    files[-1].write_bytes(files[-1].read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"going on from .*000003-000000.*000004-000000"):
        net = fit(plain(), checkpoint=tmp_path / "a", resume=True)
    assert digest(net) == digest(wanted)
    for path in gpubp.Checkpoints(tmp_path / "a").files():
        path.write_bytes(b"{}")
    with pytest.raises(gpubp.InputError, match="no checkpoint can be read"):
        fit(plain(), checkpoint=tmp_path / "a", resume=True)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-000001-000000.safetensors.123.abcd").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".other.safetensors.123.abcd").write_text("mine too")
    fit(plain(), checkpoint=tmp_path, epochs=1)
    assert sorted(os.listdir(tmp_path))[:3] == [
        ".other.safetensors.123.abcd",
        "best.safetensors",
        "checkpoint-000001-000000.safetensors",
    ]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def refused(net: gpubp.Network, match: str, **how: Any) -> None:
    before, epochs = digest(net), net.epochs
    with pytest.raises(gpubp.InputError, match=match):
        fit(net, **how)
    assert (digest(net), net.epochs) == (before, epochs)


def test_an_earlier_training_is_not_written_over(tmp_path: Path) -> None:
    fit(plain(), checkpoint=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    refused(plain(), "holds checkpoints of an earlier training", checkpoint=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


OTHERS: dict[str, tuple[str, Callable[[], gpubp.Network], dict[str, Any]]] = {
    "layer": ("layer", lambda: gpubp.Network(gpubp.MLP([6], 3), inputs=5, seed=3), {}),
    "seed": ("seeds", lambda: gpubp.Network(LAYER, inputs=5, seed=4), {}),
    "dtype": ("dtype", lambda: gpubp.Network(LAYER, inputs=5, seed=3, dtype="float64"), {}),
    "members": ("members", lambda: gpubp.Network(LAYER, inputs=5, seed=[3]), {}),
    "frozen": ("frozen", frozen, {}),
    "loss": ("loss", plain, {"loss": gpubp.CrossEntropy(0.1)}),
    "optimizer": ("optimizer", plain, {"optimizer": gpubp.Adam(0.5)}),
    "batch_size": ("batch_size '8', now '11'", plain, {"batch_size": 11}),
    "shuffle_seed": ("shuffle_seed", plain, {"shuffle_seed": 1}),
    "no shuffle": ("shuffle_seed '0', now 'None'", plain, {"shuffle": False}),
    "validation": ("validation", plain, {"validation": VALIDATION}),
    "callbacks": ("callbacks 'none', now 'Health'", plain, {"callbacks": [gpubp.Health()]}),
    "more data": ("data", plain, {"x": X[:20], "y": Y[:20]}),
    "other data": ("checksum", plain, {"x": X + 1.0}),
    "other targets": ("checksum", plain, {"y": Y[::-1].copy()}),
    "weights": ("checksum", plain, {"sample_weight": np.ones(22)}),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("whole")
    fit(plain(), checkpoint=folder)
    return folder


@pytest.mark.parametrize("case", OTHERS)
def test_another_training_is_refused(whole: Path, case: str) -> None:
    named, make, how = OTHERS[case]
    refused(make(), f"by another training: .*{named}", checkpoint=whole, resume=True, **how)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"every": 2}, "give checkpoint=FOLDER"),
        ({"resume": True}, "give checkpoint=FOLDER"),
        ({"checkpoint": "somewhere", "every": 0}, "every is 0"),
        ({"checkpoint": ""}, "the folder is ''"),
        ({"checkpoint": 3}, "the folder is 3"),
        ({"checkpoint": gpubp.Checkpoints("somewhere"), "every": 2}, "every is given twice"),
        ({"checkpoint": gpubp.Checkpoints("/dev/null/x")}, "cannot write checkpoints to"),
    ],
)
def test_arguments(tmp_path: Path, monkeypatch: Any, how: dict[str, Any], match: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(plain(), match, **how)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("given", [{"keep": 0}, {"every": 1.5}, {"unit": "steps"}, {"mode": "up"}])
def test_checkpoints_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(gpubp.InputError, match=f"{next(iter(given))} is"):
        gpubp.Checkpoints("somewhere", **given)


def test_a_figure_that_the_records_do_not_hold(tmp_path: Path) -> None:
    where = gpubp.Checkpoints(tmp_path, monitor="val_loss")
    refused(plain(), "there will be no 'val_loss'; give validation=", checkpoint=where)
    assert where.files() == []


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def broken(whole: Path, folder: Path, change: Change) -> Path:
    """A copy of the last checkpoint with another content, written as gpubp writes."""
    net = gpubp.load(gpubp.Checkpoints(whole).files()[-1])
    _, arrays = io.read(gpubp.Checkpoints(whole).files()[-1])
    extra = {name: array for name, array in arrays.items() if ":" in name}
    kept = json.loads(extra["checkpoint:json"].tobytes())
    change(kept, extra)
    extra["checkpoint:json"] = np.frombuffer(json.dumps(kept).encode(), np.uint8)
    path = folder / "checkpoint-000004-000000.safetensors"
    path.write_bytes(io.encode(net, net.loss, net.epochs, extra))
    return folder


BREAKS: dict[str, Change] = {
    "no settings": lambda kept, extra: kept.pop("settings"),
    "settings a list": lambda kept, extra: kept.update(settings=[]),
    "no slots": lambda kept, extra: extra.clear(),
    "slots of another size": lambda kept, extra: extra.update({"slot:m": np.zeros(3, "f4")}),
    "slots of another kind": lambda kept, extra: kept.update(slots=["v", "m"]),
    "slots a number": lambda kept, extra: kept.update(slots=7),
    "batch below 0": lambda kept, extra: kept.update(batch=-1),
    "history a text": lambda kept, extra: kept.update(history="long"),
    "halted of others": lambda kept, extra: kept.update(halted=[True, False]),
    "rate a text": lambda kept, extra: kept.update(rate="fast"),
    "first epoch": lambda kept, extra: kept.update(first_epoch=2.5),
    "callbacks": lambda kept, extra: kept.update(callbacks=[{}]),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_checkpoint_that_is_wrong_changes_nothing(whole: Path, tmp_path: Path, case: str) -> None:
    folder = broken(whole, tmp_path, BREAKS[case])
    match = "is incomplete or wrong|by another training"
    refused(plain(), match, checkpoint=folder, resume=True)


def test_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    plain().save(tmp_path / "checkpoint-000001-000000.safetensors")
    refused(plain(), "is a model and no checkpoint", checkpoint=tmp_path, resume=True)


def test_a_full_disk_ends_training_and_leaves_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, synced, sync = plain(), [], os.fsync

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) > 6:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(gpubp.InputError, match=r"cannot write .*No space left"):
        fit(net, checkpoint=tmp_path)
    monkeypatch.undo()
    assert all(gpubp.load(path).epochs for path in tmp_path.iterdir())
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert digest(fit(plain(), checkpoint=tmp_path, resume=True)) == digest(fit(plain()))


def test_a_layer_of_ones_own_goes_on(tmp_path: Path) -> None:
    from tests.test_io import Scale

    def own() -> gpubp.Network:
        return gpubp.Network(gpubp.Sequential(Scale(0.5), gpubp.Linear(3)), inputs=5)

    fit(own(), checkpoint=tmp_path, epochs=2)
    assert digest(fit(own(), checkpoint=tmp_path, resume=True)) == digest(fit(own()))


def test_the_state_of_a_callback_of_ones_own(tmp_path: Path) -> None:
    class Count(gpubp.Callback):
        def on_fit_begin(self, net: Any) -> None:
            self.epochs, self.sums = 0, np.zeros(2)

        def on_epoch_end(self, net: Any, record: Any) -> None:
            self.epochs += 1
            self.sums = self.sums + np.asarray([1.0, record["loss"]])

        def on_save(self, net: Any) -> dict[str, Any]:
            return {"epochs": self.epochs, "sums": self.sums}

        def on_resume(self, net: Any, state: dict[str, Any]) -> None:
            self.epochs, self.sums = state["epochs"], state["sums"]

    wanted, begun, told = Count(), Count(), Count()
    fit(plain(), callbacks=[wanted])
    fit(plain(), callbacks=[begun], checkpoint=tmp_path, epochs=2)
    fit(plain(), callbacks=[told], checkpoint=tmp_path, resume=True)
    assert told.epochs == 4
    assert told.sums.tolist() == wanted.sums.tolist()


def test_what_json_does_not_take_is_told(tmp_path: Path) -> None:
    class Odd(gpubp.Callback):
        def on_save(self, net: Any) -> dict[str, Any]:
            return {"thing": object()}

    with pytest.raises(gpubp.InputError, match=re.escape("Odd: on_save returned 'thing'")):
        fit(plain(), callbacks=[Odd()], checkpoint=tmp_path)


def both(tmp_path: Path, make: Callable[[], gpubp.Network], left: int, **how: Any) -> None:
    """Train in one go, and leave after some epochs and go on: the same bits."""
    wanted = fit(make(), **{**how, "epochs": 6})
    fit(make(), **{**how, "epochs": left}, checkpoint=tmp_path)
    net = fit(make(), **{**how, "epochs": 6}, checkpoint=tmp_path, resume=True)
    assert digest(net) == digest(wanted)
    assert net.frozen == wanted.frozen


def test_what_a_callback_unfreezes_stays_so(tmp_path: Path) -> None:
    class Thaw(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            if record["epoch"] == 2:
                net.unfreeze()

    both(tmp_path, frozen, 3, callbacks=lambda: [Thaw()])


def test_a_file_that_cannot_be_read_does_not_outlive_what_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = gpubp.Checkpoints(tmp_path, 1, unit="updates", keep=2)
    fit(plain(), checkpoint=where)
    last = where.files()[-1]
    last.write_bytes(last.read_bytes()[:100])
    where = gpubp.Checkpoints(tmp_path, 1, unit="updates", keep=1)
    leave_at(monkeypatch, 1)
    with pytest.warns(UserWarning, match="going on from"), pytest.raises(KeyboardInterrupt):
        fit(plain(), checkpoint=where, resume=True, epochs=9)
    monkeypatch.undo()
    assert [gpubp.load(path).updates for path in where.files()] == [13]
    assert last.with_suffix(".unreadable").exists()
    assert digest(fit(plain(), checkpoint=where, resume=True, epochs=9)) == digest(
        fit(plain(), epochs=9)
    )


def test_the_same_network_goes_on_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"optimizer": gpubp.SGD(gpubp.OneCycle(0.1, 12)), "checkpoint": tmp_path}
    net = plain()
    with monkeypatch.context() as patch:
        leave_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            fit(net, **how)
    fit(net, **how, resume=True)
    assert digest(net) == digest(fit(plain(), optimizer=how["optimizer"]))


def test_why_a_search_ended_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, how = CASES["lbfgs"]
    how = {**how, "epochs": 60, "optimizer": gpubp.LBFGS(tolerance=1e-2)}
    wanted = fit(make(), **how)
    assert 1 < len(wanted.history) < 60
    from gpubp.lbfgs import LineSearchTrainer

    search, made = LineSearchTrainer._search, []

    def searched(self: Any) -> None:
        made.append(1)
        search(self)
        if len(made) == len(wanted.history):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LineSearchTrainer, "_search", searched)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), **how, checkpoint=tmp_path)
    net = fit(make(), **how, checkpoint=tmp_path, resume=True)
    assert digest(net) == digest(wanted)
    assert net.history.stopped == wanted.history.stopped


PREPARED = Preprocessing.fit((X, Y))


def prepared() -> gpubp.Network:
    net = plain()
    net.preprocessing = PREPARED
    return net


@pytest.mark.parametrize("restarts", [None, 2])
def test_preprocessing_goes_along(tmp_path: Path, restarts: int | None) -> None:
    fit(prepared(), checkpoint=tmp_path, restarts=restarts, epochs=2)
    assert all(gpubp.load(path).preprocessing == PREPARED for path in tmp_path.iterdir())
    if restarts is None:  # restarts train networks that are thrown away
        net = fit(plain(), checkpoint=tmp_path, resume=True)
        assert net.preprocessing == PREPARED
    other = plain()
    other.preprocessing = Preprocessing.fit((X * 2.0, Y))
    refused(other, "another preprocessing", checkpoint=tmp_path, resume=True, restarts=restarts)


class Hidden(gpubp.Layer):
    """A layer whose argument is no attribute of that name."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return x * self._factor, None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy * self._factor


def test_what_can_never_be_written_is_refused_first(tmp_path: Path) -> None:
    net = gpubp.Network(gpubp.Sequential(Hidden(2.0), gpubp.Linear(3)), inputs=5)
    refused(net, "cannot be written to a file", checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "state",
    [None, [1], {3: 1}, {"a": np.asarray(["text"])}, {"a": np.zeros(2, complex)},
     {"a": np.zeros(1, "datetime64[s]")}, {"a": np.zeros(1, object)}],
)  # fmt: skip
def test_a_state_that_no_file_holds(tmp_path: Path, state: Any) -> None:
    class Odd(gpubp.Callback):
        def on_save(self, net: Any) -> Any:
            return state

    with pytest.raises(gpubp.InputError, match="Odd: on_save returned"):
        fit(plain(), callbacks=[Odd()], checkpoint=tmp_path)


def test_numbers_of_numpy_in_a_record(tmp_path: Path) -> None:
    class Note(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            record["mine"] = np.float32(0.1)

    net = fit(plain(), callbacks=[Note()], checkpoint=tmp_path, epochs=2)
    net = fit(plain(), callbacks=[Note()], checkpoint=tmp_path, resume=True)
    assert net.history["mine"] == [np.float32(0.1)] * 4


def test_what_is_best_is_part_of_a_training(tmp_path: Path) -> None:
    how = {"validation": VALIDATION, "epochs": 2}
    fit(plain(), **how, checkpoint=gpubp.Checkpoints(tmp_path, monitor="val_accuracy"))
    where = gpubp.Checkpoints(tmp_path, monitor="val_loss")
    refused(plain(), "best 'largest val_accuracy', now 'least val_loss'", **how, checkpoint=where,
            resume=True)  # fmt: skip


def test_other_validation_data_are_refused(tmp_path: Path) -> None:
    fit(plain(), validation=VALIDATION, checkpoint=tmp_path)
    other = (X[:7] * 100.0, Y[:7])
    refused(plain(), "validation", validation=other, checkpoint=tmp_path, resume=True)


def test_what_has_no_repr_is_told_by_its_attributes(tmp_path: Path) -> None:
    class Slower(gpubp.Schedule):
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def __call__(self, step: int) -> float:
            return self.rate / (step + 1)

    fit(plain(), optimizer=gpubp.Adam(Slower(0.1)), checkpoint=tmp_path)
    other = gpubp.Adam(Slower(0.9))
    refused(plain(), "optimizer", optimizer=other, checkpoint=tmp_path, resume=True)
    same = gpubp.Adam(Slower(0.1))
    fit(plain(), optimizer=same, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_full_disk_does_not_keep_a_process_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    leave_at(monkeypatch, 2, number)
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.warns(UserWarning, match="went wrong before.*No space left"),
        pytest.raises((KeyboardInterrupt, SystemExit)),
    ):
        fit(plain(), checkpoint=tmp_path)
