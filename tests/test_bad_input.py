"""Wrong calls: each is refused by an error that says what is wrong, before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

import gpubp

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.asarray([0, 1, 2, 0, 1, 2])
UNIT = np.eye(3)[Y]  # a target for each of three outputs, in [0, 1]
ELSEWHERE = array_api_strict.asarray(X, device=array_api_strict.Device("device1"))


def spoiled(array: Any, index: Any, value: float) -> Any:
    copy = np.array(array, dtype=float)
    copy[index] = value
    return copy


def mlp(n_out: int = 3, **chosen: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], n_out), inputs=3, **chosen)


def fit(x: Any = X, y: Any = Y, **chosen: Any) -> Callable[[gpubp.Network], Any]:
    return lambda net: net.fit(x, y, **chosen)


def load_file_of_another(net: gpubp.Network, folder: Path) -> None:
    gpubp.Network(gpubp.MLP([5], 3), inputs=3).save(folder / "net")
    gpubp.load(folder / "net", layer=net.layer)


# What is called, the class of the error, and a part of its message.
CALLS: dict[str, tuple[Callable[[gpubp.Network], Any], type[Exception], str]] = {
    "x too wide": (fit(np.ones((6, 4))), gpubp.InputError, "(6, 4); the network takes (n, 3)"),
    "x 1-D": (fit(X[0]), gpubp.InputError, "x has shape (3,)"),
    "x 3-D": (fit(X[None]), gpubp.InputError, "x has shape (1, 6, 3)"),
    "x a number": (fit(1.0), gpubp.InputError, "x has shape ()"),
    "x empty": (fit(X[:0], Y[:0]), gpubp.InputError, "at least one example"),
    "x None": (fit(None), gpubp.InputError, "x has dtype object"),
    "x NaN": (fit(spoiled(X, (4, 2), np.nan)), gpubp.InputError, "x[4, 2] is nan"),
    "x inf": (fit(spoiled(X, (1, 0), -np.inf)), gpubp.InputError, "x[1, 0] is -inf"),
    "x text": (fit(X.astype(str)), gpubp.InputError, "x has dtype <U"),
    "x objects": (fit(X.astype(object)), gpubp.InputError, "x has dtype object"),
    "x complex": (fit(X + 1j), gpubp.InputError, "x has dtype complex64"),
    "x ragged": (fit([[1.0, 2.0, 3.0], [1.0]], [0, 1]), gpubp.InputError, "x is ragged"),
    "x elsewhere": (fit(ELSEWHERE), gpubp.DeviceError, "device1"),
    "x and y differ": (fit(X, Y[:4]), gpubp.InputError, "x has 6 examples and y has 4"),
    "y out of range": (fit(X, Y + 1), gpubp.InputError, "the label 3"),
    "y negative": (fit(X, Y - 1), gpubp.InputError, "the label -1"),
    "y float labels": (fit(X, Y.astype(float)), gpubp.InputError, "class labels are integers 0..2"),
    "y 1-D": (
        fit(X, Y.astype(float), loss="squared_error"),
        gpubp.InputError,
        "y has shape (6,); a network of output width 3",
    ),
    "y too wide": (fit(X, np.ones((6, 4))), gpubp.InputError, "y has shape (6, 4)"),
    "y NaN": (
        fit(X, spoiled(UNIT, (5, 1), np.nan), loss="mean_squared_error"),
        gpubp.InputError,
        "y[5, 1] is nan",
    ),
    "y above 1": (
        fit(X, 2 * UNIT, loss="binary_cross_entropy"), gpubp.InputError, "y holds 2",
    ),
    "y below 0": (fit(X, -UNIT), gpubp.InputError, "y holds -1"),
    "y text": (fit(X, Y.astype(str)), gpubp.InputError, "y has dtype <U"),
    "y ragged": (fit(X, [[1.0], [1.0, 2.0]]), gpubp.InputError, "y is ragged"),
    "weights too few": (fit(sample_weight=[1.0]), gpubp.InputError, "sample_weight has shape (1,)"),
    "weights negative": (
        fit(sample_weight=[1, 1, -1, 1, 1, 1]), gpubp.InputError, "sample_weight holds -1",
    ),
    "weights zero": (fit(sample_weight=np.zeros(6)), gpubp.InputError, "adds up to 0"),
    "masked": (
        lambda net: net.predict(np.ma.masked_greater(np.ones((2, 3)), 0)), gpubp.InputError,
        "masked elements",
    ),
    "weights too large": (fit(sample_weight=np.full(6, 3e38)), gpubp.InputError, "adds up to inf"),
    "NaN to evaluate": (
        lambda net: net.evaluate(np.full((2, 3), np.nan), [0, 1], loss="cross_entropy"),
        gpubp.InputError, "x[0, 0] is nan",
    ),
    "delta of another shape": (
        lambda net: net.backward(net.forward(np.ones((2, 3)))[1], np.ones((2, 2))),
        gpubp.InputError, "delta has shape (2, 2)",
    ),
    "no such parameter": (lambda net: net.parameter("0.w"), gpubp.InputError, "nearest: '0.W'"),
    "NaN weights": (
        lambda net: net.load_state_dict(
            {path: np.full(a.shape, np.nan) for path, a in net.state_dict().items()}
        ),
        gpubp.InputError, "is nan",
    ),
    "weights NaN": (
        fit(sample_weight=[1, 1, 1, np.nan, 1, 1]), gpubp.InputError, "sample_weight[3] is nan",
    ),
    "validation x NaN": (
        fit(validation=(spoiled(X, (2, 1), np.nan), Y)), gpubp.InputError, "validation x[2, 1]",
    ),
    "validation y": (fit(validation=(X, Y + 1)), gpubp.InputError, "validation y holds"),
    "validation no pair": (fit(validation=X), gpubp.InputError, "validation"),
    "batch_size 0": (fit(batch_size=0), gpubp.InputError, "batch_size is 0"),
    "batch_size negative": (fit(batch_size=-4), gpubp.InputError, "batch_size is -4"),
    "batch_size float": (fit(batch_size=2.0), gpubp.InputError, "batch_size is 2.0"),
    "batch_size True": (fit(batch_size=True), gpubp.InputError, "batch_size is True"),
    "epochs 0": (fit(epochs=0), gpubp.InputError, "epochs is 0"),
    "epochs float": (fit(epochs=1.5), gpubp.InputError, "epochs is 1.5"),
    "shuffle_seed negative": (fit(shuffle_seed=-1), gpubp.InputError, "shuffle_seed is -1"),
    "loss unknown": (fit(loss="cross_entropi"), gpubp.InputError, "nearest: 'cross_entropy'"),
    "loss a list": (fit(loss=["cross_entropy"]), gpubp.InputError, "unknown loss"),
    "optimizer unknown": (fit(optimizer="adan"), gpubp.InputError, "nearest: 'adam'"),
    "optimizer a class": (fit(optimizer=gpubp.Adam), gpubp.InputError, "unknown optimizer"),
    "rates for no ensemble": (fit(optimizer=gpubp.SGD([0.1])), gpubp.InputError, "1 rates"),
    "callbacks": (fit(callbacks=[print]), gpubp.InputError, "callbacks[0]"),
    "callbacks no list": (fit(callbacks=gpubp.Callback()), gpubp.InputError, "callbacks"),
    "no such figure": (
        fit(callbacks=[gpubp.EarlyStopping()]), gpubp.InputError, "no 'val_loss'; give validation=",
    ),
    "forward": (lambda net: net.forward(X[:, :2]), gpubp.InputError, "x has shape (6, 2)"),
    "predict": (lambda net: net.predict([["a"] * 3]), gpubp.InputError, "x has dtype <U1"),
    "predict elsewhere": (lambda net: net.predict(ELSEWHERE), gpubp.DeviceError, "hand it over"),
    "evaluate": (lambda net: net.evaluate(X, Y[:1]), gpubp.InputError, "y has 1"),
    "step at once": (lambda net: net.step(gpubp.SGD()), gpubp.InputError, "call backward first"),
    "weights of another": (
        lambda net: net.load_state_dict(gpubp.Network(gpubp.Linear(3), 3).state_dict()),
        gpubp.InputError,
        "missing: 0.W, 0.b, 2.W, 2.b; unexpected: W, b",
    ),
    "weights that are none": (
        lambda net: net.load_state_dict(dict.fromkeys(net.state_dict(), "0")),
        gpubp.InputError,
        "0.W has dtype <U1; expected numbers",
    ),
}  # fmt: skip


def bits_of(net: gpubp.Network) -> tuple[Any, ...]:
    weights = {path: value.tobytes() for path, value in net.state_dict().items()}
    return weights, net.updates, net.epochs, net.loss, list(net.history)


@pytest.fixture
def net() -> gpubp.Network:
    net = mlp()
    net.fit(X, Y, epochs=1)
    return net


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused_and_changes_nothing(net: gpubp.Network, name: str) -> None:
    call, kind, text = CALLS[name]
    before, data = bits_of(net), (X.copy(), Y.copy())
    with pytest.raises(kind, match=re.escape(text)):
        call(net)
    assert bits_of(net) == before
    assert np.array_equal(X, data[0])
    assert np.array_equal(Y, data[1])


def test_a_file_of_another_architecture_is_refused(net: gpubp.Network, tmp_path: Path) -> None:
    with pytest.raises(gpubp.InputError, match=re.escape("0.W has shape (3, 5), expected (3, 4)")):
        load_file_of_another(net, tmp_path)


MADE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "width 0": (lambda: gpubp.Linear(0), gpubp.InputError, "a width is 0"),
    "width negative": (lambda: gpubp.MLP([4, -1], 2), gpubp.InputError, "a width is -1"),
    "width float": (lambda: gpubp.Linear(2.0), gpubp.InputError, "a width is 2.0"),
    "width True": (lambda: gpubp.Linear(True), gpubp.InputError, "a width is True"),
    "hidden an int": (lambda: gpubp.MLP(64, 2), gpubp.InputError, "hidden is 64"),
    "hidden None": (lambda: gpubp.MLP(None, 2), gpubp.InputError, "hidden is None"),
    "activation": (lambda: gpubp.MLP([4], 2, "rellu"), gpubp.InputError, "nearest: 'relu'"),
    "Activation": (lambda: gpubp.Activation("tan"), gpubp.InputError, "nearest: 'tanh'"),
    "initializer": (lambda: gpubp.Linear(2, W="he"), gpubp.InputError, "unknown initializer 'he'"),
    "no layers": (gpubp.Sequential, gpubp.InputError, "at least one layer"),
    "class for layer": (lambda: gpubp.Sequential(gpubp.Linear), gpubp.InputError, "item 0 is"),
    "no layer": (lambda: gpubp.Network("mlp", 3), gpubp.InputError, "is 'mlp'"),
    "inputs 0": (lambda: gpubp.Network(gpubp.Linear(2), 0), gpubp.InputError, "inputs is 0"),
    "inputs float": (lambda: gpubp.Network(gpubp.Linear(2), 2.5), gpubp.InputError, "inputs is 2"),
    "rows": (lambda: gpubp.Network(gpubp.Linear(2), (2, 3)), gpubp.InputError, "shape (2, 3)"),
    "device": (lambda: mlp(device="cudda"), gpubp.DeviceError, "nearest: 'cuda'"),
    "device number": (lambda: mlp(device="cpu:x"), gpubp.DeviceError, "comes a number"),
    "second CPU": (lambda: mlp(device="cpu:1"), gpubp.DeviceError, "one CPU"),
    "device an int": (lambda: mlp(device=0), gpubp.DeviceError, "device is a int"),
    "dtype": (lambda: mlp(dtype="float16"), gpubp.InputError, "'float32', 'float64'"),
    "seed negative": (lambda: mlp(seed=-1), gpubp.InputError, "seed is -1"),
    "seed float": (lambda: mlp(seed=1.5), gpubp.InputError, "seed is 1.5"),
    "seeds too few": (lambda: mlp(seed=[1], members=2), gpubp.InputError, "1 seeds were given"),
    "members 0": (lambda: mlp(members=0), gpubp.InputError, "members is 0"),
    "members float": (lambda: mlp(members=2.0), gpubp.InputError, "members is 2.0"),
    "rate negative": (lambda: gpubp.SGD(-0.1), gpubp.InputError, "lr is -0.1"),
    "rate NaN": (lambda: gpubp.Adam(float("nan")), gpubp.InputError, "lr is nan"),
    "rate text": (lambda: gpubp.SGD("0.1"), gpubp.InputError, "lr is '0.1'"),
    "a rate of many": (lambda: gpubp.SGD([0.1, -1.0]), gpubp.InputError, "lr is -1.0"),
    "momentum": (lambda: gpubp.Momentum(momentum=1.0), gpubp.InputError, "a number in [0, 1)"),
    "patience": (lambda: gpubp.EarlyStopping(0), gpubp.InputError, "patience 0"),
    "mode": (lambda: gpubp.EarlyStopping(mode="low"), gpubp.InputError, "mode is 'low'"),
    "rates for members": (
        lambda: mlp(members=3).fit(X, Y, optimizer=gpubp.SGD([0.1, 0.2])),
        gpubp.InputError,
        "2 rates were given for 3 members",
    ),
    "class before fit": (lambda: mlp().predict_class(X), gpubp.InputError, "no loss yet"),
    "evaluate no loss": (lambda: mlp().evaluate(X, Y), gpubp.InputError, "give loss="),
    "no file": (lambda: gpubp.load("no such file"), gpubp.InputError, "there is no file"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_wrong_description_is_refused(name: str) -> None:
    call, kind, text = MADE[name]
    with pytest.raises(kind, match=re.escape(text)) as raised:
        call()
    assert isinstance(raised.value, gpubp.GpubpError)


@pytest.mark.parametrize("loss", ["squared_error", "mean_squared_error"])
def test_a_regression_network_has_no_classes(loss: str) -> None:
    net = mlp()
    net.fit(X, UNIT, loss=loss, epochs=1)
    for call in (net.predict_proba, net.predict_class):
        with pytest.raises(gpubp.InputError, match="is no classification loss: use predict"):
            call(X)
