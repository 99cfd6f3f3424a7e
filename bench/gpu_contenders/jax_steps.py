"""jax on a device: one jitted call a step with donated buffers, or a scan over several steps."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import numpy as np

from ..contenders.jax_steps import begun
from ..workloads import Problem
from .base import Contender, Setting, UnavailableError, groups

_PLATFORMS = {"cuda": "gpu", "cpu": "cpu"}
_PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}


def build(problem: Problem, setting: Setting, scan: bool = False) -> Contender:
    """Return a training by `jax.jit`. jax has no events: only the host's clock times it."""
    jax: Any = importlib.import_module("jax")
    if setting.precision not in _PRECISIONS:
        raise UnavailableError(f"is not measured in {setting.precision}")
    if jax.default_backend() != _PLATFORMS[setting.device]:
        raise UnavailableError(f"jax runs on {jax.default_backend()} here, not on {setting.device}")
    # jax multiplies float32 in TF32 unless it is told otherwise.
    jax.config.update("jax_default_matmul_precision", _PRECISIONS[setting.precision])
    step, state = begun(jax, problem)
    unit = setting.unroll if scan else 1
    calls = groups(problem.load.batches, unit)
    x, y = (a.reshape(calls, unit, *a.shape[1:]) if scan else a for a in (problem.x, problem.y))
    batches = [(jax.numpy.asarray(x[i]), jax.numpy.asarray(y[i])) for i in range(calls)]
    run = jax.jit(partial(jax.lax.scan, step) if scan else step, donate_argnums=0)
    held = [state]

    def take(i: int) -> Any:
        held[0], values = run(held[0], batches[i])
        return values

    return Contender(take, calls, unit, np.asarray, lambda: jax.block_until_ready(held[0]))
