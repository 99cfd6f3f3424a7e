"""W5: 20 residual blocks of LayerNorm, Linear(256), ReLU and Dropout(0.1), by each contestant.

y = x + dropout(relu(layernorm(x) W + b)) twenty times, then a Linear(10); cross-entropy, batch
256, AdamW that decays the matrices alone. The textbook loop draws its masks with the same
counter-based bits as gpubp, and so the same masks. torch is given these masks for the first steps,
where losses are compared, and draws its own ever after.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gpubp
from gpubp import bits
from gpubp.seeds import keys

Step = Callable[[int], float]
BLOCKS, WIDTH, CLASSES, BATCH, BATCHES = 20, 256, 10, 256, 8
RATE, DROPPED, DECAY, EPS = 1e-3, 0.1, 0.01, 1e-5
SHARED = 8
"""Steps in which all have the same masks."""


@dataclass
class Problem:
    """Data and first weights, the same for every contestant: a list of blocks and the head."""

    x: Any
    y: Any
    blocks: list[list[Any]]
    head: list[Any]


def problem() -> Problem:
    """Draw the data and the first weights."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    def block() -> list[Any]:
        ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
        return [ones, zeros.copy(), normal(WIDTH, WIDTH), zeros.copy()]

    x = rng.normal(size=(BATCHES, BATCH, WIDTH)).astype(np.float32)
    y = rng.integers(0, CLASSES, (BATCHES, BATCH))
    blocks = [block() for _ in range(BLOCKS)]
    return Problem(x, y, blocks, [normal(WIDTH, CLASSES), np.zeros(CLASSES, np.float32)])


def mask(block: int, step: int) -> Any:
    """The kept units of one block at one step, scaled: gpubp's bits, by the formula for them."""
    stream = zlib.crc32(f"{block}.body.3/".encode())
    index = np.arange(BATCH * WIDTH, dtype=np.uint32).reshape(BATCH, WIDTH)
    key = keys([0], ())
    first, second = bits.words(np, key, np.uint32(stream), np.uint32(step))
    kept = bits.bits(np, index, first, second) >= np.uint32(round(DROPPED * 2**32))
    return kept * np.float32(1 / (1 - DROPPED))


class Textbook:
    """The loop as textbooks write it: one array a weight, fresh temporaries in every step."""

    def __init__(self, p: Problem) -> None:
        self.blocks = [[w.copy() for w in block] for block in p.blocks]
        self.head = [w.copy() for w in p.head]
        self.flat = [w for block in self.blocks for w in block] + self.head
        self.m = [np.zeros_like(w) for w in self.flat]
        self.v = [np.zeros_like(w) for w in self.flat]
        self.t = 0

    def step(self, x: Any, y: Any) -> float:
        """One step on a batch; return its loss before the step."""
        kept = []
        for i, (gain, shift, w, b) in enumerate(self.blocks):
            mean = x.mean(axis=1, keepdims=True)
            inv = 1 / np.sqrt(x.var(axis=1, keepdims=True) + np.float32(EPS))
            hat = (x - mean) * inv
            h = hat * gain + shift
            a = np.maximum(h @ w + b, 0)
            keep = mask(i, self.t)
            kept.append((inv, hat, h, a, keep))
            x = x + a * keep
        w, b = self.head
        z = x @ w + b
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        n = len(y)
        value = float(-np.log(p[np.arange(n), y]).mean())
        p[np.arange(n), y] -= 1
        delta = p / n
        gradients = [x.T @ delta, delta.sum(axis=0)]
        delta = delta @ w.T
        for (gain, _, w, _), (inv, hat, h, a, keep) in zip(
            reversed(self.blocks), reversed(kept), strict=True
        ):
            d = delta * keep * (a > 0)
            dh = d @ w.T
            dw, db = h.T @ d, d.sum(axis=0)
            gradients = [(dh * hat).sum(axis=0), dh.sum(axis=0), dw, db, *gradients]
            dh = dh * gain
            means = dh.mean(axis=1, keepdims=True), (dh * hat).mean(axis=1, keepdims=True)
            delta = delta + inv * (dh - means[0] - hat * means[1])
        self._update(gradients)
        return value

    def _update(self, gradients: list[Any]) -> None:
        self.t += 1
        for i, (p, g) in enumerate(zip(self.flat, gradients, strict=True)):
            if p.ndim == 2:
                p *= np.float32(1 - RATE * DECAY)
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g * g
            m_hat = self.m[i] / (1 - 0.9**self.t)
            v_hat = self.v[i] / (1 - 0.999**self.t)
            p -= RATE * m_hat / (np.sqrt(v_hat) + 1e-8)


def textbook() -> Step:
    """The textbook loop."""
    p = problem()
    net = Textbook(p)
    return lambda i: net.step(p.x[i % BATCHES], p.y[i % BATCHES])


def plain() -> Step:
    """gpubp, its layers as they are written."""
    p = problem()
    body = gpubp.Sequential(
        gpubp.LayerNorm(eps=EPS), gpubp.Linear(WIDTH), gpubp.Activation("relu"),
        gpubp.Dropout(DROPPED),
    )  # fmt: skip
    layer = gpubp.Sequential(*[gpubp.Residual(body)] * BLOCKS, gpubp.Linear(CLASSES))
    net = gpubp.Network(layer, inputs=WIDTH)
    names = ("body.0.gain", "body.0.shift", "body.1.W", "body.1.b")
    weights = {f"{i}.{n}": w for i, b in enumerate(p.blocks) for n, w in zip(names, b, strict=True)}
    net.load_state_dict({**weights, f"{BLOCKS}.W": p.head[0], f"{BLOCKS}.b": p.head[1]})
    loss, method = gpubp.CrossEntropy(), gpubp.AdamW(RATE, weight_decay=DECAY)
    targets = [y[:, None] for y in p.y]

    def step(i: int) -> float:
        value, sound = net.train_step(p.x[i % BATCHES], targets[i % BATCHES], loss, method)
        assert sound
        return float(value)

    return step


def torch_eager() -> Step:
    """torch's own layers and AdamW."""
    torch: Any = importlib.import_module("torch")
    f = torch.nn.functional
    p = problem()
    weights = [torch.tensor(w, requires_grad=True) for b in [*p.blocks, p.head] for w in b]
    groups = [
        {"params": [w for w in weights if w.ndim == 2], "weight_decay": DECAY},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    method = torch.optim.AdamW(groups, lr=RATE)
    xs, ys = [torch.tensor(x) for x in p.x], [torch.tensor(y) for y in p.y]

    def step(i: int) -> float:
        x = xs[i % BATCHES]
        for k in range(BLOCKS):
            gain, shift, w, b = weights[4 * k : 4 * k + 4]
            a = f.relu(f.layer_norm(x, (WIDTH,), gain, shift, EPS) @ w + b)
            x = x + (a * torch.tensor(mask(k, i)) if i < SHARED else f.dropout(a, DROPPED))
        loss = f.cross_entropy(x @ weights[-2] + weights[-1], ys[i % BATCHES])
        method.zero_grad(set_to_none=True)
        loss.backward()
        method.step()
        return float(loss.detach())

    return step


CONTESTANTS = {"textbook": textbook, "plain": plain, "torch eager": torch_eager}
