"""A network out of a bare `state_dict()`, where names and shapes tell what it is of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..activations import ACTIVATIONS
from ..backend import Backend, select
from ..errors import InputError, named, shown
from ..layers import (
    Activation,
    BatchNorm,
    Identity,
    Layer,
    LayerNorm,
    Linear,
    PReLU,
    RMSNorm,
    Sequential,
)
from ..network import Network
from .torch_names import COUNTER
from .torch_state import check, from_torch_state, listed, numbers, stripped

_RMS_EPS = {"float32": 2.0**-23, "float64": 2.0**-52}  # what nn.RMSNorm takes where none is given
_RUNNING = {"running_mean", "running_var"}
_LONE = ("rms_norm", "prelu")
_PAIR = ("layer_norm",)
_MOST = 8  # modules without arrays in a row


class _Module(NamedTuple):
    """One module of the state: its place in the `nn.Sequential`, its name and its arrays."""

    place: int
    name: str
    arrays: dict[str, Any]


def network_from_torch_state(
    state: Mapping[str, Any],
    *,
    activation: str,
    output: str = "identity",
    prefix: str = "",
    eps: float | None = None,
    lone_weight: str | None = None,
    weight_and_bias: str | None = None,
    device: str | Backend = "cpu",
    dtype: str | None = None,
    seed: int = 0,
) -> Network:
    """Return the MLP that the `state_dict()` of a flat `nn.Sequential` is of.

    The modules are told by their arrays, such as Linear and BatchNorm1d. Where an index is missing
    stood something without arrays: between two Linear layers the `activation`, whose name a state
    does not tell, and perhaps a Dropout, which does nothing in inference; before the first, a
    Flatten or the like. So `0.weight, 2.weight` has an activation at 1, and `0.weight, 1.weight`
    has none. Modules called `fc1`, `fc2`, ... count as Linear layers with an activation between
    each two. Behind the last layer comes `output`. A layer keeps its index, so that
    `to_torch_state` gives the names that were there, without the prefix; where they were `fc1`,
    `fc2`, ..., or those of a module by itself, it gives the names of an `nn.Sequential`.

    `eps` is that of the normalisations, by default torch's. A module with nothing but a vector
    `weight` is, as `lone_weight` says, `"rms_norm"` or `"prelu"`. One with a vector `bias` as well
    may be a LayerNorm, and `weight_and_bias="layer_norm"` says that it is: GroupNorm, and
    BatchNorm1d without running statistics, have the same arrays. The `dtype` is float64 where an
    array is, else float32. `prefix` is cut off the names, see `from_torch_state`.

    Raises `InputError` where the structure cannot be told for certain, such as for a gap on both
    sides of a normalisation: build that one yourself and call `from_torch_state`.

    >>> import gpubp
    >>> from gpubp.interchange import to_torch_state
    >>> net = gpubp.Network(gpubp.MLP([4], 2, "tanh", norm="layer"), inputs=3)
    >>> state = to_torch_state(net)
    >>> same = network_from_torch_state(state, activation="tanh", weight_and_bias="layer_norm")
    >>> [type(layer).__name__ for layer in same.layer.layers]
    ['Linear', 'LayerNorm', 'Activation', 'Linear']
    >>> bool((same.predict([[1.0, 2.0, 3.0]]) == net.predict([[1.0, 2.0, 3.0]])).all())
    True
    """
    for name in (activation, output):
        named("activation", name, ACTIVATIONS)
    if lone_weight not in (None, *_LONE):
        raise InputError(f"lone_weight is {lone_weight!r}; expected 'rms_norm' or 'prelu'")
    if weight_and_bias not in (None, *_PAIR):
        raise InputError(f"weight_and_bias is {weight_and_bias!r}; expected 'layer_norm'")
    given, others = stripped(state, prefix)
    if others:
        raise InputError(f"the names {listed(others)} do not begin with the prefix {prefix!r}")
    be = select(device, dtype)
    arrays = {name: numbers(be, value, name) for name, value in given.items()}
    if dtype is None and any(array.dtype == np.float64 for array in arrays.values()):
        be = select(device, None if isinstance(device, Backend) else "float64")
    for name, array in arrays.items():
        check(be, array, name, counter=name.endswith(COUNTER))
    modules = _modules(arrays)
    told = lone_weight, weight_and_bias
    made = [_layer(module, eps, be.precision, *told) for module in modules]
    width = _chain(modules, made)
    layers = _with_gaps(modules, made, activation)
    layers += [Activation(output)] * (output != "identity")
    net = Network(Sequential(*layers), width, device=be, seed=seed)
    from_torch_state(net, {f"{m.place}.{n}": a for m in modules for n, a in m.arrays.items()})
    return net


_NAME = re.compile(
    r"(?P<stem>(?:.*[^0-9])?)(?P<number>0|[1-9][0-9]{0,5})\.(?P<array>[a-z_]+)", re.DOTALL
)
_REMEDY = "build the network yourself and call from_torch_state"


def _modules(arrays: Mapping[str, Any]) -> list[_Module]:
    """The arrays by module, in the order of their numbers."""
    if arrays and not any("." in name for name in arrays):  # one module by itself
        return [_Module(0, "the module", dict(arrays))]
    found: dict[int, dict[str, Any]] = {}
    stems = set()
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"{shown(name)} is no name such as '0.weight' or 'fc1.bias'; {_REMEDY}"
            )
        stems.add(match["stem"])
        found.setdefault(int(match["number"]), {})[match["array"]] = array
    if len(stems) != 1:
        raise InputError(
            f"the modules have the names {listed(sorted(arrays))}, of {len(stems)} groups; which "
            f"of them follow each other they do not tell: {_REMEDY}"
            if stems else "the state holds no arrays; expected names such as '0.weight'"
        )  # fmt: skip
    stem = stems.pop()
    numbered = [_Module(n, f"{stem}{n}", found[n]) for n in sorted(found)]
    if not stem or stem.endswith("."):
        return numbered
    # fc1, fc2, ...: in such a module it is its forward that applies the activations
    for module in numbered:
        if np.ndim(module.arrays.get("weight", 0)) != 2:
            raise InputError(f"{module.name} is no Linear layer; {_REMEDY}")
    return [module._replace(place=2 * i) for i, module in enumerate(numbered)]


def _layer(
    module: _Module, eps: float | None, precision: str, lone: str | None, pair: str | None
) -> Layer:
    arrays = {name: a for name, a in module.arrays.items() if name != COUNTER}
    names, ranks = arrays.keys(), {name: np.ndim(a) for name, a in arrays.items()}
    weight: Any = arrays.get("weight")
    if names in ({"weight"}, {"weight", "bias"}) and ranks["weight"] == 2:
        return Linear(weight.shape[0], b="zeros" if "bias" in names else None)
    if set(ranks.values()) == {1}:
        usual = 1e-5 if eps is None else eps
        if names in (_RUNNING, {"weight", "bias", *_RUNNING}):
            return BatchNorm(eps=usual, affine=weight is not None)
        if names == {"weight", "bias"}:
            return _pair(module, weight, usual, pair)
        if names == {"weight"}:
            return _lone(module, weight, _RMS_EPS[precision] if eps is None else eps, lone)
    shapes = ", ".join(f"{name} {np.shape(a)}" for name, a in arrays.items())
    raise InputError(
        f"{module.name} holds {shapes}; that is neither Linear, nor BatchNorm1d, LayerNorm, "
        f"RMSNorm or PReLU: {_REMEDY}"
    )


def _lone(module: _Module, weight: Any, eps: float, lone: str | None) -> Layer:
    if lone is None and len(weight) > 1:
        raise InputError(
            f"{module.name} holds a weight of shape {weight.shape} alone, which RMSNorm has and "
            "PReLU, too: say which by lone_weight='rms_norm' or 'prelu'"
        )
    return RMSNorm(eps=eps) if lone == "rms_norm" else PReLU(shared=len(weight) == 1)


def _pair(module: _Module, weight: Any, eps: float, pair: str | None) -> Layer:
    if pair is None:
        raise InputError(
            f"{module.name} holds a weight and a bias of shape {weight.shape}, which LayerNorm "
            "has, and GroupNorm and a BatchNorm1d without running statistics, too: if it is a "
            f"LayerNorm, say so by weight_and_bias='layer_norm'; else {_REMEDY}"
        )
    return LayerNorm(eps=eps)


def _chain(modules: Sequence[_Module], layers: Sequence[Layer]) -> int:
    """How many features go in; `InputError` where a module does not take what comes."""
    first = width = 0
    for module, layer in zip(modules, layers, strict=True):
        if isinstance(layer, PReLU) and layer.shared:
            continue
        given = next(a for name, a in module.arrays.items() if name != COUNTER)
        takes = module.arrays["weight"].shape[1] if isinstance(layer, Linear) else len(given)
        if width and takes != width:
            raise InputError(
                f"{module.name} takes {takes} numbers and gets {width} from the module before "
                f"it: they do not follow each other; {_REMEDY}"
            )
        width = layer.n_out if isinstance(layer, Linear) else takes
        first = first or takes
    if not any(isinstance(layer, Linear) for layer in layers) or not first:
        raise InputError(f"the state holds no Linear layer; {_REMEDY}")
    return first


def _with_gaps(modules: Sequence[_Module], layers: Sequence[Layer], activation: str) -> list[Layer]:
    """The layers at their indices, with what stood at those that are missing."""
    linear = [i for i, layer in enumerate(layers) if isinstance(layer, Linear)]
    placed: list[Layer] = []
    begun = False  # whether an activation is there since the last Linear
    for i, (module, layer) in enumerate(zip(modules, layers, strict=True)):
        gap = module.place - len(placed)
        if gap > _MOST:
            raise InputError(f"there is nothing at {gap} indices before {module.name}; {_REMEDY}")
        if gap and i:
            if begun or not linear[0] < i <= linear[-1]:
                raise InputError(
                    f"before {module.name} an index is missing, and whether an activation or a "
                    f"Dropout was there the state does not tell; {_REMEDY}"
                )
            placed.append(Activation(activation))
            begun, gap = True, gap - 1
        placed += [Identity()] * gap
        placed.append(layer)
        begun = not isinstance(layer, Linear) and (begun or isinstance(layer, PReLU))
    return placed
