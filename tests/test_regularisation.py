"""Weight decay, penalties and the bound on norms; frozen parameters."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from tests.conftest import require, rng

X, Y = rng(3).normal(size=(20, 3)), rng(4).normal(size=(20, 2))
LOSS = "mean_squared_error"


def network(**how: Any) -> gpubp.Network:
    net = gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, **how)
    state = net.state_dict()
    for k, path in enumerate(path for path in state if path.endswith("b")):
        state[path] = net.be.asarray(rng(k).normal(size=state[path].shape))  # biases are zero else
    net.load_state_dict(state)
    return net


def train(net: gpubp.Network, method: gpubp.Optimizer, epochs: int = 3) -> gpubp.Network:
    net.fit(X, Y, loss=LOSS, optimizer=method, epochs=epochs, batch_size=8)
    return net


def state(net: gpubp.Network) -> dict[str, Any]:
    return {path: net.be.to_numpy(array) for path, array in net.state_dict().items()}


def push(net: gpubp.Network, method: gpubp.Optimizer) -> dict[str, Any]:
    """The weights after a step whose gradient is zero everywhere."""
    y, context = net.forward(X)
    net.backward(context, net.be.xp.zeros_like(y))
    net.step(method)
    return state(net)


@pytest.mark.parametrize(
    ("on", "paths"),
    [
        ("weights", {"0.W", "2.W"}),
        ("biases", {"0.b", "2.b"}),
        ("all", {"0.W", "2.W", "0.b", "2.b"}),
        ("2", {"2.W", "2.b"}),
        (("*.b", "0.W"), {"0.W", "0.b", "2.b"}),
        ("norms", set()),
    ],
)
def test_decay_is_of_the_named_parameters_alone(backend: Backend, on: Any, paths: set[str]) -> None:
    net = network(device=backend)
    before = state(net)
    after = push(net, gpubp.SGD(0.1, weight_decay=0.5, decay_on=on))
    for path, w in before.items():
        expected = w * (1 - 0.1 * 0.5) if path in paths else w
        assert error(after[path], expected) <= tolerance(backend.precision, w)
        assert np.array_equal(after[path], w) == (path not in paths)


def test_each_member_decays_by_its_rate() -> None:
    rates = (0.1, 0.01, 0.0)
    method = gpubp.AdamW(rates, weight_decay=0.3)
    together = train(network(members=3, seed=2), method)
    for k, rate in enumerate(rates):
        alone = gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, seed=2 + k)
        alone.load_state_dict({path: w[k] for path, w in state(network(members=3, seed=2)).items()})
        train(alone, gpubp.AdamW(rate, weight_decay=0.3))
        assert np.array_equal(together.theta[k], alone.theta)


PENALTIES: list[gpubp.Penalty] = [
    gpubp.L1(0.3),
    gpubp.L2(0.2, on="all"),
    gpubp.ElasticNet(0.4, l1_ratio=0.3, on=("2", "0.b")),
]


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_the_gradient_is_that_of_the_value(penalty: gpubp.Penalty) -> None:
    net = network(dtype="float64")
    theta, layout = net.theta.copy(), net.arrays.params
    y, context = net.forward(X)
    net.backward(context, np.zeros_like(y))
    net.step(gpubp.SGD(0.0, penalty=penalty))
    step = 1e-6
    for i in range(theta.size):
        ends = [theta + sign * step * (np.arange(theta.size) == i) for sign in (1, -1)]
        up, down = (float(penalty.value(net.be, layout, end)) for end in ends)
        assert abs((up - down) / (2 * step) - net.grad[i]) < 1e-7


def test_several_penalties_add_up(backend: Backend) -> None:
    net = network(device=backend)
    before = state(net)
    after = push(net, gpubp.SGD(1.0, penalty=tuple(PENALTIES)))
    for path, w in before.items():
        l1 = 0.3 * (path[-1] == "W") + 0.12 * (path != "0.W")
        l2 = 0.2 + 0.28 * (path != "0.W")
        expected = w - l1 * np.sign(w) - l2 * w
        assert error(after[path], expected) <= tolerance(backend.precision, w, 4)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_l2_on_all_is_torchs_weight_decay(kind: str) -> None:
    torch = require("torch")
    net = network(dtype="float64")
    optimizer = getattr(gpubp, kind)(0.05, penalty=gpubp.L2(0.1, on="all"))
    tensors = [torch.tensor(w, requires_grad=True) for w in state(net).values()]
    theirs = getattr(torch.optim, kind)(tensors, lr=0.05, weight_decay=0.1)
    x, t = torch.tensor(X), torch.tensor(Y)
    for _ in range(20):
        y, context = net.forward(X)
        net.backward(context, gpubp.MeanSquaredError()(y, Y)[1])
        net.step(optimizer)
        w1, b1, w2, b2 = tensors
        theirs.zero_grad()
        torch.nn.functional.mse_loss(torch.tanh(x @ w1 + b1) @ w2 + b2, t).backward()
        theirs.step()
    for ours, other in zip(state(net).values(), tensors, strict=True):
        expected = other.detach().numpy()
        assert error(ours, expected) <= tolerance("float64", expected, 20)


def test_l1_drives_weights_to_zero() -> None:
    plain, sparse = train(network(), gpubp.SGD(0.05), 30), network()
    train(sparse, gpubp.SGD(0.05, penalty=gpubp.L1(1.0)), 30)
    assert np.abs(sparse.parameter("0.W")).max() < 0.1 < np.abs(plain.parameter("0.W")).max()


# -- the bound on norms ------------------------------------------------------------------------


def test_no_unit_has_a_longer_weight_vector(backend: Backend) -> None:
    free, net = train(network(device=backend), gpubp.SGD(0.1)), network(device=backend)
    train(net, gpubp.SGD(0.1, max_norm=0.6))
    norms = {path: np.linalg.norm(w, axis=0) for path, w in state(net).items() if path[-1] == "W"}
    assert all((n <= 0.6 * (1 + 1e-6)).all() for n in norms.values())
    assert any((n > 0.59).any() for n in norms.values())
    assert np.linalg.norm(state(free)["0.W"], axis=0).max() > 0.7
    assert np.abs(state(net)["0.b"]).max() > 0.6  # a bias is no weight


def test_what_is_within_the_bound_keeps_its_bits() -> None:
    one, other = network(), network()
    assert np.array_equal(
        train(one, gpubp.SGD(0.1, max_norm=100.0)).theta, train(other, gpubp.SGD(0.1)).theta
    )


def test_a_norm_whose_square_overflows_is_scaled_back() -> None:
    net = network(dtype="float32")
    net.load_state_dict({"0.W": np.full((3, 4), 1e25)}, strict=False)
    after = push(net, gpubp.SGD(0.0, max_norm=3.0))
    expected = np.full((3, 4), np.sqrt(3.0))
    assert error(after["0.W"], expected) <= tolerance("float32", expected)


# -- frozen parameters -------------------------------------------------------------------------

METHOD = gpubp.Adam(0.05, weight_decay=0.1, decay_on="all", penalty=gpubp.L2(0.1, on="all"))


def slots(net: gpubp.Network, path: str) -> list[Any]:
    view = net.arrays.params.view
    return [net.be.to_numpy(view(net.be, s, path)) for s in net.steps.slots.arrays.values()]


def test_frozen_parameters_and_their_slots_keep_all_bits(backend: Backend) -> None:
    net = train(network(device=backend), METHOD, 1)
    before, kept = state(net), slots(net, "0.W")
    net.freeze("0")
    train(net, METHOD, 2)
    after = state(net)
    assert all(np.array_equal(after[p], w) == (p[0] == "0") for p, w in before.items())
    assert all(map(np.array_equal, slots(net, "0.W"), kept))
    assert not any(map(np.array_equal, slots(net, "2.W"), [np.zeros((4, 2))] * 2))
    net.unfreeze()
    assert not np.array_equal(state(train(net, METHOD, 1))["0.W"], before["0.W"])


def test_the_others_are_updated_as_without() -> None:
    """One step from the same weights: what is frozen takes no part, in a clip's norm neither."""
    free, frozen = network(dtype="float64"), network(dtype="float64")
    frozen.freeze("0")
    for net in (free, frozen):
        y, context = net.forward(X)
        net.backward(context, gpubp.MeanSquaredError()(y, Y)[1])
        net.step(METHOD)
    assert all(np.array_equal(state(free)[p], state(frozen)[p]) for p in ("2.W", "2.b"))


def test_penalties_of_frozen_parameters_do_not_pile_up_in_the_norm() -> None:
    """Else each step would add to a gradient that nothing clears, and a clip would see it."""
    clip, penalty = gpubp.ClipGlobalNorm(0.5), gpubp.L2(3.0, on="all")
    net = network()
    train(net, gpubp.SGD(0.01, penalty=penalty), 1)  # what is kept of the penalty names "0" too
    net.freeze("0")
    train(net, gpubp.SGD(0.01, penalty=penalty, clip=clip), 4)
    assert all(not np.any(net.gradients()[path]) for path in ("0.W", "0.b"))


def test_members_are_frozen_together() -> None:
    together = gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), 3, members=2, seed=6)
    together.freeze("2.W", "biases")
    train(together, METHOD)
    for k in range(2):
        alone = gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), 3, seed=6 + k)
        alone.freeze("2.W", "biases")
        assert np.array_equal(together.theta[k], train(alone, METHOD).theta)


def test_pickling_keeps_what_is_frozen() -> None:
    net = network()
    net.freeze("*.b")
    back: gpubp.Network = pickle.loads(pickle.dumps(train(net, METHOD, 1)))
    assert back.frozen == net.frozen == ("0.b", "2.b")
    assert np.array_equal(train(back, METHOD, 2).theta, train(net, METHOD, 2).theta)


def test_all_frozen_leaves_nothing_to_train() -> None:
    net = network()
    net.freeze("all")
    with pytest.raises(gpubp.InputError, match="all parameters are frozen"):
        train(net, METHOD, 1)
    assert net.epochs == 0
    y, context = net.forward(X)
    net.backward(context, np.ones_like(y))
    with pytest.raises(gpubp.InputError, match="all parameters are frozen"):
        net.step(METHOD)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        gpubp.SGD(weight_decay=0.1, decay_on="weight"),
        gpubp.SGD(penalty=gpubp.L1(0.1, on="3.W")),
        gpubp.SGD(max_norm=gpubp.MaxNorm(1.0, on="head")),
    ],
)
def test_unknown_names_are_refused_before_anything_is_changed(method: gpubp.Optimizer) -> None:
    net = network()
    before = net.theta.copy()
    with pytest.raises(gpubp.InputError, match="no parameter is called"):
        train(net, method)
    with pytest.raises(gpubp.InputError, match="no parameter is called"):
        net.freeze("0", "3")
    assert net.frozen == ()
    assert np.array_equal(net.theta, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gpubp.L2(-1.0), "strength is -1.0"),
        (lambda: gpubp.L1(float("nan")), "strength is nan"),
        (lambda: gpubp.ElasticNet(0.1, l1_ratio=1.5), "l1_ratio is 1.5"),
        (lambda: gpubp.L2(0.1, on=()), "parameters are named"),
        (lambda: gpubp.MaxNorm(0.0), "limit is 0.0"),
        (lambda: gpubp.SGD(penalty=0.1), "penalty is 0.1"),  # type: ignore[arg-type]
        (lambda: gpubp.SGD(max_norm="3"), "max_norm is '3'"),  # type: ignore[arg-type]
        (lambda: gpubp.SGD(decay_on=3), "decay_on: parameters are named 3"),  # type: ignore[arg-type]
    ],
)
def test_bad_numbers_are_refused(make: Any, message: str) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        make()
