"""The multi-layer perceptron is the Sequential that its arguments describe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from tests.conftest import rng


@pytest.mark.parametrize(
    ("norm", "layer"),
    [("batch", gpubp.BatchNorm()), ("layer", gpubp.LayerNorm()), ("rms", gpubp.RMSNorm())],
)
def test_it_trains_as_the_layers_written_out(norm: str, layer: gpubp.Layer) -> None:
    def block(n: int) -> list[gpubp.Layer]:
        linear = gpubp.Linear(n, W="glorot_uniform")
        return [linear, layer, gpubp.Activation("tanh"), gpubp.Dropout(0.2)]

    written = gpubp.Sequential(*block(6), *block(5), gpubp.Linear(2))
    short = gpubp.MLP([6, 5], 2, activation="tanh", norm=norm, dropout=0.2)
    x, y = rng(1).normal(size=(20, 3)), rng(2).integers(0, 2, 20)
    nets = [gpubp.Network(each, 3) for each in (written, short)]
    for net in nets:
        net.fit(x, y, epochs=2, batch_size=5)
    assert np.array_equal(nets[0].theta, nets[1].theta)


def test_a_saved_one_comes_back(tmp_path: Any) -> None:
    net = gpubp.Network(gpubp.MLP([4], 2, norm="batch", dropout=0.5), 3)
    net.fit(rng(1).normal(size=(8, 3)), np.arange(8) % 2, epochs=1)
    net.save(tmp_path / "net")
    same = gpubp.load(tmp_path / "net")
    assert same.layer == net.layer
    x = rng(3).normal(size=(5, 3))
    assert np.array_equal(same.predict(x), net.predict(x))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"norm": "bach"}, "unknown normalisation 'bach'.*nearest: 'batch'"),
        ({"norm": True}, "unknown normalisation True"),
        ({"dropout": 1.0}, "rate is 1.0; expected"),
        ({"dropout": -0.1}, "rate is -0.1"),
        ({"dropout": "0.5"}, "rate is '0.5'"),
    ],
)
def test_what_it_cannot_be_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(gpubp.InputError, match=message):
        gpubp.MLP([4], 2, **how)
