"""L-BFGS: the minimum that others find, by steps that satisfy both Wolfe conditions."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.lbfgs import LineSearchTrainer
from gpubp.linesearch import Point, Search
from gpubp.optimizers import LBFGS
from tests.conftest import require, rng
from tests.toys import Centre, Mask

X, Y = rng(3).normal(size=(30, 3)), rng(4).normal(size=(30, 2))


def mlp(**how: Any) -> gpubp.Network:
    options = {"dtype": "float64", **how}
    return gpubp.Network(gpubp.MLP([5], 2, activation="tanh"), inputs=3, **options)


def fit(net: gpubp.Network, method: gpubp.Optimizer | None = None, epochs: int = 30) -> Any:
    return net.fit(
        X, Y, loss="mean_squared_error", optimizer=method or LBFGS(), batch_size=None, epochs=epochs
    )


# -- the line search by itself -----------------------------------------------------------------

CURVES: dict[str, Any] = {
    "parabola": lambda a: ((a - 3.0) ** 2, 2.0 * (a - 3.0)),
    "far": lambda a: ((a / 1e4 - 3.0) ** 2, 2e-4 * (a / 1e4 - 3.0)),
    "near": lambda a: ((1e4 * a - 3.0) ** 2, 2e4 * (1e4 * a - 3.0)),
    # More and Thuente (1994), functions 1 and 2
    "rational": lambda a: (-a / (a * a + 2.0), (a * a - 2.0) / (a * a + 2.0) ** 2),
    "quintic": lambda a: (
        (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,
        5 * (a + 0.004) ** 4 - 8 * (a + 0.004) ** 3,
    ),
    "wave": lambda a: (-math.sin(5 * a) - a, -5 * math.cos(5 * a) - 1),
    "wall": lambda a: (-a, -1.0) if a < 0.5 else (math.inf, math.nan),
    "log": lambda a: (-math.log(1 - a) - 3 * a, 1 / (1 - a) - 3) if a < 1 else (math.nan, math.nan),
}


@pytest.mark.parametrize("c2", [0.9, 0.1])
@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("name", [name for name in CURVES if name != "wall"])
def test_the_point_satisfies_both_conditions(name: str, first: float, c2: float) -> None:
    if name == "quintic" and c2 < 0.9:
        pytest.skip("its slope at the start is so small that no float is near enough to the end")
    phi = CURVES[name]
    start = Point(0.0, *phi(0.0))
    found = Search(phi, 1e-4, c2, 60).find(start, first)
    assert found is not None
    assert found == Point(found.a, *phi(found.a))
    assert found.f <= start.f + 1e-4 * found.a * start.slope
    assert abs(found.slope) <= c2 * abs(start.slope)


def test_where_only_decrease_can_be_had_the_best_is_taken() -> None:
    """Up to a wall the slope never changes: the second condition cannot be met."""
    phi = CURVES["wall"]
    found = Search(phi, 1e-4, 0.9, 40).find(Point(0.0, 0.0, -1.0), 1.0)
    assert found is not None
    assert 0.45 < found.a < 0.5


def test_where_nothing_falls_there_is_no_point() -> None:
    asked = []

    def phi(a: float) -> tuple[float, float]:
        asked.append(a)
        return 1.0 + a, -1.0  # a slope that is wrong

    assert Search(phi, 1e-4, 0.9, 12).find(Point(0.0, 1.0, -1.0), 1.0) is None
    assert len(asked) == 12


# -- in training -------------------------------------------------------------------------------


def logistic(n: int = 60) -> tuple[Any, Any]:
    x = rng(1).normal(size=(n, 4))
    return x, (x @ [1.0, -2.0, 0.5, 0.0] + rng(2).normal(size=n) > 0).astype(float)


def test_logistic_regression_ends_at_torchs_minimum() -> None:
    torch = require("torch")
    x, t = logistic()
    net = gpubp.Network(gpubp.Linear(1), inputs=4, dtype="float64")
    w = torch.tensor(net.state_dict()["W"], requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    method = LBFGS(penalty=gpubp.L2(0.01, on="all"), tolerance=1e-10)
    history = net.fit(
        x, t, loss="binary_cross_entropy", optimizer=method, batch_size=None, epochs=100
    )
    assert "gradient" in history.stopped or "changed" in history.stopped
    theirs = torch.optim.LBFGS(
        [w, b], max_iter=200, tolerance_grad=1e-11, tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Any:
        theirs.zero_grad()
        z = (torch.tensor(x) @ w + b)[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(t))
        loss = loss + 0.005 * ((w * w).sum() + (b * b).sum())
        loss.backward()
        return loss

    theirs.step(closure)
    for ours, other in zip(net.state_dict().values(), (w, b), strict=True):
        assert error(ours, other.detach().numpy()) < 1e-7


class Watched(LineSearchTrainer):
    """Records loss and slope along the step at both ends of each step."""

    steps: list[tuple[float, float, float, float]]

    def _descend(self, theta: Any, grad: Any, f: float, pairs: Any) -> Any:
        point = super()._descend(theta, grad, f, pairs)
        if point is not None:
            s = self.net.theta - theta
            ends = float((grad * s).sum()), float((self.net.grad * s).sum())
            after = self._evaluate()[0]
            self.steps.append((f, after, *ends))
        return point


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_step_satisfies_both_wolfe_conditions(
    monkeypatch: pytest.MonkeyPatch, seed: int, precision: str
) -> None:
    monkeypatch.setattr("gpubp.fitting.LineSearchTrainer", Watched)
    Watched.steps = []
    method = LBFGS(penalty=gpubp.L2(0.01))
    history = fit(mlp(seed=seed, dtype=precision), method, 25)
    slack = 0.0 if precision == "float64" else 1e-6
    assert len(Watched.steps) >= 15
    for before, after, slope, new in Watched.steps:
        assert slope < 0
        assert after <= before + 1e-4 * slope + slack * before
        assert abs(new) <= 0.9 * abs(slope) * (1 + 10 * slack)
    assert np.diff([b for b, *_ in Watched.steps]).max() <= 0
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_sharp_valley_is_followed_to_its_end() -> None:
    """y = u v x with u v = 1 the valley: products of weights as in Rosenbrock's."""
    net = gpubp.Network(
        gpubp.Sequential(gpubp.Linear(1, W="ones", b=None), gpubp.Linear(1, W="ones", b=None)),
        inputs=1,
        dtype="float64",
    )
    net.load_state_dict({"0.W": [[-1.2]], "1.W": [[30.0]]})
    net.fit(
        [[10.0], [1.0]], [10.0, 1.0], loss="squared_error", optimizer=LBFGS(), batch_size=None,
        epochs=100,
    )  # fmt: skip
    assert abs(float(np.prod(list(net.state_dict().values()))) - 1) < 1e-8


def test_every_device_agrees(backend: Backend) -> None:
    net, reference = mlp(device=backend, dtype=None), mlp(dtype=backend.precision)
    given, expected = (fit(n, epochs=6)["loss"] for n in (net, reference))
    assert error(given, expected) <= 100 * tolerance(backend.precision, expected, 30)


def test_a_second_fit_and_a_copy_go_on_with_what_was_learned() -> None:
    once, twice = mlp(), mlp()
    fit(once, epochs=12)
    fit(twice, epochs=7)
    back: gpubp.Network = pickle.loads(pickle.dumps(twice))
    for net in (twice, back):
        fit(net, epochs=5)
        assert np.array_equal(net.theta, once.theta)
        assert net.updates == net.steps.slots.updates == 12
    fresh = mlp()
    fit(fresh, epochs=7)
    fresh.reset_optimizer()
    fit(fresh, epochs=5)
    assert not np.array_equal(fresh.theta, once.theta)


def test_only_the_last_pairs_are_kept() -> None:
    net = mlp()
    fit(net, LBFGS(memory=3), 8)
    pairs = net.steps.slots.arrays
    assert list(pairs) == ["s0", "y0", "s1", "y1", "s2", "y2"]
    assert all(float((pairs[f"s{k}"] * pairs[f"y{k}"]).sum()) > 0 for k in range(3))
    before = net.theta.copy()
    newest = pairs["s0"].copy()
    fit(net, LBFGS(memory=3), 1)
    assert np.array_equal(net.steps.slots.arrays["s0"], net.theta - before)
    assert np.array_equal(net.steps.slots.arrays["s1"], newest)


def test_it_ends_early_and_says_why() -> None:
    net = mlp()
    history = fit(net, LBFGS(tolerance=1e-2), 200)
    assert len(history) < 200
    assert history.stopped == "no element of the gradient is above 0.01"
    assert np.abs(net.grad).max() <= 1e-2
    assert len(history) == net.updates + 1
    assert "no parameter changed" in fit(mlp(), LBFGS(change=0.5), 200).stopped


def test_float32_goes_as_far_as_rounding_lets_it() -> None:
    x, t = logistic()
    net = gpubp.Network(gpubp.Linear(1), inputs=4, dtype="float32")
    method = LBFGS(tolerance=0.0, change=0.0, penalty=gpubp.L2(0.01))
    history = net.fit(
        x, t, loss="binary_cross_entropy", optimizer=method, batch_size=None, epochs=200
    )
    assert "rounding" in history.stopped
    assert np.abs(net.grad).max() < 1e-4


@pytest.mark.parametrize("before", [0, 5])
def test_frozen_parameters_stay(before: int) -> None:
    """Also those that moved in the steps that are remembered."""
    net = mlp()
    if before:
        fit(net, epochs=before)
    net.freeze("0")
    kept = net.state_dict()
    fit(net, LBFGS(penalty=gpubp.L2(0.1, on="all")) if not before else LBFGS())
    after = net.state_dict()
    assert all(np.array_equal(after[p], w) == (p[0] == "0") for p, w in kept.items())


def test_a_step_that_is_far_too_long_is_shortened() -> None:
    net = mlp(dtype="float32")
    history = fit(net, LBFGS(1e20), 5)  # the loss overflows there
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < history["loss"][0]


def test_a_start_that_is_not_finite_is_refused() -> None:
    net = mlp(dtype="float32")
    net.load_state_dict({"2.W": np.full((5, 2), 1e30)}, strict=False)
    before = net.theta.copy()
    with pytest.raises(gpubp.NonFiniteError, match="step 1"):
        fit(net)
    assert np.array_equal(net.theta, before)
    assert net.updates == 0


@pytest.mark.parametrize("layer", [Centre(), Mask()])
def test_noise_and_running_state_are_those_of_the_step(layer: gpubp.Layer) -> None:
    """Within a step the loss is one function: it never rises, and the state moves once a step."""
    body = gpubp.Sequential(gpubp.Linear(6), layer, gpubp.Linear(2))
    once, twice = (gpubp.Network(body, 3, dtype="float64") for _ in range(2))
    fit(once, epochs=4)
    fit(twice, epochs=3)
    fit(twice, epochs=1)
    for path, array in once.state_dict().items():
        assert np.array_equal(array, twice.state_dict()[path])


def test_kinks_do_not_end_training() -> None:
    net = gpubp.Network(gpubp.MLP([20], 2, activation="relu"), 3, dtype="float64")
    history = fit(net, epochs=60)
    assert np.diff(history["loss"]).max() <= 0
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize("seed", range(4))
def test_where_evaluations_run_out_the_best_point_is_kept(seed: int) -> None:
    """And not the last that was tried: a search of three rarely ends at a point that will do."""
    net = gpubp.Network(gpubp.MLP([20], 2, activation="relu"), 3, dtype="float64", seed=seed)
    history = fit(net, LBFGS(8.0, max_evaluations=3, c2=1e-3), 30)
    assert net.updates > 5
    assert np.diff(history["loss"]).max() <= 0


def test_the_records_are_means_per_example() -> None:
    """As in any other training, whether the loss is a sum or a mean."""
    net = mlp()
    expected = net.evaluate(X, Y, loss="squared_error")["loss"]
    history = net.fit(
        X, Y, loss="squared_error", optimizer=LBFGS(penalty=gpubp.L2(1.0)), batch_size=None,
        epochs=3,
    )  # fmt: skip
    assert error(history["loss"][0], expected) <= tolerance("float64", expected, 30)
    assert history["lr"] == [1.0, 1.0, 1.0]


def test_a_search_that_is_broken_off_leaves_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    net = mlp()
    before = net.theta.copy()

    def stop(*_: Any) -> None:
        net.theta[...] = 7.0
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "find", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(net)
    assert np.array_equal(net.theta, before)


def test_by_name() -> None:
    net = mlp()
    net.fit(X, Y, loss="mean_squared_error", optimizer="lbfgs", batch_size=None, epochs=2)
    assert net.updates == 2


@pytest.mark.parametrize(
    ("how", "options", "message"),
    [
        ({"members": 2}, {}, "one network, not an ensemble"),
        ({}, {"batch_size": 8}, "batch_size is 8; expected None, all 30 examples"),
        ({}, {"optimizer": LBFGS(penalty=gpubp.L2(0.1, on="7"))}, "'7'"),
    ],
)
def test_what_it_is_not_for_is_refused(
    how: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    net = mlp(**how)
    before = net.theta.copy()
    given = {"optimizer": LBFGS(), "batch_size": None, **options}
    with pytest.raises(gpubp.InputError, match=message):
        net.fit(X, Y, loss="mean_squared_error", **given)
    assert np.array_equal(net.theta, before)


def test_there_is_no_single_step() -> None:
    net = mlp()
    y, context = net.forward(X)
    net.backward(context, y)
    with pytest.raises(gpubp.InputError, match="use fit"):
        net.step(LBFGS())
