"""torch on the CPU: eager, with the fused optimizer, through torch.compile, and in bfloat16.

Written with torch.nn.functional, which spares torch what its modules cost. An ensemble's weights
are stacked and multiplied by baddbmm.
"""

from __future__ import annotations

import importlib
import os
import shutil
from contextlib import nullcontext
from typing import Any

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
from .base import Contender, Stepwise, UnavailableError


def build(
    problem: Problem, threads: int, fused: bool = False, compiled: bool = False, bf16: bool = False
) -> Contender:
    """Eager training; `compiled` forward and loss, and with it the backward pass."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    load = problem.load
    if compiled and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UnavailableError("torch.compile needs a C++ compiler")
    weights = weights_of(torch, problem)
    method = optimizer_of(torch, load, weights, fused=True if fused else None)

    def forward_pass(x: Any, y: Any) -> Any:
        return loss_of(torch, load, weights, x, y)

    if compiled:
        torch.compiler.reset()
        forward_pass = torch.compile(forward_pass)
    xs, ys = [torch.tensor(x) for x in problem.x], [torch.tensor(y) for y in problem.y]
    lower = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
    ensemble = load.members is not None

    def step(i: int) -> Any:
        with lower:
            loss = forward_pass(xs[i], ys[i])
        method.zero_grad(set_to_none=True)
        (loss.sum() if ensemble else loss).backward()
        method.step()
        return loss.detach()

    return Stepwise(step, len(xs))


def weights_of(torch: Any, problem: Problem, device: str = "cpu") -> list[Any]:
    """The parameters; the matrix of a Linear is transposed, as torch's own layer has it."""
    alone = problem.load.members is None
    return [
        torch.tensor(w.T.copy() if alone and w.ndim == 2 else w, device=device, requires_grad=True)
        for w in problem.weights
    ]


def optimizer_of(torch: Any, load: Workload, weights: list[Any], **how: Any) -> Any:
    """The optimizer; `fused=None` lets torch choose, which on the CPU is its for-loop."""
    options: dict[str, Any] = {"lr": load.rate, **how}
    if load.optimizer == "sgd":
        return torch.optim.SGD(weights, **options)
    beta1, beta2, eps = ADAM
    options |= {"betas": (beta1, beta2), "eps": eps}
    if load.optimizer == "adam":
        return torch.optim.Adam(weights, **options)
    groups = [
        {"params": [w for w in weights if w.ndim == 2], "weight_decay": DECAY},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, **options)


def _forward(torch: Any, net: Net, weights: Any, x: Any) -> Any:
    f = torch.nn.functional
    for node in net:
        if isinstance(node, Linear):
            W, b = next(weights), next(weights)
            x = f.linear(x, W, b) if W.ndim == 2 else _stacked(torch, x, W, b)
        elif isinstance(node, LayerNorm):
            x = f.layer_norm(x, (node.n,), next(weights), next(weights), LAYER_NORM_EPS)
        elif isinstance(node, Activation):
            x = torch.sigmoid(x) if node.name == "sigmoid" else getattr(f, node.name)(x)
        elif isinstance(node, Dropout):
            x = f.dropout(x, node.rate) if node.rate else x
        else:
            x = x + _forward(torch, node.body, weights, x)
    return x


def _stacked(torch: Any, x: Any, W: Any, b: Any) -> Any:
    """A Linear of each member, whose examples are its own or, in the first layer, everybody's."""
    if x.ndim == 2:
        x = x.expand(W.shape[0], *x.shape)
    return torch.baddbmm(b.unsqueeze(1), x, W)


def loss_of(torch: Any, load: Workload, weights: list[Any], x: Any, y: Any) -> Any:
    """The loss of a batch, `(members,)` in an ensemble."""
    outputs = _forward(torch, load.net, iter(weights), x)
    f = torch.nn.functional
    if load.members is None:
        return f.cross_entropy(outputs, y) if load.loss == "cross_entropy" else f.mse_loss(
            outputs, y)  # fmt: skip
    if load.loss == "squares":
        return ((outputs - y) ** 2).mean(dim=(1, 2))
    labels = y.expand(outputs.shape[:2])
    each = f.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(dim=1)
