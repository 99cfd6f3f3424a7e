"""Which epilogues has cuBLASLt for which types and sizes, and are their results right?

The letters are those of a layer z = x W + b with x (batch, n_in) and W (n_in, n_out), row-major.
The bias gradient of dW = x^T dy is BGRADA's; BGRADB's belongs to weights stored (n_out, n_in).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpubp.activations import gelu_tanh, gelu_tanh_pullback
from gpubp.errors import DeviceError

from . import Result, Row, attempt, gpu
from .kinds import KINDS, decode, encode, relative_error
from .lt import Lt, Matmul

TYPES = ("float32", "tf32", "bfloat16", "float16")
SIZES = {"aligned": (256, 512, 384), "even": (250, 510, 382), "odd": (255, 511, 383)}
MASK_AGREES = 0.99  # a sum next to 0 may round to the other side
_erf = np.vectorize(math.erf, otypes=["f8"])


@dataclass
class Problem:
    """The operands of one product as stored, outputs poisoned, and what outputs must become."""

    a: Any
    b: Any
    d: Any
    bias: Any
    aux: Any = None
    aux_ld: int = 0
    ta: bool = False
    tb: bool = False
    expected: dict[str, Any] = field(default_factory=dict)  # d, bias, aux, mask; d by erf


def probe() -> Iterator[Row]:
    """Try every epilogue on every type and size."""
    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        lt = Lt(cp, stream)
        for kind in TYPES:
            for epilogue, make in PROBLEMS.items():
                for name, size in SIZES.items():
                    problem = make(np.random.default_rng(7), kind, epilogue, *size)
                    row = attempt(run, cp, lt, kind, epilogue, problem)
                    yield f"{kind} {epilogue} {name}", row


def run(cp: Any, lt: Lt, kind: str, epilogue: str, problem: Problem) -> Result:
    """Return whether there is an algorithm, and how far its outputs are from the expected."""
    names = ("a", "b", "d", "bias", "aux")
    given = {name: getattr(problem, name) for name in names}
    on = {name: None if x is None else cp.asarray(x) for name, x in given.items()}
    arrays = (on["a"], on["b"], on["d"], on["bias"], on["aux"])
    matmul = Matmul(kind, epilogue, *arrays, problem.aux_ld, problem.ta, problem.tb)
    try:
        algorithms = matmul.plan(lt)
    except DeviceError as refusal:
        return {"found": False, "refused": str(refusal)}
    matmul()
    lt.stream.synchronize()
    made = {name: x.get() for name, x in on.items() if x is not None}
    judged = judge(kind, problem.expected, made)
    return {"found": True, **judged, "workspace_bytes": algorithms[0].workspace}


def judge(kind: str, expected: dict[str, Any], made: dict[str, Any]) -> Result:
    """Return the error of each output; those of other readings ("d by erf") are only told."""
    close = True
    result: Result = {}
    for name, want in expected.items():
        if name == "mask":
            bits = np.unpackbits(made["aux"], axis=-1, bitorder="little")[:, : want.shape[-1]]
            agree = float((bits == want).mean())
            result["mask agrees"] = agree
            close &= agree >= MASK_AGREES
        else:
            got = decode(kind, made[name.split()[0]])[..., : want.shape[-1]]
            error = relative_error(got, want)
            result[f"{name} off by"] = error if math.isfinite(error) else str(error)
            close &= error <= KINDS[kind].tolerance or " by " in name
    return {"close": close, **result}


def forward(rng: Any, kind: str, epilogue: str, batch: int, n_in: int, n_out: int) -> Problem:
    """z = x W + b, then an activation; `aux` is what the pullback will need."""
    x, b = normal(rng, kind, batch, n_in), normal(rng, kind, n_out)
    w = normal(rng, kind, n_in, n_out, scale=n_in**-0.5)
    z = decode(kind, x) @ decode(kind, w) + decode(kind, b)
    problem = Problem(x, w, poison(z.shape, x.dtype), bias=b)
    if epilogue.startswith("RELU"):
        problem.expected["d"] = np.maximum(z, 0.0)
    elif epilogue.startswith("GELU"):
        problem.expected["d"] = gelu_tanh(np, z)
        problem.expected["d by erf"] = 0.5 * z * (1.0 + _erf(z / math.sqrt(2.0)))
    else:
        problem.expected["d"] = z
    if epilogue == "RELU_AUX_BIAS":
        problem.aux_ld = up(n_out, 128)
        problem.aux = poison((batch, problem.aux_ld // 8), "u1")
        problem.expected["mask"] = z > 0
    if epilogue == "GELU_AUX_BIAS":
        problem.aux_ld = up(n_out, 8)
        problem.aux = poison((batch, problem.aux_ld), x.dtype)
        problem.expected["aux"] = z
    return problem


def data_gradient(rng: Any, kind: str, epilogue: str, batch: int, n_in: int, n_out: int) -> Problem:
    """dz = (dy W^T) f'(z) of the layer below, and the gradient of its bias, the sum of dz."""
    dy, w = normal(rng, kind, batch, n_out), normal(rng, kind, n_in, n_out)
    dx = decode(kind, dy) @ decode(kind, w).T
    out, bias = poison(dx.shape, dy.dtype), poison((n_in,), dy.dtype)
    problem = Problem(dy, w, out, bias, tb=True)
    if epilogue == "DRELU_BGRAD":
        mask = rng.random(dx.shape) < 0.5
        problem.aux_ld = up(n_in, 128)
        padded = np.pad(mask, ((0, 0), (0, problem.aux_ld - n_in)))
        problem.aux = np.packbits(padded, axis=-1, bitorder="little")
        dz = dx * mask
    else:
        stored = normal(rng, kind, *dx.shape)
        problem.aux_ld = up(n_in, 8)
        problem.aux = np.pad(stored, ((0, 0), (0, problem.aux_ld - n_in)))
        z = decode(kind, stored)
        dz = gelu_tanh_pullback(np, dx, z)
        slope = 0.5 * (1.0 + _erf(z / math.sqrt(2.0)))
        slope += z * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
        problem.expected["d by erf"] = dx * slope
    problem.expected.update({"d": dz, "bias": dz.sum(axis=0)})
    return problem


def weight_gradient(
    rng: Any, kind: str, epilogue: str, batch: int, n_in: int, n_out: int
) -> Problem:
    """dW = x^T dy, or its transpose, and db, the sum of dy."""
    x, dy = normal(rng, kind, batch, n_in), normal(rng, kind, batch, n_out)
    a, b = (x, dy) if epilogue == "BGRADA" else (dy, x)
    dw = decode(kind, a).T @ decode(kind, b)
    db = decode(kind, dy).sum(axis=0)
    out, bias = poison(dw.shape, a.dtype), poison(db.shape, a.dtype)
    return Problem(a, b, out, bias, ta=True, expected={"d": dw, "bias": db})


PROBLEMS: dict[str, Callable[..., Problem]] = {
    "BIAS": forward,
    "RELU_BIAS": forward,
    "RELU_AUX_BIAS": forward,
    "DRELU_BGRAD": data_gradient,
    "GELU_AUX_BIAS": forward,
    "DGELU_BGRAD": data_gradient,
    "BGRADA": weight_gradient,
    "BGRADB": weight_gradient,
}


def normal(rng: Any, kind: str, *shape: int, scale: float = 1.0) -> Any:
    """Return normal numbers as stored."""
    return encode(kind, rng.standard_normal(shape) * scale)


def poison(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return an array of NaN: what is not written must not pass."""
    return np.full((*shape, np.dtype(dtype).itemsize), 0xFF, "u1").view(dtype)[..., 0]


def up(n: int, multiple: int) -> int:
    """Round up.

    >>> up(383, 128)
    384
    """
    return -(-n // multiple) * multiple
