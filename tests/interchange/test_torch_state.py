"""Weights to torch and back: names, layout, dtypes, and what does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import layers
from gpubp.interchange import from_torch_state, to_torch_state
from tests.conftest import require
from tests.random_interchange import in_torch

X = np.random.default_rng(2).normal(size=(5, 3))


def mlp(seed: int = 0, **how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2, norm="batch"), inputs=3, seed=seed, **how)


def bits(net: gpubp.Network) -> dict[str, bytes]:
    return {path: net.be.to_numpy(array).tobytes() for path, array in net.state_dict().items()}


@pytest.mark.parametrize("number", range(200))
def test_random_networks_go_to_torch_and_back(number: int) -> None:
    in_torch(1, number)


NAMES = [
    (gpubp.Linear(2), ["weight", "bias"]),
    (gpubp.Linear(2, b=None), ["weight"]),
    (gpubp.Activation("relu"), []),
    (gpubp.MLP([4], 2), ["0.weight", "0.bias", "2.weight", "2.bias"]),
    (
        gpubp.Sequential(gpubp.MLP([], 3), layers.Dropout(0.5), layers.PReLU()),
        ["0.0.weight", "0.0.bias", "2.weight"],
    ),
    (layers.BatchNorm(affine=False), ["running_mean", "running_var", "num_batches_tracked"]),
    (
        layers.BatchNorm(),
        ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"],
    ),
    (layers.LayerNorm(), ["weight", "bias"]),
    (layers.RMSNorm(), ["weight"]),
    (layers.LayerNorm(affine=False), []),
    (layers.Residual(gpubp.Linear(3)), ["body.weight", "body.bias"]),
    (
        layers.Residual(gpubp.MLP([], 2), projection=True),
        ["body.0.weight", "body.0.bias", "projection.weight"],
    ),
    (layers.Tied(gpubp.Linear(3, b=None), 3), ["body.weight"]),
    (layers.Checkpoint(gpubp.Linear(3, b=None)), ["body.weight"]),
    (
        layers.Concatenate(layers.Identity(), gpubp.Linear(1), layers.Columns(0, 1)),
        ["1.weight", "1.bias"],
    ),
    (layers.Sum(gpubp.Linear(1, b=None), gpubp.Linear(1, b=None)), ["0.weight", "1.weight"]),
]


@pytest.mark.parametrize(("layer", "names"), NAMES)
def test_arrays_have_torchs_names_in_torchs_order(layer: gpubp.Layer, names: list[str]) -> None:
    assert list(to_torch_state(gpubp.Network(layer, inputs=3))) == names


def test_layout_is_torchs() -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    state = to_torch_state(net)
    assert np.array_equal(state["weight"], np.asarray(net.parameter("W")).T)
    assert state["weight"].flags.c_contiguous
    assert state["weight"].dtype == np.float32
    state["weight"][...] = 0.0
    assert np.asarray(net.parameter("W")).any()  # it was a copy


def test_the_counter_of_batches_is_that_of_updates() -> None:
    net = mlp()
    net.fit(X, [0, 1, 1, 0, 1], epochs=3, batch_size=5)
    counter = to_torch_state(net)["1.num_batches_tracked"]
    assert (counter.shape, counter.dtype, int(counter)) == ((), np.int64, 3)


def test_a_class_that_only_composes_is_a_sequential() -> None:
    class Block(gpubp.Sequential):
        def __init__(self, n: int) -> None:
            super().__init__(gpubp.Linear(n), gpubp.Activation("relu"))

    net = gpubp.Network(gpubp.Sequential(Block(2), Block(1)), inputs=3)
    assert list(to_torch_state(net)) == ["0.0.weight", "0.0.bias", "1.0.weight", "1.0.bias"]


@dataclass(frozen=True)
class Scale(gpubp.Layer):
    def build(self, inputs: Any) -> gpubp.Spec:
        return gpubp.Spec(inputs, {"s": gpubp.Param(inputs, gpubp.HeNormal())})

    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return x * w.s, None

    def backward(self, be: Any, w: Any, g: Any, ctx: Any, dy: Any, run: Any) -> Any:
        return dy * w.s


class Odd(gpubp.Linear):
    def forward(self, be: Any, w: Any, x: Any, run: Any) -> Any:
        return super().forward(be, w, x * 2.0, run)


@pytest.mark.parametrize("layer", [Scale(), Odd(2)])
def test_a_layer_of_ones_own_is_named(layer: gpubp.Layer) -> None:
    net = gpubp.Network(gpubp.Sequential(gpubp.Linear(2), layer), inputs=3)
    told = rf"{type(layer).__name__} at '1' has no counterpart in torch"
    with pytest.raises(gpubp.InputError, match=told):
        to_torch_state(net)
    with pytest.raises(gpubp.InputError, match=told):
        from_torch_state(net, {})


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "bfloat16"])
def test_tensors_of_every_floating_type_are_taken(kind: str) -> None:
    torch = require("torch")
    net = mlp()
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    ).to(getattr(torch, kind))
    from_torch_state(net, module.state_dict())
    weight = module[0].weight.detach().float().numpy()
    assert np.array_equal(np.asarray(net.parameter("0.W")), weight.T)
    assert net.predict(X).dtype == np.float32
    from_torch_state(net, dict(module.named_parameters()), strict=False)  # they have gradients


def test_arrays_of_other_libraries_are_taken() -> None:
    strict = require("array_api_strict")
    net = gpubp.Network(gpubp.Linear(1), inputs=2)
    from_torch_state(net, {"weight": strict.asarray([[1.0, 2.0]]), "bias": [3.0]})
    assert net.predict([[1.0, 1.0]]).tolist() == [[6.0]]
    ml_dtypes = require("ml_dtypes")
    from_torch_state(net, {"weight": np.asarray([[4, 2]], ml_dtypes.bfloat16), "bias": [3.0]})
    assert net.predict([[1.0, 1.0]]).tolist() == [[9.0]]


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_a_prefix_is_cut_off(prefix: str) -> None:
    first, second = mlp(0), mlp(1)
    state = {prefix + name: array for name, array in to_torch_state(first).items()}
    with pytest.raises(gpubp.InputError, match=re.escape(f'give prefix="{prefix}"')):
        from_torch_state(second, state)
    from_torch_state(second, state, prefix=prefix)
    assert bits(second) == bits(first)
    state["other.weight"] = np.zeros(2)
    with pytest.raises(gpubp.InputError, match=r"unexpected: other\.weight"):
        from_torch_state(second, state, prefix=prefix)
    from_torch_state(second, state, prefix=prefix, strict=False)


def test_without_strict_what_fits_by_name_is_taken() -> None:
    first, second = mlp(0), mlp(1)
    before = bits(second)
    state = to_torch_state(first)
    from_torch_state(second, {"0.weight": state["0.weight"], "9.weight": "?"}, strict=False)
    changed = {path for path, value in bits(second).items() if value != before[path]}
    assert changed == {"0.W"}
    assert bits(second)["0.W"] == bits(first)["0.W"]


def test_the_counter_may_be_missing_and_old() -> None:
    first, second = mlp(0), mlp(1)
    state = to_torch_state(first)
    state["1.num_batches_tracked"] = np.asarray([7])
    from_torch_state(second, state)
    del state["1.num_batches_tracked"]
    from_torch_state(second, state)
    assert bits(second) == bits(first)


State = dict[str, Any]


def _with(name: str, value: Any) -> Callable[[State], State]:
    return lambda state: state | {name: value}


FAULTS: list[tuple[Callable[[State], Any], str]] = [
    (lambda state: None, "the state is a NoneType"),
    (lambda state: list(state.items()), "the state is a list"),
    (lambda state: state | {3: np.zeros(2)}, "the state has names"),
    (lambda state: {}, "missing: 0.weight, 0.bias, 1.weight, 1.bias, 1.running_mean, "),
    (lambda state: {n: a for n, a in state.items() if n != "0.bias"}, "missing: 0.bias$"),
    (_with("4.weight", np.zeros(2)), "unexpected: 4.weight$"),
    (_with("0.weight", np.zeros((3, 4))), r"has shape \(3, 4\), expected \(4, 3\): \(n_out, n_in"),
    (_with("0.weight", np.zeros((4, 3, 1))), r"0.weight has shape \(4, 3, 1\), expected \(4, 3\)$"),
    (_with("0.weight", np.zeros((4, 3), dtype=np.int8)), "0.weight has dtype int8; expected a flo"),
    (_with("0.weight", np.zeros((4, 3), dtype=complex)), "0.weight has dtype complex128"),
    (_with("0.weight", np.zeros((4, 3), dtype=bool)), "0.weight has dtype bool"),
    (_with("0.weight", "text"), "0.weight has dtype"),
    (_with("0.weight", None), "0.weight has dtype object"),
    (_with("0.weight", object()), "0.weight has dtype object"),
    (_with("0.weight", [[1.0], [2.0, 3.0]]), "0.weight is ragged"),
    (_with("0.bias", np.asarray([0.0, np.nan, 0.0, 0.0])), r"0.bias\[1\] is nan"),
    (_with("3.weight", np.full((2, 4), np.inf)), r"3.weight\[0, 0\] is inf"),
    (_with("3.bias", np.asarray([0.0, 1e300])), "3.bias holds a number above 3.4e"),
    (_with("1.running_var", np.asarray([1.0, -0.5, 1, 1])), r"1.running_var holds -0.5; a varian"),
    (_with("1.num_batches_tracked", np.asarray(0.5)), "num_batches_tracked has dtype float64"),
    (_with("1.num_batches_tracked", np.zeros(3, dtype=int)), r"tracked has shape \(3,\)"),
    (lambda state: {f"a{i}": 0 for i in range(100)}, "and 80 more"),
]


@pytest.mark.parametrize(("spoil", "told"), FAULTS)
@pytest.mark.parametrize("strict", [True, False])
def test_what_does_not_fit_changes_nothing(
    spoil: Callable[[State], Any], told: str, strict: bool
) -> None:
    net = mlp(1)
    before = bits(net)
    state = spoil(to_torch_state(mlp(0)))
    if not strict and re.match("missing|unexpected|and 80", told):
        from_torch_state(net, state, strict)
        return
    with pytest.raises(gpubp.InputError, match=told):
        from_torch_state(net, state, strict)
    assert bits(net) == before


def test_tensors_that_are_no_arrays_are_told() -> None:
    torch = require("torch")
    net = gpubp.Network(gpubp.Linear(2), inputs=3)
    before = bits(net)
    odd = [
        torch.zeros(2, 3, device="meta"), torch.eye(3)[:2].to_sparse(),
        torch.zeros(2, 3, dtype=torch.complex64), torch.zeros(2, 3, dtype=torch.int32),
        torch.zeros(2, 3).to(torch.float8_e4m3fn),
    ]  # fmt: skip
    for weight in odd:
        with pytest.raises(gpubp.InputError, match="weight"):
            from_torch_state(net, {"weight": weight, "bias": torch.zeros(2)})
    assert bits(net) == before


def test_members_are_stacked_as_torch_stacks_them() -> None:
    torch = require("torch")
    modules = [torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()) for _ in range(4)]
    weights, _ = torch.func.stack_module_state(modules)
    layer = gpubp.Sequential(gpubp.Linear(2), gpubp.Activation("tanh"))
    net = gpubp.Network(layer, inputs=3, members=4)
    from_torch_state(net, weights)
    y = net.predict(X.astype(np.float32))
    for k, module in enumerate(modules):
        expected = module(torch.tensor(X, dtype=torch.float32)).detach().numpy()
        assert np.abs(y[k] - expected).max() < 1e-6
        alone = to_torch_state(net, member=k)
        assert all(np.array_equal(alone[n], t.numpy()) for n, t in module.state_dict().items())


@pytest.mark.parametrize(
    ("members", "member", "told"),
    [(None, 0, "no ensemble"), (2, 2, "expected 0 to 1"), (2, -1, "-1"), (2, True, "True")],
)
def test_a_member_that_is_not_there(members: int | None, member: Any, told: str) -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3, members=members)
    with pytest.raises(gpubp.InputError, match=told):
        to_torch_state(net, member=member)
