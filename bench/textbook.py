"""Backpropagation as textbooks write it in NumPy: the peer that the plain path is held against.

One array per weight, fresh temporaries in every step, the optimizer array by array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Arrays = list[Any]


class Textbook:
    """An MLP with its whole training step in one method, as in the article.

    `loss` is `"cross_entropy"` (labels) or `"squares"` (mean over outputs and batch);
    `hidden` is `"sigmoid"` or `"relu"`; `output_sigmoid` puts one behind the last layer.
    """

    def __init__(
        self, weights: Arrays, biases: Arrays, *, hidden: str, loss: str, adam: float | None,
        sgd: float | None = None, output_sigmoid: bool = False,
    ) -> None:  # fmt: skip
        self.W, self.b = [w.copy() for w in weights], [b.copy() for b in biases]
        self.hidden, self.loss, self.adam, self.sgd = hidden, loss, adam, sgd
        self.output_sigmoid = output_sigmoid
        self.m = [np.zeros_like(p) for p in [*self.W, *self.b]]
        self.v = [np.zeros_like(p) for p in [*self.W, *self.b]]
        self.t = 0

    def step(self, x: Any, y: Any) -> float:
        """One step on a batch; return its loss before the step."""
        activations = [x]
        last = len(self.W) - 1
        for i, (w, b) in enumerate(zip(self.W, self.b, strict=True)):
            z = activations[-1] @ w + b
            if i < last:
                activations.append(sigmoid(z) if self.hidden == "sigmoid" else np.maximum(z, 0))
            else:
                activations.append(sigmoid(z) if self.output_sigmoid else z)
        value, delta = self._loss(activations[-1], y)
        if self.output_sigmoid:
            delta = delta * activations[-1] * (1 - activations[-1])
        d_w: Arrays = [None] * len(self.W)
        d_b: Arrays = [None] * len(self.W)
        for i in range(last, -1, -1):
            d_w[i] = activations[i].T @ delta
            d_b[i] = delta.sum(axis=0)
            if i:
                delta = delta @ self.W[i].T
                a = activations[i]
                delta = delta * a * (1 - a) if self.hidden == "sigmoid" else delta * (a > 0)
        self._update([*d_w, *d_b])
        return value

    def _loss(self, a: Any, y: Any) -> tuple[float, Any]:
        n = len(a)
        if self.loss == "squares":
            e = a - y
            return float((e * e).mean()), e * (2 / e.size)
        e = np.exp(a - a.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        value = float(-np.log(p[np.arange(n), y]).mean())
        p[np.arange(n), y] -= 1
        return value, p / n

    def _update(self, gradients: Arrays) -> None:
        self.t += 1
        for i, (p, g) in enumerate(zip([*self.W, *self.b], gradients, strict=True)):
            if self.adam is None:
                p -= self.sgd * g
                continue
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g
            m_hat = self.m[i] / (1 - 0.9**self.t)
            v_hat = self.v[i] / (1 - 0.999**self.t)
            p -= self.adam * m_hat / (np.sqrt(v_hat) + 1e-8)


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))
