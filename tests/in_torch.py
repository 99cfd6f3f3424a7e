"""Every layer in torch's own operations, read off its description; autograd does the rest.

Nothing of gpubp computes here but what draws: the masks and the noise of a layer are what it
makes of ones and of zeros, so that both sides have the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add, mul
from typing import Any

import numpy as np

import gpubp
from gpubp import layers
from gpubp.arrays import Arrays
from gpubp.run import Pass, Run
from gpubp.seeds import keys
from tests import test_activations
from tests.conftest import require


class InTorch:
    """One network with the weights, the running state and the random streams of another.

    `w` and `state` hold torch's tensors by path; `forward` is the function, of which torch finds
    the gradients. `seed` is that of the network, or of the member, that is followed.
    """

    def __init__(self, layer: gpubp.Layer, inputs: Any, state: dict[str, Any], seed: int) -> None:
        self.torch, self.layer = require("torch"), layer
        self.be, spec = gpubp.select("cpu", "float64"), layer.build(inputs)
        arrays = Arrays(self.be, spec, [seed], ())
        self._pass = Pass(self.be, self.be.asarray(keys([seed], ()), "uint32"))
        self._run = Run(self._pass, "", arrays.state, spec)
        tensors = {path: self.torch.tensor(np.array(array)) for path, array in state.items()}
        self.w = {p: tensors[p].requires_grad_() for p in arrays.params.places}
        self.state = {path: tensors[path] for path in tensors.keys() - self.w.keys()}

    def forward(self, x: Any, step: int, training: bool) -> Any:
        """The raw output; `step` counts the updates that were made, for the random streams."""
        self._pass.step, self._pass.training = step, training
        return self.apply(self.layer, x, self._run)

    def apply(self, layer: gpubp.Layer, x: Any, run: Run) -> Any:
        """The output of a layer at the place in the tree that `run` stands for."""
        kind = next(kind for kind in type(layer).__mro__ if kind in RULES)
        return RULES[kind](self, layer, x, run)

    def named(self, run: Run, name: str) -> Any:
        """The parameter of a layer, or None if it has none of the name."""
        return self.w.get(_path(run, name))

    def children(self, layer: Any, x: Any, run: Run) -> list[Any]:
        """What each of several layers makes of the same input."""
        pairs = zip(layer.layers, run.children, strict=True)
        return [self.apply(child, x, inner) for child, inner in pairs]

    def drawn(self, layer: gpubp.Layer, fill: float, x: Any, run: Run) -> Any:
        """What a layer that draws makes of an input that is `fill` everywhere."""
        plain = np.full(tuple(x.shape), fill)
        return self.torch.tensor(layer.forward(self.be, None, plain, run)[0])  # type: ignore[arg-type]


def _path(run: Run, name: str) -> str:
    return f"{run.path}.{name}" if run.path else name


def _linear(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    return net.torch.nn.functional.linear(x, net.named(run, "W").mT, net.named(run, "b"))


def _embedding(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    return net.torch.nn.functional.embedding(x.long(), net.named(run, "W"))


def _prelu(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    return net.torch.nn.functional.prelu(x, net.named(run, "a"))


def _batch_norm(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    mean, variance = (net.state[_path(run, name)].clone() for name in ("mean", "variance"))
    affine = net.named(run, "gain"), net.named(run, "shift")
    y = net.torch.nn.functional.batch_norm(
        x, mean, variance, *affine, run.training, layer.momentum, layer.eps
    )
    net.state |= {_path(run, "mean"): mean, _path(run, "variance"): variance}
    return y


def _layer_norm(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    affine = net.named(run, "gain"), net.named(run, "shift")
    return net.torch.nn.functional.layer_norm(x, x.shape[-1:], *affine, layer.eps)


def _rms_norm(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    return net.torch.nn.functional.rms_norm(x, x.shape[-1:], net.named(run, "gain"), layer.eps)


def _noise(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    return x + net.drawn(layer, 0.0, x, run)


def _mask(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    return x * net.drawn(layer, 1.0, x, run)


def _sequential(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    for child, inner in zip(layer.layers, run.children, strict=True):
        x = net.apply(child, x, inner)
    return x


def _residual(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    y = net.apply(layer.body, x, run.body)
    if layer.projection is True:
        return y + x @ net.named(run, "projection.W")
    return y + (net.apply(layer.projection, x, run.projection) if layer.projection else x)


def _tied(net: InTorch, layer: Any, x: Any, run: Run) -> Any:
    for use in range(layer.times):
        x = net.apply(layer.body, x, run.body.use(use) if layer.own_streams else run.body)
    return x


Rule = Callable[[InTorch, Any, Any, Run], Any]
RULES: dict[type, Rule] = {
    layers.Linear: _linear,
    layers.Embedding: _embedding,
    layers.PReLU: _prelu,
    layers.BatchNorm: _batch_norm,
    layers.LayerNorm: _layer_norm,
    layers.RMSNorm: _rms_norm,
    layers.GaussianNoise: _noise,
    layers.GaussianDropout: _mask,
    layers.Dropout: _mask,
    layers.Sequential: _sequential,
    layers.Residual: _residual,
    layers.Tied: _tied,
    layers.Activation: lambda net, layer, x, run: test_activations.in_torch(layer.name)(x),
    layers.Softmax: lambda net, layer, x, run: x.softmax(-1),
    layers.LogSoftmax: lambda net, layer, x, run: x.log_softmax(-1),
    layers.Identity: lambda net, layer, x, run: x,
    layers.Columns: lambda net, layer, x, run: x[:, layer.start : layer.stop],
    layers.Flatten: lambda net, layer, x, run: x.flatten(1),
    layers.Reshape: lambda net, layer, x, run: x.reshape(len(x), *layer.shape),
    layers.Checkpoint: lambda net, layer, x, run: net.apply(layer.body, x, run.body),
    layers.Sum: lambda net, layer, x, run: reduce(add, net.children(layer, x, run)),
    layers.Multiply: lambda net, layer, x, run: reduce(mul, net.children(layer, x, run)),
    layers.Concatenate: lambda net, layer, x, run: net.torch.cat(net.children(layer, x, run), -1),
}
"""How torch computes each kind of layer."""
