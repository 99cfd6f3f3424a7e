"""A layer of a user's own, in a file of their own: trained, checked, saved, and found wrong."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.data import digits

SOURCE = '''\
from dataclasses import dataclass

import gpubp
from gpubp.activations import sigmoid


@dataclass(frozen=True)
class GLU(gpubp.Layer):
    """y = z s m: z = x W + b, gate s = sigmoid(x V + c), in training a mask m of 0 and 2."""

    n_out: int

    def build(self, inputs):
        weight = gpubp.Param((*inputs, self.n_out), gpubp.GlorotUniform())
        bias = gpubp.Param((self.n_out,), gpubp.Constant(0.0), kind="bias")
        params = {"W": weight, "b": bias, "V": weight, "c": bias}
        opening = {"opening": gpubp.Param((self.n_out,), gpubp.Constant(0.5))}
        return gpubp.Spec((self.n_out,), params, opening)

    def forward(self, be, w, x, run):
        z, s, m = be.matmul(x, w.W) + w.b, be.map(sigmoid, be.matmul(x, w.V) + w.c), None
        if run.training:
            kept = run.bits((x.shape[-2], self.n_out)) >= 2**31
            m = be.xp.astype(kept, x.dtype) * 2.0
            mean = be.xp.mean(s, axis=-2, keepdims=True)
            run.put("opening", 0.9 * run.state.opening + 0.1 * mean)
        return (z * s if m is None else z * s * m), (x, z, s, m)

    def backward(self, be, w, g, ctx, dy, run):
        x, z, s, m = ctx
        dy = dy if m is None else dy * m
        dz, da = dy * s, dy * z * s * (1.0 - s)
        g.add_matmul("W", x.mT, dz)
        g.add("b", be.xp.sum(dz, axis=-2, keepdims=True))
        g.add_matmul("V", x.mT, da)
        g.add("c", be.xp.sum(da, axis=-2, keepdims=True))
        return be.matmul(dz, w.W.mT) + be.matmul(da, w.V.mT)
'''

_numbers = itertools.count()


def written(folder: Path, source: str = SOURCE) -> Any:
    """Load the file that a user wrote, by its path."""
    path = folder / "glu.py"
    path.write_text(source, encoding="utf-8")
    name = f"glu_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_it_is_about_thirty_lines() -> None:
    body = SOURCE[SOURCE.index("@dataclass") :]
    assert len(body.splitlines()) <= 34


def test_the_layer_is_right_on_every_backend(tmp_path: Path, stand_in: Any) -> None:
    report = gpubp.check.layer(written(tmp_path).GLU(3), inputs=4)
    assert report.ok, str(report)
    assert report.broken_rule is None
    found = {(row.backend, row.dtype) for row in report.rows}
    for precision in gpubp.backend.DTYPES:
        assert ("array_api_strict:device1", precision) in found
        assert ("cuda:0", precision) in found  # its formulas, compiled from the text of kernels
    named = {row.what for row in report.rows}
    assert named >= {f"gradient of {p}" for p in ("input", "W", "b", "V", "c")}
    assert "new value of opening (Adam)" in named


def test_it_trains_among_the_librarys_layers_and_comes_back_from_a_file(tmp_path: Path) -> None:
    data, own = digits(), written(tmp_path)
    layer = gpubp.Sequential(
        own.GLU(32), gpubp.LayerNorm(), gpubp.Residual(own.GLU(32)), gpubp.Linear(10)
    )
    net = gpubp.Network(layer, inputs=64, seed=1)
    net.fit(data.x, data.y, loss="cross_entropy", epochs=6, batch_size=32)
    assert net.evaluate(data.x_test, data.y_test)["accuracy"] > 0.9
    opening = net.state_dict()["0.opening"]
    assert (opening != 0.5).all()
    assert ((opening > 0) & (opening < 1)).all()
    assert gpubp.check.network(net, data.x, data.y).ok

    path = tmp_path / "net.safetensors"
    net.save(path)
    with pytest.raises(gpubp.InputError, match=r"'GLU'.*gpubp.load\(path, layer=...\)"):
        gpubp.load(path)
    same = gpubp.load(path, layer=layer)
    assert np.array_equal(same.predict(data.x_test), net.predict(data.x_test))
    assert np.array_equal(same.state_dict()["0.opening"], opening)


def test_members_of_it_are_what_they_are_alone(tmp_path: Path) -> None:
    layer = gpubp.Sequential(written(tmp_path).GLU(8), gpubp.Linear(2))
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    both = gpubp.Network(layer, inputs=3, members=2, seed=4)
    both.fit(x, y, loss="cross_entropy", epochs=3, batch_size=5)
    alone = gpubp.Network(layer, inputs=3, seed=5)
    alone.fit(x, y, loss="cross_entropy", epochs=3, batch_size=5)
    assert np.array_equal(both.predict(x)[1], alone.predict(x))


# What was written, the slip in its place, and what the report has to say of it (# is the line).
WRONG: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a term of dx is forgotten": (
        " + be.matmul(da, w.V.mT)", "",
        ("gradient of input ", "DISAGREES: at [", "backward gives", "differences"),
    ),
    "a factor is forgotten": (
        "dy * z * s * (1.0 - s)", "dy * z * s",
        ("gradient of V ", "gradient of c ", "DISAGREES: at ["),
    ),
    "the gradient of a parameter is forgotten": (
        'g.add("c", be.xp.sum(da, axis=-2, keepdims=True))', "pass",
        ("gradient of c ", "DISAGREES: backward adds nothing to it: g.add('c', ...)"),
    ),
    "no sum over the batch": (
        "be.xp.sum(dz, axis=-2, keepdims=True)", "dz",
        ("a gradient for 'b' of shape (3, 2), not (1, 2)", "(glu.py, line #)"),
    ),
    "no keepdims": (
        "be.xp.sum(dz, axis=-2, keepdims=True)", "be.xp.sum(dz, axis=-2)",
        ("a gradient for 'b' of shape (2,), not (1, 2)", "(glu.py, line #)"),
    ),
    "no input gradient": (
        "return be.matmul(dz, w.W.mT) + be.matmul(da, w.V.mT)", "",
        ("gradient of input ", "returns None although run.wants_input_gradient is true"),
    ),
    "a mistyped parameter": (
        "w.V) + w.c", "w.V) + w.d",
        ("AttributeError: this layer declares no array or child named 'd'", "(glu.py, line #)"),
    ),
    "leading lengths are read": (
        "z * s * m)", "z * s * m * (3.0 / x.shape[0]))",
        ("rule 2 ", "leading dimensions are never read", "shape[0] was read", "glu.py, line #"),
    ),
    "an axis from the front": (
        "be.xp.mean(s, axis=-2,", "be.xp.mean(s, axis=0,",
        ("rule 2 ", "xp.mean(x, axis=0, keepdims=True)", "glu.py, line #"),
    ),
    "a function of NumPy's": (
        "be.map(sigmoid, be.matmul(x, w.V) + w.c)",
        "1.0 / (1.0 + __import__('numpy').exp(-be.matmul(x, w.V) - w.c))",
        ("rule 1 ", "NumPy's own exp was used; take it from be.xp", "glu.py, line #"),
    ),
    "a function of NumPy's that is no ufunc": (
        "be.matmul(x, w.W) + w.b,", "__import__('numpy').where(x > 9.0, x, x) @ w.W + w.b,",
        ("rule 1 ", "NumPy's own where was used", "glu.py, line #"),
    ),
    "an array of NumPy's": (
        "be.matmul(x, w.W) + w.b,", "be.matmul(x, w.W) + w.b + __import__('numpy').zeros((1, 2)),",
        ("rule 1 ", "an array of NumPy's own", "glu.py, line #"),
    ),
    "written in place": (
        "        return (z * s if", "        z += 0.0\n        return (z * s if",
        ("rule 3 ", "changed by __iadd__; write x = x + y", "glu.py, line #"),
    ),
    "random numbers of its own": (
        "run.bits((x.shape[-2], self.n_out)) >= 2**31",
        "__import__('numpy').random.default_rng().random((x.shape[-2], self.n_out)) > 0.5",
        ("rule 5 (random numbers only from run.bits)", "forward passes of one step differ"),
    ),
    "a constant of float64": (
        "x.dtype) * 2.0", "x.dtype) * __import__('numpy').float64(2.0)",
        ("rule 4 ", "with a numpy.float64; make it a Python number: float(c)", "glu.py, line #"),
    ),
    "a constant of float64 on the left": (
        "dy * z * s * (1.0 - s)", "dy * z * s * (__import__('numpy').float64(1.0) - s)",
        ("rule 4 ", "with a numpy.float64; make it a Python number: float(c)", "glu.py, line #"),
    ),
    "a branch on values": (
        "if run.training:", "if run.training and (x > -99.0).all():",
        ("rule 1 ", "x.all was used", "glu.py, line #"),
    ),
    "running state that is never put": (
        'run.put("opening", 0.9 * run.state.opening + 0.1 * mean)', "pass",
        ("running state 'opening' is never put: run.put(...)",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("slip", WRONG)
def test_a_slip_is_named(slip: str, tmp_path: Path) -> None:
    right, wrong, said = WRONG[slip]
    assert SOURCE.count(right) == 1
    report = gpubp.check.layer(written(tmp_path, SOURCE.replace(right, wrong)).GLU(2), inputs=4)
    text, line = str(report), SOURCE[: SOURCE.index(right)].count("\n") + 1
    for part in said:
        assert part.replace("#", str(line)) in text
    rule = said[0].startswith("rule")
    assert (report.broken_rule is not None) == rule
    harmless = rule or slip == "running state that is never put"
    assert harmless or not report.ok


def test_only_what_is_wrong_disagrees(tmp_path: Path) -> None:
    wrong = SOURCE.replace("dy * z * s * (1.0 - s)", "dy * z * s")
    report = gpubp.check.layer(written(tmp_path, wrong).GLU(2), inputs=4)
    assert {row.what for row in report.rows if not row.ok} == {
        "gradient of input", "gradient of V", "gradient of c",
    }  # fmt: skip


def test_a_layer_whose_only_gradient_is_forgotten() -> None:
    class Forgetful(gpubp.Linear):
        def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
            return be.matmul(dy, w.W.mT)

    wrong = [row.what for row in gpubp.check.layer(Forgetful(2, b=None)).rows if not row.ok]
    assert wrong == ["gradient of W"]
