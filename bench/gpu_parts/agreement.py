"""Training on the handwritten digits: a device beside NumPy, on the plain path and compiled.

The activation is smooth and the optimizer has no division, so that rounding grows slowly: what it
may reach in all is counted by the sums of one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import gpubp
from gpubp.check.tolerance import error, tolerance
from gpubp.data import digits

from ..gpu_contenders import Setting
from ..kernel_texts import fingerprints, launched
from ..probes import Result, Row, attempt
from . import Budget

WIDTHS, CLASSES, BATCH, EPOCHS = (64, 32), 10, 32, 2
OPTIMIZER = gpubp.Momentum(0.05)
PATHS = {"plain": False, "compiled": True}


def probe(setting: Setting, budget: Budget) -> Iterator[Row]:
    """Train in each precision on each path; the first of all is the reference."""
    for precision in ("float64", "float32"):
        expected = _trained("cpu", precision, compile=False)
        for path, compile in PATHS.items():
            yield f"{path} {precision}", attempt(_beside, setting, precision, compile, expected)


def _trained(device: str, precision: str, compile: bool) -> Any:
    data = digits()
    net = network(device, precision)
    net.fit(
        data.x, data.y, loss="cross_entropy", optimizer=OPTIMIZER, epochs=EPOCHS,
        batch_size=BATCH, compile=compile,
    )  # fmt: skip
    return net


def network(device: str, precision: str) -> gpubp.Network:
    """The network for digits, with its first weights."""
    layers = gpubp.MLP(list(WIDTHS), CLASSES, activation="tanh")
    return gpubp.Network(layers, 64, device=device, dtype=precision, seed=3)


def _beside(setting: Setting, precision: str, compile: bool, expected: Any) -> Result:
    with launched(setting.device) as kernels:
        net = _trained(setting.device, precision, compile)
    data = digits()
    batches = -(-len(data.x) // BATCH)
    longest = data.x.shape[1] + sum(WIDTHS)
    pairs = {"loss": (np.asarray(net.history["loss"]), np.asarray(expected.history["loss"]))}
    wanted = expected.state_dict()
    pairs |= {path: (net.be.to_numpy(a), wanted[path]) for path, a in net.state_dict().items()}
    worst = {name: error(a, b) / tolerance(precision, b, longest) for name, (a, b) in pairs.items()}
    where = max(worst, key=lambda name: worst[name])
    if not worst[where] <= 1.0:
        raise ArithmeticError(f"{where} is {worst[where]:.3g} tolerances from NumPy's")
    right = np.mean(np.argmax(net.predict(data.x_test), axis=-1) == data.y_test)
    return {
        "error_in_tolerances": round(worst[where], 4), "worst": where,
        "steps": batches * EPOCHS, "path": net.history.path, "test_accuracy": float(right),
        "kernels": {**kernels, **_compiled(net, setting)},
    }  # fmt: skip


def where_of(precision: str, rows: int) -> str:
    """What steps of the network for digits are called."""
    return f"digits {precision}, batch {rows}"


def _compiled(net: Any, setting: Setting) -> dict[str, str]:
    """The kernels of the compiled steps that a network has kept from its training."""
    found: dict[str, str] = {}
    for made in [] if setting.dry else vars(net).get("_compiled", []):
        where = where_of(net.be.precision, made.job.rows)
        texts = made.steps(net).texts()
        found |= fingerprints(where, texts)
    return found
