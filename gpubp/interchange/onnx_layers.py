"""How each layer is written in ONNX, in inference: dropout and noise are not there.

Where an operator of ONNX is the layer it is taken. In float64 those are left out which
onnxruntime 1.32 has no kernel for (Elu, Selu, Celu, Erf, PRelu, Softplus, Softsign, HardSigmoid),
or whose attributes are of single precision (the epsilon of normalisations, slopes): there the
layer is written as gpubp computes it.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from ..errors import InputError
from ..layers import (
    Activation,
    BatchNorm,
    Checkpoint,
    Columns,
    Concatenate,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    Identity,
    Layer,
    LayerNorm,
    Linear,
    LogSoftmax,
    Multiply,
    PReLU,
    Reshape,
    Residual,
    RMSNorm,
    Sequential,
    Softmax,
    Sum,
    Tied,
)
from ..losses import Loss
from ..losses.entropies import Softmax as SoftmaxLoss
from ..losses.logistic import Logistic
from ..run import Run
from ..storage import Views
from . import onnx_trace
from .onnx_activations import activation
from .onnx_backend import Tracing
from .onnx_graph import Converter, Graph, Tensor


def traced(graph: Graph, layer: Layer, w: Views, x: Tensor, run: Run) -> Tensor:
    """Write a layer by running its forward pass on a backend that writes nodes."""
    be: Any = Tracing(graph)
    try:
        y, _ = layer.forward(be, w, x, run)
    except InputError:
        raise
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        kind = type(layer).__name__
        raise InputError(
            f"{kind} at {run.path or 'the root'!r} cannot be written in ONNX as it stands: "
            f"{error}; give converters={{{kind}: f}} with f(graph, layer, w, x, run) -> y, which "
            "writes it by graph.node('MatMul', x, w.W) and the like"
        ) from error
    return y  # type: ignore[no-any-return]


def _linear(graph: Graph, layer: Linear, w: Views, x: Tensor, run: Run) -> Tensor:
    if layer.b is None:
        return graph.node("MatMul", x, w.W)
    return graph.node("Gemm", x, w.W, graph.vector(w.b))


def _embedding(graph: Graph, layer: Embedding, w: Views, x: Tensor, run: Run) -> Tensor:
    return graph.node("Gather", w.W, onnx_trace.astype(x, "int64"), axis=0)


def _prelu(graph: Graph, layer: PReLU, w: Views, x: Tensor, run: Run) -> Tensor:
    if graph.float != "float32":
        return traced(graph, layer, w, x, run)
    return graph.node("PRelu", x, graph.vector(w.a))


def _batch_norm(graph: Graph, layer: BatchNorm, w: Views, x: Tensor, run: Run) -> Tensor:
    if graph.float != "float32":
        return traced(graph, layer, w, x, run)
    mean, variance = graph.vector(run.state.mean), graph.vector(run.state.variance)
    n = run.spec.shape[0]
    gain = graph.vector(w.gain) if layer.affine else graph.constant([1.0] * n)
    shift = graph.vector(w.shift) if layer.affine else graph.constant([0.0] * n)
    return graph.node("BatchNormalization", x, gain, shift, mean, variance, epsilon=layer.eps)


def _layer_norm(graph: Graph, layer: LayerNorm, w: Views, x: Tensor, run: Run) -> Tensor:
    if graph.float != "float32" or graph.opset < 17:
        return traced(graph, layer, w, x, run)
    gain = graph.vector(w.gain) if layer.affine else graph.constant([1.0] * run.spec.shape[0])
    more = [graph.vector(w.shift)] if layer.affine else []
    return graph.node("LayerNormalization", x, gain, *more, axis=-1, epsilon=layer.eps)


def _columns(graph: Graph, layer: Columns, w: Views, x: Tensor, run: Run) -> Tensor:
    return onnx_trace.columns(x, layer.start, layer.stop)


def _flatten(graph: Graph, layer: Flatten, w: Views, x: Tensor, run: Run) -> Tensor:
    return graph.node("Flatten", x, axis=1)


def _same(graph: Graph, layer: Layer, w: Views, x: Tensor, run: Run) -> Tensor:
    return x


def _last_axis(op: str) -> Converter:
    return lambda graph, layer, w, x, run: graph.node(op, x, axis=-1)


def _activation(graph: Graph, layer: Activation, w: Views, x: Tensor, run: Run) -> Tensor:
    return x if layer.name == "identity" else activation(graph, layer.name, x)


def _sequential(graph: Graph, layer: Sequential, w: Views, x: Tensor, run: Run) -> Tensor:
    for child, inner, place in zip(layer.layers, w.children, run.children, strict=True):
        x = graph.apply(child, inner, x, place)
    return x


def _residual(graph: Graph, layer: Residual, w: Views, x: Tensor, run: Run) -> Tensor:
    y = graph.apply(layer.body, w.body, x, run.body)
    around = x
    if layer.projection:
        shape = run.projection.spec.shape
        plain = Linear(shape[0], b=None) if layer.projection is True else layer.projection
        around = graph.apply(plain, w.projection, x, run.projection)
    return graph.node("Add", around, y)


def _tied(graph: Graph, layer: Tied, w: Views, x: Tensor, run: Run) -> Tensor:
    for _ in range(layer.times):
        x = graph.apply(layer.body, w.body, x, run.body)
    return x


def _checkpoint(graph: Graph, layer: Checkpoint, w: Views, x: Tensor, run: Run) -> Tensor:
    return graph.apply(layer.body, w.body, x, run.body)


def _branches(op: str) -> Converter:
    def convert(graph: Graph, layer: Any, w: Views, x: Tensor, run: Run) -> Tensor:
        outputs = [
            graph.apply(child, inner, x, place)
            for child, inner, place in zip(layer.layers, w.children, run.children, strict=True)
        ]
        if op == "Concat" and len(outputs) > 1:
            return graph.node(op, *outputs, axis=-1)
        return reduce(lambda a, b: graph.node(op, a, b), outputs)

    return convert


CONVERTERS: dict[type[Layer], Converter] = {
    Activation: _activation,
    BatchNorm: _batch_norm,
    Checkpoint: _checkpoint,
    Columns: _columns,
    Concatenate: _branches("Concat"),
    Dropout: _same,
    Embedding: _embedding,
    Flatten: _flatten,
    GaussianDropout: _same,
    GaussianNoise: _same,
    Identity: _same,
    LayerNorm: _layer_norm,
    Linear: _linear,
    LogSoftmax: _last_axis("LogSoftmax"),
    Multiply: _branches("Mul"),
    PReLU: _prelu,
    RMSNorm: traced,
    Reshape: traced,
    Residual: _residual,
    Sequential: _sequential,
    Softmax: _last_axis("Softmax"),
    Sum: _branches("Add"),
    Tied: _tied,
}
"""How each of gpubp's own layers is written."""


def probabilities(graph: Graph, loss: Loss, z: Tensor) -> Tensor:
    """Write what a loss makes of raw outputs: `net.predict_proba`."""
    found = type(loss).probabilities
    if found is SoftmaxLoss.probabilities:
        return graph.node("Softmax", z, axis=-1)
    if found is Logistic.probabilities:
        return graph.node("Sigmoid", z)
    be: Any = Tracing(graph)
    p: Tensor = loss.probabilities(be, z)
    return p
