"""gpubp on a device: compiled steps, many in one call, and the plain path, one call a step."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import gpubp
from gpubp import programs
from gpubp.number_table import NumberTable

from ..contenders.gpubp_network import loss_and_optimizer, network
from ..kernel_texts import fingerprints
from ..workloads import Problem
from .base import Contender, Events, Setting, UnavailableError, groups


def build(problem: Problem, setting: Setting, compiled: bool = False) -> Contender:
    """Training of `compiled` steps, or of steps as they are written."""
    if setting.precision != "float32" and (setting.dry or not compiled):
        raise UnavailableError(f"{setting.precision} is for compiled steps on a GPU")
    net = network(problem, setting.device)
    return _compiled(net, problem, setting) if compiled else _plain(net, problem, setting)


def job(problem: Problem, setting: Setting) -> programs.Job:
    """What the steps of a workload are compiled for: batches in order, without weights."""
    loss, method = loss_and_optimizer(problem)
    labels = problem.load.loss == "cross_entropy"
    target = (1, "int64") if labels else (problem.load.widths[-1], "T")
    precision = "" if setting.precision == "float32" else setting.precision
    return programs.Job(loss, method, problem.load.batch, target, False, 1, False, precision)


def steps_of(net: Any, job: programs.Job, setting: Setting) -> Any:
    """Return compiled steps over the arrays of a network.

    On a GPU a graph has `setting.unroll` steps; with 0 nothing is captured.
    """
    try:
        steps = programs.compiled(net, job).steps(net)
    except gpubp.DeviceError as error:
        raise UnavailableError(str(error)) from error
    if not setting.dry:
        steps.unroll, steps.captured = max(1, setting.unroll), setting.unroll > 0
    return steps


class Training:
    """Compiled steps as `Network.fit` takes them: losses come back at the end of each call."""

    def __init__(self, net: Any, problem: Problem, setting: Setting) -> None:
        self.net, self.job, self._setting = net, job(problem, setting), setting
        self._where = setting.label(problem.load)
        self.steps = steps_of(net, self.job, setting)
        self.x, self.t = data(net, problem)
        self._table = NumberTable(net.steps, self.job.optimizer, net.members or 1)

    def run(self, start: int, count: int, order: Any = None) -> Any:
        """Take `count` steps from batch `start` on; return the losses `(count, members)`."""
        net, going = self.net, np.ones(self.net.members or 1, bool)
        numbers = self._table.of(net.steps.slots.updates + 1, count)
        losses, bad = self.steps.run(
            self.x, self.t, None, order, self.job.rows, start, net.updates, numbers,
            programs.keys_of(net), going.copy(), False,
        )  # fmt: skip
        if not net.steps.take_over(self.job.optimizer, going, count, bad):
            raise ArithmeticError(f"step {start + int(bad.max())} was not finite")
        if not self._setting.dry and self.steps.captured != (self._setting.unroll > 0):
            raise RuntimeError("the steps could not be captured as a CUDA graph")
        return losses

    def kernels(self) -> dict[str, str]:
        """The fingerprints of the kernels that were launched; on the CPU of one module."""
        if self._setting.dry:
            return fingerprints(self._where, {"step": self.steps.text(False)})
        return fingerprints(self._where, self.steps.texts())


def data(net: Any, problem: Problem) -> tuple[Any, Any]:
    """All examples and targets on the device of a network, rows by columns."""
    x = problem.x.reshape(-1, problem.x.shape[-1])
    if problem.load.loss == "cross_entropy":
        return net.be.asarray(x), net.be.asarray(problem.y.reshape(-1, 1), "int64")
    return net.be.asarray(x), net.be.asarray(problem.y.reshape(len(x), -1))


def _compiled(net: Any, problem: Problem, setting: Setting) -> Contender:
    load, training = problem.load, Training(net, problem, setting)
    groups(load.batches, setting.unroll)  # others launch no part of their steps either
    note = "machine code of the CPU, no graph" if setting.dry else ""
    return Contender(
        lambda i: training.run(0, load.batches), 1, load.batches, np.asarray,
        net.be.synchronize, _events(setting), note, training.kernels,
    )  # fmt: skip


def _plain(net: Any, problem: Problem, setting: Setting) -> Contender:
    loss, method = loss_and_optimizer(problem)
    x, t = data(net, problem)
    rows = problem.load.batch

    def step(i: int) -> Any:
        batch = slice(i * rows, (i + 1) * rows)
        return net.train_step(x[batch], t[batch], loss, method)[0]

    return Contender(
        step, problem.load.batches, 1, net.be.to_numpy, net.be.synchronize, _events(setting)
    )


def _events(setting: Setting) -> Events | None:
    """Events on CuPy's current stream; compiled steps are done when their call returns."""
    if setting.dry:
        return None
    cuda: Any = importlib.import_module("cupy").cuda

    def mark() -> Any:
        event = cuda.Event()
        event.record()
        return event

    return Events(mark, lambda first, last: float(cuda.get_elapsed_time(first, last)) / 1e3)
