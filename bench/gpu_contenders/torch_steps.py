"""torch on a device: eager, compiled, as CUDA graphs of several steps, and under vmap.

Adam is the fused one throughout. An ensemble is one network of stacked weights, multiplied by
baddbmm, or one network under `torch.func.vmap`.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..contenders.torch_steps import loss_of, optimizer_of, weights_of
from ..workloads import Problem
from .base import Contender, Events, Setting, UnavailableError, groups

_WARM_UP = 3
"""Steps before a capture, so that nothing is loaded, chosen or allocated in it."""


def build(problem: Problem, setting: Setting, way: str = "eager") -> Contender:
    """Return a training in one of the ways `"eager"`, `"compile"`, `"graph"` and `"vmap"`."""
    torch: Any = importlib.import_module("torch")
    if not setting.dry and not torch.cuda.is_available():
        raise UnavailableError(f"torch {torch.__version__} finds no CUDA device")
    if way == "vmap" and problem.load.members is None:
        raise UnavailableError("is for ensembles")
    set_precision(torch, setting)
    steps = Steps(torch, problem, setting, way)
    events = None if setting.dry else _events(torch)
    wait = (lambda: None) if setting.dry else torch.cuda.synchronize
    if way != "graph":
        return Contender(steps.step, len(steps.x), 1, _read, wait, events)
    calls = groups(len(steps.x), setting.unroll)
    if setting.dry:
        note = "steps one after another, no graph"
        each = [range(i * setting.unroll, (i + 1) * setting.unroll) for i in range(calls)]
        return Contender(
            lambda i: torch.stack([steps.step(batch) for batch in each[i]]),
            calls, setting.unroll, _read, wait, None, note,
        )  # fmt: skip
    return Contender(steps.captured(setting.unroll), calls, setting.unroll, _read, wait, events)


def set_precision(torch: Any, setting: Setting) -> None:
    """Set what products of float32 are computed in; autocast does bf16."""
    torch.set_float32_matmul_precision("high" if setting.precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = setting.precision == "tf32"


class Steps:
    """The weights, the optimizer and the batches, all on the device, and one step."""

    def __init__(self, torch: Any, problem: Problem, setting: Setting, way: str) -> None:
        self.torch, self.load, self.way, self.device = torch, problem.load, way, setting.device
        self.weights = weights_of(torch, problem, setting.device)
        capturable = way == "graph" and not setting.dry
        how = {"fused": True, "capturable": True} if capturable else {"fused": True}
        self.method = optimizer_of(torch, self.load, self.weights, **how)
        self.x = list(torch.from_numpy(problem.x).to(setting.device))
        self.y = list(torch.from_numpy(problem.y).to(setting.device))
        self._bf16 = setting.precision == "bf16"
        self._forward: Any = self._loss
        if way == "compile":
            torch.compiler.reset()
            self._forward = torch.compile(self._loss, mode="max-autotune")
        if way == "vmap":
            each = torch.func.grad_and_value(self._one_member)
            self._members = torch.func.vmap(each, in_dims=(0, None, None))

    def step(self, i: int) -> Any:
        """Take a step on batch `i`; return its loss, which nothing overwrites."""
        x, y, compiled = self.x[i], self.y[i], self.way == "compile"
        if self.way == "vmap":
            with self._lower():
                gradients, loss = self._members(tuple(w.detach() for w in self.weights), x, y)
            for w, gradient in zip(self.weights, gradients, strict=True):
                w.grad = gradient
            self.method.step()
            return loss
        if compiled and self.device != "cpu":
            self.torch.compiler.cudagraph_mark_step_begin()
        with self._lower():
            loss = self._forward(x, y)
        self.method.zero_grad(set_to_none=True)
        (loss if self.load.members is None else loss.sum()).backward()
        self.method.step()
        return loss.detach().clone() if compiled else loss.detach()

    def captured(self, unroll: int) -> Any:
        """Capture each epoch in graphs of `unroll` steps; return what launches one of them."""
        torch = self.torch
        first = [w.detach().clone() for w in self.weights]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for i in range(_WARM_UP):
                self.step(i % len(self.x))
        torch.cuda.current_stream().wait_stream(side)
        self.method.zero_grad(set_to_none=True)
        graphs, pool = [], torch.cuda.graph_pool_handle()
        for begin in range(0, len(self.x), unroll):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                losses = torch.stack([self.step(begin + i) for i in range(unroll)])
            graphs.append((graph, losses))
        self._restore(first)

        def launch(i: int) -> Any:
            graph, losses = graphs[i]
            graph.replay()
            return losses

        return launch

    def _restore(self, weights: list[Any]) -> None:
        """Go back to the first step, in the memory that the graphs know."""
        with self.torch.no_grad():
            for w, value in zip(self.weights, weights, strict=True):
                w.copy_(value)
                for slot in self.method.state[w].values():
                    if slot is not None:
                        slot.zero_()

    def _loss(self, x: Any, y: Any) -> Any:
        return loss_of(self.torch, self.load, self.weights, x, y)

    def _one_member(self, weights: Any, x: Any, y: Any) -> Any:
        f, outputs = self.torch.nn.functional, x
        for i in range(0, len(weights), 2):
            outputs = self.torch.addmm(weights[i + 1], outputs, weights[i])
            if i + 2 < len(weights):
                outputs = getattr(f, str(self.load.hidden))(outputs)
        return f.cross_entropy(outputs, y) if self.load.loss == "cross_entropy" else f.mse_loss(
            outputs, y)  # fmt: skip

    def _lower(self) -> AbstractContextManager[Any]:
        if not self._bf16:
            return nullcontext()
        # A cache of casts would outlive the capture that it was filled in.
        lower: AbstractContextManager[Any] = self.torch.autocast(
            self.device, self.torch.bfloat16, cache_enabled=False
        )
        return lower


def _read(loss: Any) -> Any:
    return loss.float().cpu().numpy()


def _events(torch: Any) -> Events:
    def mark() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return Events(mark, lambda first, last: float(first.elapsed_time(last)) / 1e3)
