"""A network's twin in torch: modules of torch's own, and where it has none, plain ones."""

from __future__ import annotations

from functools import reduce
from operator import add, mul
from typing import Any

from gpubp import layers
from tests import test_activations
from tests.conftest import require


def twin(layer: Any, spec: Any) -> Any:
    """The module of torch's that a layer is, with weights of its own, in inference mode."""
    nn = require("torch").nn
    children = list(spec.children.values())
    match layer:
        case layers.Sequential():
            return nn.Sequential(*map(twin, layer.layers, children))
        case layers.Linear():
            return nn.Linear(*spec.params["W"].shape, bias=layer.b is not None)
        case layers.PReLU():
            return nn.PReLU(*spec.params["a"].shape)
        case layers.BatchNorm():
            return nn.BatchNorm1d(spec.shape[0], layer.eps, layer.momentum, layer.affine)
        case layers.LayerNorm():
            return nn.LayerNorm(spec.shape, layer.eps, layer.affine)
        case layers.RMSNorm():
            return nn.RMSNorm(spec.shape, layer.eps, layer.affine)
        case layers.Activation():
            return _function(test_activations.in_torch(layer.name))
        case layers.Softmax():
            return nn.Softmax(-1)
        case layers.LogSoftmax():
            return nn.LogSoftmax(-1)
        case layers.Flatten():
            return nn.Flatten()
        case layers.Reshape():
            return nn.Unflatten(1, spec.shape)
        case layers.Columns():
            return _function(lambda x: x[:, layer.start : layer.stop])
        case layers.Identity() | layers.Dropout() | layers.GaussianDropout():
            return nn.Identity()
        case layers.GaussianNoise():
            return nn.Identity()
    return _made(nn, layer, spec, children)


def _function(f: Any) -> Any:
    class Function(require("torch").nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return f(x)

    return Function()


def _made(nn: Any, layer: Any, spec: Any, children: list[Any]) -> Any:
    """What torch has no module of; the attributes are what people would write."""
    torch = require("torch")

    class Categories(nn.Embedding):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return super().forward(x.long())

    class Residual(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = twin(layer.body, spec.children["body"])
            self.projection = nn.Identity()
            if layer.projection is True:
                weight = spec.children["projection"].params["W"]
                self.projection = nn.Linear(*weight.shape, bias=False)
            elif layer.projection:
                self.projection = twin(layer.projection, spec.children["projection"])

        def forward(self, x: Any) -> Any:
            return self.projection(x) + self.body(x)

    class Repeated(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = twin(layer.body, spec.children["body"])

        def forward(self, x: Any) -> Any:
            for _ in range(getattr(layer, "times", 1)):
                x = self.body(x)
            return x

    class Joined(nn.ModuleList):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            outputs = [module(x) for module in self]
            if isinstance(layer, layers.Concatenate):
                return torch.cat(outputs, -1)
            return reduce(add if isinstance(layer, layers.Sum) else mul, outputs)

    match layer:
        case layers.Embedding():
            return Categories(layer.n, layer.dim)
        case layers.Residual():
            return Residual()
        case layers.Tied() | layers.Checkpoint():
            return Repeated()
    return Joined(map(twin, layer.layers, children))
