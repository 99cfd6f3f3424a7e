"""First weights from data: each layer's outputs are brought to unit variance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import inputs, seeds
from .backend import Array
from .bound import Bound
from .diagnosis import instrument
from .errors import InputError, real, whole
from .initializers import Orthogonal
from .layers import Layer
from .storage import Spec


def lsuv(
    net: Bound,
    x: Any,
    *,
    orthogonal: bool = True,
    tolerance: float = 0.05,
    passes: int = 10,
) -> dict[str, Any]:
    """Begin with orthogonal matrices, scaled until every layer's output has unit variance on `x`.

    Layer-sequential unit-variance initialisation (Mishkin and Matas, 2016). `x` `(n, features)` is
    a batch of examples, a few hundred. With `orthogonal=False` the weights as they are get scaled.
    A pass scales each matrix in turn; passes end when all standard deviations are within
    `tolerance` of 1, or after `passes`. Returns them by the path of the matrix; a list of one for
    each member in an ensemble. Biases, embeddings, what is frozen, and layers without a matrix W
    are left alone. Raises
    `InputError` where a layer puts out the same number everywhere; nothing is changed then.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(gpubp.MLP([32] * 20, 2, activation="tanh"), inputs=8)
    >>> deviations = gpubp.lsuv(net, np.random.default_rng(0).normal(size=(200, 8)))
    >>> all(abs(d - 1) < 0.05 for d in deviations.values())
    True
    """
    if not whole(passes) or passes < 1 or not 0 < real(tolerance) < 1:
        raise InputError(f"lsuv: passes is {passes!r} and tolerance {tolerance!r}; "
                         "expected at least 1, and a number between 0 and 1")  # fmt: skip
    be, layout = net.be, net.arrays.params
    matrices = [p for p in layout.places if p.split(".")[-1] == "W" and _is_matrix(net, p)]
    paths = [p for p in matrices if p not in net.frozen and p not in _tables(net.spec)]
    with be.activate():
        batch = be.asarray(inputs.features(be, x, net.inputs, "x", net.spec.categories))
        inputs.finite(be, batch, "x")
        before = be.xp.asarray(net.theta, copy=True)
        try:
            if orthogonal:
                for path in paths:
                    _make_orthogonal(net, path)
            for _ in range(passes):
                found = _pass(net, batch, paths)
                if all(abs(d - 1.0) <= tolerance for each in found.values() for d in each.flat):
                    break
        except BaseException:
            be.write(net.theta, before)
            raise
    return {path: d.tolist() for path, d in found.items()}


def _is_matrix(net: Bound, path: str) -> bool:
    return len(net.arrays.params.places[path].param.shape) == 2


def _tables(spec: Spec, path: str = "") -> set[str]:
    """The paths of matrices that are looked up, as an Embedding's, and multiply nothing."""
    own = {f"{path}W"} if spec.categories and spec.params else set()
    return own.union(*(_tables(child, f"{path}{name}.") for name, child in spec.children.items()))


def _make_orthogonal(net: Bound, path: str) -> None:
    shape = net.arrays.params.places[path].param.shape
    drawn = [Orthogonal()(seeds.generator(seed, path), shape) for seed in net.seeds]
    w = net.parameter(path)
    net.be.write(w, net.be.asarray(np.stack(drawn).reshape(tuple(w.shape))))


def _pass(net: Bound, batch: Array, paths: list[str]) -> dict[str, Any]:
    """Scale every matrix once, in the order in which layers are met; return what was found."""
    be, xp = net.be, net.be.xp
    found: dict[str, Any] = {}

    def report(way: str, path: str, layer: Layer, given: Array, result: Array) -> Array:
        name = f"{path}.W" if path else "W"
        if name not in paths or name in found:
            return result
        centred = result - xp.mean(result, axis=(-2, -1), keepdims=True)
        deviation = xp.sqrt(xp.mean(centred * centred, axis=(-2, -1), keepdims=True))
        found[name] = be.to_numpy(deviation)[..., 0, 0]
        if not all(math.isfinite(d) and d > 0 for d in found[name].flat):
            where = f"layer {path!r} ({type(layer).__name__})"
            raise InputError(f"lsuv: the outputs of {where} have standard deviation "
                             f"{found[name]} on x: scale x, or take other weights")  # fmt: skip
        w = net.parameter(name)
        be.write(w, w / deviation)
        return result / deviation  # as it is without a bias; otherwise the next pass sees it

    net.infer(instrument(net.layer, report), batch)
    return found
