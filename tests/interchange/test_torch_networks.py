"""Networks out of a bare state of torch: what is told is built, and what is not is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.interchange import network_from_torch_state, to_torch_state
from tests.conftest import require

X = np.random.default_rng(3).normal(size=(6, 3))


def modules() -> dict[str, Any]:
    """Modules of torch with `tanh` for activation, by what they show."""
    nn = require("torch").nn
    linear, tanh = nn.Linear, nn.Tanh
    return {
        "one layer": nn.Sequential(linear(3, 2)),
        "a module by itself": linear(3, 2),
        "an activation in each gap": nn.Sequential(
            linear(3, 4), tanh(), linear(4, 5, bias=False), tanh(), linear(5, 2)
        ),
        "no gap, no activation": nn.Sequential(linear(3, 4), linear(4, 2)),
        "dropout in the gap": nn.Sequential(linear(3, 4), tanh(), nn.Dropout(0.5), linear(4, 2)),
        "flatten before": nn.Sequential(nn.Flatten(), linear(3, 4), tanh(), linear(4, 2)),
        "norm before the activation": nn.Sequential(
            linear(3, 4), nn.BatchNorm1d(4), tanh(), linear(4, 5), nn.LayerNorm(5), tanh(),
            linear(5, 2),
        ),
        "norm behind the activation": nn.Sequential(
            linear(3, 4), tanh(), nn.BatchNorm1d(4, affine=False), linear(4, 2)
        ),
        "norm at both ends": nn.Sequential(
            nn.BatchNorm1d(3), linear(3, 4), tanh(), linear(4, 2), nn.LayerNorm(2)
        ),
        "one shared slope": nn.Sequential(linear(3, 4), nn.PReLU(), linear(4, 2)),
        "more than ten": nn.Sequential(
            *[part for _ in range(6) for part in (linear(3, 3), tanh())], linear(3, 2)
        ),
    }  # fmt: skip


@pytest.mark.parametrize("what", [
    "one layer", "a module by itself", "an activation in each gap", "no gap, no activation",
    "dropout in the gap", "flatten before", "norm before the activation",
    "norm behind the activation", "norm at both ends", "one shared slope", "more than ten",
])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_network_computes_what_the_module_does(what: str, prefix: str, dtype: str) -> None:
    torch = require("torch")
    module = modules()[what].to(getattr(torch, dtype))
    with torch.no_grad():
        module(torch.tensor(X, dtype=getattr(torch, dtype)))  # the norms have seen something
        expected = module.eval()(torch.tensor(X, dtype=getattr(torch, dtype))).numpy()
    state = module.state_dict(prefix=prefix)
    net = network_from_torch_state(
        dict(sorted(state.items())), activation="tanh", prefix=prefix, weight_and_bias="layer_norm"
    )
    assert (net.be.precision, net.inputs) == (dtype, (3,))
    y = net.predict(X)
    assert np.abs(y - expected).max() < (1e-12 if dtype == "float64" else 1e-5)
    if what != "a module by itself":  # whose names have no index
        assert {prefix + name for name in to_torch_state(net)} == set(state)


def test_modules_with_numbered_names_have_activations_between() -> None:
    torch = require("torch")

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc10 = (torch.nn.Linear(n, n + 1) for n in (3, 4, 5))

        def forward(self, x: Any) -> Any:
            return self.fc10(torch.relu(self.fc2(torch.relu(self.fc1(x)))))

    module = Net()
    net = network_from_torch_state(module.state_dict(), activation="relu", output="sigmoid")
    expected = torch.sigmoid(module(torch.tensor(X, dtype=torch.float32))).detach().numpy()
    assert np.abs(net.predict(X.astype(np.float32)) - expected).max() < 1e-6
    net.fit(X, np.full((6, 6), 0.5), loss="mean_squared_error", epochs=1)  # and it trains


@pytest.mark.parametrize("kind", ["rms_norm", "prelu"])
def test_what_a_lone_vector_is_has_to_be_told(kind: str) -> None:
    torch = require("torch")
    middle = torch.nn.RMSNorm(4) if kind == "rms_norm" else torch.nn.PReLU(4)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), middle, torch.nn.Linear(4, 2)).double()
    with pytest.raises(gpubp.InputError, match="lone_weight='rms_norm' or 'prelu'"):
        network_from_torch_state(module.state_dict(), activation="relu")
    net = network_from_torch_state(module.state_dict(), activation="relu", lone_weight=kind)
    expected = module(torch.tensor(X)).detach().numpy()
    assert np.abs(net.predict(X) - expected).max() < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torchs_rms_norm_has_the_machine_epsilon(dtype: str) -> None:
    torch = require("torch")
    kind = getattr(torch, dtype)
    layers = torch.nn.Linear(3, 4, bias=False), torch.nn.RMSNorm(4), torch.nn.Linear(4, 2)
    module = torch.nn.Sequential(*layers).to(kind)
    small = X * np.sqrt(np.finfo(dtype).eps)  # eps counts as much as the squares
    net = network_from_torch_state(
        module.state_dict(), activation="relu", lone_weight="rms_norm", dtype=dtype
    )
    expected = module(torch.tensor(small, dtype=kind)).detach().numpy()
    off = np.abs(net.predict(small.astype(dtype)) - expected).max()
    assert off < 100 * np.finfo(dtype).eps


def test_eps_is_torchs_unless_it_is_given() -> None:
    torch = require("torch")
    for norm in (torch.nn.LayerNorm, torch.nn.BatchNorm1d):
        module = torch.nn.Sequential(torch.nn.Linear(3, 4), norm(4, eps=0.5)).double().eval()
        net = network_from_torch_state(
            module.state_dict(), activation="relu", eps=0.5, weight_and_bias="layer_norm"
        )
        expected = module(torch.tensor(X)).detach().numpy()
        assert np.abs(net.predict(X) - expected).max() < 1e-12


def w(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.float32)


LN = {"1.weight": w(4), "1.bias": w(4)}
REFUSED: list[tuple[Any, str]] = [
    ({}, "holds no arrays"),
    (None, "the state is a NoneType"),
    ({"weight": w(3)}, "lone_weight"),
    ({"weight": w(1)}, "no Linear layer"),
    ({"0.weight": w(4), "0.bias": w(4)}, "no Linear layer"),
    ({"0.weight": w(4, 3), "2.weight": w(2, 5)}, "2 takes 5 numbers and gets 4"),
    ({"0.weight": w(4, 3), "1.weight": w(5), "1.bias": w(5)}, "1 takes 5 numbers and gets 4"),
    (
        {"0.weight": w(4, 3), "2.weight": w(4), "2.bias": w(4), "4.weight": w(2, 4)},
        "before 4 an in",
    ),
    ({"0.weight": w(4, 3), "1.weight": w(1), "3.weight": w(2, 4)}, "before 3 an index is missing"),
    ({"0.weight": w(4, 3), "2.weight": w(4), "2.bias": w(4)}, "before 2 an index is missing"),
    ({"0.weight": w(3), "0.bias": w(3), "2.weight": w(4, 3)}, "before 2 an index is missing"),
    ({"0.weight": w(4, 3), "20.weight": w(2, 4)}, "nothing at 19 indices before 20"),
    ({"0.weight": w(4, 3), "999999.weight": w(2, 4)}, "nothing at 999998 indices"),
    ({"0.weight": w(4, 3), f"{'9' * 400}.weight": w(2, 4)}, "is no name such as"),
    ({"0.weight": w(4, 3), f"{'9' * 5000}.weight": w(2, 4)}, "a name of 5,007 letters"),
    ({"0.weight": w(4, 3, 2)}, r"0 holds weight \(4, 3, 2\)"),
    ({"0.weight": w(4, 3), "0.running_mean": w(4)}, "0 holds weight"),
    ({"0.weight": w(4, 3), "1.running_mean": w(4)}, "1 holds running_mean"),
    ({"0.weight": w(0, 3)}, "width"),
    ({"0.weight": w(3, 0)}, "no Linear layer"),
    ({"0.weight": w(4, 3), "0.bias": w(3)}, r"bias has shape \(3,\), expected \(4,\)"),
    ({"0.0.weight": w(4, 3), "1.0.weight": w(2, 4)}, "of 2 groups"),
    ({"a1.weight": w(4, 3), "b2.weight": w(2, 4)}, "of 2 groups"),
    ({"fc1.weight": w(4, 3), "fc2.weight": w(4), "fc2.bias": w(4)}, "fc2 is no Linear layer"),
    ({"hidden.weight": w(4, 3), "out.weight": w(2, 4)}, "is no name such as"),
    ({"0.weight": np.full((2, 3), np.nan)}, r"0.weight\[0, 0\] is nan"),
    ({"fc1.weight": w(2, 3), "fc2.weight": np.full((2, 2), np.nan)}, r"fc2.weight\[0, 0\] is nan"),
    ({"0.weight": np.zeros((2, 3), dtype=np.int8)}, "0.weight has dtype int8"),
]


@pytest.mark.parametrize(("state", "told"), REFUSED)
def test_what_is_not_told_for_certain_is_refused(state: Any, told: str) -> None:
    with pytest.raises(gpubp.InputError, match=told):
        network_from_torch_state(state, activation="relu", weight_and_bias="layer_norm")


@pytest.mark.parametrize("kind", ["LayerNorm", "GroupNorm", "BatchNorm1d"])
def test_what_a_weight_and_a_bias_are_has_to_be_told(kind: str) -> None:
    """LayerNorm, but also what gives other numbers of the same arrays."""
    nn = require("torch").nn
    given: dict[str, Any] = {"LayerNorm": (4,), "GroupNorm": (2, 4), "BatchNorm1d": (4,)}
    how = {"track_running_stats": False} if kind == "BatchNorm1d" else {}
    norm = getattr(nn, kind)(*given[kind], **how)
    state = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2)).state_dict()
    with pytest.raises(gpubp.InputError, match=r"^1 holds .*weight_and_bias='layer_norm'; else"):
        network_from_torch_state(state, activation="relu")


def test_names_that_are_not_those_of_a_sequence_become_so() -> None:
    for state in ({"fc1.weight": w(4, 3), "fc2.weight": w(2, 4)},
                  {"m.0.weight": w(4, 3), "m.2.weight": w(2, 4)}):  # fmt: skip
        prefix = "m." if "m.0.weight" in state else ""
        net = network_from_torch_state(state, activation="relu", prefix=prefix)
        assert set(to_torch_state(net)) == {"0.weight", "2.weight"}
    net = network_from_torch_state({"weight": w(4, 3)}, activation="relu")
    assert set(to_torch_state(net)) == {"0.weight"}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"activation": "rellu"}, "nearest: 'relu'"),
        ({"output": "softmaxx"}, "unknown activation"),
        ({"lone_weight": "norm"}, "lone_weight is 'norm'"),
        ({"weight_and_bias": "norm"}, "weight_and_bias is 'norm'"),
        ({"weight_and_bias": None}, "1 holds a weight and a bias of shape"),
        ({"prefix": "model."}, "do not begin with the prefix 'model.'"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"device": "tpu"}, "unknown device"),
    ],
)
def test_arguments_are_looked_at(how: dict[str, Any], told: str) -> None:
    state = {"0.weight": w(4, 3), **LN, "3.weight": w(2, 4)}
    sound = {"activation": "relu", "weight_and_bias": "layer_norm"}
    network_from_torch_state(state, **sound)
    with pytest.raises(gpubp.InputError, match=told):
        network_from_torch_state(state, **sound | how)
