"""scikit-learn: `partial_fit` of an MLPClassifier or MLPRegressor, a batch a call.

What is equal: the network, Adam's numbers, float32, no penalty. What is not: the regressor reports
half of the mean of squares and follows the gradient of half their sum over the outputs: its loss is
doubled here, and Adam cancels the factor in its gradient where eps has it too. Its eps is not
corrected for bias as that of all others is; here it is set anew in every step, so that it
comes to the same. Its output has no sigmoid, so W1 is not for it, nor is anything with
normalisation, dropout or members.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..workloads import ADAM, Problem
from .base import Contender, Stepwise, UnavailableError


def build(problem: Problem, threads: int) -> Contender:
    """Train by `partial_fit`; BLAS has as many threads as the process was started with."""
    load = problem.load
    if load.hidden not in ("relu", "sigmoid") or load.optimizer != "adam" or load.members:
        raise UnavailableError("has no such network")
    models: Any = importlib.import_module("sklearn.neural_network")
    labels = load.loss == "cross_entropy"
    kind, factor = (models.MLPClassifier, 1.0) if labels else (models.MLPRegressor, 2.0)
    beta1, beta2, eps = ADAM
    model = kind(
        hidden_layer_sizes=load.widths[1:-1],
        activation={"relu": "relu", "sigmoid": "logistic"}[load.hidden],
        solver="adam", alpha=0.0, batch_size=load.batch, learning_rate_init=load.rate,
        shuffle=False, beta_1=beta1, beta_2=beta2, epsilon=eps,
    )  # fmt: skip
    x, y = list(problem.x), list(problem.y)
    if labels:
        model.partial_fit(x[0], y[0], classes=np.arange(load.widths[-1]))
    else:
        model.partial_fit(x[0], y[0])
    _begin_anew(model, problem)

    optimizer, scale = model._optimizer, 1.0 if labels else load.widths[-1] / 2

    def step(i: int) -> Any:
        optimizer.epsilon = scale * eps * (1 - beta2 ** (optimizer.t + 1)) ** 0.5
        model.partial_fit(x[i], y[i])
        return factor * model.loss_

    return Stepwise(step, len(x))


def _begin_anew(model: Any, problem: Problem) -> None:
    """Give the model the weights that all begin with, and forget the step that made its arrays."""
    arrays = zip((model.coefs_, model.intercepts_) * (len(problem.weights) // 2),
                 range(len(problem.weights)), problem.weights, strict=True)  # fmt: skip
    for held, i, w in arrays:
        held[i // 2][...] = w
    for slot in (*model._optimizer.ms, *model._optimizer.vs):
        slot[...] = 0.0
    model._optimizer.t = 0
