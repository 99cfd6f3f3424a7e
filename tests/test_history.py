"""Records of training, callbacks and their order, and early stopping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from tests.conftest import as_alone, rng

X = np.random.default_rng(4).normal(size=(8, 3))
Y = np.arange(8) % 2
SOFT = np.eye(2)[Y]


def mlp(**chosen: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2), inputs=3, **chosen)


def bits_of(net: gpubp.Network) -> dict[str, bytes]:
    return {path: value.tobytes() for path, value in net.state_dict().items()}


def test_history_is_a_list_of_records_and_a_table_of_figures() -> None:
    net = mlp()
    history = net.fit(X, Y, epochs=3, validation=(X, Y))
    assert history is net.history
    assert len(history) == 3
    assert list(history) == history.records
    assert history["epoch"] == [1, 2, 3]
    assert history["loss"] == [record["loss"] for record in history]
    assert set(history.records[0]) == {"epoch", "loss", "seconds", "lr", "val_loss", "val_accuracy"}
    assert all(seconds > 0 for seconds in history["seconds"])
    assert history.stopped == ""
    with pytest.raises(gpubp.InputError, match=r"no 'val_los'.*nearest: 'val_loss'"):
        history["val_los"]
    with pytest.raises(gpubp.InputError, match="no 'loss'"):
        gpubp.History()["loss"]


class Log(gpubp.Callback):
    """Writes down what it is told, and may ask for the end of training."""

    def __init__(self, name: str, log: list[str], stop: dict[int, str] | None = None) -> None:
        self.name, self.log, self.stop = name, log, stop or {}

    def on_fit_begin(self, net: Any) -> None:
        self.log.append(f"{self.name} begins at {net.updates}")

    def on_epoch_end(self, net: Any, record: Any) -> str | None:
        assert net.history.records[-1] is record
        self.log.append(f"{self.name} epoch {record['epoch']} at {net.updates}")
        return self.stop.get(record["epoch"])

    def on_fit_end(self, net: Any, history: Any) -> None:
        self.log.append(f"{self.name} ends with {len(history)}")


def test_callbacks_are_told_in_their_order() -> None:
    log: list[str] = []
    mlp().fit(X, Y, epochs=2, batch_size=4, callbacks=[Log("a", log), Log("b", log)])
    assert log == [
        "a begins at 0", "b begins at 0",
        "a epoch 1 at 2", "b epoch 1 at 2", "a epoch 2 at 4", "b epoch 2 at 4",
        "a ends with 2", "b ends with 2",
    ]  # fmt: skip


def test_a_reason_ends_training_after_all_were_told() -> None:
    log: list[str] = []
    net = mlp()
    callbacks = [Log("a", log, {2: "enough"}), Log("b", log), Log("c", log, {2: "too much"})]
    history = net.fit(X, Y, epochs=5, callbacks=callbacks)
    assert history.stopped == "enough; too much"
    assert len(history) == net.epochs == 2
    assert [line for line in log if "epoch 2" in line] == [f"{n} epoch 2 at 2" for n in "abc"]


def test_the_end_is_told_after_an_error_too() -> None:
    log: list[str] = []

    class Fail(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        mlp().fit(X, Y, callbacks=[Fail(), Log("a", log)])
    assert log == ["a begins at 0", "a ends with 1"]


class Figures(gpubp.Callback):
    """Puts given figures in place of those measured, and keeps the weights of each epoch."""

    def __init__(self, name: str, figures: list[float]) -> None:
        self.name, self.figures, self.weights = name, figures, []

    def on_epoch_end(self, net: Any, record: Any) -> None:
        assert self.name in record
        record[self.name] = self.figures[len(self.weights)]
        self.weights.append(bits_of(net))


RUNS = [  # name, figures, arguments, epochs trained, the best
    ("val_loss", [5, 4, 3, 3, 3, 0], {"patience": 2}, 5, 3),
    ("val_loss", [5, 6, 4, 6, 6, 0], {"patience": 2}, 5, 3),
    ("val_loss", [5, 6, 4, 6, 6, 0], {"patience": 1}, 2, 1),
    ("val_loss", [5, 4.9, 4.8, 0, 0, 0], {"patience": 2, "min_delta": 1.0}, 3, 1),
    ("val_loss", [5, 4, 3, 2, 1, 0], {"patience": 1}, 6, 6),
    ("val_loss", [5, np.nan, np.nan, 0, 0, 0], {"patience": 2}, 3, 1),
    ("val_accuracy", [1, 2, 2, 2, 9, 9], {"patience": 2}, 4, 2),
    ("val_r2", [-3, -1, -2, -2, 9, 9], {"patience": 2}, 4, 2),
    ("loss", [1, 2, 1, 1, 9, 9], {"patience": 2, "mode": "max"}, 4, 2),
    ("loss", [3, 2, 2, 2, 0, 0], {"patience": 2}, 4, 2),
    ("val_accuracy", [2, 1, 2, 2, 0, 0], {"patience": 2, "mode": "min"}, 4, 2),
]


@pytest.mark.parametrize(("name", "figures", "arguments", "trained", "best"), RUNS)
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_ends_in_time_with_the_best_weights(
    name: str, figures: list[float], arguments: Any, trained: int, best: int, restore: bool
) -> None:
    net, watch = mlp(), Figures(name, figures)
    stopping = gpubp.EarlyStopping(monitor=name, restore_best=restore, **arguments)
    loss = "mean_squared_error" if name == "val_r2" else "cross_entropy"
    history = net.fit(X, SOFT, loss=loss, epochs=6, validation=(X, SOFT),
                      callbacks=[watch, stopping])  # fmt: skip
    assert len(history) == trained
    assert stopping.best_epoch == best
    ended = f"{name} has not improved since epoch {best}" if trained < 6 else ""
    assert history.stopped == ended
    assert bits_of(net) == watch.weights[(best if restore else trained) - 1]
    assert len({tuple(w.values()) for w in watch.weights}) == trained  # each epoch moved them


def test_early_stopping_begins_anew_with_each_fit() -> None:
    net, stopping = mlp(), gpubp.EarlyStopping(patience=1)
    for figures in ([5, 1, 2], [7, 6, 8]):
        net.fit(X, Y, epochs=3, validation=(X, Y),
                callbacks=[Figures("val_loss", figures), stopping])  # fmt: skip
        assert stopping.best_epoch == net.epochs - 1


@pytest.mark.parametrize(
    ("name", "text"),
    [("val_loss", "no 'val_loss'.*validation="), ("val_r2", "no 'val_r2'"), ("los", "'loss'")],
)
def test_a_figure_that_will_not_be_there_is_refused_before_the_first_step(
    name: str, text: str
) -> None:
    net = mlp()
    with pytest.raises(gpubp.InputError, match=text):
        net.fit(X, Y, callbacks=[gpubp.EarlyStopping(monitor=name)])
    assert (net.updates, bits_of(net)) == (0, bits_of(mlp()))


def test_each_member_stops_as_it_would_alone(backend: Backend) -> None:
    draw = rng(8)
    x, y = draw.normal(size=(20, 3)), draw.integers(0, 2, 20)
    held_out = draw.normal(size=(30, 3)), draw.integers(0, 2, 30)
    how: dict[str, Any] = {"epochs": 12, "optimizer": gpubp.Adam(0.05), "validation": held_out}

    def trained(**network: Any) -> tuple[gpubp.Network, gpubp.EarlyStopping]:
        net = gpubp.Network(gpubp.MLP([6], 2), 3, device=backend, **network)
        early = gpubp.EarlyStopping(patience=2)
        net.fit(x, y, callbacks=[early], **how)
        return net, early

    together, early = trained(seed=0, members=4)
    assert len(set(early.best_epoch)) > 1  # they do not all end at the same time
    assert not together.steps.halted.any()
    for k in range(4):
        alone, early_alone = trained(seed=k)
        assert early.best_epoch[k] == early_alone.best_epoch
        for path, array in alone.state_dict().items():
            member = backend.to_numpy(together.state_dict()[path])[k]
            assert as_alone(backend, member, backend.to_numpy(array), k=20 * 12)
