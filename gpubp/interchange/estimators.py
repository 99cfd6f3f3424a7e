"""Fitted networks of scikit-learn as networks of gpubp."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import Backend
from ..data.encoders import Standardised
from ..data.outcomes import Classes
from ..data.preprocessing import Preprocessing
from ..errors import InputError, nearest
from ..layers import MLP
from ..losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError, Poisson
from ..network import Network

_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_LOSSES: dict[str, Loss] = {
    "softmax": CrossEntropy(),
    "logistic": BinaryCrossEntropy(),
    "identity": MeanSquaredError(),
    "exp": Poisson(),
}
"""What the outputs mean, by `out_activation_`."""


def from_sklearn(estimator: Any, *, device: str | Backend = "cpu", seed: int = 0) -> Network:
    """Return the network that a fitted `MLPClassifier` or `MLPRegressor` of scikit-learn is.

    Also a `Pipeline` of scalers and one of these at the end: `StandardScaler`, `MinMaxScaler`
    (without `clip`), `MaxAbsScaler` and `RobustScaler` go into the first layer's W and b, so that
    the network takes what the pipeline takes. It computes in the dtype of `coefs_`, and in float64
    where a scaler went in. `net.loss` is set, and so:

    - for several classes `predict_proba` is the estimator's; `predict_class` are indices of
      `estimator.classes_`, so that `estimator.classes_[net.predict_class(x)]` are its labels. Where
      these are texts or numbers, `net.classes` and `net.preprocessing.decode` have them, too;
    - for two classes `predict_proba` is `(n, 1)`, the chance of `classes_[1]`;
    - for several labels at once (`y` of 0 and 1, `(n, labels)`) both are the estimator's;
    - for a regression `predict` is the estimator's, as `(n, outputs)`; with `loss="poisson"` it is
      the logarithm of it: the estimator predicts `exp(net.predict(x))`.

    Raises `InputError` for other estimators, and for one that is not fitted or to one class alone.

    >>> from_sklearn("mlp")
    Traceback (most recent call last):
    gpubp.errors.InputError: from_sklearn takes a fitted MLPClassifier, MLPRegressor or a Pipeline \
with one of them at the end; given a str
    """
    steps, mlp = _parts(estimator)
    name = type(mlp).__name__
    if not getattr(mlp, "coefs_", None):
        raise InputError(f"the {name} is not fitted: call its fit(x, y) first")
    if len(getattr(mlp, "classes_", "01")) < 2:
        raise InputError(f"the {name} was fitted to a single class; there is nothing to tell apart")
    dtype = "float64" if steps else mlp.coefs_[0].dtype.name
    weights, biases = (
        [np.asarray(a, dtype) for a in each] for each in (mlp.coefs_, mlp.intercepts_)
    )
    for scaler in reversed(steps):
        weights[0], biases[0] = _folded(scaler, weights[0], biases[0])
    widths = [w.shape[1] for w in weights]
    activation = _of(_ACTIVATIONS, name, "activation", mlp.activation)
    layer = MLP(widths[:-1], widths[-1], activation)
    given = dtype if not isinstance(device, Backend) else None
    net = Network(layer, weights[0].shape[0], device=device, dtype=given, seed=seed)
    places = [i for i, part in enumerate(layer.layers) if net.spec.children[str(i)].params]
    state = {f"{i}.W": w for i, w in zip(places, weights, strict=True)}
    net.load_state_dict(state | {f"{i}.b": b for i, b in zip(places, biases, strict=True)})
    net.loss = _of(_LOSSES, name, "out_activation_", mlp.out_activation_)
    net.preprocessing = _preprocessing(mlp, net.inputs[0])
    return net


def _preprocessing(mlp: Any, width: int) -> Preprocessing | None:
    """The names of the classes, with features that go in as they are; None where there are none."""
    labels = getattr(mlp, "classes_", None)
    if labels is None or (mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1):
        return None
    try:
        classes = Classes("y", tuple(np.asarray(labels).tolist()))
    except InputError:  # labels of a kind that has no name
        return None
    return Preprocessing(Standardised((width,), (0.0,) * width, (1.0,) * width), classes)


def _of(table: Any, what: str, attribute: str, given: Any) -> Any:
    if given not in table:
        raise InputError(f"the {what} has {attribute}={given!r}; {nearest(given, table)}")
    return table[given]


def _parts(estimator: Any) -> tuple[Sequence[Any], Any]:
    """The scalers and the network at the end."""
    steps = [estimator]
    if _is(estimator, "sklearn.pipeline", "Pipeline"):
        steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    if steps and _is(steps[-1], "sklearn.neural_network", "MLPClassifier", "MLPRegressor"):
        return steps[:-1], steps[-1]
    best = getattr(estimator, "best_estimator_", None)
    hint = "; give its best_estimator_" if best is not None else ""
    raise InputError(
        "from_sklearn takes a fitted MLPClassifier, MLPRegressor or a Pipeline with one of them "
        f"at the end; given a {type(estimator).__name__}{hint}"
    )


def _is(thing: Any, module: str, *names: str) -> bool:
    """Whether it is of one of these classes; a module that is not loaded has made no object."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(thing, tuple(getattr(loaded, n) for n in names))


def _folded(scaler: Any, W: Any, b: Any) -> tuple[Any, Any]:
    """W and b of a layer that does what scaler and layer do, `(x a + c) W + b`."""
    factor, shift = _affine(scaler)
    return W * np.reshape(factor, (-1, 1)), b + np.broadcast_to(shift, W.shape[0]) @ W


def _affine(scaler: Any) -> tuple[Any, Any]:
    """The numbers a and c by which a scaler makes `x a + c` of each feature."""
    kind = type(scaler).__name__
    if kind not in _SCALERS or not _is(scaler, "sklearn.preprocessing", kind):
        raise InputError(
            f"the pipeline has a {kind} before the network, which no layer can take in; "
            f"{nearest(kind, _SCALERS)}: transform the data before they go into gpubp"
        )
    try:
        factor, shift = _SCALERS[kind](scaler)
    except AttributeError as error:
        raise InputError(
            f"the {kind} is not fitted: call the pipeline's fit(x, y) first"
        ) from error
    if kind == "MinMaxScaler" and scaler.clip:
        raise InputError("a MinMaxScaler that clips is no linear map; make one with clip=False")
    return np.asarray(factor, dtype=np.float64), np.asarray(shift, dtype=np.float64)


def _centred(centre: Any, scale: Any) -> tuple[Any, Any]:
    factor = 1.0 if scale is None else 1.0 / np.asarray(scale, dtype=np.float64)
    return factor, 0.0 if centre is None else -np.asarray(centre, dtype=np.float64) * factor


_SCALERS: dict[str, Any] = {
    "StandardScaler": lambda s: _centred(
        s.mean_ if s.with_mean else None, s.scale_ if s.with_std else None
    ),
    "RobustScaler": lambda s: _centred(
        s.center_ if s.with_centering else None, s.scale_ if s.with_scaling else None
    ),
    "MaxAbsScaler": lambda s: _centred(None, s.scale_),
    "MinMaxScaler": lambda s: (s.scale_, s.min_),
}
