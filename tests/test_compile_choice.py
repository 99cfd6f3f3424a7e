"""What is said of compiled steps where nothing is compiled: on a machine without llvmlite, too."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.backends import native
from gpubp.backends.cpu import CpuBackend
from gpubp.backends.standard import StandardBackend
from gpubp.cli import main
from gpubp.number_table import NumberTable
from gpubp.optimizers import OPTIMIZERS
from tests.conftest import require

X, Y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2


@pytest.fixture
def without_llvmlite(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)  # an import of it fails
    native.available.cache_clear()
    yield
    native.available.cache_clear()


def mlp() -> gpubp.Network:
    return gpubp.Network(gpubp.MLP([4], 2), inputs=3)


def test_without_llvmlite_what_was_asked_for_is_refused_and_how_to_get_it_said(
    without_llvmlite: None,
) -> None:
    net = mlp()
    with pytest.raises(gpubp.DeviceError, match=r"compile=True: llvmlite .*gpubp\[cpu\]"):
        net.fit(X, Y, compile=True)
    assert (net.updates, len(net.history)) == (0, 0)


def test_without_llvmlite_a_long_training_stays_plain_and_the_log_says_why(
    without_llvmlite: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gpubp.compiling.SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "gpubp"):
        history = mlp().fit(X, Y, epochs=2)
    assert history.path == "plain"
    assert "gpubp[cpu]" in history.reason
    assert history.reason in caplog.text


def test_a_short_training_looks_for_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuBackend, "compiler", None)
    assert mlp().fit(X, Y, epochs=2).path == "plain"


def test_other_devices_have_no_compiler() -> None:
    strict = require("array_api_strict")
    device = StandardBackend(strict, strict.Device("device1"), "float32")
    net = gpubp.Network(gpubp.Linear(2), inputs=3, device=device)
    with pytest.raises(gpubp.DeviceError, match="compiled for CPU and CUDA, not for"):
        net.fit(X, Y, compile=True)


def test_threads_bind_the_matrix_products_of_the_plain_path() -> None:
    from threadpoolctl import threadpool_info

    seen: list[Any] = []

    class Look(gpubp.Callback):
        def on_epoch_end(self, net: Any, record: Any) -> None:
            seen.extend(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")

    before = threadpool_info()
    mlp().fit(X, Y, epochs=1, threads=1, compile=False, callbacks=[Look()])
    assert seen
    assert set(seen) == {1}
    assert threadpool_info() == before


def optimizers() -> list[gpubp.Optimizer]:
    usual = [kind() for kind in OPTIMIZERS.values()]
    return [
        *usual,
        gpubp.EMA(gpubp.AdamW(0.1), decay=0.9),
        gpubp.SWA(gpubp.SGD(0.1), start=3, every=2),
        gpubp.Adam(gpubp.CosineDecay(0.1, 100)),
        gpubp.Adam((0.1, 0.2, 0.3)),
        gpubp.SGD((0.1, gpubp.CosineDecay(0.1, 100), 0.3), weight_decay=0.1),
    ]


@pytest.mark.parametrize("optimizer", optimizers(), ids=repr)
@pytest.mark.parametrize("scale", [0.5, np.asarray([1.0, 0.5, 0.25])], ids=["one", "three"])
def test_the_numbers_of_many_updates_are_those_of_each(
    optimizer: gpubp.Optimizer, scale: Any
) -> None:
    steps = gpubp.Network(gpubp.Linear(1), inputs=1, members=3).steps
    steps.rate_scale = scale
    table = NumberTable(steps, optimizer, 3)
    many = table.of(1, 12)
    for t in range(1, 13):
        rate = steps.rate_at(optimizer, t)
        for i, number in enumerate([rate, *steps.numbers(optimizer, t, rate)]):
            np.testing.assert_allclose(many[t - 1, :, i], number, rtol=1e-12, atol=0.0)
    parts = np.concatenate([table.of(1, 5), table.of(6, 1), table.of(7, 6)])
    assert parts.tobytes() == many.tobytes()  # wherever blocks end


def test_the_usual_optimizers_are_asked_for_many_updates_at_once() -> None:
    steps = gpubp.Network(gpubp.Linear(1), inputs=1).steps
    usual = ("sgd", "momentum", "adam", "adamw", "rmsprop")
    assert all(NumberTable(steps, OPTIMIZERS[name](), 1).together for name in usual)
    assert NumberTable(steps, gpubp.EMA(gpubp.Adam()), 1).together


def test_the_command_line_says_which_path_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "digits", "--hidden", "4", "--epochs", "1", "--json", "--threads", "1"]
    assert main([*arguments, "--compile", "off"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    assert (result["path"], result["path_reason"]) == ("plain", "compile=False was given")
    assert "plain path (compile=False was given)" in told.err
    assert main(arguments) == 0
    assert "--compile on" in capsys.readouterr().err


def test_the_command_line_refuses_what_cannot_be(
    without_llvmlite: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits", "--epochs", "1", "--compile", "on"]) == 1
    assert "gpubp[cpu]" in capsys.readouterr().err
