"""jax on the CPU: one jitted call a step with donated buffers, or a scan over an epoch's steps.

Adam is written out, as jax itself has no optimizers; XLA compiles it with the rest. An ensemble is
a vmap over the whole step.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np

from ..workloads import (
    ADAM,
    DECAY,
    LAYER_NORM_EPS,
    Activation,
    Dropout,
    LayerNorm,
    Linear,
    Net,
    Problem,
    Workload,
)  # fmt: skip
from .base import Contender, Stepwise


def build(
    problem: Problem, threads: int, scan: bool = False, random: str = "threefry2x32"
) -> Contender:
    """Training by `jax.jit`; threads are limited from outside, see `bench.threads`."""
    jax: Any = importlib.import_module("jax")
    step, state = begun(jax, problem, random)
    if scan:
        return _Scan(jax, step, state, problem)
    jitted = jax.jit(step, donate_argnums=0)
    xs, ys = ([jax.numpy.asarray(a) for a in given] for given in (problem.x, problem.y))

    def call(i: int) -> Any:
        nonlocal state
        state, value = jitted(state, (xs[i], ys[i]))
        return value

    return Stepwise(call, len(xs), lambda _: jax.block_until_ready(state))


def begun(jax: Any, problem: Problem, random: str = "threefry2x32") -> tuple[Any, Any]:
    """Return a step, `(state, batch) -> (state, loss)`, and the state before the first."""
    load = problem.load
    weights = [jax.numpy.asarray(w) for w in problem.weights]
    zeros = [jax.numpy.zeros_like(w) for w in weights]
    slots = [] if load.optimizer == "sgd" else [zeros, [z.copy() for z in zeros]]
    t = jax.numpy.zeros((), "int32")
    key = jax.random.key(0, impl=random)
    return partial(_step, jax, load, key), (weights, slots, t)


class _Scan:
    """One call an epoch: lax.scan over its batches."""

    def __init__(self, jax: Any, step: Any, state: Any, problem: Problem) -> None:
        self.unit = len(problem.x)
        self._wait, self._state = jax.block_until_ready, state
        self._data = jax.numpy.asarray(problem.x), jax.numpy.asarray(problem.y)
        self._epoch = jax.jit(partial(jax.lax.scan, step), donate_argnums=0)

    def losses(self, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            self._state, values = self._epoch(self._state, self._data)
            found += list(np.asarray(values))
        return found[:count]

    def run(self, steps: int) -> None:
        for _ in range(steps // self.unit):
            self._state, _ = self._epoch(self._state, self._data)
        self._wait(self._state)


def _step(jax: Any, load: Workload, key: Any, state: Any, batch: Any) -> Any:
    weights, slots, t = state
    t = t + 1
    key = jax.random.fold_in(key, t) if load.has_dropout else key

    def member(weights: Any, slots: Any) -> Any:
        value, gradients = jax.value_and_grad(partial(_loss, jax, load, key, batch))(weights)
        return *_update(jax.numpy, load, weights, slots, gradients, t), value

    run = member if load.members is None else jax.vmap(member)
    weights, slots, value = run(weights, slots)
    return (weights, slots, t), value


def _loss(jax: Any, load: Workload, key: Any, batch: Any, weights: Any) -> Any:
    x, y = batch
    keys = iter(jax.random.split(key, len(load.net)) if load.has_dropout else [])
    outputs = _forward(jax, load.net, iter(weights), keys, x)
    if load.loss == "squares":
        return ((outputs - y) ** 2).mean()
    log_p = jax.nn.log_softmax(outputs)
    return -jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean()


def _forward(jax: Any, net: Net, weights: Any, keys: Any, x: Any) -> Any:
    for node in net:
        if isinstance(node, Linear):
            x = x @ next(weights) + next(weights)
        elif isinstance(node, LayerNorm):
            centred = x - x.mean(axis=-1, keepdims=True)
            variance = (centred * centred).mean(axis=-1, keepdims=True)
            hat = centred * jax.lax.rsqrt(variance + LAYER_NORM_EPS)
            x = hat * next(weights) + next(weights)
        elif isinstance(node, Activation):
            x = _activation(jax, node.name, x)
        elif isinstance(node, Dropout):
            if node.rate:
                kept = jax.random.bernoulli(next(keys), 1 - node.rate, x.shape)
                x = jax.numpy.where(kept, x / (1 - node.rate), 0)
        else:
            x = x + _forward(jax, node.body, weights, keys, x)
    return x


def _activation(jax: Any, name: str, x: Any) -> Any:
    if name == "gelu":
        return jax.nn.gelu(x, approximate=False)
    return getattr(jax.nn, name)(x)


def _update(
    jnp: Any, load: Workload, weights: Any, slots: Any, gradients: Any, t: Any
) -> tuple[Any, Any]:
    rate, (beta1, beta2, eps) = load.rate, ADAM
    if load.optimizer == "sgd":
        return [w - rate * g for w, g in zip(weights, gradients, strict=True)], slots
    ms = [beta1 * m + (1 - beta1) * g for m, g in zip(slots[0], gradients, strict=True)]
    vs = [beta2 * v + (1 - beta2) * g * g for v, g in zip(slots[1], gradients, strict=True)]
    correct1, correct2 = 1 / (1 - beta1**t), 1 / (1 - beta2**t)
    new = []
    for w, m, v in zip(weights, ms, vs, strict=True):
        if load.optimizer == "adamw" and w.ndim == 2:
            w = w * (1 - rate * DECAY)
        new.append(w - rate * (m * correct1) / (jnp.sqrt(v * correct2) + eps))
    return new, [ms, vs]
