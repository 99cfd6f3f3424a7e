"""Training steps as C: recorded, planned, printed, compiled by g++, and run through ctypes."""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gpubp
from gpubp import seeds
from gpubp.program.c_program import HEAD, Unit, unit
from gpubp.program.calls import Program
from gpubp.program.program import build
from gpubp.recording import Recording, Shadow

_DTYPES = {"U": "uint32", "I": "int64", "bool": "bool", "D": "float64"}


class Compiled:
    """A program that was compiled; its arrays are named as the program names them."""

    def __init__(self, program: Program, printed: Unit, function: Any) -> None:
        self.program, self._unit, self._function = program, printed, function
        function.restype = ctypes.c_int

    def arrays(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The memories: those given, and those of the program itself, full of NaN."""
        own = {f"arena:{kind}": size for kind, size in self.program.arena.items()}
        own.update(self.program.own)
        found = {}
        for memory in self._unit.memories:
            dtype = np.dtype(_DTYPES.get(memory.kind, self.program.precision))
            if memory.name in given:
                found[memory.name] = np.array(given[memory.name], dtype).reshape(-1)
            else:
                nothing = np.nan if dtype.kind == "f" else 1
                found[memory.name] = np.full(own[memory.name], nothing, dtype)
        return found

    def __call__(self, arrays: Mapping[str, Any]) -> bool:
        """Do one step; whether it was finite. What is constant stays as it is."""
        before = {m.name: arrays[m.name].copy() for m in self._unit.memories if not m.written}
        pointers = [ctypes.c_void_p(arrays[m.name].ctypes.data) for m in self._unit.memories]
        sound = bool(self._function(*pointers))
        for name, old in before.items():
            assert np.array_equal(arrays[name], old, equal_nan=old.dtype.kind == "f"), name
        return sound


def compile_all(programs: Mapping[str, Program]) -> dict[str, Compiled]:
    """Compile programs with one call of g++; each has a name that C can take."""
    folder = Path(tempfile.mkdtemp(prefix="gpubp-steps-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source, library = folder / "steps.cpp", folder / "steps.so"
    units = {name: unit(program, name) for name, program in programs.items()}
    source.write_text("\n".join([HEAD, *(u.text for u in units.values())]))
    # A bare literal in a kernel of floats is a double: -Wdouble-promotion refuses it.
    strict = ["-Wall", "-Wextra", "-Werror", "-Wdouble-promotion", "-Wno-unused-variable"]
    quiet = ["-Wno-unused-parameter"]  # a kernel without rows is given none
    command = ["g++", "-O1", "-ffp-contract=off", *strict, *quiet, "-shared", "-fPIC"]
    done = subprocess.run(
        [*command, "-o", str(library), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[:4000])
    loaded = ctypes.CDLL(str(library))
    return {n: Compiled(p, units[n], getattr(loaded, n)) for n, p in programs.items()}


@dataclass(frozen=True)
class Task:
    """A network to be trained, and what on; `inputs` are its features."""

    layer: gpubp.Layer
    loss: gpubp.Loss
    optimizer: gpubp.Optimizer
    x: Any
    t: Any
    w: Any = None

    def network(self, precision: str) -> gpubp.Network:
        return gpubp.Network(self.layer, self.x.shape[1:], dtype=precision, seed=3)

    @property
    def targets(self) -> Any:
        return self.t[:, None] if self.t.ndim == 1 else self.t

    def record(self, precision: str) -> Recording:
        net, t = self.network(precision), self.targets
        shadow = Shadow(net, self.optimizer, len(self.x))
        kind = "int64" if t.dtype == np.int64 else "T"
        return shadow.record(self.loss, self.optimizer, (t.shape[1], kind), self.w is not None)


@dataclass
class Trained:
    """What steps left: all parameters, the last gradient, running state, slots and losses."""

    theta: Any
    grad: Any
    state: Any
    slots: dict[str, Any]
    losses: Any
    sound: list[bool]


def in_c(task: Task, precision: str, compiled: Compiled, recording: Recording, n: int) -> Trained:
    """Do `n` steps by the compiled program."""
    net, optimizer = task.network(precision), task.optimizer
    arrays = compiled.arrays({
        "theta": net.theta, "grad": net.grad, "state": net.arrays._state,
        "x": task.x, "t": task.targets, "w": np.empty(0) if task.w is None else task.w,
        "key": seeds.keys(net.seeds, ()), "step": [0],
        "numbers": np.zeros(recording.count),
        **{f"slot:{name}": np.zeros(net.theta.size) for name in optimizer.slots},
        **recording.constants,
    })  # fmt: skip
    losses, sound = [], []
    for i in range(n):
        rate = net.steps.rate_at(optimizer, i + 1)
        arrays["numbers"][:] = [rate, *net.steps.numbers(optimizer, i + 1, rate)]
        if "step" in arrays:
            arrays["step"][:] = i
        sound.append(compiled(arrays))
        losses.append(float(arrays["loss"][0]))
        if not sound[-1]:
            break
    slots = {n: arrays[f"slot:{n}"] for n in optimizer.slots}
    state = arrays.get("state", np.empty(0, precision))
    return Trained(arrays["theta"], arrays["grad"], state, slots, np.asarray(losses), sound)


def plainly(task: Task, precision: str, n: int) -> Trained:
    """Do `n` steps on the plain path."""
    net, be = task.network(precision), gpubp.select("cpu", precision)
    x, t = be.asarray(task.x), task.targets
    t = be.asarray(t, "int64" if t.dtype == np.int64 else None)
    w = None if task.w is None else be.asarray(task.w.reshape(-1, 1))
    losses, sound = [], []
    with be.activate():
        for _ in range(n):
            value, ok = net.train_step(x, t, task.loss, task.optimizer, w)
            losses.append(float(value))
            sound.append(bool(ok))
            if not ok:
                break
    slots = {k: np.asarray(a) for k, a in net.steps.slots.arrays.items()}
    state = net.arrays._state
    return Trained(net.theta, net.grad, state, slots, np.asarray(losses), sound)


def formula_program(formula: Callable[..., Any], operands: list[Any], precision: str) -> Program:
    """A program that applies a formula to matrices of one shape, and puts `out0`, ... out."""
    from gpubp.program.recorder import RecordingBackend

    be = RecordingBackend(precision)
    shape = operands[0].shape
    kinds = {"f": "T", "u": "U", "i": "I", "b": "bool"}
    given = [
        be.recorder.leaf(f"in{i}", shape, kinds[a.dtype.kind], rows=shape[0])
        for i, a in enumerate(operands)
    ]
    results = be.map(formula, *given)
    for i, result in enumerate(results):
        out = be.recorder.memory(f"new:out{i}", result.shape[0] * result.shape[1])
        be.recorder.write(out.shaped(result.shape).region, result)
    return build(be.recorder.phases, precision)
