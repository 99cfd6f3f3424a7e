"""What `fit` computes: batches, order, weights, records, and steps refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.check.tolerance import error, tolerance

_RNG = np.random.default_rng(5)
X = _RNG.normal(size=(10, 3))
T = _RNG.normal(size=(10, 2))
LABELS = np.arange(10) % 2
SOFT = 0.2 + 0.6 * (T > 0)  # rows that do not add up to one


def linear(**chosen: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.Linear(2), inputs=3, dtype="float64", **chosen)


def mlp(dtype: str = "float64", **chosen: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2), inputs=3, dtype=dtype, **chosen)


def bits_of(net: gpubp.Network) -> dict[str, bytes]:
    named = {path: value.tobytes() for path, value in net.state_dict().items()}
    return named | {f"slot {name}": slot.tobytes() for name, slot in net.steps.slots.arrays.items()}


def close(given: Any, expected: Any, k: int = 100) -> bool:
    return error(given, expected) <= tolerance("float64", expected, k)


def by_hand(w: dict[str, Any], batches: list[slice], epochs: int) -> tuple[Any, Any, list[float]]:
    """Gradient descent on the mean squared error of x W + b, batch by batch."""
    W, b, losses = w["W"], w["b"], []
    for _ in range(epochs):
        total = 0.0
        for rows in batches:
            x, t = X[rows], T[rows]
            off = x @ W + b - t
            total += (off**2).mean() * len(x)
            W, b = W - 0.1 * x.T @ (2 * off / off.size), b - 0.1 * (2 * off / off.size).sum(axis=0)
        losses.append(total / len(X))
    return W, b, losses


@pytest.mark.parametrize(
    ("batch_size", "starts"),
    [(1, range(10)), (4, [0, 4, 8]), (5, [0, 5]), (10, [0]), (None, [0]), (64, [0])],
)
def test_every_batch_size_equals_the_loop_by_hand(batch_size: int | None, starts: Any) -> None:
    net = linear()
    batches = [slice(s, min(s + (batch_size or 10), 10)) for s in starts]  # the last: what is left
    W, b, losses = by_hand(net.state_dict(), batches, epochs=3)
    history = net.fit(X, T, loss="mean_squared_error", optimizer=gpubp.SGD(0.1), epochs=3,
                      batch_size=batch_size, shuffle=False)  # fmt: skip
    assert net.updates == 3 * len(batches)
    assert close(net.state_dict()["W"], W)
    assert close(net.state_dict()["b"], b)
    assert close(history["loss"], losses)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_training_in_two_parts_gives_the_bits_of_training_in_one(optimizer: str) -> None:
    whole, parts = mlp("float32"), mlp("float32")
    options: dict[str, Any] = {"optimizer": optimizer, "batch_size": 4}
    history = whole.fit(X, LABELS, epochs=10, **options)
    first = parts.fit(X, LABELS, epochs=5, **options)
    second = parts.fit(X, LABELS, epochs=5, **options)
    assert bits_of(parts) == bits_of(whole)
    assert first["loss"] + second["loss"] == history["loss"]
    assert first["epoch"] + second["epoch"] == list(range(1, 11))


def order_of(seed: int, shuffle: bool = True, epochs: int = 2) -> list[list[int]]:
    """The examples in the order in which `fit` met them, epoch by epoch."""
    net, met = gpubp.Network(gpubp.Linear(1), inputs=1), []
    take = net.train_step

    def record(x: Any, t: Any, *rest: Any) -> Any:
        assert np.array_equal(x, -t)  # a target stays with its example
        met.extend(x[:, 0].astype(int).tolist())
        return take(x, t, *rest)

    net.train_step = record
    rows = np.arange(10.0)
    net.fit(rows[:, None], -rows, loss="squared_error", optimizer=gpubp.SGD(0.0), epochs=epochs,
            batch_size=4, shuffle=shuffle, shuffle_seed=seed)  # fmt: skip
    return [met[start : start + 10] for start in range(0, len(met), 10)]


def test_each_epoch_meets_every_example_once_in_an_order_of_its_own() -> None:
    first, second = order_of(seed=0)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert order_of(seed=0) == [first, second]
    assert order_of(seed=1)[0] != first
    assert order_of(seed=0, shuffle=False) == [list(range(10))] * 2


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_a_weight_counts_an_example_that_often(loss: str) -> None:
    y: Any = LABELS if loss == "cross_entropy" else T
    times = np.asarray([0, 1, 2, 0, 3, 1, 1, 0, 2, 1])
    rows = np.repeat(np.arange(10), times)
    weighted, repeated = mlp(), mlp()
    options: dict[str, Any] = {
        "loss": loss, "optimizer": gpubp.SGD(0.01), "epochs": 5, "batch_size": None,
    }  # fmt: skip
    spoiled = np.where(times[:, None] == 0, 100.0, X)  # what has no weight must not matter
    one = weighted.fit(spoiled, y, sample_weight=times, **options)
    other = repeated.fit(X[rows], y[rows], **options)
    assert close(one["loss"], other["loss"])
    for path, value in repeated.state_dict().items():
        assert close(weighted.state_dict()[path], value)


LOSSES = ["cross_entropy", "mean_squared_error", "squared_error", "binary_cross_entropy"]


@pytest.mark.parametrize("w", [None, np.asarray([1.0, 0, 2, 0.5, 0, 0, 1, 3, 0, 1])])
@pytest.mark.parametrize("loss", LOSSES)
def test_history_tells_the_mean_per_example_over_unequal_batches(loss: str, w: Any) -> None:
    net = mlp()
    history = net.fit(X, SOFT, loss=loss, optimizer=gpubp.SGD(0.0), epochs=2, batch_size=4,
                      sample_weight=w)  # fmt: skip
    expected = net.evaluate(X, SOFT, sample_weight=w)["loss"]  # at a rate of zero, all along
    assert close(history["loss"], [expected] * 2)


@pytest.mark.parametrize("loss", LOSSES)
def test_validation_tells_what_evaluate_tells_and_changes_nothing(loss: str) -> None:
    y: Any = LABELS if loss == "cross_entropy" else SOFT
    with_it, without = mlp(), mlp()
    history = with_it.fit(X, y, loss=loss, epochs=2, validation=(X[:7] + 1, y[:7]))
    without.fit(X, y, loss=loss, epochs=2)
    told = {k[4:]: figure for k, figure in history.records[-1].items() if k.startswith("val_")}
    assert told == with_it.evaluate(X[:7] + 1, y[:7])
    assert set(told) == {"loss", "r2" if "squared" in loss else "accuracy"}
    assert bits_of(with_it) == bits_of(without)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_a_read_only_memory_map_trains_as_an_array_does(
    tmp_path: Path, dtype: str, shuffle: bool
) -> None:
    rows = (20 * abs(X)).astype(dtype)
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=dtype, mode="r", shape=rows.shape)
    nets = mlp("float32"), mlp("float32")
    told = [
        (net.fit(x, LABELS, epochs=3, batch_size=4, shuffle=shuffle, validation=(x, LABELS))
         ["val_loss"], net.predict(x).tobytes(), net.evaluate(x, LABELS))
        for net, x in zip(nets, (rows, mapped), strict=True)
    ]  # fmt: skip
    assert told[0] == told[1]
    assert bits_of(nets[0]) == bits_of(nets[1])


# Weights, two examples that pass and one that overflows in float32, and where it does.
OVERFLOWS: dict[str, tuple[float, float, list[float], str]] = {
    "the first layer": (1e20, 1e-20, [1e-20, 2e-20, 1e20], "0"),
    "a later layer": (1.0, 1e30, [1e-35, 2e-35, 1e10], "2"),
    "the loss": (1e15, 1e5, [1e-20, 2e-20, 1.0], "loss"),  # its gradients are finite
}


@pytest.mark.parametrize("where", OVERFLOWS)
def test_a_step_that_overflows_is_named_and_changes_nothing(where: str) -> None:
    first, second, x, layer = OVERFLOWS[where]
    body = gpubp.Sequential(
        gpubp.Linear(1, W=gpubp.Constant(first), b=None),
        gpubp.Activation("relu"),
        gpubp.Linear(1, W=gpubp.Constant(second), b=None),
    )
    net, sound = gpubp.Network(body, inputs=1), gpubp.Network(body, inputs=1)
    rows, zeros = np.asarray(x)[:, None], np.zeros(3)
    options: dict[str, Any] = {
        "loss": "squared_error", "optimizer": gpubp.Momentum(1e-20), "epochs": 1,
        "batch_size": 1, "shuffle": False,
    }  # fmt: skip
    sound.fit(rows[:2], zeros[:2], **options)
    with pytest.raises(gpubp.NonFiniteError, match="step 3: ") as raised:
        net.fit(rows, zeros, **options)
    assert (raised.value.step, raised.value.layer) == (3, layer)
    assert bits_of(net) == bits_of(sound)
    assert (net.updates, net.epochs) == (2, 0)


def test_a_loss_alone_that_overflows_is_refused() -> None:
    """Its gradient is so small that nothing but the loss tells."""
    net = gpubp.Network(gpubp.Linear(1, W=gpubp.Constant(1e25), b=None), inputs=1)
    with pytest.raises(gpubp.NonFiniteError, match="the loss is not finite") as raised:
        net.fit([[1e-5]], [0.0], loss="squared_error", optimizer=gpubp.SGD(1.0))
    assert (raised.value.step, raised.value.layer, net.updates) == (1, "loss", 0)


def test_the_explicit_step_is_refused_alike() -> None:
    net = mlp()
    net.fit(X, LABELS, optimizer=gpubp.Adam(), epochs=1)
    before = bits_of(net)
    _, context = net.forward(X)
    net.backward(context, np.full((10, 2), np.inf))
    with pytest.raises(gpubp.NonFiniteError, match="step 2: ") as raised:
        net.step(gpubp.Adam())
    assert (raised.value.step, bits_of(net), net.updates) == (2, before, 1)


def test_where_one_member_diverges_the_others_take_the_step() -> None:
    """Member 1 has a rate that throws it out of range in step 1, which step 2 meets."""
    rates = (0.01, 1e100)
    options: dict[str, Any] = {"batch_size": None, "shuffle": False}
    net, first, second = mlp(members=2), mlp(seed=1), mlp(seed=0)
    with pytest.raises(gpubp.NonFiniteError) as raised:
        net.fit(X, LABELS, optimizer=gpubp.Momentum(rates), epochs=2, **options)
    first.fit(X, LABELS, optimizer=gpubp.Momentum(rates[1]), epochs=1, **options)
    second.fit(X, LABELS, optimizer=gpubp.Momentum(rates[0]), epochs=2, **options)
    state = net.state_dict()
    for path in state:
        assert close(state[path][0], second.state_dict()[path])
        assert close(state[path][1], first.state_dict()[path])
    assert close(net.steps.slots.arrays["v"][0], second.steps.slots.arrays["v"])
    assert close(net.steps.slots.arrays["v"][1], first.steps.slots.arrays["v"])
    assert raised.value.step == 2
    assert "the step of members [1] was not taken" in str(raised.value)


@pytest.mark.parametrize("method", [gpubp.SGD(1e30), gpubp.Momentum(1e30), gpubp.Adam(1e20)])
def test_an_update_that_would_overflow_is_refused(method: gpubp.Optimizer) -> None:
    """Loss and gradient are finite, the weights would not be."""
    net = gpubp.Network(gpubp.Linear(1, W="ones", b=None), inputs=1)
    before = bits_of(net)
    with pytest.raises(gpubp.NonFiniteError, match="length of the step"):
        net.fit([[1e8]], [0.0], loss="squared_error", optimizer=method)
    assert bits_of(net) == before


def test_a_rate_beyond_the_dtype_is_refused() -> None:
    with pytest.raises(gpubp.InputError, match="beyond float32"):
        mlp("float32").fit(X, LABELS, optimizer=gpubp.SGD(1e39))


def test_running_state_that_is_not_finite_is_not_kept() -> None:
    class Unsound(gpubp.Layer):
        def build(self, inputs: Any) -> gpubp.Spec:
            return gpubp.Spec(inputs, state={"mean": gpubp.Param(inputs, gpubp.Constant(0.0))})

        def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
            run.put("mean", run.state.mean + float("inf"))
            return x, None

        def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
            return dy

    for members in (None, 2):
        body = gpubp.Sequential(Unsound(), gpubp.Linear(2))
        net = gpubp.Network(body, inputs=3, members=members)
        before = bits_of(net)
        with pytest.raises(gpubp.NonFiniteError):
            net.fit(X, LABELS)
        assert bits_of(net) == before


def test_the_progress_bar_tells_each_epoch_on_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    history = mlp().fit(X, LABELS, epochs=2, progress=True)
    told = capfd.readouterr()
    for epoch, loss in enumerate(history["loss"], 1):
        assert f"epoch {epoch:3d}  loss {loss:.4f}" in told.err
    assert told.out == ""


def test_regression_and_many_labels_are_learned() -> None:
    x = np.linspace(-1, 1, 64)[:, None]
    net = gpubp.Network(gpubp.MLP([16], 1, activation="tanh"), inputs=1)
    before = net.evaluate(x, np.sin(3 * x), loss="mean_squared_error")
    net.fit(x, np.sin(3 * x), loss="mean_squared_error", optimizer=gpubp.Adam(0.02), epochs=300)
    assert before["r2"] < 0.5 < 0.99 < net.evaluate(x, np.sin(3 * x))["r2"]

    questions = np.concatenate([x > 0, abs(x) > 0.5], axis=1)
    net = gpubp.Network(gpubp.MLP([16], 2, activation="tanh"), inputs=1)
    net.fit(x, questions, loss="binary_cross_entropy", optimizer=gpubp.Adam(0.05), epochs=150)
    assert np.array_equal(net.predict_class(x), questions)
