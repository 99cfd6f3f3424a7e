"""Arrays of other libraries: taken without a copy where they are, refused where they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import inputs
from gpubp.backends.cuda import CudaBackend
from tests import foreign_arrays
from tests.conftest import require, rng
from tests.foreign_arrays import CUDA, HOST, ByDLPack, ByInterface, Frame

X = rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 2


@pytest.fixture
def waited(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return foreign_arrays.install(monkeypatch, stand_in)


def network(be: Any = None) -> gpubp.Network:
    net = gpubp.Network(gpubp.MLP([4], 2), 3, device=CudaBackend(0) if be is None else be)
    net.loss = gpubp.CrossEntropy()
    return net


def place(x: Any) -> int:
    return int(x.values.__array_interface__["data"][0])


# -- in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_an_array_with_the_interface_is_used_where_it_is(waited: list[int], version: int) -> None:
    net, given = network(), ByInterface(X.copy(), version=version)
    taken = inputs.features(net.be, given, (3,))
    assert place(taken) == place(given)
    assert np.array_equal(net.be.to_numpy(net.predict(given)), network("cpu").predict(X))


def test_a_column_of_a_matrix_keeps_its_strides(waited: list[int]) -> None:
    be, column = CudaBackend(0), ByInterface(X[:, 1:2])
    assert np.array_equal(be.to_numpy(be.asarray(column)), X[:, 1:2])


@pytest.mark.parametrize(("stream", "expected"), [(None, []), (1, [1]), (7, [7])])
def test_the_stream_of_an_interface_is_waited_for(
    waited: list[int], stream: Any, expected: list[int]
) -> None:
    CudaBackend(0).asarray(ByInterface(X, stream=stream))
    assert waited == expected


def test_a_tensor_is_asked_for_on_the_current_stream(stand_in: Any, waited: list[int]) -> None:
    be, given = CudaBackend(0), ByDLPack(X)
    assert place(be.asarray(given)) == place(given)
    with stand_in.cuda.Stream(non_blocking=True) as stream:
        be.asarray(given)
    assert given.streams == [1, stream.ptr]  # DLPack's 1 is the default stream


def test_another_dtype_is_converted_on_the_device(waited: list[int]) -> None:
    be = CudaBackend(0)
    for kind in (ByDLPack, ByInterface):
        taken = be.asarray(kind(X.astype(np.float64)))
        assert np.array_equal(be.to_numpy(taken), X)


def test_a_frame_makes_its_own_matrix(stand_in: Any, waited: list[int]) -> None:
    net = network()
    expected = net.predict(X)
    assert np.array_equal(net.be.to_numpy(net.predict(Frame(stand_in, X))), expected)
    with pytest.raises(gpubp.DeviceError, match=r"Column must have no nulls.*without nulls"):
        net.predict(Frame(stand_in, X, nulls=True))


def test_a_column_with_nulls_is_refused_by_name(waited: list[int]) -> None:
    column = ByInterface(Y, mask=ByInterface(np.ones(12, bool)))
    with pytest.raises(gpubp.InputError, match=r"^y has nulls; fill them first, as with y\.fillna"):
        network().fit(X, column)
    with pytest.raises(gpubp.InputError, match=r"^x has nulls"):
        network("cpu").predict(ByInterface(X, mask=ByInterface(X)))


def test_a_tensor_that_does_not_export_itself_says_why(waited: list[int]) -> None:
    refusing = ByDLPack(X, refuses="Can't export tensors that require gradient")
    with pytest.raises(gpubp.DeviceError, match=r"^x: a tests.*ByDLPack.*require gradient"):
        network().predict(refusing)


def test_no_elements_are_on_no_device_in_particular(waited: list[int]) -> None:
    with pytest.raises(gpubp.InputError, match=r"x has shape \(0, 3\); give at least one"):
        network().predict(ByInterface(X[:0]))


@pytest.mark.parametrize("kind", [ByDLPack, ByInterface])
def test_training_on_foreign_arrays_is_training_on_those_of_the_host(
    waited: list[int], kind: Callable[..., Any]
) -> None:
    found = []
    for make in (np.asarray, kind):
        net = network()
        net.fit(make(X), make(Y), sample_weight=make(X[:, 0] ** 2), epochs=2, batch_size=5,
                validation=(make(X), make(Y)))  # fmt: skip
        found.append(net.be.to_numpy(net.theta).tobytes())
    assert found[0] == found[1]


# -- out -------------------------------------------------------------------------------------------


def test_out_comes_the_kind_that_went_in(stand_in: Any, waited: list[int]) -> None:
    net = network()
    kinds: list[tuple[Any, type]] = [
        (X, np.ndarray),
        (X.tolist(), np.ndarray),
        (net.be.asarray(X), stand_in.ndarray),
        (ByInterface(X), stand_in.ndarray),  # which such libraries take as it is
        (Frame(stand_in, X), stand_in.ndarray),
        (ByDLPack(X), ByDLPack),
    ]
    for given, kind in kinds:
        for ask in (net.predict, net.predict_proba, net.predict_class):
            assert type(ask(given)) is kind
    out = net.predict(ByDLPack(X))
    assert (out.kind, out.number) == (CUDA, 0)
    assert np.array_equal(out.values, net.predict(X))


def test_tensors_of_the_host_come_back_to_the_host(stand_in: Any) -> None:
    torch = require("torch")
    out = network().predict(torch.tensor(X))
    assert isinstance(out, torch.Tensor)
    assert np.array_equal(out.numpy(), network().predict(X))


def test_the_explicit_loop_keeps_all_on_the_device(stand_in: Any, waited: list[int]) -> None:
    net = network()
    y, context = net.forward(ByDLPack(X))
    value, delta = gpubp.CrossEntropy()(y, ByInterface(Y))
    dx = net.backward(context, ByDLPack(net.be.to_numpy(delta)), input_gradient=True)
    assert {type(a) for a in (y, value, delta, dx)} == {stand_in.ndarray}


# -- another device --------------------------------------------------------------------------------

ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "CuPy": lambda values: CudaBackend(1).asarray(values, str(np.asarray(values).dtype)),
    "a tensor": lambda values: ByDLPack(values, 1),
    "a column": lambda values: ByInterface(values, 1),
}


def explicit(net: gpubp.Network, there: Any, what: str) -> None:
    y, context = net.forward(X)
    if what == "target":
        gpubp.CrossEntropy()(y, there(Y))
    elif what == "weight":
        gpubp.CrossEntropy()(y, Y, there(X[:, 0] ** 2))
    else:
        net.backward(context, there(np.zeros((12, 2), np.float32)))


ENTRIES: dict[str, Callable[[gpubp.Network, Any], Any]] = {
    "x": lambda net, there: net.fit(there(X), Y),
    "y": lambda net, there: net.fit(X, there(Y)),
    "sample_weight": lambda net, there: net.fit(X, Y, sample_weight=there(X[:, 0] ** 2)),
    "validation x": lambda net, there: net.fit(X, Y, validation=(there(X), Y)),
    "validation y": lambda net, there: net.fit(X, Y, validation=(X, there(Y))),
    "predict": lambda net, there: net.predict(there(X)),
    "predict_proba": lambda net, there: net.predict_proba(there(X)),
    "evaluate": lambda net, there: net.evaluate(there(X), Y),
    "targets of evaluate": lambda net, there: net.evaluate(X, there(Y)),
    "state": lambda net, there: net.load_state_dict(
        {path: there(net.be.to_numpy(a)) for path, a in net.state_dict().items()}
    ),
    "forward": lambda net, there: net.forward(there(X)),
    "loss": lambda net, there: explicit(net, there, "target"),
    "weight": lambda net, there: explicit(net, there, "weight"),
    "delta": lambda net, there: explicit(net, there, "delta"),
    "lsuv": lambda net, there: gpubp.lsuv(net, there(X)),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_an_array_of_another_device_is_refused_at_every_entry(
    waited: list[int], entry: str, kind: str
) -> None:
    net = network()
    before = net.be.to_numpy(net.theta).tobytes()
    with pytest.raises(gpubp.DeviceError, match="cuda:1 was given to a network on cuda:0; copy"):
        ENTRIES[entry](net, ELSEWHERE[kind])
    assert net.be.to_numpy(net.theta).tobytes() == before
    assert net.updates == 0


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_network_on_the_cpu_takes_no_array_of_a_device(
    waited: list[int], entry: str, kind: str
) -> None:
    where = "a CUDA device" if kind == "a column" else "cuda:1"
    with pytest.raises(gpubp.DeviceError, match=f"on {where} was given where arrays are on cpu"):
        ENTRIES[entry](network("cpu"), ELSEWHERE[kind])


def test_a_tensor_on_the_host_is_host_data_by_dlpack_alone(waited: list[int]) -> None:
    for be in ("cpu", CudaBackend(0)):
        net = network(be)
        out = net.predict(ByDLPack(X, kind=HOST))
        assert out.kind == HOST
        assert np.array_equal(out.values, net.predict(X))
        with pytest.raises(gpubp.DeviceError, match=r"ByDLPack on .* was given where arrays"):
            net.predict(ByDLPack(X, kind=HOST, refuses="it is on its way"))
