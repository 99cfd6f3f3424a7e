"""Limits on the gradient: torch's arithmetic, each member by itself, and huge gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backend import Backend
from gpubp.check.tolerance import error, tolerance
from tests.conftest import require, rng

CLIPS: dict[str, gpubp.Clip] = {
    "value": gpubp.ClipValue(0.5),
    "norm": gpubp.ClipNorm(0.7),
    "global": gpubp.ClipGlobalNorm(0.9),
    "adaptive": gpubp.AdaptiveClip(0.02),
}
every = pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)


def network(**how: Any) -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2, activation="tanh"), inputs=3, **how)


def gradients(net: gpubp.Network, scale: float = 1.0, lead: tuple[int, ...] = ()) -> dict[str, Any]:
    draw = rng(8)
    shapes = {path: p.param.shape for path, p in net.arrays.params.places.items()}
    return {path: scale * draw.normal(size=(*lead, *shape)) for path, shape in shapes.items()}


def give(net: gpubp.Network, given: dict[str, Any]) -> None:
    for path, value in given.items():
        name, _, leaf = path.rpartition(".")
        parameter = net.be.asarray(value)
        if leaf == "b":
            parameter = parameter[..., None, :]
        getattr(net.arrays.g, name).add(leaf, parameter)


def clipped(net: gpubp.Network, clip: gpubp.Clip, given: dict[str, Any]) -> dict[str, Any]:
    """The gradients of a step with that clip, which the step leaves behind."""
    give(net, given)
    net.step(gpubp.SGD(0.0, clip=clip))
    return {path: net.be.to_numpy(g) for path, g in net.gradients().items()}


def same(given: dict[str, Any], expected: dict[str, Any], precision: str = "float64") -> bool:
    return all(
        error(given[path], e) <= tolerance(precision, e, e.size) for path, e in expected.items()
    )


@pytest.mark.parametrize("scale", [3.0, 1e-3, 0.0])
def test_the_first_three_are_torchs(scale: float) -> None:
    torch = require("torch")
    net = network(dtype="float64")
    given = gradients(net, scale)
    utils = torch.nn.utils
    for name in ("value", "norm", "global"):
        tensors = {path: torch.zeros(g.shape, dtype=torch.float64) for path, g in given.items()}
        for path, tensor in tensors.items():
            tensor.grad = torch.tensor(given[path])
        if name == "value":
            utils.clip_grad_value_(tensors.values(), 0.5)
        elif name == "global":
            utils.clip_grad_norm_(tensors.values(), 0.9)
        else:
            for tensor in tensors.values():
                utils.clip_grad_norm_([tensor], 0.7)
        expected = {path: tensor.grad.numpy() for path, tensor in tensors.items()}
        assert same(clipped(net, CLIPS[name], given), expected)


def adaptive(w: Any, g: Any, limit: float, eps: float) -> Any:
    """Equation 3 of Brock et al. (2021), unit by unit."""
    if w.ndim == 1:
        return adaptive(w[:, None], g[:, None], limit, eps)[:, 0]
    out = g.copy()
    for j in range(w.shape[1]):
        most, norm = limit * max(np.linalg.norm(w[:, j]), eps), np.linalg.norm(g[:, j])
        if norm > most:
            out[:, j] *= most / norm
    return out


def test_adaptive_clipping_is_the_papers() -> None:
    net = network(dtype="float64")
    given, w = gradients(net, 0.1), net.state_dict()
    expected = {path: adaptive(w[path], g, 0.02, 1e-3) for path, g in given.items()}
    found = clipped(net, gpubp.AdaptiveClip(0.02), given)
    assert same(found, expected)
    assert not same(found, given)
    hidden = clipped(net, gpubp.AdaptiveClip(0.02, on="0"), given)
    assert same(hidden, expected | {"2.W": given["2.W"], "2.b": given["2.b"]})


@every
def test_every_device_agrees(backend: Backend, clip: gpubp.Clip) -> None:
    net, reference = network(device=backend), network(dtype=backend.precision)
    given = gradients(reference)
    expected = clipped(reference, clip, given)
    assert same(clipped(net, clip, given), expected, backend.precision)


@every
def test_members_are_clipped_by_their_own_norms(clip: gpubp.Clip) -> None:
    together = network(members=3, seed=4)
    given = gradients(together, lead=(3,))
    given = {
        p: g * np.reshape([0.01, 1.0, 100.0], (3,) + (1,) * (g.ndim - 1)) for p, g in given.items()
    }
    found = clipped(together, clip, given)
    for k in range(3):
        alone = clipped(network(seed=4 + k), clip, {path: g[k] for path, g in given.items()})
        assert all(np.array_equal(found[path][k], g) for path, g in alone.items())


@every
@pytest.mark.parametrize("scale", [1e25, 1e30, 1e-30])
def test_a_square_beyond_float32_is_no_hindrance(clip: gpubp.Clip, scale: float) -> None:
    small, large = network(dtype="float32"), network(dtype="float64")
    given = gradients(small, scale)
    large.load_state_dict(small.state_dict())
    expected = clipped(large, clip, given)
    assert same(clipped(small, clip, given), expected, "float32")
    largest = max(float(np.abs(g).max()) for g in expected.values())
    assert largest > 1e-3 or scale < 1  # not clipped to nothing


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(clip: gpubp.Clip, bad: float) -> None:
    if isinstance(clip, gpubp.ClipValue) and bad > 0:
        pytest.skip("the limit of an infinite value is the limit")
    net = network()
    given, before = gradients(net), net.theta.copy()
    given["0.W"][1, 2] = bad
    give(net, given)
    net._last = (net.be.asarray(np.ones((1, 3))), net.be.asarray(np.ones((1, 2))))
    with pytest.raises(gpubp.NonFiniteError):
        net.step(gpubp.SGD(0.1, clip=clip))
    assert np.array_equal(net.theta, before)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), "1", True, None])
@pytest.mark.parametrize("kind", [gpubp.ClipValue, gpubp.ClipNorm, gpubp.ClipGlobalNorm])
def test_a_limit_that_is_none_is_refused(kind: Any, limit: Any) -> None:
    with pytest.raises(gpubp.InputError, match="limit is"):
        kind(limit)


def test_names_that_nothing_has_are_refused_before_anything_is_changed() -> None:
    net = network()
    before = net.theta.copy()
    clip = gpubp.AdaptiveClip(on="7")
    with pytest.raises(gpubp.InputError, match="AdaptiveClip: no parameter is called '7'"):
        net.fit(np.ones((4, 3)), [0, 1, 0, 1], optimizer=gpubp.SGD(clip=clip))
    assert np.array_equal(net.theta, before)
    assert net.updates == 0
    with pytest.raises(gpubp.InputError, match="clip is"):
        gpubp.SGD(clip=1.0)  # type: ignore[arg-type]


def test_the_clip_sees_the_penalty() -> None:
    net = network(dtype="float64")
    given, w = gradients(net), net.state_dict()
    give(net, given)
    net.step(gpubp.SGD(0.0, penalty=gpubp.L2(5.0, on="all"), clip=gpubp.ClipGlobalNorm(0.1)))
    whole = {path: g + 5.0 * w[path] for path, g in given.items()}
    norm = np.sqrt(sum(float((g * g).sum()) for g in whole.values()))
    expected = {path: g * (0.1 / (norm + 1e-6)) for path, g in whole.items()}
    assert same({p: net.be.to_numpy(g) for p, g in net.gradients().items()}, expected)


def test_a_clip_changes_the_gradient_alone() -> None:
    net = network()
    theta = net.theta.copy()
    clipped(net, gpubp.ClipNorm(0.1), gradients(net))
    assert np.array_equal(net.theta, theta)
