"""Networks as ONNX models: valid, and in onnxruntime what `predict` returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import layers
from gpubp.activations import ACTIVATIONS, sigmoid
from gpubp.check.examples import examples
from gpubp.data import Preprocessing
from gpubp.interchange import to_onnx
from tests.conftest import require
from tests.random_interchange import CLOSE, run

require("onnx"), require("onnxruntime")
OPSETS = (13, 17, 18, 20, 23)


def agree(net: gpubp.Network, how: Any = None, expected: Callable[..., Any] | None = None) -> Any:
    """Hold a network against onnxruntime, in batches of one and of seven; returns the model."""
    model = to_onnx(net, **(how or {}))
    compute, predict = run(model), expected or net.predict
    rng = np.random.default_rng(4)
    for n in (1, 7):
        x = examples(rng, n, net.inputs, net.spec.categories).astype(net.be.precision)
        wanted, (y,) = predict(x), compute(x)
        assert (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
        scale = max(1.0, float(np.abs(wanted).max()))
        assert np.abs(y - wanted).max() <= CLOSE[net.be.precision] * scale
    return require("onnx").load_from_string(model)


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def arrays(model: Any) -> dict[str, Any]:
    onnx = require("onnx")
    return {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}


LAYERS: list[tuple[gpubp.Layer, Any]] = [
    (gpubp.Linear(2), 3),
    (gpubp.Linear(2, b=None), 3),
    (gpubp.MLP([5, 4], 2, norm="batch", dropout=0.5), 3),
    (gpubp.MLP([5], 2, norm="layer"), 3),
    (gpubp.MLP([5], 2, norm="rms", output="sigmoid"), 3),
    (layers.PReLU("normal"), 3),
    (layers.PReLU(0.3, shared=True), 3),
    (layers.Softmax(), 3),
    (layers.LogSoftmax(), (2, 3)),
    (layers.BatchNorm(), 3),
    (layers.BatchNorm(affine=False, eps=0.5), 3),
    (layers.LayerNorm(), 3),
    (layers.LayerNorm(0.5, affine=False), 3),
    (layers.RMSNorm(), 3),
    (layers.RMSNorm(0.5, affine=False), 3),
    (layers.Dropout(0.5), 3),
    (layers.GaussianNoise(0.5), (2, 3)),
    (layers.GaussianDropout(0.5), 3),
    (layers.Identity(), 3),
    (layers.Residual(gpubp.Linear(3)), 3),
    (layers.Residual(gpubp.Linear(2), projection=True), 3),
    (layers.Residual(gpubp.Linear(2), gpubp.MLP([4], 2)), 3),
    (layers.Tied(gpubp.Sequential(gpubp.Linear(3), gpubp.Activation("tanh")), 3), 3),
    (layers.Tied(layers.Residual(layers.Identity()), 2), (2, 3)),
    (layers.Checkpoint(gpubp.MLP([4], 2)), 3),
    (layers.Sum(gpubp.Linear(2), gpubp.Linear(2), gpubp.Linear(2)), 3),
    (layers.Sum(layers.Identity()), 3),
    (layers.Multiply(gpubp.Linear(3), layers.Identity()), 3),
    (layers.Concatenate(layers.Identity(), gpubp.Linear(2), layers.Columns(1, 3)), 3),
    (layers.Concatenate(layers.Identity(), gpubp.Activation("relu")), (2, 3)),
    (layers.Columns(1, 3), 4),
    (layers.Flatten(), (2, 3, 2)),
    (layers.Reshape(2, -1, 2), 12),
    (gpubp.Sequential(layers.Reshape(2, 2), layers.Softmax(), layers.Flatten()), 4),
    (layers.Embedding(5, 2), 3),
    (gpubp.Sequential(layers.Embedding(5, 2), layers.Flatten(), gpubp.Linear(1)), 3),
]


def away_from_ones(net: gpubp.Network) -> gpubp.Network:
    rng = np.random.default_rng(1)
    new = {p: np.abs(a + rng.normal(0.0, 0.3, a.shape)) for p, a in net.state_dict().items()}
    net.load_state_dict(new)
    return net


@pytest.mark.parametrize(("layer", "inputs"), LAYERS)
def test_every_layer(layer: gpubp.Layer, inputs: Any, precision: str) -> None:
    net = away_from_ones(gpubp.Network(layer, inputs, dtype=precision))
    for opset in OPSETS:
        agree(net, {"opset": opset})


def test_every_kind_of_layer_there_is_is_among_them() -> None:
    from tests.test_random_networks import traits

    there = {trait for layer, _ in LAYERS for trait in traits(layer)}
    kinds = set(layers.__all__) - {"Layer", "Branches", "kept_bytes"}
    assert kinds <= there


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str, precision: str) -> None:
    z = np.concatenate([np.linspace(-8, 8, 161), [-1e4, -100.0, 100.0, 1e4]])
    net = gpubp.Network(gpubp.Activation(name), inputs=1, dtype=precision)
    for opset in OPSETS:
        (y,) = run(to_onnx(net, opset=opset))(z[:, None].astype(precision))
        expected = net.predict(z[:, None])
        scale = np.maximum(1.0, np.abs(expected))
        assert (np.abs(y - expected) / scale).max() <= CLOSE[precision]


def test_the_newest_operators_are_valid_too() -> None:
    """The newest opset may be ahead of every runtime; the checker knows it."""
    newest = require("onnx").defs.onnx_opset_version()
    for layer, inputs in LAYERS:
        to_onnx(gpubp.Network(layer, inputs), opset=newest)


def test_operators_of_onnx_are_taken_where_there_are_some() -> None:
    net = gpubp.Network(gpubp.MLP([5, 4], 2, "gelu", norm="layer"), inputs=3)
    norm = ["Gemm", "LayerNormalization"]
    assert operators(agree(net, {"opset": 20})) == [*norm, "Gelu", *norm, "Gelu", "Gemm"]
    net = gpubp.Network(gpubp.MLP([5], 2, "selu", norm="batch", dropout=0.1), inputs=3)
    assert operators(agree(net)) == ["Gemm", "BatchNormalization", "Selu", "Gemm"]


def test_tied_weights_are_written_once() -> None:
    net = gpubp.Network(layers.Tied(gpubp.Linear(3), times=4), inputs=3)
    model = agree(net)
    assert operators(model) == ["Gemm"] * 4
    assert {n: a.shape for n, a in arrays(model).items()} == {"body.W": (3, 3), "body.b": (3,)}


def test_the_arrays_are_the_networks_own() -> None:
    net = gpubp.Network(gpubp.MLP([5], 2, norm="batch"), inputs=3)
    model = agree(net)
    state = net.state_dict()
    assert arrays(model).keys() == state.keys()
    assert all(np.array_equal(a, state[path]) for path, a in arrays(model).items())


def test_what_a_model_says_of_itself() -> None:
    onnx = require("onnx")
    model = onnx.load_from_string(to_onnx(gpubp.Network(gpubp.MLP([5], 2), inputs=3)))
    assert (model.producer_name, model.producer_version) == ("gpubp", gpubp.__version__)
    assert model.ir_version == 8  # of the year of opset 17: older runtimes refuse a later one
    assert [o.version for o in model.opset_import] == [17]
    (given,), (y,) = model.graph.input, model.graph.output
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (given, y)
    ]
    assert (given.name, y.name, shapes) == ("x", "y", [["batch", 3], ["batch", 2]])
    assert not model.metadata_props
    names = [node.name for node in model.graph.node]
    assert names == ["0/Gemm", "1/Relu", "2/Gemm"]
    block = layers.Residual(gpubp.Sequential(gpubp.Linear(3), layers.PReLU()))
    model = onnx.load_from_string(to_onnx(gpubp.Network(block, inputs=3)))
    assert [n.name for n in model.graph.node] == ["body.0/Gemm", "body.1/PRelu", "/Add"]


def test_class_names_are_told() -> None:
    net = gpubp.Network(gpubp.MLP([5], 2), inputs=3)
    net.preprocessing = Preprocessing.fit((np.zeros((2, 3)), ["no", "yes"]))
    model = require("onnx").load_from_string(to_onnx(net))
    (told,) = model.metadata_props
    assert (told.key, json.loads(told.value)) == ("classes", ["no", "yes"])


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (gpubp.Network(gpubp.MLP([5], 2), inputs=3) for _ in range(2))
    assert to_onnx(first) == to_onnx(second)


@pytest.mark.parametrize("batch", ["N", 7])
def test_the_batch_can_be_named_or_fixed(batch: Any) -> None:
    net = gpubp.Network(layers.Flatten(), inputs=(2, 3))
    model = require("onnx").load_from_string(to_onnx(net, batch=batch))
    (first, *_) = model.graph.input[0].type.tensor_type.shape.dim
    assert (first.dim_param or first.dim_value) == batch


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "focal", "binary_cross_entropy", "binary_focal", "kl_divergence"]
)
def test_probabilities(loss: str, precision: str) -> None:
    net = gpubp.Network(gpubp.MLP([5], 3), inputs=3, dtype=precision)
    net.loss = loss  # type: ignore[assignment]
    model = agree(net, {"probabilities": True}, net.predict_proba)
    assert [y.name for y in model.graph.output] == ["probabilities"]
    assert operators(model)[-1] == ("Sigmoid" if "binary" in loss else "Softmax")


def test_probabilities_of_a_loss_of_ones_own() -> None:
    class Sharp(gpubp.CrossEntropy):
        def probabilities(self, be: Any, z: Any) -> Any:
            return super().probabilities(be, 2.0 * z)

    net = gpubp.Network(gpubp.MLP([5], 3), inputs=3)
    net.loss = Sharp()
    agree(net, {"probabilities": True}, net.predict_proba)


def test_members_are_picked() -> None:
    net = gpubp.Network(gpubp.MLP([5], 2, norm="batch"), inputs=3, members=3)
    for k in range(3):
        agree(net, {"member": k}, lambda x, k=k: net.predict(x)[k])
    with pytest.raises(gpubp.InputError, match="an ensemble of 3; say which of them: member=0 to"):
        to_onnx(net)


# -- layers of one's own -----------------------------------------------------------------------


@dataclass(frozen=True)
class GLU(gpubp.Layer):
    n_out: int

    def build(self, inputs: Any) -> gpubp.Spec:
        weight = gpubp.Param((*inputs, self.n_out), gpubp.GlorotUniform())
        bias = gpubp.Param((self.n_out,), gpubp.Constant(0.5), kind="bias")
        return gpubp.Spec((self.n_out,), {"W": weight, "b": bias, "V": weight, "x": bias})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        z = be.matmul(x, w.W) + w.b
        s = be.map(sigmoid, be.matmul(x, w.V) + w.x)
        return z * s, (x, z, s)


@dataclass(frozen=True)
class Everything(gpubp.Layer):
    """All that the dialect has, in one forward pass."""

    def build(self, inputs: Any) -> gpubp.Spec:
        n = inputs[0]
        params = {
            "W": gpubp.Param((n, n), gpubp.HeNormal()),
            "b": gpubp.Param((n,), gpubp.Normal()),
        }
        table = {"body": layers.Embedding(7, 2).build((n,))}
        return gpubp.Spec((n + 5 + 2 * n,), params, inputs=inputs, children=table)

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        xp, n = be.xp, x.shape[-1]
        z = be.matmul(x, w.W.mT) + be.matmul(w.b, w.W) ** 2.0
        a = xp.where(x > 0.5, xp.exp(-xp.abs(x)), -x) + xp.astype(x <= z, x.dtype)
        b = xp.max(a, axis=-1, keepdims=True) / xp.sum(1.0 + a * a, axis=-1, keepdims=True)
        c = xp.mean(xp.log1p(xp.maximum(z, 0.0)), axis=-1, keepdims=True)
        some = xp.astype(~((x < 0.1) & (z != 0.2) | (x >= z)), x.dtype)[..., 0 : n - 1]
        flat = be.reshape(be.reshape(x, 1, (n, 1)), 2, (n,)) * be.asarray([0.5] * n)
        which = xp.astype(be.arange(n, "int64") == 1, x.dtype) * xp.floor(3.0 - xp.sqrt(x * x))
        index = xp.minimum(xp.abs(x) * 2.0, 6.0)
        rows, _ = layers.Embedding(7, 2).forward(
            be, w.body, xp.astype(xp.floor(index), x.dtype), run
        )
        whole = xp.floor(x)  # which is often equal to a number
        for truth in (whole <= 0.0, whole >= 0.0, whole < 0.0, whole > 0.0, whole == 0.0):
            flat = flat * 2.0 + xp.astype(truth, x.dtype)
        parts = [flat + which, some, b, c, 1.0 - c, xp.min(z, axis=-1, keepdims=True)]
        parts += [xp.tanh(b), 2.0 / (3.0 + c * c), be.reshape(rows, 2, (2 * n,))]
        return be.concat(parts)[..., 0 : n + 5 + 2 * n], None


def test_a_layer_of_ones_own_is_written_from_its_forward_pass(precision: str) -> None:
    net = away_from_ones(gpubp.Network(GLU(2), inputs=3, dtype=precision))
    assert operators(agree(net)).count("MatMul") == 2
    block = gpubp.Sequential(gpubp.Linear(3), layers.Residual(GLU(3)), gpubp.Linear(2))
    agree(away_from_ones(gpubp.Network(block, inputs=3, dtype=precision)))


@pytest.mark.parametrize("opset", OPSETS)
def test_the_whole_dialect_is_written(precision: str, opset: int) -> None:
    agree(gpubp.Network(Everything(), inputs=4, dtype=precision), {"opset": opset})


def test_a_converter_writes_a_layer_another_way() -> None:
    def convert(graph: Any, layer: GLU, w: Any, x: Any, run: Any) -> Any:
        gate = graph.node("Sigmoid", graph.node("Gemm", x, w.V, graph.vector(w.x)))
        return graph.node("Mul", graph.node("Gemm", x, w.W, graph.vector(w.b)), gate)

    net = gpubp.Network(gpubp.Sequential(GLU(4), GLU(2)), inputs=3)
    model = agree(net, {"converters": {GLU: convert}})
    assert operators(model) == ["Gemm", "Sigmoid", "Gemm", "Mul"] * 2

    def twice(graph: Any, layer: Any, w: Any, x: Any, run: Any) -> Any:
        return graph.apply(
            layer.body, w.body, graph.apply(layer.body, w.body, x, run.body), run.body
        )

    net = gpubp.Network(layers.Tied(gpubp.Linear(3), times=2), inputs=3)
    agree(net, {"converters": {layers.Tied: twice}})


class Branching(GLU):
    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return (x if x[0, 0] > 0 else -x), None


class Counting(GLU):
    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return super().forward(be, w, x * (1 / x.shape[-2]), run)


class Drawing(GLU):
    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return super().forward(be, w, x * run.bits((x.shape[-2], x.shape[-1])), run)


class Numpy(GLU):
    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return super().forward(be, w, np.cbrt(x), run)


class Special(GLU):
    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return super().forward(be, w, be.xp.cumulative_sum(x, axis=-1), run)


@pytest.mark.parametrize("kind", [Branching, Counting, Drawing, Numpy, Special])
def test_a_layer_that_cannot_be_written_is_named(kind: Any) -> None:
    net = gpubp.Network(gpubp.Sequential(gpubp.Linear(3), kind(3)), inputs=3)
    told = rf"{kind.__name__} at '1' cannot be .*give converters=\{{{kind.__name__}: f\}}"
    with pytest.raises(gpubp.InputError, match=told):
        to_onnx(net)
    x = lambda graph, layer, w, x, run: x  # noqa: E731
    to_onnx(net, converters={kind: x})


@pytest.mark.parametrize(
    ("convert", "told"),
    [
        (lambda graph, layer, w, x, run: None, "converter of GLU returned None"),
        (lambda graph, layer, w, x, run: graph.node("Fly", x), "no valid ONNX model"),
        (lambda graph, layer, w, x, run: graph.node("MatMul", x, np.eye(4)), "no valid ONNX model"),
    ],
)
def test_what_a_converter_does_wrong_is_told(convert: Any, told: str, tmp_path: Path) -> None:
    net = gpubp.Network(GLU(3), inputs=3)
    with pytest.raises(gpubp.InputError, match=told):
        to_onnx(net, tmp_path / "net.onnx", converters={GLU: convert})
    assert not list(tmp_path.iterdir())


# -- files and arguments -----------------------------------------------------------------------


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    net = gpubp.Network(gpubp.MLP([5], 2), inputs=3)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    assert to_onnx(net, path) == path.read_bytes()
    require("onnx").checker.check_model(str(path), full_check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(gpubp.InputError, match="no folder"):
        to_onnx(net, tmp_path / "none" / "net.onnx")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"opset": 12}, "opset is 12; this onnx"),
        ({"opset": 10**6}, "opset is 1000000"),
        ({"opset": 17.0}, "opset is 17.0"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": ""}, "batch is ''"),
        ({"batch": None}, "batch is None"),
        ({"batch": True}, "batch is True"),
        ({"probabilities": True}, "has no loss yet"),
        ({"member": 0}, "no ensemble"),
        ({"converters": [GLU]}, "converters is "),
    ],
)
def test_arguments_are_looked_at(how: dict[str, Any], told: str) -> None:
    require("onnx")
    net = gpubp.Network(gpubp.MLP([5], 2), inputs=3)
    with pytest.raises(gpubp.InputError, match=told):
        to_onnx(net, **how)


def test_other_things_than_networks_are_refused() -> None:
    with pytest.raises(gpubp.InputError, match=r"expected a gpubp\.Network"):
        to_onnx(gpubp.MLP([5], 2))  # type: ignore[arg-type]


def test_a_hinge_has_no_probabilities() -> None:
    require("onnx")
    net = gpubp.Network(gpubp.MLP([5], 2), inputs=3)
    net.loss = "multi_class_hinge"  # type: ignore[assignment]
    with pytest.raises(gpubp.InputError, match="has no probabilities"):
        to_onnx(net, probabilities=True)
