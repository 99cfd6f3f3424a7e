"""Random networks of all layers, in torch and in onnxruntime; run it for many of them.

    python -m tests.random_interchange --n 200 --seed 7

Weights go to torch and back, and the model to ONNX, in both precisions and several opsets. Prints
the seed, number and description of each network that disagrees; exit code 1 if one does.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from functools import cache
from typing import Any

import numpy as np

import gpubp
from gpubp.check.examples import examples
from gpubp.check.tolerance import error, tolerance
from gpubp.interchange import from_torch_state, to_onnx, to_torch_state
from tests.conftest import require
from tests.interchange.twins import twin
from tests.random_layers import WIDTHS, Draw, network

OPSETS = (13, 17, 18, 20, 22)
CLOSE = {"float32": 1e-5, "float64": 1e-12}  # of max(1, |y|), in a runtime with sums of its own


def draw_network(seed: int, number: int, dtype: str) -> tuple[gpubp.Network, Draw]:
    """One network whose weights and running state are away from zeros and ones."""
    draw = Draw(seed, number)
    layer, inputs = network(draw, draw.one(WIDTHS))
    members = 3 if draw.chance(0.2) else None
    net = gpubp.Network(layer, inputs, dtype=dtype, seed=number, members=members)
    state = {path: a + draw.rng.normal(0.0, 0.2, a.shape) for path, a in net.state_dict().items()}
    for path in state:
        if path.rpartition(".")[2] == "variance":
            state[path] = np.abs(state[path]) + 0.1
    net.load_state_dict(state)
    return net, draw


def in_torch(seed: int, number: int) -> None:
    """Raise `AssertionError` where a network and its twin differ, or weights do not come back."""
    torch = require("torch")
    net, draw = draw_network(seed, number, "float64")
    x = examples(draw.rng, 5, net.inputs, net.spec.categories)
    expected = net.predict(x)
    for k in range(net.members or 1):
        member = None if net.members is None else k
        module = twin(net.layer, net.spec).double().eval()
        state = {n: torch.from_numpy(a) for n, a in to_torch_state(net, member=member).items()}
        module.load_state_dict(state, strict=True)
        with torch.no_grad():
            y = module(torch.from_numpy(x)).numpy()
        ours = expected if member is None else expected[k]
        _agree(y, ours, tolerance("float64", ours, 64), f"torch, member {member}")
        back = gpubp.Network(net.layer, net.inputs, dtype="float64", seed=99)
        from_torch_state(back, module.state_dict())
        assert np.array_equal(back.predict(x), ours), "what came back from torch is not the same"
    back = gpubp.Network(net.layer, net.inputs, dtype="float64", seed=9, members=net.members)
    from_torch_state(back, to_torch_state(net))
    assert np.array_equal(back.predict(x), expected), "members came back as others"


def in_onnx(seed: int, number: int, dtype: str, opset: int) -> None:
    """Raise `AssertionError` where onnxruntime puts out something else."""
    require("onnx"), require("onnxruntime")
    net, draw = draw_network(seed, number, dtype)
    member = None if net.members is None else draw.one(range(net.members))
    model = run(to_onnx(net, member=member, opset=opset))
    for n in (1, 7):
        x = examples(draw.rng, n, net.inputs, net.spec.categories).astype(dtype)
        expected = net.predict(x) if member is None else net.predict(x)[member]
        (y,) = model(x)
        assert y.dtype == expected.dtype, f"onnxruntime puts out {y.dtype}"
        scale = max(1.0, float(np.abs(expected).max()))
        _agree(y, expected, CLOSE[dtype] * scale, f"onnxruntime, {dtype}, opset {opset}")


def run(model: bytes) -> Any:
    """The model as a function of its input."""
    runtime = require("onnxruntime")
    session = runtime.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda x: session.run(None, {given.name: x})


@cache
def _options() -> Any:
    options = require("onnxruntime").SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _agree(given: Any, expected: Any, allowed: float, where: str) -> None:
    assert given.shape == expected.shape, f"{where}: shape {given.shape}, not {expected.shape}"
    off = error(given, expected)
    assert off <= allowed, f"{where}: off by {off:.2g}, allowed {allowed:.2g}"


def check(seed: int, number: int) -> None:
    """Raise `AssertionError` where network `number` of a run disagrees with torch or ONNX."""
    in_torch(seed, number)
    in_onnx(seed, number, "float32", OPSETS[number % len(OPSETS)])
    in_onnx(seed, number, "float64", OPSETS[(number // 2) % len(OPSETS)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.random_interchange")
    parser.add_argument("--n", type=int, default=200, help="how many networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them")
    given = parser.parse_args(arguments)
    require("torch").set_num_threads(1)
    failures = 0
    for number in range(given.first, given.first + given.n):
        try:
            with warnings.catch_warnings(action="error"):
                check(given.seed, number)
        except Exception as problem:
            failures += 1
            told = str(problem)
            if not isinstance(problem, AssertionError):
                told = "".join(traceback.format_exception(problem)[-3:])
            layer = draw_network(given.seed, number, "float64")[0].layer
            print(f"--seed {given.seed} --first {number} --n 1: {told}\n    {layer}", flush=True)
    print(f"{given.n} networks, {failures} disagree")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
