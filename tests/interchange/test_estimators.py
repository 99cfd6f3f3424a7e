"""Fitted networks of scikit-learn: the same predictions, whatever the outputs mean."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.interchange import from_sklearn
from tests.conftest import require

N, FEATURES = 60, 4
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, FEATURES)) * (1.0, 10.0, 0.1, 3.0) + (0.0, 50.0, -2.0, 7.0)
SCORE = (X - X.mean(0)) / X.std(0) @ RNG.normal(size=(FEATURES, 3))
THREE = np.asarray(["ant", "bee", "cat"])[SCORE.argmax(axis=1)]
TWO = np.where(SCORE[:, 0] > 0, "yes", "no")
LABELS = (SCORE > 0).astype(int)
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


def sklearn(module: str) -> Any:
    require("sklearn")
    return importlib.import_module(f"sklearn.{module}")


def fitted(kind: str, x: Any, y: Any, **how: Any) -> Any:
    estimator = getattr(sklearn("neural_network"), kind)
    how = {"hidden_layer_sizes": (6, 5), "max_iter": 15, "random_state": 0, "solver": "adam"} | how
    with warnings.catch_warnings(action="ignore"):
        return estimator(**how).fit(x, y)


def close(given: Any, expected: Any, dtype: str) -> None:
    assert given.shape == expected.shape
    off, allowed = np.abs(given - expected), 1e-6 if dtype == "float32" else 1e-12
    assert (off <= allowed * np.maximum(1.0, np.abs(expected))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_several_classes(activation: str, dtype: str) -> None:
    x = ((X - X.mean(0)) / X.std(0)).astype(dtype)
    estimator = fitted("MLPClassifier", x, THREE, activation=activation)
    net = from_sklearn(estimator)
    assert (net.be.precision, net.loss) == (dtype, gpubp.CrossEntropy())
    close(net.predict_proba(x), estimator.predict_proba(x), dtype)
    assert np.array_equal(estimator.classes_[net.predict_class(x)], estimator.predict(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_classes(dtype: str) -> None:
    x = ((X - X.mean(0)) / X.std(0)).astype(dtype)
    estimator = fitted("MLPClassifier", x, TWO)
    net = from_sklearn(estimator)
    assert net.loss == gpubp.BinaryCrossEntropy()
    close(net.predict_proba(x), estimator.predict_proba(x)[:, 1:], dtype)
    assert np.array_equal(estimator.classes_[net.predict_class(x)], estimator.predict(x))


@pytest.mark.parametrize("y", [THREE, TWO, LABELS[:, 0], LABELS[:, 0] * 1.0, TWO == "yes"])
def test_the_classes_are_told(y: Any, tmp_path: Path) -> None:
    estimator = fitted("MLPClassifier", X, y)
    net = from_sklearn(estimator)
    assert net.classes == estimator.classes_.tolist()
    assert net.preprocessing.features(X, dtype="float64").tolist() == X.tolist()
    labels = net.preprocessing.decode(net.predict_class(X))
    assert labels.tolist() == estimator.predict(X).tolist()
    net.save(tmp_path / "net")
    assert gpubp.load(tmp_path / "net").classes == net.classes


def test_where_there_are_no_names_none_are_told() -> None:
    odd = fitted("MLPClassifier", X, TWO)
    odd.classes_ = np.asarray([None, 1], dtype=object)
    for estimator in (odd, fitted("MLPClassifier", X, LABELS), fitted("MLPRegressor", X, SCORE)):
        assert from_sklearn(estimator).preprocessing is None


@pytest.mark.parametrize("count", [2, 3])
def test_several_labels(count: int) -> None:
    estimator = fitted("MLPClassifier", X, LABELS[:, :count])
    net = from_sklearn(estimator)
    close(net.predict_proba(X), estimator.predict_proba(X), "float64")
    assert np.array_equal(net.predict_class(X), estimator.predict(X))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_regression(activation: str, outputs: int) -> None:
    y = SCORE[:, 0] if outputs == 1 else SCORE
    estimator = fitted("MLPRegressor", X, y, activation=activation)
    net = from_sklearn(estimator)
    assert net.loss == gpubp.MeanSquaredError()
    close(net.predict(X), estimator.predict(X).reshape(N, outputs), "float64")
    if outputs == 1:
        assert net.evaluate(X, y)["r2"] == pytest.approx(estimator.score(X, y), abs=1e-9)


def test_counts() -> None:
    if "loss" not in sklearn("neural_network").MLPRegressor().get_params():
        pytest.skip("this scikit-learn counts nothing yet")
    x = (X - X.mean(0)) / X.std(0)
    estimator = fitted("MLPRegressor", x, RNG.poisson(np.exp(SCORE[:, 0] / 3)), loss="poisson")
    net = from_sklearn(estimator)
    assert net.loss == gpubp.Poisson()
    close(np.exp(net.predict(x)), estimator.predict(x)[:, None], "float64")


SCALERS = [
    ("StandardScaler", {}),
    ("StandardScaler", {"with_mean": False}),
    ("StandardScaler", {"with_std": False}),
    ("StandardScaler", {"with_mean": False, "with_std": False}),
    ("RobustScaler", {}),
    ("RobustScaler", {"with_centering": False}),
    ("RobustScaler", {"with_scaling": False}),
    ("MinMaxScaler", {"feature_range": (-1, 2)}),
    ("MaxAbsScaler", {}),
]


def unfitted(kind: str) -> Any:
    return getattr(sklearn("neural_network"), kind)()


def pipeline(*steps: Any, kind: str = "MLPClassifier", x: Any = X, y: Any = THREE) -> Any:
    mlp = unfitted(kind).set_params(hidden_layer_sizes=(5,), max_iter=15, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        return sklearn("pipeline").make_pipeline(*steps, mlp).fit(x, y)


def scaler(name: str, **how: Any) -> Any:
    return getattr(sklearn("preprocessing"), name)(**how)


@pytest.mark.parametrize(("name", "how"), SCALERS)
def test_scalers_go_into_the_first_layer(name: str, how: dict[str, Any]) -> None:
    chain = pipeline(scaler(name, **how), "passthrough")
    net = from_sklearn(chain)
    assert net.be.precision == "float64"
    close(net.predict_proba(X), chain.predict_proba(X), "float64")
    assert np.array_equal(chain.classes_[net.predict_class(X)], chain.predict(X))


def test_scalers_behind_each_other() -> None:
    both = pipeline(scaler("StandardScaler"), scaler("MinMaxScaler"), kind="MLPRegressor", y=SCORE)
    close(from_sklearn(both).predict(X), both.predict(X), "float64")


def test_a_scaler_goes_in_exactly_where_single_precision_would_not_do() -> None:
    """Features that are all about 1e6: the difference of large numbers is taken in float64."""
    x = (X - X.mean(0) + 1e6).astype(np.float32)
    chain = pipeline(scaler("StandardScaler"), x=x)
    assert chain[-1].coefs_[0].dtype == np.float32
    net = from_sklearn(chain)
    assert net.be.precision == "float64"
    expected = chain[-1].predict_proba(chain[0].transform(x.astype(np.float64)))
    assert np.abs(net.predict_proba(x) - expected).max() < 1e-6


def test_a_feature_that_is_constant_has_no_scale() -> None:
    x = X.copy()
    x[:, 1] = 3.0
    chain = pipeline(scaler("StandardScaler"), x=x)
    close(from_sklearn(chain).predict_proba(x), chain.predict_proba(x), "float64")


def test_no_hidden_layer_and_further_training() -> None:
    estimator = fitted("MLPClassifier", X, THREE, hidden_layer_sizes=())
    net = from_sklearn(estimator, seed=3)
    close(net.predict_proba(X), estimator.predict_proba(X), "float64")
    before = estimator.predict_proba(X)
    net.fit(X, np.searchsorted(estimator.classes_, THREE), epochs=2)
    assert np.array_equal(estimator.predict_proba(X), before)  # its arrays were copied
    assert not np.allclose(net.predict_proba(X), before)


class Odd:
    """What has the attributes of an estimator, and is none."""

    coefs_ = intercepts_ = ()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: unfitted("MLPClassifier"), "MLPClassifier is not fitted"),
        (lambda: unfitted("MLPRegressor"), "MLPRegressor is not fitted"),
        (lambda: unfitted("BernoulliRBM"), "given a BernoulliRBM"),
        (lambda: fitted("MLPClassifier", X, np.ones(N)), "fitted to a single class"),
        (lambda: Odd(), "given a Odd"),
        (lambda: None, "given a NoneType"),
        (lambda: sklearn("linear_model").LogisticRegression().fit(X, TWO), "given a Log"),
        (lambda: sklearn("pipeline").make_pipeline(scaler("StandardScaler")), "given a Pi"),
        (lambda: pipeline(scaler("PolynomialFeatures")), "has a PolynomialFeatures before"),
        (lambda: pipeline(scaler("MinMaxScaler", clip=True)), "make one with clip=False"),
        (
            lambda: sklearn("pipeline").make_pipeline(
                scaler("StandardScaler"), fitted("MLPClassifier", X, TWO)
            ),
            "StandardScaler is not fitted",
        ),
    ],
)
def test_other_things_are_refused(make: Any, told: str) -> None:
    with pytest.raises(gpubp.InputError, match=told):
        from_sklearn(make())


def test_a_search_is_told_to_give_its_best() -> None:
    search = sklearn("model_selection").GridSearchCV(
        unfitted("MLPClassifier").set_params(max_iter=2), {"alpha": [0.1]}, cv=2
    )
    with warnings.catch_warnings(action="ignore"):
        search.fit(X, TWO)
    with pytest.raises(gpubp.InputError, match="give its best_estimator_"):
        from_sklearn(search)
    from_sklearn(search.best_estimator_)


def test_an_estimator_of_a_kind_to_come_is_refused() -> None:
    estimator = fitted("MLPClassifier", X, TWO)
    estimator.activation = "swish"
    with pytest.raises(gpubp.InputError, match="activation='swish'"):
        from_sklearn(estimator)
    estimator.activation, estimator.out_activation_ = "relu", "hinge"
    with pytest.raises(gpubp.InputError, match="out_activation_='hinge'"):
        from_sklearn(estimator)


def test_without_scikit_learn_there_is_nothing_to_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(gpubp.InputError, match="given a Odd"):
        from_sklearn(Odd())
    assert "sklearn" not in sys.modules
