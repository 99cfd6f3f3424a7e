"""Losses: value and delta against another hand, finite differences, and each device."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import losses
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from gpubp.losses import LOSSES
from tests.conftest import as_alone, require, rng
from tests.loss_cases import BATCH, CASES, WIDTH, in_torch, on_device

STEP = 1e-6
every = pytest.mark.parametrize("case", CASES)


def example(case: str, seed: int = 0) -> tuple[Any, Any, Any]:
    """Return a loss, raw outputs and targets for it."""
    return (CASES[case].loss, *CASES[case].draw(seed))


def test_every_loss_has_a_case() -> None:
    assert {type(case.loss) for case in CASES.values()} == {type(loss) for loss in LOSSES.values()}
    assert all(isinstance(getattr(losses, type(loss).__name__), type) for loss in LOSSES.values())


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_delta_are_torchs(case: str, weighted: bool) -> None:
    loss, z, t = example(case)
    w = rng(1).integers(0, 4, BATCH).astype(float) if weighted else np.ones(BATCH)
    z_torch = require("torch").tensor(z, requires_grad=True)
    expected = in_torch(loss, z_torch, t, w)
    expected.backward()
    value, delta = loss(z, t, sample_weight=w if weighted else None)
    value_expected, delta_expected = expected.item(), z_torch.grad.numpy()
    assert error(value, value_expected) <= tolerance("float64", value_expected)
    assert error(delta, delta_expected) <= tolerance("float64", delta_expected)


@pytest.mark.parametrize("soft", [False, True])
def test_class_weights_and_smoothing_are_those_of_torchs_own_mean(soft: bool) -> None:
    loss, z, t = example("soft, both" if soft else "labels, both")
    torch = require("torch")
    own = torch.nn.CrossEntropyLoss(
        weight=torch.tensor(loss.class_weight).double(), label_smoothing=loss.label_smoothing
    )
    expected = own(torch.tensor(z), torch.tensor(t)).item()
    assert error(loss(z, t)[0], expected) <= tolerance("float64", expected)


@every
def test_delta_is_the_derivative_of_the_value(case: str) -> None:
    loss, z, t = example(case)
    w = np.asarray([1.0, 0.0, 2.0, 1.0, 0.5, 3.0])
    _, delta = loss(z, t, sample_weight=w)
    numeric = np.zeros_like(z)
    for index in np.ndindex(z.shape):
        ends = []
        for sign in (1.0, -1.0):
            moved = z.copy()
            moved[index] += sign * STEP
            ends.append(float(loss(moved, t, sample_weight=w)[0]))
        numeric[index] = (ends[0] - ends[1]) / (2 * STEP)
    assert np.abs(numeric - delta).max() / max(1.0, np.abs(delta).max()) < 1e-7


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_every_device_agrees(backend: Backend, case: str, weighted: bool) -> None:
    loss, z, t = example(case)
    z = z.astype(backend.precision)
    w = rng(1).uniform(0.5, 2.0, BATCH) if weighted else None
    expected = loss(z, t, sample_weight=w)
    z_here = backend.asarray(z)
    column = None if w is None else backend.asarray(w[:, None])
    given = loss.value_and_delta(backend, z_here, on_device(backend, t), column)
    for g, e in zip(given, expected, strict=True):
        assert g.dtype == backend.dtype
        assert error(backend.to_numpy(g), e) <= tolerance(backend.precision, e, BATCH * WIDTH)


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_the_parts_of_a_batch_add_up_to_it(backend: Backend, case: str, weighted: bool) -> None:
    loss, z, t = example(case)
    w = backend.asarray([[1.0], [0.0], [2.0], [1.0], [0.5], [3.0]]) if weighted else None
    z, t = backend.asarray(z), on_device(backend, t)
    parts = [slice(0, 1), slice(1, 2), slice(2, 6)]  # with weights, one that weighs nothing
    cut = [(z[p, :], t[p, :], None if w is None else w[p, :]) for p in parts]
    total = sum(loss.weight(backend, t_p, w_p) for _, t_p, w_p in cut)
    assert error(float(total), float(loss.weight(backend, t, w))) <= tolerance("float32", 20.0)
    value, delta = (backend.to_numpy(a) for a in loss.value_and_delta(backend, z, t, w))
    found = [loss.value_and_delta(backend, *part, total=total) for part in cut]
    assert all(a.dtype == backend.dtype for pair in found for a in pair)
    values, deltas = zip(*[map(backend.to_numpy, pair) for pair in found], strict=True)
    assert error(sum(values), value) <= tolerance(backend.precision, value, BATCH * WIDTH)
    assert error(np.concatenate(deltas), delta) <= tolerance(backend.precision, delta, BATCH)


@pytest.mark.parametrize("total", [4, 4.0, np.float64(4), np.int64(4)])
def test_a_total_may_be_any_number(total: Any) -> None:
    be = gpubp.select("cpu")
    z, t = be.asarray([[1.0], [2.0]]), be.asarray([[0.0], [0.0]])
    value, delta = LOSSES["mean_squared_error"].value_and_delta(be, z, t, None, total=total)
    assert value.item() == 1.25
    assert delta.dtype == np.float32


FAR = [
    ("cross_entropy", [[1e4, -1e4, 0.0]], [1], 2e4, [[1.0, -1.0, 0.0]]),
    ("cross_entropy", [[1e4, 1e4, -1e4]], [[1.0, 0.0, 0.0]], np.log(2.0), [[-0.5, 0.5, 0.0]]),
    ("binary_cross_entropy", [[1e4, -1e4]], [[0.0, 1.0]], 1e4, [[0.5, -0.5]]),
    ("binary_cross_entropy", [[1e4, -1e4]], [[1.0, 0.0]], 0.0, [[0.0, 0.0]]),
    ("squared_error", [[1e4, -1e4]], [[0.0, 0.0]], 1e8, [[1e4, -1e4]]),
]


@pytest.mark.parametrize(("name", "z", "t", "value", "delta"), FAR)
def test_far_out_logits_give_the_limits(
    backend: Backend, name: str, z: Any, t: Any, value: float, delta: Any
) -> None:
    labels = np.ndim(t) == 1
    target = backend.asarray(np.asarray(t)[:, None], "int64") if labels else backend.asarray(t)
    given = LOSSES[name].value_and_delta(backend, backend.asarray(z), target, None)
    for g, expected in zip(given, (value, delta), strict=True):
        scale = [1.0, *np.ravel(expected)]
        assert error(backend.to_numpy(g), expected) <= tolerance(backend.precision, scale)


@every
@pytest.mark.parametrize("far", [1e4, -1e4, 200.0, 20.0])
def test_far_out_all_is_finite(backend: Backend, case: str, far: float) -> None:
    loss, z, t = example(case)
    z[::2, :] *= np.abs(far)
    z[1, :] = far
    z[3, 1:3] = -far
    z = np.clip(z, -1e4, 1e4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, delta = loss.value_and_delta(
            backend, backend.asarray(z), on_device(backend, t), None
        )
    assert np.isfinite(backend.to_numpy(value))
    assert np.isfinite(backend.to_numpy(delta)).all()


@every
def test_a_nan_stays_a_nan(backend: Backend, case: str) -> None:
    loss, z, t = example(case)
    z[1, 1] = np.nan
    value, delta = loss.value_and_delta(backend, backend.asarray(z), on_device(backend, t), None)
    assert np.isnan(backend.to_numpy(value))
    assert np.isnan(backend.to_numpy(delta)).any()


@every
def test_a_batch_without_weight_says_nothing(backend: Backend, case: str) -> None:
    loss, z, t = example(case)
    nothing = backend.asarray(np.zeros((BATCH, 1)))
    here = on_device(backend, t)
    value, delta = loss.value_and_delta(backend, backend.asarray(z), here, nothing)
    assert float(backend.to_numpy(value)) == 0.0
    assert not backend.to_numpy(delta).any()
    assert float(loss.weight(backend, here, nothing)) == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_of_classes_without_weight_says_nothing(backend: Backend, smoothing: float) -> None:
    loss, z = gpubp.CrossEntropy(smoothing, (0.0, 1.0)), backend.asarray([[1.0, 2.0]])
    value, delta = loss.value_and_delta(backend, z, backend.asarray([[0]], "int64"), None)
    assert float(backend.to_numpy(value)) == 0.0
    assert not backend.to_numpy(delta).any()


@every
def test_each_member_has_the_loss_it_has_alone(backend: Backend, case: str) -> None:
    loss, _, t = example(case)
    z = np.stack([example(case, seed)[1] for seed in range(3)])
    here = on_device(backend, t)
    w = backend.asarray(np.arange(1.0, BATCH + 1)[:, None])
    values, deltas = loss.value_and_delta(backend, backend.asarray(z), here, w)
    assert tuple(values.shape) == (3,)
    for k in range(3):
        value, delta = loss.value_and_delta(backend, backend.asarray(z[k]), here, w)
        assert as_alone(backend, backend.to_numpy(values)[k], backend.to_numpy(value), BATCH)
        assert as_alone(backend, backend.to_numpy(deltas)[k], backend.to_numpy(delta), BATCH)


def test_probabilities_and_classes_follow_from_the_raw_output(backend: Backend) -> None:
    z = np.asarray([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])
    softmax = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    for name, expected in [
        ("cross_entropy", softmax),
        ("binary_cross_entropy", 1 / (1 + np.exp(-z))),
    ]:
        given = backend.to_numpy(LOSSES[name].probabilities(backend, backend.asarray(z)))
        assert error(given, expected) <= tolerance(backend.precision, expected, 3)
    here = backend.asarray(z)
    assert backend.to_numpy(LOSSES["cross_entropy"].classes(backend, here)).tolist() == [1, 0]
    yes = backend.to_numpy(LOSSES["binary_cross_entropy"].classes(backend, here))
    assert yes.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_the_logarithm_of_a_hyperbolic_cosine_keeps_its_digits() -> None:
    """Near 0 it is e^2 / 2 - e^4 / 12, where log(2) taken from a sum would leave nothing."""
    e = np.asarray([1e-4, 1e-3], dtype=np.float32)
    value, _ = losses.LogCosh()(e[:, None], np.zeros((2, 1)))
    expected = np.mean(e.astype(float) ** 2 / 2)
    assert error(value, expected) <= 0.01 * expected


@pytest.mark.parametrize("name", ["absolute_error", "quantile", "hinge"])
def test_where_there_is_no_derivative_the_gradient_is_zero(name: str) -> None:
    _, delta = LOSSES[name](np.asarray([[1.0]]), np.asarray([[1.0]]))
    assert delta.tolist() == [[0.0]]


@pytest.mark.parametrize(
    "loss", [losses.CrossEntropy(0.1), losses.KLDivergence(), losses.Focal(),
             losses.MultiClassHinge(2)],
)  # fmt: skip
def test_the_class_is_that_of_the_largest_output(backend: Backend, loss: gpubp.Loss) -> None:
    z = backend.asarray([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]])
    assert backend.to_numpy(loss.classes(backend, z)).tolist() == [1, 0]


@pytest.mark.parametrize("loss", [losses.Hinge(), losses.SquaredHinge(), losses.BinaryFocal()])
def test_yes_is_what_lies_above_zero(backend: Backend, loss: gpubp.Loss) -> None:
    assert backend.to_numpy(loss.classes(backend, backend.asarray([[2.0], [-1.0]]))).tolist() == [
        1,
        0,
    ]


@pytest.mark.parametrize("loss", [losses.KLDivergence(), losses.Focal()])
def test_the_chances_are_a_softmax(loss: gpubp.Loss) -> None:
    be, z = gpubp.select("cpu", "float64"), np.asarray([[0.0, 1.0]])
    expected = np.exp(z) / np.exp(z).sum()
    assert error(loss.probabilities(be, z), expected) <= tolerance("float64", expected)


def test_what_raw_outputs_predict(backend: Backend) -> None:
    z = backend.asarray([[0.5, -1.0, 2.0, 0.0]])
    predicted = {
        losses.Poisson(): np.exp([[0.5, -1.0, 2.0, 0.0]]),
        losses.GaussianNLL(): [[0.5, -1.0]],
        losses.Quantile((0.1, 0.3, 0.6, 0.9)): [[2.0]],
        losses.Quantile(0.9): [[0.5, -1.0, 2.0, 0.0]],
        losses.Huber(): [[0.5, -1.0, 2.0, 0.0]],
    }
    for loss, expected in predicted.items():
        given = backend.to_numpy(loss.predicted(backend, z))
        assert error(given, expected) <= tolerance(backend.precision, expected)
    several = losses.Quantile((0.1, 0.3, 0.6, 0.9))
    assert backend.to_numpy(several.predicted(backend, z, 4)).shape == (1, 4)


# -- bad input ---------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, str]] = {
    "delta 0": (lambda: losses.Huber(0), "Huber: delta is 0; expected a finite number above 0"),
    "delta inf": (lambda: losses.Huber(float("inf")), "delta is inf"),
    "delta text": (lambda: losses.Huber("1"), "delta is '1'"),
    "delta True": (lambda: losses.Huber(True), "delta is True"),
    "delta beyond floats": (lambda: losses.Huber(10**400), "delta is 1000"),
    "q 0": (lambda: losses.Quantile(0.0), r"q is 0.0; expected a number in \(0, 1\)"),
    "q 1": (lambda: losses.Quantile((0.5, 1.0)), "q is 1.0"),
    "q empty": (lambda: losses.Quantile(()), "q is empty"),
    "q NaN": (lambda: losses.Quantile(float("nan")), "q is nan"),
    "smoothing 1": (lambda: losses.CrossEntropy(1.0), r"label_smoothing is 1.0; .* \[0, 1\)"),
    "smoothing below": (lambda: losses.BinaryCrossEntropy(-0.1), "label_smoothing is -0.1"),
    "class weight below": (lambda: losses.CrossEntropy(class_weight=(1, -1)), "weight is -1"),
    "class weight 0": (lambda: losses.CrossEntropy(class_weight=(0, 0)), "zero for every class"),
    "class weight one": (lambda: losses.CrossEntropy(class_weight=2.0), "expected a tuple"),
    "class weight by name": (
        lambda: losses.CrossEntropy(class_weight={0: 1.0, 1: 2.0}), "expected a tuple of numbers"
    ),
    "class weight text": (lambda: losses.CrossEntropy(class_weight="12"), "expected a tuple"),
    "pos_weight": (lambda: losses.BinaryCrossEntropy(pos_weight=-1), "pos_weight is -1"),
    "pos_weights": (lambda: losses.BinaryCrossEntropy(pos_weight=[1, None]), "pos_weight is None"),
    "gamma": (lambda: losses.Focal(-1), "gamma is -1; expected a finite number of at least 0"),
    "alpha one": (lambda: losses.Focal(alpha=0.5), "alpha is 0.5; expected a tuple"),
    "alpha": (lambda: losses.BinaryFocal(alpha=1.5), r"alpha is 1.5; .* \[0, 1\]"),
    "p": (lambda: losses.MultiClassHinge(3), "p is 3; expected 1 or 2"),
    "p True": (lambda: losses.MultiClassHinge(True), "p is True"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_loss_that_cannot_be(name: str) -> None:
    make, text = WRONG[name]
    with pytest.raises(gpubp.InputError, match=text):
        make()


@pytest.mark.parametrize("values", [[1, 2], np.asarray([1.0, 2.0]), (1.0, np.float32(2.0))])
def test_weights_in_any_order_become_a_tuple(values: Any) -> None:
    loss = losses.CrossEntropy(class_weight=values)
    assert loss == losses.CrossEntropy(class_weight=(1.0, 2.0))
    assert hash(loss) == hash(losses.CrossEntropy(class_weight=(1.0, 2.0)))


Z = np.asarray([[0.5, 1.0, -1.0], [0.0, 0.0, 0.0]])
MISFITS: dict[str, tuple[gpubp.Loss, Any, str]] = {
    "class weights": (losses.CrossEntropy(class_weight=(1, 2)), [0, 1],
                      "class_weight has 2 numbers, and the network has 3 outputs"),
    "pos weights": (losses.BinaryCrossEntropy(pos_weight=(1, 2)), Z * 0, "pos_weight has 2"),
    "alpha": (losses.Focal(alpha=(1, 2)), [0, 1], "alpha has 2"),
    "quantiles": (losses.Quantile((0.1, 0.9)), [0.0, 1.0], "q has 2"),
    "quantile, one column": (losses.Quantile(0.5), [0.0, 1.0], "y has shape (2,)"),
    "quantiles, two columns": (losses.Quantile((0.1, 0.5, 0.9)), np.zeros((2, 2)), "or (2, 1)"),
    "odd": (losses.GaussianNLL(), [0.0, 1.0], "has 3 outputs; expected an even number"),
    "below zero": (losses.Poisson(), -Z[:, :] ** 2, "expected numbers of at least 0"),
    "not 0 or 1": (losses.Hinge(), Z * 0 + 0.5, "y holds 0.5; expected 0 or 1"),
    "signs": (losses.SquaredHinge(), np.sign(Z - 0.7), "make them by (y + 1) / 2"),
    "halves": (losses.BinaryFocal(), Z * 0 + 0.25, "y holds 0.25"),
    "rows for labels": (losses.Focal(), Z * 0, "expected integer labels (2,)"),
    "rows for labels ": (losses.MultiClassHinge(), Z * 0, "expected integer labels (2,)"),
    "labels for rows": (losses.KLDivergence(), [0, 1], "takes (2, 3)"),
    "rows beyond 1": (losses.KLDivergence(), Z * 0 + 2, "y holds 2"),
    "no integers": (losses.Focal(), [0.0, 1.0], "use y.astype('int64')"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_refused_by_all_that_take_it(name: str) -> None:
    loss, t, text = MISFITS[name]
    net = gpubp.Network(gpubp.Linear(3), inputs=2)
    before = {path: w.tobytes() for path, w in net.state_dict().items()}
    calls: list[Any] = [
        lambda: loss(Z, t),
        lambda: net.fit(Z[:, :2], t, loss=loss),
        lambda: net.evaluate(Z[:, :2], t, loss=loss),
    ]
    for call in calls:
        with pytest.raises(gpubp.InputError) as raised:
            call()
        assert text in str(raised.value)
    assert {path: w.tobytes() for path, w in net.state_dict().items()} == before
    assert net.loss is None


@pytest.mark.parametrize("loss", [losses.Focal(), losses.MultiClassHinge()])
def test_one_output_is_no_choice(loss: gpubp.Loss) -> None:
    with pytest.raises(gpubp.InputError, match="the network has one output"):
        loss(np.zeros((2, 1)), [0, 0])


def test_a_loss_that_does_not_fit_cannot_be_set() -> None:
    net = gpubp.Network(gpubp.Linear(3), inputs=2)
    with pytest.raises(gpubp.InputError, match="class_weight has 2"):
        net.loss = gpubp.CrossEntropy(class_weight=(1, 2))
    assert net.loss is None


def test_a_narrow_target_is_told_as_such() -> None:
    with pytest.raises(gpubp.InputError, match=r"output width 4 takes \(2, 2\)"):
        losses.GaussianNLL()(np.zeros((2, 4)), np.zeros((2, 4)))
