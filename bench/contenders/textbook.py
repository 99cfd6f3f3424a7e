"""Backpropagation as textbooks write it in NumPy: each layer a class with its two passes.

One array for each weight, fresh temporaries in every step, the optimizer array by array. An
ensemble has its members as the first axis of every weight, and the same formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..workloads import ADAM, DECAY, Problem, Workload
from .base import Contender, Stepwise
from .textbook_layers import layers


def build(problem: Problem, threads: int) -> Contender:
    """The textbook loop; its BLAS has as many threads as the process was started with."""
    net = Textbook(problem.load, problem.weights)
    x, y = list(problem.x), list(problem.y)
    return Stepwise(lambda i: net.step(x[i], y[i]), len(x))


class Textbook:
    """A network and its optimizer, with one step of training."""

    def __init__(self, load: Workload, weights: list[Any]) -> None:
        self.load, self.weights = load, [w.copy() for w in weights]
        self.layers = layers(load.net, iter(self.weights), np.random.default_rng(1))
        self.m = [np.zeros_like(w) for w in self.weights]
        self.v = [np.zeros_like(w) for w in self.weights]
        self.t = 0
        self.layers[0].is_first = True

    def step(self, x: Any, y: Any) -> Any:
        """One step on a batch; return its loss before the step."""
        for layer in self.layers:
            x = layer.forward(x)
        value, delta = (_squares if self.load.loss == "squares" else _cross_entropy)(x, y)
        for layer in reversed(self.layers):
            delta = layer.backward(delta)
        self._update([g for layer in self.layers for g in layer.gradients()])
        return value

    def _update(self, gradients: list[Any]) -> None:
        rate, (beta1, beta2, eps) = self.load.rate, ADAM
        self.t += 1
        for i, (w, g) in enumerate(zip(self.weights, gradients, strict=True)):
            if self.load.optimizer == "sgd":
                w -= rate * g
                continue
            if self.load.optimizer == "adamw" and w.ndim == 2:
                w *= 1 - rate * DECAY
            self.m[i] = beta1 * self.m[i] + (1 - beta1) * g
            self.v[i] = beta2 * self.v[i] + (1 - beta2) * g * g
            m_hat = self.m[i] / (1 - beta1**self.t)
            v_hat = self.v[i] / (1 - beta2**self.t)
            w -= rate * m_hat / (np.sqrt(v_hat) + eps)


def _squares(a: Any, y: Any) -> tuple[Any, Any]:
    e = a - y
    size = e.shape[-1] * e.shape[-2]
    return (e * e).sum(axis=(-1, -2)) / size, e * (2 / size)


def _cross_entropy(a: Any, y: Any) -> tuple[Any, Any]:
    n = np.arange(a.shape[-2])
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    value = -np.log(p[..., n, y]).mean(axis=-1)
    p[..., n, y] -= 1
    return value, p / len(n)
