"""The network as an object: what it predicts, its loop step by step, its arrays, its members."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest

import gpubp
from gpubp.backends.standard import StandardBackend
from gpubp.check.tolerance import error, tolerance

X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
LABELS = np.asarray([0, 1, 1, 0, 1, 0])
OPTIMIZERS = [gpubp.SGD, gpubp.Momentum, gpubp.Nesterov, gpubp.Adam, gpubp.AdamW]


def mlp(n_out: int = 2, **chosen: Any) -> gpubp.Network:
    body = gpubp.MLP([4], n_out, activation="tanh")
    return gpubp.Network(body, inputs=3, **chosen)


def bits_of(net: gpubp.Network) -> dict[str, bytes]:
    return {path: value.tobytes() for path, value in net.state_dict().items()}


def softmax(z: Any) -> Any:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# -- inference ---------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("n_out", [1, 2, 3])
def test_raw_outputs_are_those_of_the_formula(n_out: int, members: int | None) -> None:
    net = mlp(n_out, dtype="float64", members=members)
    w = net.state_dict()
    b0, b2 = w["0.b"][..., None, :], w["2.b"][..., None, :]
    expected = np.tanh(X @ w["0.W"] + b0) @ w["2.W"] + b2
    assert net.predict(X).shape == ((6, n_out) if members is None else (2, 6, n_out))
    assert error(net.predict(X), expected) <= tolerance("float64", expected, k=4)


@pytest.mark.parametrize("members", [None, 2])
def test_softmax_and_the_largest_output_for_cross_entropy(members: int | None) -> None:
    net = mlp(3, dtype="float64", members=members)
    net.loss = gpubp.CrossEntropy()
    expected = softmax(net.predict(X))
    assert error(net.predict_proba(X), expected) <= tolerance("float64", expected, k=3)
    assert np.array_equal(net.predict_class(X), net.predict(X).argmax(axis=-1))


@pytest.mark.parametrize("n_out", [1, 3])
def test_a_sigmoid_for_each_output_of_binary_cross_entropy(n_out: int) -> None:
    net = mlp(n_out, dtype="float64")
    net.loss = gpubp.BinaryCrossEntropy()
    expected = 1 / (1 + np.exp(-net.predict(X)))
    classes = (expected > 0.5).astype(int)
    assert error(net.predict_proba(X), expected) <= tolerance("float64", expected)
    assert np.array_equal(net.predict_class(X), classes[:, 0] if n_out == 1 else classes)


def of_torch(x: Any) -> Any:
    return pytest.importorskip("torch").from_numpy(x)


@pytest.mark.parametrize(
    ("convert", "device"),
    [
        (np.asarray, "cpu"),
        (np.ndarray.tolist, "cpu"),
        (of_torch, "cpu"),
        (array_api_strict.asarray, "cpu"),
        (np.asarray, "strict"),
        (array_api_strict.asarray, "strict"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_class"])
def test_out_comes_the_kind_of_array_that_went_in(convert: Any, device: str, method: str) -> None:
    chosen = StandardBackend(array_api_strict) if device == "strict" else device
    net, reference = mlp(device=chosen), mlp()
    net.loss = reference.loss = gpubp.CrossEntropy()
    given = convert(X.copy())
    found, expected = getattr(net, method)(given), getattr(reference, method)(X)
    assert type(found) is (np.ndarray if isinstance(given, list) else type(given))
    host = np.from_dlpack(found)
    assert host.dtype == expected.dtype == (np.int64 if method == "predict_class" else np.float32)
    assert error(host, expected) <= tolerance("float32", expected, k=4)


@pytest.mark.parametrize("layer", [gpubp.Activation("identity"), gpubp.Activation("relu")])
def test_what_predict_returns_shares_nothing_with_the_input(layer: gpubp.Layer) -> None:
    x = abs(X)
    assert not np.shares_memory(gpubp.Network(layer, inputs=3).predict(x), x)


class Mode(gpubp.Layer):
    """Adds one while training, as dropout and the like tell the two apart."""

    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return x + float(run.training), None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy


def test_inference_is_no_training() -> None:
    net, zeros = gpubp.Network(Mode(), inputs=2), np.zeros((3, 2))
    assert net.forward(zeros)[0].max() == 1.0
    assert net.forward(zeros, training=False)[0].max() == 0.0
    assert net.predict(zeros).max() == 0.0
    history = net.fit(zeros, zeros, loss="mean_squared_error", epochs=1,
                      validation=(zeros, zeros))  # fmt: skip
    assert (history["loss"], history["val_loss"]) == ([1.0], [0.0])
    assert net.evaluate(zeros, zeros)["loss"] == 0.0


# -- the explicit loop -------------------------------------------------------------------------


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_explicit_loop_gives_the_bits_of_fit(
    optimizer: type[gpubp.Optimizer], members: int | None
) -> None:
    fitted, looped = mlp(members=members), mlp(members=members)
    history = fitted.fit(X, LABELS, optimizer=optimizer(0.05), epochs=4, batch_size=3,
                         shuffle=False)  # fmt: skip
    loss, values = gpubp.CrossEntropy(), []
    for _ in range(4):
        for batch in (slice(0, 3), slice(3, 6)):
            y_hat, context = looped.forward(X[batch])
            value, delta = loss(y_hat, LABELS[batch])
            assert looped.backward(context, delta) is None
            looped.step(optimizer(0.05))
            values.append(np.asarray(value, dtype=float))
    assert bits_of(looped) == bits_of(fitted)
    assert bits_of(fitted) != bits_of(mlp(members=members))
    assert fitted.updates == looped.updates == 8
    assert fitted.epochs == len(history) == 4
    means = np.asarray(values).reshape(4, 2, -1).mean(axis=1)
    told = np.asarray(history["loss"]).reshape(means.shape)
    assert error(told, means) <= tolerance("float64", means)


def test_gradients_add_up_until_the_step() -> None:
    net, loss = mlp(dtype="float64"), gpubp.SquaredError()
    parts = []
    for rows in (slice(0, 2), slice(2, 6)):
        y_hat, context = net.forward(X[rows])
        net.zero_grad()
        net.backward(context, loss(y_hat, X[rows, :2])[1])
        parts.append(net.gradients())
    y_hat, context = net.forward(X[:2])
    net.zero_grad()
    net.backward(context, loss(y_hat, X[:2, :2])[1])
    y_hat, context = net.forward(X[2:])
    net.backward(context, loss(y_hat, X[2:, :2])[1])
    for path, value in net.gradients().items():
        expected = parts[0][path] + parts[1][path]
        assert error(value, expected) <= tolerance("float64", expected)
        assert np.abs(parts[0][path]).max() > 0
    before = net.state_dict()
    expected = {path: before[path] - 0.1 * value for path, value in net.gradients().items()}
    net.step(gpubp.SGD(0.1))
    for path, value in net.state_dict().items():
        assert error(value, expected[path]) <= tolerance("float64", expected[path])


def test_the_input_gradient_is_the_slope_of_the_loss() -> None:
    net, loss, h = mlp(dtype="float64"), gpubp.SquaredError(), 1e-3
    x, t = X.astype(np.float64), np.zeros((6, 2))
    y_hat, context = net.forward(x)
    dx = net.backward(context, loss(y_hat, t)[1], input_gradient=True)

    def along(direction: Any, far: float) -> float:
        return float(loss(net.forward(x + far * direction)[0], t)[0])

    direction = np.random.default_rng(2).normal(size=x.shape)
    direction /= np.linalg.norm(direction)
    # Richardson's extrapolation of two central differences: what is left is of order h^4.
    narrow, wide = ((along(direction, s) - along(direction, -s)) / (2 * s) for s in (h, 2 * h))
    slope = (4 * narrow - wide) / 3
    exact = float((dx * direction).sum())
    assert error(exact, slope) <= tolerance("float64", [along(direction, 0.0) / h], k=12)


# -- arrays by name ----------------------------------------------------------------------------


def test_state_is_handed_out_and_taken_over_as_copies() -> None:
    net, other = mlp(seed=1), mlp(seed=2)
    state = net.state_dict()
    assert {path: value.shape for path, value in state.items()} == {
        "0.W": (3, 4), "0.b": (4,), "2.W": (4, 2), "2.b": (2,),
    }  # fmt: skip
    other.load_state_dict(state)
    assert bits_of(other) == bits_of(net)
    assert np.array_equal(other.predict(X), net.predict(X))
    before = bits_of(net)
    for value in state.values():
        value += 1
    assert bits_of(net) == bits_of(other) == before


def test_not_strict_takes_what_fits_by_name() -> None:
    net, other = mlp(seed=1), mlp(seed=2)
    own = other.state_dict()
    taken = {"0.W": net.state_dict()["0.W"], "head.W": np.ones((2, 2))}
    with pytest.raises(gpubp.InputError, match=r"missing: 0\.b, 2\.W, 2\.b; unexpected: head\.W"):
        other.load_state_dict(taken)
    assert np.array_equal(other.state_dict()["0.W"], own["0.W"])
    other.load_state_dict(taken, strict=False)
    assert np.array_equal(other.state_dict()["0.W"], taken["0.W"])
    assert np.array_equal(other.state_dict()["2.W"], own["2.W"])


@pytest.mark.parametrize("strict", [True, False])
def test_one_wrong_shape_leaves_all_as_it_was(strict: bool) -> None:
    net = mlp()
    before = bits_of(net)
    wrong = {**mlp(seed=9).state_dict(), "2.b": np.ones(3)}
    with pytest.raises(gpubp.InputError, match=r"2\.b has shape \(3,\), expected \(2,\)"):
        net.load_state_dict(wrong, strict=strict)
    assert bits_of(net) == before


# -- seeds and members -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_seed_decides_every_bit(dtype: str) -> None:
    nets = [mlp(dtype=dtype, seed=seed) for seed in (4, 4, 5)]
    drawn = [bits_of(net) for net in nets]
    for net in nets:
        net.fit(X, LABELS, epochs=3, batch_size=2)
    assert drawn[0] == drawn[1] != drawn[2]
    assert bits_of(nets[0]) == bits_of(nets[1]) != bits_of(nets[2])
    assert nets[0].predict(X).dtype == dtype
    narrow = mlp(dtype="float32", seed=4).state_dict()["0.W"]
    assert np.array_equal(narrow, mlp(dtype="float64", seed=4).state_dict()["0.W"].astype("f4"))


@pytest.mark.parametrize(("seed", "seeds"), [(7, [7, 8, 9]), ([5, 1, 5], [5, 1, 5])])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_member_has_the_bits_it_would_have_alone(
    optimizer: type[gpubp.Optimizer], seed: Any, seeds: list[int]
) -> None:
    rates = [0.01, 0.1, 0.2]
    net = mlp(members=3, seed=seed)
    history = net.fit(X, LABELS, optimizer=optimizer(rates), epochs=3, batch_size=4)
    assert net.predict(X).shape == (3, 6, 2)
    for k in range(3):
        alone = mlp(seed=seeds[k])
        told = alone.fit(X, LABELS, optimizer=optimizer(rates[k]), epochs=3, batch_size=4)
        member = {path: value[k].tobytes() for path, value in net.state_dict().items()}
        assert member == bits_of(alone)
        assert np.array_equal(net.predict(X)[k], alone.predict(X))
        losses = [record[k] for record in history["loss"]]
        assert error(losses, told["loss"]) <= tolerance("float64", losses)


def test_a_sequence_of_seeds_is_an_ensemble() -> None:
    assert mlp(seed=[3]).members == 1
    assert mlp(seed=[3]).predict(X).shape == (1, 6, 2)
    assert mlp(seed=3).members is None
    assert mlp(seed=3, members=1).state_dict()["2.W"].shape == (1, 4, 2)


def test_repr_says_what_it_is() -> None:
    assert repr(mlp(dtype="float64", members=2)) == (
        f"Network({gpubp.MLP([4], 2, activation='tanh')!r}, inputs=(3,), device='cpu', "
        "dtype='float64', members=2): 26 parameters"
    )
    wide = gpubp.Network(gpubp.MLP([128, 64], 10), inputs=784)
    assert repr(wide).endswith("device='cpu', dtype='float32'): 109,386 parameters")


def test_counts_of_updates_and_epochs() -> None:
    net = mlp()
    assert (net.updates, net.epochs, net.n_parameters) == (0, 0, 3 * 4 + 4 + 4 * 2 + 2)
    net.fit(X, LABELS, epochs=3, batch_size=4)
    assert (net.updates, net.epochs) == (6, 3)
    net.fit(X, LABELS, epochs=1, batch_size=None)
    assert (net.updates, net.epochs) == (7, 4)
