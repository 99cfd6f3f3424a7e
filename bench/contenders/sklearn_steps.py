"""scikit-learn: `partial_fit` of an MLPClassifier or MLPRegressor, an epoch a call.

A call for every batch takes some seven times as long on W2, to look at its arguments.

What is equal: the network, Adam's numbers, float32, no penalty. What is not: the regressor reports
half of the mean of squares and follows the gradient of half their sum over the outputs: its loss is
doubled here, and Adam cancels the factor in its gradient where eps has it too. Its eps is not
corrected for bias as that of all others is; here it is set anew in every call, which makes it the
same where losses are compared, step by step. Its output has no sigmoid, so W1 is not for it, nor is
anything with normalisation, dropout or members.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..workloads import ADAM, Problem
from .base import Contender, UnavailableError


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
    if labels:
        model.partial_fit(problem.x[0], problem.y[0], classes=np.arange(load.widths[-1]))
    else:
        model.partial_fit(problem.x[0], problem.y[0])
    _begin_anew(model, problem)
    return _Epochs(model, problem, factor, eps if labels else eps * load.widths[-1] / 2)


class _Epochs:
    """Training by `partial_fit`, which goes through all batches it is given, in order."""

    def __init__(self, model: Any, problem: Problem, factor: float, eps: float) -> None:
        self.unit, self._batch = problem.load.batches, problem.load.batch
        self._model, self._factor, self._eps = model, factor, eps
        self._x = problem.x.reshape(-1, problem.x.shape[-1])
        self._y = problem.y.reshape(-1, *problem.y.shape[2:])

    def losses(self, count: int) -> list[Any]:
        return [np.array(self._fit(i % self.unit, i % self.unit + 1)) for i in range(count)]

    def run(self, steps: int) -> None:
        for _ in range(steps // self.unit):
            self._fit(0, self.unit)

    def _fit(self, first: int, last: int) -> float:
        """Train on some batches; return their mean loss."""
        rows = slice(first * self._batch, last * self._batch)
        optimizer = self._model._optimizer
        optimizer.epsilon = self._eps * (1 - ADAM[1] ** (optimizer.t + 1)) ** 0.5
        self._model.partial_fit(self._x[rows], self._y[rows])
        return self._factor * float(self._model.loss_)


def _begin_anew(model: Any, problem: Problem) -> None:
    """Give the model the weights that all begin with, and forget the step that made its arrays."""
    arrays = zip((model.coefs_, model.intercepts_) * (len(problem.weights) // 2),
                 range(len(problem.weights)), problem.weights, strict=True)  # fmt: skip
    for held, i, w in arrays:
        held[i // 2][...] = w
    for slot in (*model._optimizer.ms, *model._optimizer.vs):
        slot[...] = 0.0
    model._optimizer.t = 0
