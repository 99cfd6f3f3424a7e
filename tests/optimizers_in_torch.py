"""Updates by torch.optim, and around them what torch leaves to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gpubp
from gpubp import optimizers
from gpubp.optimizers import Optimizer
from tests.conftest import require
from tests.in_torch import InTorch


class Row(NamedTuple):
    """An optimizer, arguments of it, and torch's with the same: `make(optim, params, lr)`.

    All arguments of its own are there, and none has the value that it has by default.
    """

    kind: type[Optimizer]
    arguments: dict[str, Any]
    make: Callable[[Any, Sequence[Any], float], Any]


ROWS = [
    Row(gpubp.SGD, {}, lambda o, w, lr: o.SGD(w, lr)),
    Row(gpubp.Momentum, {"momentum": 0.7}, lambda o, w, lr: o.SGD(w, lr, 0.7)),
    Row(gpubp.Nesterov, {"momentum": 0.7}, lambda o, w, lr: o.SGD(w, lr, 0.7, nesterov=True)),
    Row(gpubp.Adam, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
        lambda o, w, lr: o.Adam(w, lr, (0.8, 0.95), 1e-6)),
    Row(gpubp.AdamW, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
        lambda o, w, lr: o.AdamW(w, lr, (0.8, 0.95), 1e-6, weight_decay=0.0)),
    Row(gpubp.AMSGrad, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
        lambda o, w, lr: o.Adam(w, lr, (0.8, 0.95), 1e-6, amsgrad=True)),
    Row(gpubp.Adamax, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
        lambda o, w, lr: o.Adamax(w, lr, (0.8, 0.95), 1e-6)),
    Row(gpubp.NAdam, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "momentum_decay": 0.01},
        lambda o, w, lr: o.NAdam(w, lr, (0.8, 0.95), 1e-6, momentum_decay=0.01)),
    Row(gpubp.RAdam, {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
        lambda o, w, lr: o.RAdam(w, lr, (0.8, 0.95), 1e-6)),
    Row(gpubp.RMSProp, {"rho": 0.9, "eps": 1e-3},
        lambda o, w, lr: o.RMSprop(w, lr, 0.9, 1e-3)),
    Row(gpubp.RMSProp, {"rho": 0.9, "eps": 1e-3, "momentum": 0.7, "centered": True},
        lambda o, w, lr: o.RMSprop(w, lr, 0.9, 1e-3, momentum=0.7, centered=True)),
    Row(gpubp.Adagrad, {"lr_decay": 0.1, "initial": 0.2, "eps": 1e-6},
        lambda o, w, lr: o.Adagrad(w, lr, 0.1, initial_accumulator_value=0.2, eps=1e-6)),
    Row(gpubp.Adadelta, {"rho": 0.8, "eps": 1e-4},
        lambda o, w, lr: o.Adadelta(w, lr, 0.8, 1e-4)),
    Row(gpubp.Lion, {"beta1": 0.8, "beta2": 0.95}, lambda o, w, lr: _lion(w, lr, 0.8, 0.95)),
]  # fmt: skip
"""Weight decay is none of theirs: `Steps` has it for all, and for the parameters named alone."""


def _lion(parameters: Sequence[Any], lr: float, beta1: float, beta2: float) -> Any:
    """Lion (Chen et al., 2023), which torch does not have, as one of its optimizers."""
    torch = require("torch")

    class Lion(torch.optim.Optimizer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(parameters, {"lr": lr})
            self.m = {w: torch.zeros_like(w) for w in parameters}

        def step(self) -> None:  # type: ignore[override]
            for w, m in self.m.items():
                w -= self.param_groups[0]["lr"] * (beta1 * m + (1.0 - beta1) * w.grad).sign()
                m.mul_(beta2).add_((1.0 - beta2) * w.grad)

    return Lion()


@dataclass(frozen=True)
class Falling(gpubp.Schedule):
    """A rate that halves with every update."""

    first: float = 0.1

    def __call__(self, step: int) -> float:
        return self.first * 0.5**step


class Steps:
    """The updates of one network, or of member `member` of an ensemble."""

    def __init__(
        self, row: Row, method: Optimizer, net: InTorch, frozen: Sequence[str], member: int
    ) -> None:
        self.torch, self.method, self.done = require("torch"), method, 0
        for path in frozen:
            net.w[path].requires_grad_(False)
        self.w = {path: w for path, w in net.w.items() if path not in frozen}
        self._lr = method.lr[member] if isinstance(method.lr, tuple) else method.lr
        self.optimizer = row.make(self.torch.optim, list(self.w.values()), 0.0)

    def step(self) -> None:
        """Update from the gradients, which are changed by penalties and limits."""
        with self.torch.no_grad():
            self._penalise()
            self._clip()
            lr = self._lr(self.done) if isinstance(self._lr, Falling) else self._lr
            for path, w in self.w.items():
                if names(self.method.decay_on, path):
                    w *= 1.0 - lr * self.method.weight_decay
            self.optimizer.param_groups[0]["lr"] = lr
            self.optimizer.step()
            self._bound()
        self.done += 1

    def _penalise(self) -> None:
        for penalty in self.method.penalties:
            ratio = {gpubp.L1: 1.0, gpubp.L2: 0.0}.get(type(penalty))  # type: ignore[call-overload]
            ratio = penalty.l1_ratio if ratio is None else ratio
            for path, w in self.w.items():
                if names(penalty.on, path):
                    w.grad += penalty.strength * (ratio * w.sign() + (1.0 - ratio) * w)

    def _clip(self) -> None:
        clip, limits, w = self.method.clip, self.torch.nn.utils, list(self.w.values())
        if isinstance(clip, optimizers.AdaptiveClip):
            for path, each in self.w.items():
                if names(clip.on, path):
                    largest = clip.limit * _norm(each).clamp(min=clip.eps)
                    each.grad *= (largest / _norm(each.grad).clamp(min=1e-6)).clamp(max=1.0)
        elif isinstance(clip, optimizers.ClipValue):
            limits.clip_grad_value_(w, clip.limit)
        elif isinstance(clip, optimizers.ClipGlobalNorm):
            limits.clip_grad_norm_(w, clip.limit)
        elif isinstance(clip, optimizers.ClipNorm):
            for each in w:
                limits.clip_grad_norm_([each], clip.limit)

    def _bound(self) -> None:
        bound = self.method.max_norm
        for path, w in self.w.items():
            if bound is not None and w.ndim > 1 and names(bound.on, path):  # type: ignore[union-attr]
                w *= (bound.limit / _norm(w)).clamp(max=1.0)  # type: ignore[union-attr]


def _norm(w: Any) -> Any:
    """Of each column of a matrix, or of a vector."""
    return w.norm(dim=0, keepdim=True)


def names(on: Any, path: str) -> bool:
    """Whether groups or paths name a parameter, by what its last name says that it is."""
    leaf = path.rpartition(".")[2]
    group = {"W": "weights", "b": "biases", "gain": "norms", "shift": "norms", "a": "slopes"}[leaf]
    several = (on,) if isinstance(on, str) else on
    return any(n in (group, "all", path, f"*{leaf}") or path.startswith(f"{n}.") for n in several)
