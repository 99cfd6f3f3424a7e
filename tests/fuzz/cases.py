"""A case of the fuzzer: a network, how it is trained, on what, and by how many threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import gpubp
from gpubp import inputs
from gpubp.check.examples import examples
from tests import random_training
from tests.random_layers import Draw
from tests.random_repertoire import Case, draw_case

STEPS = 3
BATCHES = 16, 17, 35
"""Enough rows that two threads share them; an odd number, so that their parts differ."""

SPOILT = {"float64": (np.nan, np.inf, -np.inf, 1e160, 1e306), "float32": (np.nan, np.inf, 1e37)}


@dataclass(frozen=True)
class Given:
    """A case with its network and data on the plain path; `spoilt` says what was made not finite.

    `x`, `t` and `w` are of all steps, `(steps * rows, ...)`.
    """

    case: Case
    net: gpubp.Network
    x: Any
    t: Any
    w: Any
    threads: int
    spoilt: str
    small: bool

    @property
    def rows(self) -> int:
        return self.case.batch

    @property
    def steps(self) -> int:
        return len(self.x) // self.rows

    def batch(self, step: int) -> tuple[Any, Any, Any]:
        part = slice(step * self.rows, (step + 1) * self.rows)
        return self.x[part], self.t[part], None if self.w is None else self.w[part]


def draw(seed: int, number: int, precision: str = "float64", steps: int = STEPS) -> Given:
    """Draw case `number` of a run; the same whatever is drawn before."""
    case, _, drawn = draw_case(seed, number)
    rng = np.random.default_rng((seed, number, 1))
    if rng.random() < 0.5:
        case = replace(case, batch=int(rng.choice(BATCHES)))
    if rng.random() < 0.25:
        case = replace(case, method=_averaged(case.method, rng))
    net = gpubp.Network(case.layer, case.inputs, dtype=precision, seed=number, members=case.members)
    for path in net.arrays.params.places:  # away from zeros and ones
        w = net.parameter(path)
        w += drawn.rng.normal(0.0, 0.2, w.shape)
    net.freeze(*case.frozen)
    x, t, w = _data(case, net, drawn, steps)
    spoilt = _spoil(net, x, rng, precision) if rng.random() < 0.08 else ""
    threads = 1 if rng.random() < 0.3 else 2
    return Given(case, net, x, t, w, threads, spoilt, rng.random() < 0.5)


def _averaged(method: gpubp.Optimizer, rng: Any) -> gpubp.Optimizer:
    if rng.random() < 0.5:
        return gpubp.EMA(method, decay=float(rng.choice([0.0, 0.5, 0.9])))
    return gpubp.SWA(method, start=int(rng.integers(1, 4)), every=int(rng.integers(1, 3)))


def _data(case: Case, net: gpubp.Network, drawn: Draw, steps: int) -> tuple[Any, Any, Any]:
    n, width = steps * case.batch, net.spec.shape[-1]
    raw = examples(drawn.rng, n, net.inputs, net.spec.categories)
    x = inputs.features(net.be, raw, net.inputs, "x", net.spec.categories)
    target = random_training.target(drawn, case.loss, n, width, case.soft)
    t = case.loss.read(net.be, target, width, n)
    w = None
    if case.weighted:
        weights = drawn.rng.uniform(0.1, 2.0, n)
        weights[1::3] = 0.0  # the first of each batch weighs something
        weights[:: case.batch] = 1.0
        w = inputs.weights(net.be, weights, n)
    return np.array(x), np.array(t), None if w is None else np.array(w)


def _spoil(net: gpubp.Network, x: Any, rng: Any, precision: str) -> str:
    """Put something that is not finite, or hardly, among the weights or the examples."""
    number = float(rng.choice(SPOILT[precision]))
    if any(net.spec.categories) or rng.random() < 0.5:
        at = _weight(net, rng)
        net.theta.reshape(-1)[at] = number
        return f"weight {at} is {number}"
    at = int(rng.integers(x.size))
    x.reshape(-1)[at] = number
    return f"x[{at}] is {number}"


def _weight(net: gpubp.Network, rng: Any) -> int:
    """The place of a weight, and not of the gaps between them."""
    places = list(net.arrays.params.places.values())
    place = places[int(rng.integers(len(places)))]
    member = int(rng.integers(net.members or 1))
    return member * net.arrays.params.size + int(rng.integers(place.start, place.stop))
