"""The CUDA backend, without a GPU: what it refuses, what it launches, steps asked for ahead."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.activations import ACTIVATIONS
from gpubp.backends import cuda
from gpubp.backends.cuda import CudaBackend
from gpubp.check.tolerance import error, tolerance
from tests.conftest import forget, rng

# -- what is refused -------------------------------------------------------------------------------


def fake(**changed: Any) -> Any:
    """A module `cupy` with parts replaced; `kernel` is what a first kernel does."""
    parts: dict[str, Any] = {"available": True, "devices": 1, "kernel": lambda x: [1.0], **changed}
    return SimpleNamespace(
        __version__="14.0",
        zeros=np.zeros,
        ElementwiseKernel=lambda *_: parts["kernel"],
        cuda=SimpleNamespace(
            Device=nullcontext,
            is_available=lambda: parts["available"],
            runtime=SimpleNamespace(getDeviceCount=lambda: parts["devices"]),
        ),
    )


def no_compiler(x: Any) -> Any:
    raise RuntimeError("libnvrtc was not found")


def no_memory(x: Any) -> Any:
    raise RuntimeError("cudaErrorMemoryAllocation: out of memory")


REFUSED = {
    "no CuPy": (None, 0, r"needs CuPy, which cannot be imported.*'gpubp\[cuda13\]'.*cuda12"),
    "no device": (fake(available=False), 0, r"finds no CUDA device; check with nvidia-smi"),
    "too few": (
        fake(devices=2), 2,
        r"there is no device 'cuda:2'; this machine has 2, the last of them 'cuda:1'; check that",
    ),
    "no kernel": (
        fake(kernel=no_compiler), 0,
        r"first kernel failed on cuda:0 \(libnvrtc was not found\).*'gpubp\[cuda13\]'",
    ),
    "no memory": (
        fake(kernel=no_memory), 0, r"\(cudaErrorMemoryAllocation: out of memory\); see with nvidia",
    ),
    "wrong kernel": (fake(kernel=lambda x: [2.0]), 0, r"gave a wrong result on cuda:0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_cuda_that_does_not_work_is_an_error_that_says_why(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, case: str
) -> None:
    module, index, why = REFUSED[case]
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    forget()
    request.addfinalizer(forget)
    with pytest.raises(gpubp.DeviceError, match=why) as caught:
        CudaBackend(index)
    visible = "CUDA_VISIBLE_DEVICES='5' is meant" in str(caught.value)
    assert visible == (case in ("no device", "too few"))
    if index == 0:
        assert cuda.unusable() == str(caught.value)


def test_arrays_of_another_device_are_refused(stand_in: Any) -> None:
    first, second = CudaBackend(0), CudaBackend(1)
    there = second.asarray([[1.0, 2.0]])
    assert there.device.id == 1
    assert not first.owns(there)
    with pytest.raises(gpubp.DeviceError, match="on cuda:1 was given to a network on cuda:0; copy"):
        first.asarray(there)
    with pytest.raises(gpubp.DeviceError, match="arrays are on cpu; hand it over"):
        gpubp.select("cpu").asarray(there)
    with pytest.raises(gpubp.DeviceError, match="cuda:1"):
        gpubp.Network(gpubp.Linear(1), 2, device=first).predict(there)


def test_a_network_stays_on_its_device_whichever_is_current(stand_in: Any) -> None:
    x, y = rng().normal(size=(8, 3)), np.arange(8) % 2
    net = gpubp.Network(gpubp.MLP([4], 2), 3, device=CudaBackend(1, "float64"))
    net.fit(x, y, epochs=1, validation=(x, y))
    out, context = net.forward(x)
    value, delta = gpubp.CrossEntropy()(out, y)
    net.backward(context, delta)
    found = [out, value, delta, *net.gradients().values()]
    net.step(gpubp.Adam())
    found += [*net.state_dict().values(), net.predict(net.be.asarray(x))]
    net.load_state_dict(net.state_dict())
    net.reset_optimizer()
    assert {array.device.id for array in found} == {1}
    assert net.predict_proba(x).shape == (8, 2)
    assert net.predict_class(x).shape == (8,)


# -- what is launched ------------------------------------------------------------------------------


@pytest.fixture
def launches(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Count kernels; anything of the namespace that computes outside of one is an error."""
    be = CudaBackend(0)
    arrays = [be.asarray(rng(i).uniform(0.1, 1.0, (2, 30))) for i in range(4)]
    ok = be.asarray([[True], [False]], "bool")

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} was called beside the kernel")

    monkeypatch.setattr(stand_in, "__getattr__", refuse)
    monkeypatch.setattr(stand_in.ElementwiseKernel, "launched", 0)
    return SimpleNamespace(be=be, arrays=arrays, ok=ok, kernel=stand_in.ElementwiseKernel)


@pytest.mark.parametrize("method", [gpubp.SGD(0.1), gpubp.Momentum(), gpubp.Adam(), gpubp.AdamW()])
def test_an_update_is_one_kernel(launches: Any, method: gpubp.Optimizer) -> None:
    *state, g = launches.arrays[: 2 + len(method.slots)]
    launches.be.update(method.formula, state, [g], method.numbers(1, method.lr), launches.ok)
    assert launches.kernel.launched == 1


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_pullback_are_one_kernel_each(launches: Any, name: str) -> None:
    z, delta, *_ = launches.arrays
    launches.be.map(ACTIVATIONS[name].f, z)
    launches.be.map(ACTIVATIONS[name].pullback, delta, z)
    assert launches.kernel.launched == 2


def test_an_array_of_another_type_is_refused_by_the_kernel(stand_in: Any) -> None:
    be = CudaBackend(0, "float32")
    with pytest.raises(TypeError, match="float64 given for float32"):
        be.map(ACTIVATIONS["relu"].f, be.asarray([1.0], "float64"))


# -- steps that are asked for ahead ----------------------------------------------------------------

BATCH, BATCHES = 4, 150


def batches(bad: int | None = None) -> tuple[Any, Any]:
    x, y = rng(1).normal(size=(BATCH * BATCHES, 3)), rng(2).normal(size=(BATCH * BATCHES, 2))
    if bad is not None:
        x[bad * BATCH + 1, 2] = np.inf
    return x, y


def network(be: Any = "cpu", **how: Any) -> gpubp.Network:
    if isinstance(be, str):
        how["dtype"] = "float64"
    layer = gpubp.MLP([4], 2, activation="tanh")
    return gpubp.Network(layer, 3, device=be, **how)


def fit(net: gpubp.Network, data: tuple[Any, Any], **how: Any) -> Any:
    how = {"optimizer": gpubp.Adam(0.01), "epochs": 1, **how}
    return net.fit(*data, loss="mean_squared_error", batch_size=BATCH, shuffle=False,
                   check_finite=False, **how)  # fmt: skip


def host(net: gpubp.Network) -> Any:
    return net.be.to_numpy(net.theta)


@pytest.mark.parametrize(
    "bad",
    [0, 64, *(pytest.param(n, marks=pytest.mark.thorough) for n in (1, 40, 65, 128, BATCHES - 1))],
)
def test_a_bad_step_is_found_later_and_nothing_after_it_counts(stand_in: Any, bad: int) -> None:
    be = CudaBackend(0, "float64")
    net, reference = network(be), network(be)
    with pytest.raises(gpubp.NonFiniteError) as caught:
        fit(net, batches(bad))
    x, y = batches()
    if bad:
        fit(reference, (x[: bad * BATCH], y[: bad * BATCH]))
    assert np.array_equal(host(net), host(reference))
    assert net.updates == bad
    assert (caught.value.step, caught.value.layer) == (bad + 1, "0")

    with pytest.raises(gpubp.NonFiniteError) as on_cpu:
        fit(network(), batches(bad))
    assert str(caught.value) == str(on_cpu.value)

    for each in (net, reference):  # the counts, and with them Adam's, are put right
        fit(each, batches())
    assert np.array_equal(host(net), host(reference))


def test_a_bad_step_is_found_at_the_next_look(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    be, asked = CudaBackend(0, "float64"), []
    update = be.update

    def counted(*arguments: Any) -> None:
        asked.append(arguments)
        update(*arguments)

    monkeypatch.setattr(be, "update", counted)
    with pytest.raises(gpubp.NonFiniteError):
        fit(network(be), batches(40))
    assert len(asked) == 65  # looks are at batches 0, 64, 128, ... and at the last


@pytest.mark.parametrize(("bad", "error"), [(None, KeyboardInterrupt), (5, gpubp.NonFiniteError)])
def test_an_interrupt_settles_what_was_asked_for(
    stand_in: Any, monkeypatch: pytest.MonkeyPatch, bad: int | None, error: type[BaseException]
) -> None:
    net, asked = network(CudaBackend(0, "float64")), []
    take = net.train_step

    def step(*arguments: Any) -> Any:
        asked.append(None)
        if len(asked) == 10:
            signal.raise_signal(signal.SIGINT)
        return take(*arguments)

    monkeypatch.setattr(net, "train_step", step)
    with pytest.raises(error):
        fit(net, batches(bad))
    assert len(asked) == 10
    assert net.updates == (10 if bad is None else bad)
    fit(net, batches())  # what was left behind is none of the next training's business
    assert net.updates == (10 if bad is None else bad) + BATCHES


def test_a_bad_step_of_a_later_epoch_has_its_number(stand_in: Any) -> None:
    found = []
    for be in (CudaBackend(0, "float64"), gpubp.select("cpu", "float64")):
        net = gpubp.Network(gpubp.Linear(1, b=None), 1, device=be)
        data = np.ones((BATCH * BATCHES, 1)), np.zeros((BATCH * BATCHES, 1))
        with pytest.raises(gpubp.NonFiniteError) as caught:
            fit(net, data, optimizer=gpubp.SGD(3.45), epochs=3)  # each step: w <- -5.9 w
        found.append((caught.value.step, caught.value.layer, net.updates, str(caught.value)))
    assert found[0] == found[1]
    assert found[0][0] == found[0][2] + 1
    assert BATCHES + 1 < found[0][0] < 2 * BATCHES


def test_an_ensemble_with_a_bad_member_ends_as_on_the_cpu(stand_in: Any) -> None:
    rates, ended = (1e-3, 1e300, 1e-2), []
    for be in (CudaBackend(0, "float64"), "cpu"):
        net = network(be, members=3)
        with pytest.raises(gpubp.NonFiniteError) as caught:
            fit(net, batches(), optimizer=gpubp.SGD(rates))
        ended.append((caught.value.step, net.updates, host(net)))
    (step, updates, given), (step_cpu, updates_cpu, expected) = ended
    assert (step, updates) == (step_cpu, updates_cpu)
    for k in (0, 2):
        assert error(given[k], expected[k]) <= tolerance("float64", expected[k], step)


def test_a_training_agrees_with_the_cpu(stand_in: Any, precision: str) -> None:
    x, y = rng(3).normal(size=(60, 3)), np.arange(60) % 2
    w = rng(4).uniform(0.5, 2.0, 60)
    nets = [
        gpubp.Network(gpubp.MLP([8], 2, activation=name), 3, device=be, seed=1)
        for name in ("relu", "silu")
        for be in (CudaBackend(0, precision), gpubp.select("cpu", precision))
    ]
    records = [
        net.fit(x, y, epochs=3, batch_size=16, sample_weight=w, validation=(x, y)) for net in nets
    ]
    for i in (0, 2):
        given, expected = (nets[i + k].be.to_numpy(nets[i + k].theta) for k in range(2))
        assert error(given, expected) <= tolerance(precision, expected, 3 * 60)
        for name in ("loss", "val_loss", "val_accuracy"):
            losses = records[i][name], records[i + 1][name]
            assert error(*losses) <= tolerance(precision, losses[1], 60)
