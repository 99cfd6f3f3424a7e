"""A network as an ONNX model, for every runtime that reads them."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError, whole
from ..files import write_atomically
from ..layers import Layer
from ..network import Network
from ..run import Pass, Run
from ..storage import Spec, Views
from ..version import __version__
from . import tree
from .members import member_of
from .onnx_graph import Converter, Graph, Rows, Tensor
from .onnx_layers import CONVERTERS, probabilities, traced

_OLDEST, _MOST = 13, 2**31 - 2**20  # bytes: protobuf holds no message of 2 GB


def to_onnx(
    net: Network,
    path: str | os.PathLike[str] | None = None,
    *,
    probabilities: bool = False,
    member: int | None = None,
    batch: str | int = "batch",
    opset: int = 17,
    converters: Mapping[type[Layer], Callable[..., Any]] | None = None,
) -> bytes:
    """Return the network in inference mode as an ONNX model; with a `path`, write it there, too.

    The input is `x` `(batch, *inputs)` and the output `y`, what `predict` returns, or with
    `probabilities=True` `probabilities`, what `predict_proba` returns; both in the network's
    dtype. `batch` is the name of the open dimension, or a number that fixes it. Of an ensemble
    `member=k` picks one. Dropout and noise are not there; running statistics are constants.

    `x` are features as the network computes with them: where `net.preprocessing` encodes a table,
    give the encoded features. What is no category of an `Embedding` is not told as an error here.
    The model's metadata hold gpubp's version and, if they are known, the names of the `classes`.

    `opset` is the version of ONNX's operators, from 13 on; 17 is read by onnxruntime since 1.12.
    A layer of your own is written from its forward pass, as long as that keeps to the dialect of
    `gpubp.layers.base`; `converters={MyLayer: f}` writes it, or one of gpubp's, another way:
    `f(graph, layer, w, x, run) -> y` calls `graph.node("Relu", x)` for each operator, has the
    layer's arrays in `w`, and `graph.apply(layer.body, w.body, x, run.body)` for a layer inside.

    Needs onnx (`pip install 'gpubp[onnx]'`). Raises `InputError` for a layer that cannot be
    written, an ensemble without `member`, a network without probabilities, a model above 2 GB, and
    a path that cannot be written.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    >>> model = to_onnx(net, "net.onnx", opset=20)  # doctest: +SKIP
    >>> to_onnx(gpubp.Network(gpubp.MLP([4], 2), inputs=3, members=5))
    Traceback (most recent call last):
    gpubp.errors.InputError: the network is an ensemble of 5; say which of them: member=0 to 4
    """
    _check_arguments(net, probabilities, batch, converters)
    k = member_of(net, member)
    onnx = _library(opset)
    own = {p: net.be.to_numpy(array) for p, array in net.state_dict().items()}
    arrays = own if k is None else {p: array[k] for p, array in own.items()}
    if sum(array.nbytes for array in arrays.values()) > _MOST:
        raise InputError("the network has more than 2 GB of weights, which no ONNX file holds")
    graph = Graph(net.be.precision, opset, arrays, _finder(converters or {}))
    output = _write(graph, net, probabilities)
    data = _model(onnx, graph, net, output, batch)
    if path is not None:
        write_atomically(path, data)
    return data


def _check_arguments(net: Any, wanted: bool, batch: Any, converters: Any) -> None:
    if not isinstance(net, Network):
        raise InputError(f"the first argument is {net!r}; expected a gpubp.Network")
    if wanted and net.loss is None:
        remedy = "call fit, or set net.loss, which says what its outputs mean"
        raise InputError(f"probabilities: {net.lacks_loss(remedy)}")
    named = isinstance(batch, str) and batch
    if not named and not (whole(batch) and batch > 0):
        raise InputError(
            f"batch is {batch!r}; expected the name of the open dimension or a number of rows"
        )
    if converters is not None and not isinstance(converters, Mapping):
        raise InputError(f"converters is {converters!r}; expected functions by layer class")


def _library(opset: Any) -> Any:
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise InputError("ONNX files need onnx: pip install 'gpubp[onnx]'") from error
    newest = onnx.defs.onnx_opset_version()
    if not whole(opset) or not _OLDEST <= opset <= newest:
        raise InputError(
            f"opset is {opset!r}; this onnx ({onnx.__version__}) writes {_OLDEST} to {newest}"
        )
    return onnx


def _finder(converters: Mapping[type[Layer], Converter]) -> Callable[[Layer], Converter]:
    def find(layer: Layer) -> Converter:
        for kind in type(layer).__mro__:
            if kind in converters:
                return converters[kind]
        known = tree.known(layer, CONVERTERS)
        return traced if known is None else CONVERTERS[known]

    return find


def _write(graph: Graph, net: Network, wanted: bool) -> Tensor:
    """Write the whole network; returns its output, under the name that it has outside."""
    views = _views(graph, net.spec, "params", "")
    shared = Pass(None, None)  # type: ignore[arg-type]
    run = Run(shared, "", _views(graph, net.spec, "state", ""), net.spec)
    x = Tensor(graph, "x", graph.float, (Rows(), *net.inputs))
    y = graph.apply(net.layer, views, x, run)
    if wanted:
        assert net.loss is not None
        y = probabilities(graph, net.loss, y)
    name = "probabilities" if wanted else "y"
    graph.end(y, name)
    return Tensor(graph, name, graph.float, (Rows(), *net.spec.shape))


def _views(graph: Graph, spec: Spec, kind: str, path: str) -> Views:
    arrays = {name: graph.array(path + name, row=True) for name in getattr(spec, kind)}
    children = {
        name: _views(graph, child, kind, f"{path}{name}.") for name, child in spec.children.items()
    }
    return Views(arrays, children)


def _model(onnx: Any, graph: Graph, net: Network, output: Tensor, batch: str | int) -> bytes:
    helper = onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(graph.float))
    ends = [
        helper.make_tensor_value_info(name, kind, [batch, *shape])
        for name, shape in (("x", net.inputs), (output.name, net.spec.shape))
    ]
    arrays = [onnx.numpy_helper.from_array(a, name) for name, a in graph.initialisers.items()]
    opsets = [helper.make_opsetid("", graph.opset)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "gpubp", ends[:1], ends[1:], arrays),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="gpubp",
        producer_version=__version__,
    )
    if net.classes is not None:
        helper.set_model_props(model, {"classes": json.dumps([str(name) for name in net.classes])})
    try:
        onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # of several libraries, and of what a converter wrote
        raise InputError(f"what was written is no valid ONNX model: {error}") from error
    return data
