"""Training in compiled steps on CUDA: all that the plain path promises, with its figures.

Without a device the stand-in compiles each text by g++, for a second or two: tests share a few
shapes, and what needs texts of its own is thorough.
"""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import memory
from gpubp.backends import cuda_steps
from gpubp.check.tolerance import error, tolerance
from gpubp.cli import main
from gpubp.data import digits
from gpubp.program.halves import FIRST_SCALE
from tests import compiled
from tests.conftest import require, rng

pytestmark = pytest.mark.thorough

X = rng(3).normal(size=(14, 3)).astype(np.float32)
Y = np.arange(14) % 2
ROWS, BATCHES = 4, 4  # three batches of four examples, and one of two
USUAL: dict[str, Any] = {"batch_size": ROWS, "optimizer": gpubp.Adam(0.01), "epochs": 4}


def mlp(device: str = "cpu", members: int | None = None, **how: Any) -> gpubp.Network:
    layer = gpubp.MLP([4], 2, activation="tanh")
    return gpubp.Network(layer, inputs=3, device=device, members=members, **how)


def fit(net: gpubp.Network, compile: Any = True, x: Any = X, y: Any = Y, **how: Any) -> Any:
    return net.fit(x, y, **{**USUAL, **how}, compile=compile)


def everything(net: gpubp.Network) -> dict[str, Any]:
    slots = {f"slot:{name}": a for name, a in net.steps.slots.arrays.items()}
    arrays = net.state_dict() | slots
    found = {name: net.be.to_numpy(a) for name, a in arrays.items()}
    counts = net.updates, net.epochs, net.steps.slots.updates
    return {**found, "rate": np.asarray(net.steps.rate), "counts": np.asarray(counts)}


def bits(net: gpubp.Network) -> dict[str, bytes]:
    return {name: np.asarray(a).tobytes() for name, a in everything(net).items()}


def agree(a: Any, b: Any) -> bool:
    """Whether two are one but for rounding, which steps of Adam carry on."""
    return error(a, b) <= 30 * tolerance("float32", b, 30)


def same(net: gpubp.Network, other: gpubp.Network) -> bool:
    mine, theirs = everything(net), everything(other)
    assert mine.keys() == theirs.keys()
    assert mine["counts"].tolist() == theirs["counts"].tolist()
    return all(agree(mine[name], theirs[name]) for name in mine)


def pair(
    device: str, layer: gpubp.Layer | None = None, frozen: tuple[str, ...] = (), **how: Any
) -> tuple[gpubp.Network, gpubp.Network]:
    """A network trained in compiled steps on the device, and one on the CPU's plain path.

    Their weights, slots, counts and records agree.
    """
    nets = []
    for place, compile in ((device, True), ("cpu", False)):
        net = mlp(place) if layer is None else gpubp.Network(layer, 3, device=place)
        net.freeze(*frozen)
        fit(net, compile, **how)
        nets.append(net)
    one, other = (net.history for net in nets)
    assert (one.path, other.path) == ("compiled", "plain")
    assert one.reason == ""
    assert one.stopped == other.stopped
    assert [r.keys() for r in one] == [r.keys() for r in other]
    assert same(*nets)
    assert agree(one["loss"], other["loss"])
    assert one["lr"] == other["lr"]
    return nets[0], nets[1]


def interrupt_behind(monkeypatch: pytest.MonkeyPatch, updates: int) -> None:
    """Send SIGINT while those compiled steps run that come behind so many updates."""
    run = cuda_steps.Steps.run

    def noted(self: Any, *arguments: Any, **more: Any) -> Any:
        if arguments[6] == updates:
            signal.raise_signal(signal.SIGINT)
        return run(self, *arguments, **more)

    monkeypatch.setattr(cuda_steps.Steps, "run", noted)


def real() -> bool:
    """Whether there is a device, and no stand-in for one."""
    return importlib.import_module("cupy") is not compiled


def second_device() -> str:
    """The name of another device; skips where there is one alone."""
    if importlib.import_module("cupy").cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device")
    return "cuda:1"


# -- the figures of the plain path -------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_weights_slots_counts_and_records_are_those_of_the_plain_path(
    on_cuda: str, shuffle: bool
) -> None:
    net, other = pair(on_cuda, shuffle=shuffle)
    assert net.updates == 4 * BATCHES
    fit(net), fit(other, False)  # on with the same slots
    assert same(net, other)
    fit(net, False, epochs=1), fit(other, False, epochs=1)  # and one path with what another left
    fit(net, epochs=1), fit(other, False, epochs=1)
    assert same(net, other)


@pytest.mark.thorough
def test_what_is_trained_has_the_same_bits_in_every_run_and_in_blocks_of_any_length(
    on_cuda: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets = []
    for seconds in (0.1, 0.1, 0.0):  # the last one step at a time
        monkeypatch.setattr("gpubp.blocks.SECONDS", seconds)
        nets.append(mlp(on_cuda))
        fit(nets[-1])
    assert bits(nets[0]) == bits(nets[1]) == bits(nets[2])


def test_callbacks_see_what_they_see_on_the_plain_path(on_cuda: str) -> None:
    """Plain steps that are watched come in between; schedules change; training ends early."""

    def how() -> dict[str, Any]:
        callbacks = [gpubp.Health(3), gpubp.EarlyStopping(2, "loss", min_delta=0.02),
                     gpubp.ReduceOnPlateau("loss", 0.5, 0, threshold=0.02)]  # fmt: skip
        return {"callbacks": callbacks, "epochs": 30, "validation": (X[:6], Y[:6]),
                "optimizer": gpubp.Adam(gpubp.CosineDecay(0.01, 400))}  # fmt: skip

    watched, other = how(), how()
    net, plain = mlp(on_cuda), mlp()
    fit(net, **watched)
    fit(plain, False, **other)
    assert (net.path, plain.path) == ("compiled", "plain")
    assert net.history.stopped == plain.history.stopped != ""
    assert same(net, plain)
    assert net.steps.rate_scale == plain.steps.rate_scale < 1.0
    for name in ("loss", "val_loss", "val_accuracy", "lr"):
        assert agree(net.history[name], plain.history[name])
    mine, theirs = watched["callbacks"][0].records, other["callbacks"][0].records
    assert [r["step"] for r in mine] == [r["step"] for r in theirs]
    assert len(mine) > 5
    for one, two in zip(mine, theirs, strict=True):
        assert agree(one["parameters"][0]["gradient"], two["parameters"][0]["gradient"])


@pytest.mark.thorough
def test_looking_on_changes_no_bit_of_what_is_trained_in_compiled_steps(on_cuda: str) -> None:
    class Counting(gpubp.Callback):
        epochs = 0

        def on_epoch_end(self, net: Any, record: Any) -> None:
            self.epochs += 1

    net, other, counting = mlp(on_cuda), mlp(on_cuda), Counting()
    fit(net, callbacks=[counting])
    fit(other)
    assert counting.epochs == 4
    assert bits(net) == bits(other)


@pytest.mark.thorough
def test_a_network_of_all_sorts(on_cuda: str) -> None:
    layer = gpubp.Sequential(
        gpubp.Linear(8, b=None), gpubp.BatchNorm(), gpubp.Activation("gelu"), gpubp.Dropout(0.3),
        gpubp.Residual(gpubp.Sequential(gpubp.LayerNorm(), gpubp.Linear(8))), gpubp.Linear(2),
    )  # fmt: skip
    net, other = pair(on_cuda, layer, optimizer=gpubp.Momentum(0.05))
    assert {"1.mean", "1.variance"} <= net.state_dict().keys()
    assert agree(net.predict(X), other.predict(X))


@pytest.mark.thorough
def test_weights_of_examples_averages_and_frozen_parameters(on_cuda: str) -> None:
    w = rng(4).random(12)
    w[4:8] = 0.0  # a batch that weighs nothing
    net, other = pair(
        on_cuda, x=X[:12], y=Y[:12], sample_weight=w, shuffle=False, frozen=("0.W",),
        optimizer=gpubp.EMA(gpubp.AdamW(0.01), decay=0.9),
    )  # fmt: skip
    assert np.array_equal(net.be.to_numpy(net.parameter("0.W")), other.parameter("0.W"))
    with net.averaged(), other.averaged():
        assert agree(net.predict(X), other.predict(X))


METHODS: dict[str, gpubp.Optimizer] = {
    "swa, bounds": gpubp.SWA(gpubp.SGD(0.05, max_norm=0.5), start=5, every=2),
    "norms": gpubp.Momentum(0.05, clip=gpubp.ClipGlobalNorm(0.1), penalty=gpubp.L1(0.01)),
    "each": gpubp.SGD(0.05, clip=gpubp.ClipNorm(0.1), penalty=gpubp.L2(0.1)),
    "values": gpubp.AdamW(0.01, clip=gpubp.ClipValue(0.05), weight_decay=0.1),
    "adaptive": gpubp.Nesterov(gpubp.StepDecay(0.05, 5, 0.5), clip=gpubp.AdaptiveClip(0.05)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", METHODS)
def test_averages_bounds_penalties_clipping_and_schedules(on_cuda: str, what: str) -> None:
    pair(on_cuda, x=X[:12], y=Y[:12], optimizer=METHODS[what])


@pytest.mark.thorough
def test_parameters_frozen_by_a_callback_stand_still(on_cuda: str) -> None:
    class Freeze(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            net.freeze("0")

    net = mlp(on_cuda)
    begun = bits(net)["0.W"]
    fit(net, epochs=2, callbacks=[Freeze()], x=X[:12], y=Y[:12])
    other = mlp(on_cuda)
    fit(other, epochs=1, x=X[:12], y=Y[:12])
    assert bits(net)["0.W"] == bits(other)["0.W"] != begun
    assert bits(net)["2.W"] != bits(other)["2.W"]


def test_arrays_that_are_replaced_are_found(on_cuda: str) -> None:
    net, other = mlp(on_cuda), mlp()
    for each, compile in ((net, True), (other, False)):
        fit(each, compile, epochs=1)
        each.reset_optimizer()
        each.load_state_dict({p: each.be.asarray(a) for p, a in mlp().state_dict().items()})
        fit(each, compile, epochs=2)
    assert same(net, other)


@pytest.mark.thorough
def test_digits_are_learned_as_well(on_cuda: str) -> None:
    data, found = digits(), []
    x, y = data.x[:400], data.y[:400]
    for device, compile in ((on_cuda, True), ("cpu", False)):
        net = gpubp.Network(gpubp.MLP([32], 10), inputs=64, device=device)
        net.fit(x, y, batch_size=50, epochs=10, compile=compile, optimizer=gpubp.Adam(0.005))
        found.append(net.evaluate(data.x_test, data.y_test)["accuracy"])
    assert abs(found[0] - found[1]) <= 0.01
    assert found[0] > 0.85


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [None, "tf32", "bf16", "fp16"])
def test_all_digits_are_learned_by_an_ensemble(a_gpu: str, precision: str | None) -> None:
    data = digits()
    layer = gpubp.MLP([256, 128], 10, activation="gelu", norm="batch", dropout=0.2)
    net = gpubp.Network(layer, inputs=64, device=a_gpu, members=8)
    net.fit(data.x, data.y, epochs=40, optimizer=gpubp.AdamW(2e-3, weight_decay=0.05),
            compile=True, precision=precision)  # fmt: skip
    assert net.path == "compiled"
    together = net.predict_proba(data.x_test).mean(axis=0).argmax(axis=-1)
    assert np.mean(together == data.y_test) >= 0.98
    assert np.mean(net.evaluate(data.x_test, data.y_test)["accuracy"]) > 0.975


# -- ensembles ---------------------------------------------------------------------------------


@pytest.mark.thorough
def test_members_have_rates_of_their_own_and_one_that_stops_keeps_its_loss(on_cuda: str) -> None:
    found = []
    for device, compile in ((on_cuda, True), ("cpu", False)):
        net = mlp(device, 3)
        stopping = gpubp.EarlyStopping(2, "loss", min_delta=1e-3, restore_best=False)
        fit(net, compile, x=X[:12], y=Y[:12], epochs=8, callbacks=[stopping],
            optimizer=gpubp.Adam((0.01, 0.0, 0.02)))  # fmt: skip
        found.append(net)
    net, other = found
    assert (net.path, other.path) == ("compiled", "plain")
    assert net.history.ended == other.history.ended
    assert [*net.history.ended] == [1]
    last = net.history.ended[1][0]
    assert last < 8
    assert agree(net.be.to_numpy(net.theta), other.theta)
    mine, theirs = (np.asarray(each.history["loss"]) for each in found)
    assert agree(mine[:, [0, 2]], theirs[:, [0, 2]])
    assert (mine[last:, 1] == mine[last - 1, 1]).all()


@pytest.mark.thorough
def test_a_member_that_is_lost_leaves_the_others_as_they_are(on_cuda: str) -> None:
    found = []
    for device, compile in ((on_cuda, True), ("cpu", False)):
        net = mlp(device, 3)
        net.steps.tolerant = True
        with np.errstate(all="ignore"):
            fit(net, compile, x=X[:12], y=Y[:12], optimizer=gpubp.Adam((0.01, 3e38, 0.02)))
        assert net.steps.lost.tolist() == [False, True, False]
        found.append(net)
    net, other = found
    assert net.updates == other.updates == 12
    assert agree(net.be.to_numpy(net.theta)[[0, 2]], other.theta[[0, 2]])
    assert np.isfinite(net.be.to_numpy(net.theta)).all()
    mine, theirs = (np.asarray(each.history["loss"]) for each in found)
    assert agree(mine[:, [0, 2]], theirs[:, [0, 2]])
    assert np.isnan(mine[-1, 1])


@pytest.mark.thorough
def test_restarts_become_the_best_of_those_that_are_left(on_cuda: str) -> None:
    class Lost(gpubp.Callback):
        """The second is lost in the second epoch."""

        def on_epoch_end(self, net: Any, record: Any) -> None:
            if record["epoch"] == 1:
                net.parameter("0.W")[1, 0, 0] = np.nan

    nets = mlp(on_cuda), mlp()
    for net, compile in zip(nets, (True, False), strict=True):
        with np.errstate(all="ignore"):
            fit(net, compile, x=X[:12], y=Y[:12], restarts=3, callbacks=[Lost()])
    (net, other), outcomes = nets, [net.restarts for net in nets]
    assert outcomes[0] is not None
    assert outcomes[1] is not None
    assert net.path == "compiled"
    assert (outcomes[0].seeds, outcomes[0].best) == (outcomes[1].seeds, outcomes[1].best)
    losses = np.asarray([each.losses for each in outcomes])
    assert agree(losses[0, [0, 2]], losses[1, [0, 2]])
    assert (losses[:, 1] == np.inf).all()
    assert agree(net.be.to_numpy(net.theta), other.theta)


@pytest.mark.thorough
def test_restarts_of_which_none_is_left_say_so_as_the_plain_path_does(on_cuda: str) -> None:
    x, told = np.concatenate([X[:8], 1e30 * X[8:12]]), []
    for device, compile in ((on_cuda, True), ("cpu", False)):
        with (
            np.errstate(all="ignore"),
            pytest.raises(gpubp.NonFiniteError, match="no member is left") as caught,
        ):
            fit(mlp(device), compile, x=x, y=Y[:12], restarts=3, epochs=20,
                optimizer=gpubp.Adam(3e38))  # fmt: skip
        told.append(str(caught.value))
    assert told[0] == told[1]


# -- steps that are not finite -----------------------------------------------------------------


def test_nan_in_the_data_stops_at_the_same_step_with_the_same_words(on_cuda: str) -> None:
    x = X.copy()
    x[7] = np.nan
    told, nets = [], (mlp(on_cuda), mlp())
    for net, compile in zip(nets, (True, False), strict=True):
        fit(net, compile, epochs=1)
        with pytest.raises(gpubp.NonFiniteError) as caught:
            fit(net, compile, x=x, check_finite=False, callbacks=[gpubp.Health(100)])
        told.append((str(caught.value), caught.value.step, caught.value.layer))
    assert told[0] == told[1]
    assert told[0][1:] == (nets[0].updates + 1, "0")
    assert same(*nets)
    assert np.isfinite(nets[0].be.to_numpy(nets[0].theta)).all()
    before = bits(nets[0])
    with pytest.raises(gpubp.NonFiniteError):
        fit(nets[0], x=np.full_like(X, np.inf), check_finite=False)
    after = bits(nets[0])
    assert {n: b for n, b in after.items() if n not in ("counts", "rate")} == {
        n: b for n, b in before.items() if n not in ("counts", "rate")
    }
    assert nets[0].updates == nets[1].updates
    fit(nets[0]), fit(nets[1], False)  # nothing of the step that was bad is left
    assert same(*nets)


@pytest.mark.parametrize("bad", [1, 3])
def test_a_watched_step_that_is_not_finite_ends_training_at_once(on_cuda: str, bad: int) -> None:
    x = X.copy()
    x[ROWS * (bad - 1)] = np.nan
    net, other = mlp(on_cuda), mlp(on_cuda)
    with pytest.raises(gpubp.NonFiniteError, match=f"step {bad}") as caught:
        fit(net, x=x, shuffle=False, check_finite=False, callbacks=[gpubp.Health(3)])
    assert (caught.value.layer, net.updates) == ("0", bad - 1)
    with pytest.raises(gpubp.NonFiniteError, match=f"step {bad}"):
        fit(other, x=x, shuffle=False, check_finite=False)
    for path, value in net.state_dict().items():
        assert agree(net.be.to_numpy(value), net.be.to_numpy(other.state_dict()[path]))


# -- leaving and going on ----------------------------------------------------------------------


@pytest.mark.thorough
def test_left_in_the_middle_of_an_epoch_and_resumed_it_has_the_bits_of_one_never_left(
    on_cuda: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def how(folder: str) -> dict[str, Any]:
        callbacks = [gpubp.Health(5), gpubp.ReduceOnPlateau("loss", patience=0, threshold=0.1)]
        return {"epochs": 6, "callbacks": callbacks, "checkpoint": tmp_path / folder}

    whole = mlp(on_cuda)
    wanted = fit(whole, **how("whole"))
    with monkeypatch.context() as patch:
        interrupt_behind(patch, 5)
        net = mlp(on_cuda)
        with pytest.raises(KeyboardInterrupt):
            fit(net, **how("left"))
        assert net.updates % BATCHES  # within an epoch
    again = mlp(on_cuda)
    history = fit(again, "auto", **how("left"), resume=True)
    assert history.path == "compiled"  # as it was, without being told
    assert bits(again) == bits(whole)
    figures = [[{**r, "seconds": 0} for r in h] for h in (history, wanted)]
    assert figures[0] == figures[1]


@pytest.mark.thorough
def test_killed_after_any_checkpoint_it_ends_with_the_same_bits(
    on_cuda: str, tmp_path: Path
) -> None:
    where, whole = gpubp.Checkpoints(tmp_path / "all", 3, unit="updates", keep=9), mlp(on_cuda)
    fit(whole, checkpoint=where)
    assert len(where.files()) == 6  # at 3, 6, ..., 15 updates, and at the end
    for file in where.files()[:-1:2]:
        folder = tmp_path / file.stem
        folder.mkdir()
        (folder / file.name).write_bytes(file.read_bytes())
        net = mlp(on_cuda)
        fit(net, checkpoint=gpubp.Checkpoints(folder, 3, unit="updates", keep=9), resume=True)
        assert bits(net) == bits(whole)


@pytest.mark.thorough
def test_the_scale_of_16_bit_floats_is_kept_from_one_training_to_the_next(
    on_cuda: str, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"x": X[:12], "y": Y[:12], "precision": "fp16"}
    whole, left = mlp(on_cuda), mlp(on_cuda)
    fit(whole, **how, epochs=4)
    assert whole.steps.loss_scale.tolist() == [[FIRST_SCALE, 12.0]]
    fit(left, **how, epochs=2, checkpoint=tmp_path)
    again = mlp(on_cuda)
    fit(again, **how, epochs=4, checkpoint=tmp_path, resume=True)
    moved = pickle.loads(pickle.dumps(left))
    fit(moved, **how, epochs=2)
    for net in (again, moved):
        assert net.path == "compiled"
        assert net.steps.loss_scale.tolist() == whole.steps.loss_scale.tolist()
    assert bits(again) == bits(whole)
    with pytest.raises(gpubp.InputError, match=r"precision 'fp16', now 'float32'\. Give the"):
        fit(mlp(on_cuda), **{**how, "precision": None}, checkpoint=tmp_path, resume=True)


@pytest.mark.thorough
def test_a_checkpoint_stays_on_its_path(on_cuda: str, tmp_path: Path) -> None:
    for compile in (True, False):
        folder = tmp_path / str(compile)
        fit(mlp(on_cuda), compile, checkpoint=folder, epochs=1)
        on = fit(mlp(on_cuda), "auto", epochs=2, checkpoint=folder, resume=True)
        assert on.path == ("compiled" if compile else "plain")
        with pytest.raises(gpubp.InputError, match="another training: path"):
            fit(mlp(on_cuda), not compile, checkpoint=folder, epochs=3, resume=True)


@pytest.mark.compiled
@pytest.mark.thorough
@pytest.mark.parametrize("to_cuda", [True, False])
def test_a_checkpoint_of_another_device_goes_on_in_compiled_steps(
    on_cuda: str, to_cuda: bool, tmp_path: Path
) -> None:
    require("llvmlite")
    places = ("cpu", on_cuda) if to_cuda else (on_cuda, "cpu")
    one, other, whole = *map(mlp, places), mlp()
    fit(one, epochs=2, threads=1, checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="training goes on, but not with the same bits"):
        history = fit(other, "auto", epochs=4, checkpoint=tmp_path, resume=True)
    assert history.path == "compiled"
    fit(whole, False, epochs=4)
    assert same(other, whole)


def test_ctrl_c_keeps_what_was_trained(on_cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, other = mlp(on_cuda), mlp(on_cuda)
    with monkeypatch.context() as patch:
        interrupt_behind(patch, BATCHES)
        with pytest.raises(KeyboardInterrupt):
            fit(net)
    assert BATCHES < net.updates <= 2 * BATCHES
    assert len(net.history) == net.epochs == 1
    fit(other, epochs=1)
    assert net.history["loss"] == other.history["loss"]
    assert not net.steps.halted
    fit(net, epochs=1)  # nothing of the training that was left is in the way


# -- other devices, and copies -----------------------------------------------------------------


def test_saved_on_cuda_and_loaded_on_the_cpu_and_back(on_cuda: str, tmp_path: Path) -> None:
    net = mlp(on_cuda)
    fit(net, epochs=1)
    net.save(tmp_path / "net")
    here, there = gpubp.load(tmp_path / "net"), gpubp.load(tmp_path / "net", device=on_cuda)
    assert (here.be.device, here.path, there.path) == ("cpu", "compiled", "compiled")
    assert agree(here.predict(X), net.predict(X))
    here.save(tmp_path / "here")
    back = gpubp.load(tmp_path / "here", device=on_cuda)
    fit(there, epochs=1), fit(back, epochs=1)
    assert bits(there) == bits(back)


def test_a_network_that_moves_goes_on_in_compiled_steps_where_it_is(on_cuda: str) -> None:
    other = second_device()
    net, stayed = mlp(on_cuda), mlp(on_cuda)
    fit(net, epochs=1), fit(stayed, epochs=1)
    for place in (other, "cpu", on_cuda):
        net.to(place)
    assert bits(net) == bits(stayed)
    net.to(other)
    fit(net, epochs=1), fit(stayed, epochs=1)
    assert (net.path, net.be.device) == ("compiled", other)
    assert bits(net) == bits(stayed)
    fit(net.to("cpu"), False, epochs=1), fit(stayed, epochs=1)
    assert same(net, stayed)


@pytest.mark.compiled
@pytest.mark.thorough
def test_a_network_that_moves_to_the_cpu_goes_on_in_its_compiled_steps(on_cuda: str) -> None:
    require("llvmlite")
    net, stayed = mlp(on_cuda), mlp(on_cuda)
    fit(net, epochs=1), fit(stayed, epochs=1)
    fit(net.to("cpu"), epochs=1), fit(stayed, epochs=1)
    assert (net.path, net.be.device) == ("compiled", "cpu")
    assert same(net, stayed)
    fit(net.to(on_cuda), epochs=1), fit(stayed, epochs=1)
    assert same(net, stayed)


@pytest.mark.thorough
def test_copies_are_networks_of_their_own(on_cuda: str) -> None:
    net = mlp(on_cuda)
    fit(net, epochs=1)
    begun = bits(net)
    copies = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net), copy.copy(net)]
    for other in copies:
        assert "_compiled" not in vars(other)
        fit(other, epochs=1)
        assert bits(net) == begun
    fit(net, epochs=1)
    assert all(bits(other) == bits(net) for other in copies)


def in_threads(nets: list[gpubp.Network]) -> None:
    """Train each in a thread of its own, all at once."""
    faults: list[BaseException] = []

    def work(net: gpubp.Network) -> None:
        try:
            fit(net, epochs=3)
        except BaseException as fault:
            faults.append(fault)
            raise

    threads = [threading.Thread(target=work, args=(net,)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


@pytest.mark.thorough
def test_two_trainings_at_once_on_one_device(on_cuda: str) -> None:
    nets, alone = [mlp(on_cuda, seed=seed) for seed in (1, 2)], mlp(on_cuda, seed=2)
    in_threads(nets)
    fit(alone, epochs=3)
    assert bits(nets[1]) == bits(alone) != bits(nets[0])


@pytest.mark.thorough
def test_two_trainings_at_once_on_two_devices(on_cuda: str) -> None:
    nets, alone = [mlp(on_cuda), mlp(second_device())], mlp(on_cuda)
    in_threads(nets)
    fit(alone, epochs=3)
    assert [net.be.device for net in nets] == ["cuda:0", "cuda:1"]
    assert bits(nets[0]) == bits(nets[1]) == bits(alone)


# -- the choice --------------------------------------------------------------------------------


class Loop(gpubp.Layer):
    """A layer that asks for a number, which is not known before the step."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return (x if float(be.xp.sum(x)) < 1e9 else -x), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy


def test_a_layer_that_cannot_be_recorded_trains_on_the_plain_path_and_is_named(
    on_cuda: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpubp.compiling.SECONDS", 0.0)
    nets = []
    for device in (on_cuda, "cpu"):
        net = gpubp.Network(gpubp.Sequential(gpubp.Linear(2), Loop()), 3, device=device)
        begun = bits(net)
        if device == on_cuda:
            for precision, asked in ((None, "compile=True"), ("bf16", "precision='bf16'")):
                with pytest.raises(gpubp.InputError, match=rf"{asked}: layer '1' \(Loop\): xp.sum"):
                    fit(net, precision=precision)
            assert bits(net) == begun
            history = fit(net, "auto")
            assert history.path == "plain"
            assert "layer '1' (Loop): xp.sum" in history.reason
        else:
            fit(net, False)
        nets.append(net)
    assert same(*nets)


def test_it_is_said_why_a_training_is_plain(on_cuda: str) -> None:
    net = mlp(on_cuda)
    assert fit(net, False).reason == "compile=False was given"
    assert "compile=True" in fit(net, "auto").reason
    assert net.path == "plain"


def test_what_does_not_fit_on_the_device_is_trained_on_the_plain_path(
    on_cuda: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SHARE", 0.0)
    monkeypatch.setattr("gpubp.compiling.SECONDS", 0.0)
    net, other = mlp(on_cuda), mlp()
    history = fit(net, "auto")
    assert history.path == "plain"
    assert "do not fit on cuda:0" in history.reason
    fit(other, False)
    assert same(net, other)
    with pytest.raises(gpubp.InputError, match="compile=True: the data do not fit"):
        fit(net)


def test_what_a_machine_lacks_is_said(on_cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise gpubp.DeviceError("cannot load libcublas; install it with 'gpubp[cuda13]'")

    monkeypatch.setattr("gpubp.backends.cublas.library", missing)
    monkeypatch.setattr("gpubp.compiling.SECONDS", 0.0)
    with pytest.raises(gpubp.DeviceError, match=r"compile=True: cannot load .*gpubp\[cuda13\]"):
        fit(mlp(on_cuda))
    with pytest.raises(gpubp.DeviceError, match="precision='tf32': cannot load"):
        fit(mlp(on_cuda), "auto", precision="tf32")
    history = fit(mlp(on_cuda), "auto")
    assert history.path == "plain"
    assert "gpubp[cuda13]" in history.reason


PRECISIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no such": ({"precision": "int8"}, "unknown precision 'int8'; known: 'bf16', 'float32'"),
    "float64": ({"precision": "bf16", "dtype": "float64"},
                "precision='bf16' is for networks in float32, and this one is in float64: leave"),
    "plain": ({"precision": "tf32", "compile": False},
              "precision='tf32' is of compiled steps: leave compile=False out"),
}  # fmt: skip


@pytest.mark.parametrize("what", PRECISIONS)
def test_precisions_that_cannot_be(on_cuda: str, what: str) -> None:
    how, message = dict(PRECISIONS[what][0]), PRECISIONS[what][1]
    net = mlp(on_cuda, dtype=how.pop("dtype", "float32"))
    begun = bits(net)
    with pytest.raises(gpubp.InputError, match=message):
        fit(net, how.pop("compile", "auto"), **how)
    assert bits(net) == begun


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16"])
def test_precisions_are_of_a_gpu(precision: str) -> None:
    net, message = (
        mlp(),
        f"precision='{precision}': the CPU makes products in float32; give device=",
    )
    with pytest.raises(gpubp.InputError, match=message):
        fit(net, "auto", precision=precision)
    assert net.updates == 0


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("members", [None, 2])
def test_each_precision_trains(on_cuda: str, precision: str, members: int | None) -> None:
    exact, net = mlp(on_cuda, members), mlp(on_cuda, members)
    how: dict[str, Any] = {"x": X[:12], "y": Y[:12], "epochs": 15}
    fit(exact, **how)
    history = fit(net, "auto" if precision != "float32" else True, precision=precision, **how)
    assert (history.path, history.reason) == ("compiled", "")
    losses, wanted = (np.asarray(each.history["loss"]) for each in (net, exact))
    assert (losses[-1] < losses[0]).all()
    assert error(losses, wanted) <= tolerance(precision, wanted)
    assert (bits(net) == bits(exact)) == (precision == "float32")


# -- the command line --------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_command_line_trains_and_explains(
    on_cuda: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digits.safetensors"
    size, hidden = ("32", "64") if real() else ("721", "8")
    asked = ["train", "digits", "--device", on_cuda, "--compile", "on", "--precision", "bf16",
             "--hidden", hidden, "--epochs", "3", "--lr", "0.01", "--batch-size", size]  # fmt: skip
    assert main([*asked, "--json", "--save", str(path)]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (told["device"], told["path"]) == ("cuda:0", "compiled")
    net = gpubp.load(path)
    assert told["test_accuracy"] == pytest.approx(
        net.evaluate(digits().x_test, digits().y_test)["accuracy"], abs=0.01
    )
    for precision in ("bf16", "float32"):
        assert main(["explain", str(path), "--precision", precision, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["products"] == 5
