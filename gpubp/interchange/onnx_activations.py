"""How each activation is written in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..activations import ACTIVATIONS
from . import onnx_trace
from .onnx_graph import Graph, Tensor


def activation(graph: Graph, name: str, x: Tensor) -> Tensor:
    """Write an activation of gpubp's by its name."""
    if name in _EVERYWHERE:
        return graph.node(_EVERYWHERE[name], x, shape=x.shape)
    if graph.float == "float32":
        if name in _SINGLE:
            op, attributes = _SINGLE[name]
            return graph.node(op, x, shape=x.shape, **attributes)
        if name in _LATER and graph.opset >= _LATER[name][1]:
            op, _, attributes = _LATER[name]
            return graph.node(op, x, shape=x.shape, **attributes)
        if name in _COMPOSED:
            return _COMPOSED[name](graph, x)
    y: Tensor = ACTIVATIONS[name].f(onnx_trace.namespace(graph.float), x)
    return y


_EVERYWHERE = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
_SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {}),
    "celu": ("Celu", {}),
    "selu": ("Selu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
}
_LATER: dict[str, tuple[str, int, dict[str, Any]]] = {
    "hard_swish": ("HardSwish", 14, {}),
    "mish": ("Mish", 18, {}),
    "gelu": ("Gelu", 20, {}),
    "gelu_tanh": ("Gelu", 20, {"approximate": "tanh"}),
}
"""The operators that came with a later opset, and with which."""


def _gate(gate: Callable[[Graph, Tensor], Tensor]) -> Callable[[Graph, Tensor], Tensor]:
    return lambda graph, x: graph.node("Mul", x, gate(graph, x), shape=x.shape)


def _normal_cdf(graph: Graph, x: Tensor) -> Tensor:
    # twice the chance, the form that runtimes recognise
    erf = graph.node("Erf", graph.node("Div", x, math.sqrt(2.0)))
    return graph.node("Mul", graph.node("Add", erf, 1.0), 0.5)


_COMPOSED: dict[str, Callable[[Graph, Tensor], Tensor]] = {
    "silu": _gate(lambda graph, x: graph.node("Sigmoid", x)),
    "mish": _gate(lambda graph, x: graph.node("Tanh", graph.node("Softplus", x))),
    "gelu": _gate(_normal_cdf),
}
