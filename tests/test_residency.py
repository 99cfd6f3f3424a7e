"""Data that does not fit on the device stays on the host, with the bits of data that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import inputs, memory, streaming
from gpubp.backends.cuda import CudaBackend
from gpubp.backends.pinned import Slot
from gpubp.data import Rows, Stream
from tests.conftest import rng

pytestmark = pytest.mark.thorough

N = 50
X, W = rng(0).normal(size=(N, 3)), rng(1).uniform(0.1, 2.0, N)
LABELS, SOFT, REAL = np.arange(N) % 4, rng(2).dirichlet(np.ones(4), N), rng(3).normal(size=(N, 4))
NO_ROOM, ROOM = 1000, 1 << 30


@pytest.fixture
def room(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the devices have so many bytes left."""

    def leave(size: int) -> None:
        monkeypatch.setattr(CudaBackend, "room", lambda self: size)

    leave(ROOM)
    return leave


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """How many rows each batch has that is copied ahead."""
    sent: list[Any] = []
    send = Slot.send

    def counted(self: Slot, batch: Any, stream: Any) -> None:
        sent.append(len(batch[0]))
        send(self, batch, stream)

    monkeypatch.setattr(Slot, "send", counted)
    return sent


def network(precision: str = "float32", **how: Any) -> gpubp.Network:
    layer = gpubp.MLP([5], 4, activation="tanh", dropout=0.2)
    return gpubp.Network(layer, 3, device=CudaBackend(0, precision), **how)


def outcome(net: gpubp.Network, x: Any, y: Any, **how: Any) -> list[Any]:
    """All that a training leaves, but for the seconds that it took."""
    records = net.fit(x, y, **{"epochs": 2, "batch_size": 8, **how}).records
    kept = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
    weights = {path: net.be.to_numpy(a).tobytes() for path, a in net.state_dict().items()}
    return [repr(kept), weights]


TRAININGS: dict[str, dict[str, Any]] = {
    "labels": {"y": LABELS},
    "in order": {"y": LABELS, "shuffle": False},
    "soft targets": {"y": SOFT},
    "numbers": {"y": REAL, "loss": "mean_squared_error"},
    "one batch": {"y": LABELS, "batch_size": None},
    "single examples": {"y": LABELS, "batch_size": 1, "epochs": 1},
    "weights": {"y": LABELS, "sample_weight": W},
    "classes that weigh": {"y": LABELS, "loss": gpubp.CrossEntropy(class_weight=(1, 2, 3, 4))},
    "parts": {"y": LABELS, "micro_batch": 3},
    "validation": {"y": LABELS, "validation": (X[:20], LABELS[:20])},
    "validation of numbers": {
        "y": REAL, "validation": (X[:20], REAL[:20]), "loss": "mean_squared_error"
    },
    "many updates": {"y": LABELS, "batch_size": 1, "epochs": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_training_gives_the_same_bits_wherever_the_data_is(
    room: Any, slots: list[Any], name: str, precision: str
) -> None:
    expected = outcome(network(precision), X, **TRAININGS[name])
    assert not slots
    room(NO_ROOM)
    assert outcome(network(precision), X, **TRAININGS[name]) == expected
    assert sum(slots) >= N


@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", "bool"])
def test_what_stays_is_converted_batch_by_batch(
    room: Any, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    x = (X * 3).astype(dtype)
    expected = outcome(network(), x, LABELS)
    room(NO_ROOM)
    seen = []
    monkeypatch.setattr(Slot, "send", lambda *given: seen.append(given[1][0].dtype) or send(*given))
    assert outcome(network(), x, LABELS) == expected
    assert set(seen) == {np.dtype(dtype)}


send = Slot.send


def test_an_ensemble_and_restarts_read_the_host(room: Any, slots: list[Any]) -> None:
    how: dict[str, Any] = {"x": X, "y": LABELS}
    expected = outcome(network(members=3), **how), outcome(network(), restarts=2, **how)
    room(NO_ROOM)
    assert (outcome(network(members=3), **how), outcome(network(), restarts=2, **how)) == expected
    assert slots


def test_categories_are_looked_at_where_they_are(room: Any, slots: list[Any]) -> None:
    layer = gpubp.Sequential(gpubp.Embedding(4, 2), gpubp.Flatten(), gpubp.Linear(4))
    x, nets = rng(5).integers(0, 4, (N, 2)), []
    for size in (ROOM, NO_ROOM):
        room(size)
        nets.append(outcome(gpubp.Network(layer, 2, device=CudaBackend(0)), x, LABELS))
        spoiled = np.where(np.arange(2 * N).reshape(N, 2) == 15, 4, x)
        with pytest.raises(gpubp.InputError, match=r"x\[7, 1\] is 4; that feature is a category"):
            gpubp.Network(layer, 2, device=CudaBackend(0)).fit(spoiled, LABELS)
    assert nets[0] == nets[1]
    assert slots


def test_a_memory_map_is_never_copied_as_a_whole(
    room: Any, slots: list[Any], tmp_path: Path
) -> None:
    expected = outcome(network(), X, LABELS, sample_weight=W)
    X.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype=np.float64, mode="r", shape=X.shape)
    net = network()
    assert outcome(net, mapped, LABELS, sample_weight=net.be.asarray(W)) == expected
    assert sum(slots) == 2 * N
    assert np.array_equal(net.predict(mapped), net.predict(X))
    assert net.evaluate(mapped, net.be.asarray(LABELS, "int64")) == net.evaluate(X, LABELS)


def test_a_line_search_reads_a_memory_map_once(room: Any, tmp_path: Path) -> None:
    X.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype=np.float64, mode="r", shape=X.shape)
    how = {"optimizer": gpubp.optimizers.LBFGS(), "batch_size": None}
    nets = [gpubp.Network(gpubp.Linear(4), 3, device=CudaBackend(0, "float64")) for _ in range(2)]
    found = [outcome(net, x, LABELS, **how) for net, x in zip(nets, (X, mapped), strict=True)]
    assert found[0] == found[1]


def test_sources_are_copied_ahead_too(room: Any, slots: list[Any]) -> None:
    expected = outcome(network(), X, LABELS)
    held = {"validation": Rows(X, LABELS)}
    assert outcome(network(), Rows(X, LABELS), None) == expected
    assert slots == [8] * 6 + [2] + [8] * 6 + [2]
    slots.clear()
    blocks = [(X[i : i + 7], LABELS[i : i + 7]) for i in range(0, N, 7)]
    net = network()
    net.fit(Stream(lambda: iter(blocks)), epochs=1, batch_size=8, **held)
    assert slots == [8] * 6 + [2, N]
    assert np.array_equal(net.predict(Rows(X)), net.predict(X))


# -- predictions and figures -----------------------------------------------------------------------


def test_predictions_and_figures_of_the_host(
    room: Any, slots: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (gpubp.evaluation, streaming):
        monkeypatch.setattr(module, "BLOCK", 16)
    for members in (None, 3):
        net = network(members=members)
        net.loss = gpubp.CrossEntropy()
        room(ROOM)
        found = [net.predict(X), net.predict_class(X), net.evaluate(X, LABELS, sample_weight=W)]
        numbers = net.evaluate(X, REAL, loss="mean_squared_error")
        slots.clear()
        room(NO_ROOM)
        assert np.array_equal(net.predict(X), found[0])
        assert slots == [16, 16, 16, 2]
        assert np.array_equal(net.predict_class(X), found[1])
        assert net.evaluate(X, LABELS, sample_weight=W) == found[2]
        assert net.evaluate(X, REAL, loss="mean_squared_error") == numbers


def test_what_layers_only_hand_on_is_not_written_over(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpubp.evaluation, "BLOCK", 4)
    net = gpubp.Network(gpubp.Identity(), 3, device=CudaBackend(0, "float64"))
    room(NO_ROOM)
    assert np.array_equal(net.predict(X), X)


# -- where it is decided -----------------------------------------------------------------------


def test_most_of_the_room_beside_network_and_slots_may_be_filled(room: Any) -> None:
    net = network()
    size, slots = X.size * 4, 2 * net.theta.nbytes
    for spare, stays in ((-1, True), (1, False)):
        room(slots + int((size + spare) / memory.SHARE))
        assert memory.stays(net, X) is stays
        assert memory.stays(net, X.astype("float32"), net.be.asarray(X)) is stays
    net.fit(X, LABELS, epochs=1)  # the slots are there now
    room(int((size - 1) / memory.SHARE))
    assert memory.stays(net, X)
    room(int((size + 1) / memory.SHARE))
    assert not memory.stays(net, X)
    assert memory.stays(net, X, REAL)  # all that is to go there together


def test_the_cpu_is_never_asked_how_much_it_holds() -> None:
    net = gpubp.Network(gpubp.Linear(1), 3)
    assert net.be.room() is None
    assert not memory.stays(net, X)


@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_targets_without_room_leave_no_array_of_the_device_as_it_came(
    room: Any, slots: list[Any], stand_in: Any, dtype: str
) -> None:
    x, how = stand_in.asarray((X * 3).astype(dtype)), {"loss": "mean_squared_error"}
    expected = outcome(network(), x, REAL, **how)
    room(NO_ROOM)
    assert outcome(network(), x, REAL, **how) == expected
    assert not slots


def test_arrays_of_the_device_are_where_they_are(room: Any, slots: list[Any]) -> None:
    room(0)
    net = network()
    net.fit(net.be.asarray(X), net.be.asarray(LABELS, "int64"), epochs=1)
    assert not slots


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["NaN", "too large for float32"])
def test_what_is_not_finite_is_named(room: Any, name: str) -> None:
    x = X.copy()
    x[41, 2] = {"NaN": np.nan, "too large for float32": 1e300}[name]
    room(NO_ROOM)
    with pytest.raises(gpubp.InputError, match=r"^x\[41, 2\] is (nan|inf); clean the data"):
        network().fit(x, LABELS)


def test_a_bad_step_is_found_and_told_as_ever(room: Any) -> None:
    x, found = np.tile(X, (8, 1)), []
    x[130, 1] = np.inf
    for size in (ROOM, NO_ROOM):
        room(size)
        net = network()
        with pytest.raises(gpubp.NonFiniteError) as caught:
            net.fit(x, np.tile(LABELS, 8), batch_size=2, epochs=1, shuffle=False,
                    check_finite=False)  # fmt: skip
        found.append((str(caught.value), net.updates, net.be.to_numpy(net.theta).tobytes()))
    assert found[0] == found[1]
    assert found[0][1] == 65


@pytest.mark.parametrize("bad", [0, 1, 64, 65, 79])
def test_a_bad_step_of_a_source_is_found_with_the_next_batch_read_already(
    room: Any, bad: int
) -> None:
    x, found = np.tile(X, (4, 1))[:160], []
    x[2 * bad, 1] = np.inf
    y = np.tile(LABELS, 4)[:160]
    for data in ((x, y), (Rows(x, y),)):
        net = network()
        with pytest.raises(gpubp.NonFiniteError) as caught:
            net.fit(*data, batch_size=2, epochs=1, shuffle=False, check_finite=False)
        found.append((str(caught.value), net.updates, net.be.to_numpy(net.theta).tobytes()))
    assert found[0] == found[1]
    assert found[0][1] == bad


def test_a_checkpoint_goes_on_wherever_the_data_is(room: Any, tmp_path: Path) -> None:
    expected = outcome(network(), X, LABELS, epochs=3)
    outcome(network(), X, LABELS, epochs=1, checkpoint=tmp_path)
    room(NO_ROOM)
    assert outcome(network(), X, LABELS, epochs=3, checkpoint=tmp_path, resume=True) == expected


def test_on_host_says_where_the_examples_are(room: Any) -> None:
    net = network()
    room(NO_ROOM)
    kept = inputs.features(net.be, X, (3,), stay=memory.stays(net, X))
    assert kept is X
    assert inputs.on_host(net.be, kept)
    assert not inputs.on_host(net.be, net.be.asarray(X))


# -- what a step of data that is on the device costs ---------------------------------------------


STEPS: dict[str, dict[str, Any]] = {
    "labels": {"y": LABELS},
    "numbers": {"y": REAL, "loss": "mean_squared_error"},
    "weights": {"y": LABELS, "sample_weight": W},
    "parts": {"y": LABELS, "micro_batch": 5},
    "classes that weigh": {"y": LABELS, "loss": gpubp.CrossEntropy(class_weight=(1, 2, 3, 4))},
    "quantiles": {"y": REAL, "loss": gpubp.Quantile((0.1, 0.2, 0.5, 0.9))},
    "average": {"y": LABELS, "optimizer": gpubp.EMA(gpubp.Adam())},
    "bounded": {"y": LABELS, "optimizer": gpubp.Adam(max_norm=gpubp.MaxNorm(3.0))},
    "momentum": {"y": LABELS, "optimizer": gpubp.Momentum()},
    "clipped": {"y": LABELS, "optimizer": gpubp.AdamW(clip=gpubp.ClipGlobalNorm(1.0))},
    "penalties": {"y": LABELS, "optimizer": gpubp.Adam(penalty=(gpubp.L1(1e-3), gpubp.L2(1e-3)))},
    "a schedule": {"y": LABELS, "optimizer": gpubp.Adam(gpubp.CosineDecay(0.1, 1000))},
    "frozen": {"y": LABELS},
}


def network_of_all() -> gpubp.Network:
    layer = gpubp.Sequential(
        gpubp.Linear(6), gpubp.BatchNorm(), gpubp.Activation("relu"), gpubp.Dropout(0.3),
        gpubp.Residual(gpubp.Sequential(gpubp.LayerNorm(), gpubp.Linear(6))),
        gpubp.GaussianNoise(0.1), gpubp.Linear(4),
    )  # fmt: skip
    return gpubp.Network(layer, 3, device=CudaBackend(0))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_on_the_device_copies_nothing_and_nobody_waits(stand_in: Any, name: str) -> None:
    spent, how = [], {"batch_size": 10, "epochs": 1, "shuffle": True, **STEPS[name]}
    for times in (1, 9):  # looks are at the first batch and in the end: 5 batches, or 45
        net = network_of_all()
        if name == "frozen":
            net.freeze("0")
        x, y = (net.be.asarray(np.tile(a, (times, *(1,) * (a.ndim - 1))), str(dtype))
                for a, dtype in ((X, "float32"), (how["y"], how["y"].dtype)))  # fmt: skip
        w = how.get("sample_weight")
        more = how | {"y": y, "sample_weight": None if w is None else np.tile(w, times)}
        stand_in.counts.reset()
        net.fit(x, **more)
        counted = stand_in.counts
        spent.append((counted.to_device, counted.to_host, counted.synchronizations))
        assert net.updates == 5 * times
    assert spent[0] == spent[1]


def test_a_copy_in_every_step_would_be_noticed(stand_in: Any) -> None:
    class Copying(gpubp.Identity):
        def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
            return x + be.asarray(np.zeros((1, 3))), None

    spent = []
    for times in (1, 9):
        net = gpubp.Network(gpubp.Sequential(Copying(), gpubp.Linear(4)), 3, device=CudaBackend(0))
        x, y = net.be.asarray(np.tile(X, (times, 1))), np.tile(LABELS, times)
        stand_in.counts.reset()
        net.fit(x, y, epochs=1, batch_size=10)
        spent.append(stand_in.counts.to_device)
    assert spent[1] - spent[0] == 40


def test_rates_of_members_go_over_twice_in_a_step_and_nothing_else_does(stand_in: Any) -> None:
    spent = []
    for times in (1, 9):
        net = network(members=2)
        x, y = net.be.asarray(np.tile(X, (times, 1))), np.tile(LABELS, times)
        stand_in.counts.reset()
        net.fit(x, y, epochs=1, batch_size=10, optimizer=gpubp.SGD((0.1, 0.2)))
        counted = stand_in.counts
        spent.append((counted.to_device, counted.to_host, counted.synchronizations))
    assert spent[1][0] - spent[0][0] == 2 * 40  # for the guard, and for the update
    assert spent[1][1:] == spent[0][1:]
