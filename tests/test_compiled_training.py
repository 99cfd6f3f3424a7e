"""Training in compiled steps: all that the plain path promises, with the figures of the plain path.

Compiling takes seconds: the tests share a few programs, and a folder for their machine code.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.check.tolerance import error, tolerance
from gpubp.data import Rows, digits
from tests.conftest import require

pytestmark = pytest.mark.compiled
require("llvmlite")

from gpubp.backends import compiled, native  # noqa: E402

RNG = np.random.default_rng(3)
X = RNG.normal(size=(14, 3)).astype(np.float32)
Y = np.arange(14) % 2
BATCHES = 4  # three of four examples, and one of two
USUAL: dict[str, Any] = {"batch_size": 4, "optimizer": gpubp.Adam(0.01), "threads": 1}


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("GPUBP_CACHE")
    os.environ["GPUBP_CACHE"] = before or str(tmp_path_factory.mktemp("steps"))
    yield
    if before is None:
        del os.environ["GPUBP_CACHE"]


def mlp(members: int | None = None) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, members=members)


def fit(net: gpubp.Network, compile: bool = True, x: Any = X, y: Any = Y, **how: Any) -> Any:
    return net.fit(x, y, **{**USUAL, "epochs": 5, **how}, compile=compile)


def everything(net: gpubp.Network) -> dict[str, Any]:
    slots = {f"slot:{name}": a.copy() for name, a in net.steps.slots.arrays.items()}
    gradients = {f"gradient:{path}": a for path, a in net.gradients().items()}
    counts = net.updates, net.epochs, net.steps.slots.updates, net.steps.attempt
    return {**net.state_dict(), **slots, **gradients, "rate": np.asarray(net.steps.rate),
            "counts": np.asarray(counts)}  # fmt: skip


def bits(net: gpubp.Network) -> dict[str, bytes]:
    return {name: np.asarray(a).tobytes() for name, a in everything(net).items()}


def same(net: gpubp.Network, other: gpubp.Network) -> bool:
    """Whether two networks are one but for rounding, which steps of Adam carry on."""
    mine, theirs = everything(net), everything(other)
    assert mine.keys() == theirs.keys()
    assert mine["counts"].tolist() == theirs["counts"].tolist()
    return all(error(mine[n], theirs[n]) <= 30 * tolerance("float32", theirs[n], 30) for n in mine)


def pair(members: int | None = None, **how: Any) -> tuple[gpubp.Network, gpubp.Network]:
    """A network trained in compiled steps, and one on the plain path; their records agree."""
    nets = mlp(members), mlp(members)
    one, other = (fit(net, c, **how) for net, c in zip(nets, (True, False), strict=True))
    assert (one.path, other.path) == ("compiled", "plain")
    assert one.stopped == other.stopped
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        assert mine["lr"] == theirs["lr"]
    return nets


def agree(a: Any, b: Any) -> bool:
    return error(a, b) <= 30 * tolerance("float32", b, 30)


def interrupt_behind(monkeypatch: pytest.MonkeyPatch, updates: int) -> None:
    """Send SIGINT while those compiled steps run that come behind so many updates."""
    run = compiled.Steps.run

    def noted(self: Any, *arguments: Any) -> Any:
        if arguments[6] == updates:
            signal.raise_signal(signal.SIGINT)
        return run(self, *arguments)

    monkeypatch.setattr(compiled.Steps, "run", noted)


# -- the figures of the plain path -------------------------------------------------------------


def test_weights_slots_gradients_counts_and_records_are_those_of_the_plain_path() -> None:
    net, other = pair()
    assert same(net, other)
    assert agree(net.history["loss"], other.history["loss"])
    assert net.updates == 5 * BATCHES
    again, other_again = fit(net), fit(other, compile=False)  # on with the same slots
    assert same(net, other)
    assert agree(again["loss"], other_again["loss"])
    fit(net, compile=False, epochs=1)  # and one path with what the other left
    fit(other, epochs=1)
    assert same(net, other)


def test_digits_are_learned_as_well() -> None:
    data = digits()
    shares = []
    for compile in (True, False):
        net = gpubp.Network(gpubp.MLP([16], 10), inputs=64)
        net.fit(data.x, data.y, batch_size=103, epochs=15, optimizer=gpubp.Adam(0.01),
                compile=compile, threads=1)  # fmt: skip
        shares.append(net.evaluate(data.x_test, data.y_test)["accuracy"])
    assert abs(shares[0] - shares[1]) <= 0.01
    assert shares[0] > 0.9


def test_callbacks_and_schedules_see_what_they_see_on_the_plain_path() -> None:
    def how() -> dict[str, Any]:
        callbacks = [gpubp.Health(3), gpubp.EarlyStopping(2, "loss", min_delta=0.02),
                     gpubp.ReduceOnPlateau("loss", 0.5, 0, threshold=0.02)]  # fmt: skip
        return {"callbacks": callbacks, "epochs": 40, "validation": (X[:6], Y[:6]),
                "optimizer": gpubp.Adam(gpubp.CosineDecay(0.01, 400))}  # fmt: skip

    watched, other = how(), how()
    net, plain = mlp(), mlp()
    fit(net, **watched)
    fit(plain, compile=False, **other)
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


def test_weights_of_examples_averages_frozen_parameters_and_read_only_data() -> None:
    w = RNG.random(12)
    w[4:8] = 0.0  # a batch that weighs nothing
    x = X[:12].copy()
    x.flags.writeable = False
    nets = mlp(), mlp()
    for net, compile in zip(nets, (True, False), strict=True):
        net.freeze("0.W")
        fit(net, compile, x=x, y=Y[:12], sample_weight=w, shuffle=False,
            optimizer=gpubp.EMA(gpubp.AdamW(0.01), decay=0.9))  # fmt: skip
    assert same(*nets)
    assert agree(nets[0].history["loss"], nets[1].history["loss"])
    assert np.array_equal(nets[0].parameter("0.W"), mlp().parameter("0.W"))
    with nets[0].averaged():
        assert not np.array_equal(nets[0].parameter("0.b"), nets[1].parameter("0.b"))


def test_two_threads_share_the_rows_of_a_step() -> None:
    net, other = mlp(), mlp()
    x, y = RNG.normal(size=(64, 3)), np.arange(64) % 2
    for each, compile in ((net, True), (other, False)):
        fit(each, compile, x=x, y=y, batch_size=32, threads=2)
    assert same(net, other)


# -- ensembles ---------------------------------------------------------------------------------


def test_members_have_rates_of_their_own_and_one_that_stops_keeps_its_loss() -> None:
    optimizer = gpubp.Adam((0.01, 0.0, 0.02))

    def stopping() -> list[Any]:
        return [gpubp.EarlyStopping(2, "loss", min_delta=1e-3, restore_best=False)]

    net, other = mlp(3), mlp(3)
    one = fit(net, epochs=8, optimizer=optimizer, callbacks=stopping(), x=X[:12], y=Y[:12])
    two = fit(other, False, epochs=8, optimizer=optimizer, callbacks=stopping(), x=X[:12], y=Y[:12])
    assert one.ended == two.ended
    assert [*one.ended] == [1]
    last = one.ended[1][0]
    assert last < 8
    for path, value in other.state_dict().items():
        assert agree(net.state_dict()[path], value)
    mine, theirs = np.asarray(one["loss"]), np.asarray(two["loss"])
    assert agree(mine[:, [0, 2]], theirs[:, [0, 2]])
    assert agree(mine[:last, 1], theirs[:last, 1])
    assert (mine[last:, 1] == mine[last - 1, 1]).all()


def test_a_member_that_is_lost_is_left_out_of_restarts() -> None:
    outcomes = []
    for compile in (True, False):
        net = mlp()
        x = np.concatenate([X[:8], 1e30 * X[8:12]])  # too large for all; below, for those who step
        with pytest.raises(gpubp.NonFiniteError, match="no member is left") as caught:
            fit(net, compile, x=x, y=Y[:12], restarts=3, epochs=20,
                optimizer=gpubp.Adam(3e38))  # fmt: skip
        outcomes.append(str(caught.value))
    assert outcomes[0] == outcomes[1]
    nets = mlp(3), mlp(3)
    for net, compile in zip(nets, (True, False), strict=True):
        net.steps.tolerant = True
        fit(net, compile, x=X[:12], y=Y[:12], optimizer=gpubp.Adam((0.01, 3e38, 0.02)))
        assert net.steps.lost.tolist() == [False, True, False]
    assert agree(nets[0].theta, nets[1].theta)
    assert nets[0].updates == nets[1].updates
    assert agree(
        np.asarray(nets[0].history["loss"])[:, 2], np.asarray(nets[1].history["loss"])[:, 2]
    )


# -- steps that are not finite -----------------------------------------------------------------


@pytest.mark.parametrize("members", [None, 3])
def test_nan_in_the_data_stops_at_the_same_step_with_the_same_words(members: int | None) -> None:
    x = X[:12].copy()
    x[7] = np.nan
    told, nets = [], (mlp(members), mlp(members))
    for net, compile in zip(nets, (True, False), strict=True):
        with pytest.raises(gpubp.NonFiniteError) as caught:
            fit(net, compile, x=x, y=Y[:12], check_finite=False)
        told.append((str(caught.value), caught.value.step, caught.value.layer))
    assert told[0] == told[1]
    assert 1 <= told[0][1] <= 3
    assert nets[0].updates == nets[1].updates == told[0][1] - 1
    for path, value in nets[1].state_dict().items():
        assert agree(nets[0].state_dict()[path], value)
    assert np.isfinite(nets[0].theta).all()


# -- leaving and going on ----------------------------------------------------------------------


def test_left_in_the_middle_of_an_epoch_and_resumed_it_has_the_bits_of_one_never_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def how(folder: str) -> dict[str, Any]:
        callbacks = [gpubp.Health(5), gpubp.ReduceOnPlateau("loss", patience=0, threshold=0.1)]
        return {"epochs": 6, "callbacks": callbacks, "checkpoint": tmp_path / folder}

    whole = mlp()
    wanted = fit(whole, **how("whole"))
    with monkeypatch.context() as patch:
        interrupt_behind(patch, 5)
        net = mlp()
        with pytest.raises(KeyboardInterrupt):
            fit(net, **how("left"))
        assert net.updates % BATCHES  # within an epoch
    again = mlp()
    history = again.fit(X, Y, **{**USUAL, **how("left"), "threads": None}, resume=True)
    assert history.path == "compiled"  # as it was, without being told
    assert bits(again) == bits(whole)
    figures = [[{**r, "seconds": 0} for r in h] for h in (history, wanted)]
    assert figures[0] == figures[1]


def test_killed_after_any_checkpoint_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    where = gpubp.Checkpoints(tmp_path / "all", 3, unit="updates", keep=9)
    whole = mlp()
    fit(whole, checkpoint=where)
    for file in where.files()[:-1]:
        folder = tmp_path / file.stem
        folder.mkdir()
        (folder / file.name).write_bytes(file.read_bytes())
        net = mlp()
        fit(net, checkpoint=gpubp.Checkpoints(folder, 3, unit="updates", keep=9), resume=True)
        assert bits(net) == bits(whole)


def test_checkpoints_by_updates_come_where_they_are_due(tmp_path: Path) -> None:
    named = []
    for compile in (True, False):
        where = gpubp.Checkpoints(tmp_path / str(compile), 3, unit="updates", keep=9)
        fit(mlp(), compile, checkpoint=where)
        named.append([path.name for path in where.files()])
    assert named[0] == named[1]
    assert len(named[0]) == 7  # at 3, 6, ..., 18 updates, and at the end


def test_a_checkpoint_stays_on_its_path(tmp_path: Path) -> None:
    for compile in (True, False):
        folder = tmp_path / str(compile)
        fit(mlp(), compile, checkpoint=folder, epochs=1)
        on = mlp().fit(X, Y, **USUAL, epochs=2, checkpoint=folder, resume=True)
        assert on.path == ("compiled" if compile else "plain")
        with pytest.raises(gpubp.InputError, match="another training: path"):
            fit(mlp(), not compile, checkpoint=folder, epochs=3, resume=True)


def test_a_compiled_checkpoint_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(mlp(), checkpoint=tmp_path, epochs=1)
    monkeypatch.setattr(
        native, "available", lambda: "llvmlite is missing; pip install 'gpubp[cpu]'"
    )
    with pytest.raises(gpubp.DeviceError, match=r"in compiled steps: .*gpubp\[cpu\]"):
        mlp().fit(X, Y, **USUAL, epochs=2, checkpoint=tmp_path, resume=True)


def test_the_path_is_saved_and_loaded(tmp_path: Path) -> None:
    net = mlp()
    fit(net, epochs=1)
    net.save(tmp_path / "net")
    assert gpubp.load(tmp_path / "net").path == net.path == "compiled"


def test_copies_are_networks_of_their_own() -> None:
    net = mlp()
    fit(net, epochs=1)
    begun = bits(net)
    copies = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net), copy.copy(net)]
    for other in copies:
        assert "_compiled" not in vars(other)
        fit(other, epochs=1)
        assert bits(net) == begun
    fit(net, epochs=1)
    assert all(bits(other) == bits(net) for other in copies)


def test_arrays_that_are_replaced_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    net, other = mlp(), mlp()
    for each, compile in ((net, True), (other, False)):
        fit(each, compile, epochs=1)
        each.reset_optimizer()
        each.load_state_dict(mlp().state_dict())
        fit(each, compile, epochs=2)
    assert same(net, other)
    monkeypatch.setattr("gpubp.backends.native._compiled", None)  # no step is compiled once more
    fit(net, epochs=1, optimizer=gpubp.Adam(0.5, beta1=0.8))


def test_what_a_loss_of_ones_own_holds_may_change() -> None:
    class Scaled(gpubp.losses.base.ElementWise):
        factor = 1.0

        @staticmethod
        def term(xp: Any, z: Any, t: Any, factor: Any) -> Any:
            return factor * (z - t) * (z - t)

        @staticmethod
        def term_delta(xp: Any, z: Any, t: Any, factor: Any, share: Any) -> Any:
            return 2.0 * factor * (z - t) * share

        def _constants(self, be: Any) -> tuple[float]:
            return (self.factor,)

    class Annealed(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            net.loss.factor *= 3.0

    found = []
    for compile in (True, False):
        net, loss = gpubp.Network(gpubp.Linear(1), 2, dtype="float64"), Scaled()
        x = np.arange(16.0).reshape(8, 2) / 16.0
        for callbacks in ([], [Annealed()]):
            net.fit(x, x[:, :1], loss=loss, optimizer=gpubp.SGD(0.1), epochs=3, batch_size=4,
                    compile=compile, callbacks=callbacks)  # fmt: skip
            loss.factor = 0.5
        found.append(net.state_dict())
    require_agreement(*found)


def require_agreement(one: Any, other: Any) -> None:
    for path in one:
        np.testing.assert_allclose(one[path], other[path], rtol=1e-12, atol=1e-14)


def test_parameters_frozen_by_a_callback_stand_still() -> None:
    class Freeze(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            net.freeze("0")

    net = mlp()
    fit(net, epochs=1)
    before = net.state_dict()["0.W"]
    net.freeze("0.b")
    fit(net, epochs=1, callbacks=[Freeze()])
    once = net.state_dict()["0.W"]
    fit(net, epochs=2)
    assert not np.array_equal(before, once)
    assert np.array_equal(once, net.state_dict()["0.W"])


# -- the choice --------------------------------------------------------------------------------


class Loop(gpubp.Layer):
    """A layer with running state that asks for a number, which is not known before the step."""

    def build(self, inputs: Any) -> Any:
        return gpubp.Spec(inputs, state={"seen": gpubp.Param(inputs, gpubp.Constant(0.0))})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return (x if float(be.xp.sum(x)) > 0 else -x), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy


def test_a_short_training_stays_on_the_plain_path_and_says_why() -> None:
    history = mlp().fit(X, Y, epochs=2)
    assert history.path == "plain"
    assert "compile=True" in history.reason


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a search": ({"optimizer": gpubp.LBFGS(), "batch_size": None}, "LBFGS searches along a line"),
    "parts": ({"micro_batch": 2}, "micro_batch is for the plain path"),
    "a source": ({"x": Rows(X, Y), "y": None}, "one batch at a time"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_for_the_plain_path_is_refused_and_on_auto_trained(what: str) -> None:
    how, message = REFUSED[what]
    given = {"x": X, "y": Y, **USUAL, "epochs": 1, **how}
    with pytest.raises(gpubp.InputError, match=f"compile=True: .*{message}"):
        mlp().fit(**given, compile=True)
    history = mlp().fit(**given)
    assert history.path == "plain"
    assert message in history.reason


def test_a_memory_map_and_a_step_of_ones_own_stay_on_the_plain_path(tmp_path: Path) -> None:
    X.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype=np.float32, mode="r", shape=X.shape)
    with pytest.raises(gpubp.InputError, match="a memory map"):
        fit(mlp(), x=mapped)
    net: Any = mlp()
    net.train_step = net.train_step
    with pytest.raises(gpubp.InputError, match="a train_step of its own"):
        fit(net)


def test_what_cannot_be_recorded_is_named() -> None:
    net = gpubp.Network(gpubp.Sequential(gpubp.Linear(2), Loop()), inputs=3)
    before = bits(net)
    with pytest.raises(gpubp.InputError, match=r"compile=True: layer '1' \(Loop\).*running state"):
        fit(net)
    assert bits(net) == before


def test_what_a_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        native, "available", lambda: "llvmlite is missing; pip install 'gpubp[cpu]'"
    )
    with pytest.raises(gpubp.DeviceError, match=r"compile=True: .*gpubp\[cpu\]"):
        fit(mlp())


@pytest.mark.parametrize("wrong", [{"compile": "on"}, {"compile": 1}, {"threads": 0}])
def test_arguments_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(gpubp.InputError, match=next(iter(wrong))):
        mlp().fit(X, Y, **wrong)


FAULTS: dict[str, tuple[Any, str]] = {
    "loss": (lambda s, found: found[0].__imul__(1.01), "the loss"),
    "gradient": (lambda s, found: s._memories["grad"].__imul__(1.1), "the gradient of '0.W'"),
    "weights": (lambda s, found: s._memories["theta"].__imul__(1.01), "the new weights"),
    "slot": (lambda s, found: s._memories["slot:v"].__imul__(1.01), "the slot 'v'"),
}


@pytest.mark.parametrize("where", FAULTS)
def test_a_compiled_step_that_differs_is_not_used(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, told = FAULTS[where]
    run = compiled.Steps.run

    def spoiled(self: Any, *arguments: Any) -> Any:
        found = run(self, *arguments)
        spoil(self, found)
        return found

    monkeypatch.setattr(compiled.Steps, "run", spoiled)
    monkeypatch.setattr("gpubp.compiling.SECONDS", 0.0)
    net, other = mlp(), mlp()
    with pytest.warns(UserWarning, match=f"differs from that of the plain path: {told}"):
        history = net.fit(X, Y, **USUAL, epochs=2)
    assert history.path == "plain"
    fit(other, False, epochs=2)
    assert bits(net) == bits(other)
    with (
        pytest.warns(UserWarning, match=told),
        pytest.raises(gpubp.InputError, match=f"compile=True: .*{told}"),
    ):
        fit(mlp())
