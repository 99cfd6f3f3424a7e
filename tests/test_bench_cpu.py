"""bench.cpu: who disagrees is found out before anything is timed, and what is said of figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import agreement, busy, compared, contenders, cpu_figure, cpu_table, rounds, threads
from bench.contenders import base, gpubp_compiled, textbook
from bench.installed import sizes
from bench.workloads import (
    WORKLOADS,
    Activation,
    Dropout,
    LayerNorm,
    Linear,
    Residual,
    Workload,
    mlp,
    problem,
    without_dropout,
)  # fmt: skip
from tests.conftest import require

SMALL = Workload("small", mlp((3, 4, 2)), batch=5, batches=3)
BLOCK = Residual((LayerNorm(4), Linear(4, 4), Activation("relu"), Dropout(0.1)))
RANDOM = Workload("random", (BLOCK, Linear(4, 2)), batch=512, batches=2, optimizer="adamw")
SMOOTH = (Linear(4, 4), Activation("sigmoid"), Linear(4, 3), Activation("gelu"))


class Liar(base.Stepwise):
    """A contender whose losses are wrong by one in a thousand from some step on."""

    def __init__(self, given: Any, since: int = 4) -> None:
        net = textbook.Textbook(given.load, given.weights)
        self.ran = False

        def step(i: int) -> Any:
            value = net.step(given.x[i], given.y[i])
            return value * 1.001 if net.t > since else value

        super().__init__(step, len(given.x))

    def run(self, steps: int) -> None:
        self.ran = True


def test_a_contender_that_lies_is_found_out_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Liar] = []
    true = contenders.build

    def build(name: str, given: Any, count: int) -> Any:
        if name != "gpubp plain":
            return true(name, given, count)
        made.append(Liar(given))
        return made[-1]

    monkeypatch.setattr(compared, "build", build)
    with pytest.raises(agreement.DisagreementError, match=r"gpubp plain has loss .* at step 5"):
        compared.contest(SMALL, ["gpubp plain"], 1, 1, 0.001)
    assert not made[0].ran


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.0 + 3e-4])
def test_losses_disagree(wrong: float) -> None:
    with pytest.raises(agreement.DisagreementError, match=r"jax\.jit has loss"):
        agreement.agree({"textbook": [1.0, 1.0], "jax.jit": [1.0, wrong]})


def test_bfloat16_may_differ_by_more() -> None:
    agreement.agree({"textbook": [1.0], "torch bf16": [1.01]})
    with pytest.raises(agreement.DisagreementError, match="torch bf16"):
        agreement.agree({"textbook": [1.0], "torch bf16": [1.1]})


def test_who_leaves_dropout_out_is_found_out() -> None:
    still = {"textbook": [1.0], "jax.jit": [1.0]}
    agreement.draws(still, {"textbook": [1.03], "jax.jit": [1.01], "jax.jit rbg": [1.02]})
    with pytest.raises(agreement.DisagreementError, match="with dropout and without"):
        agreement.draws(still, {"textbook": [1.03], "jax.jit": [1.0]})
    with pytest.raises(agreement.DisagreementError, match=r"jax\.jit, with dropout"):
        agreement.draws(still, {"textbook": [1.03], "jax.jit": [1.5]})


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squares"])
def test_gpubp_and_the_textbook_agree(loss: str, optimizer: str) -> None:
    require("scipy")  # for the error function
    block = without_dropout(RANDOM).net[:1]
    _agree(Workload("all", (*block, *SMOOTH), 5, 3, optimizer, loss))


def test_ensembles_agree_member_by_member() -> None:
    found = _agree(Workload("members", mlp((3, 4, 2)), 5, 3, members=2))
    assert {len(loss) for losses in found.values() for loss in losses} == {2}


def _agree(load: Workload) -> dict[str, list[Any]]:
    """Every way to run gpubp, with what `fit` does among them, against the textbook."""
    given = problem(load)
    found = {n: contenders.build(n, given, 1).losses(8) for n in ("textbook", "gpubp plain")}
    agreement.agree({**found, "fit": gpubp_compiled.Fit(given).losses(8)})
    return found


def test_dropout_is_timed_but_not_compared() -> None:
    figures, _ = compared.contest(RANDOM, ["gpubp plain"], 1, 1, 0.001)
    assert figures["gpubp plain"]["steps_per_second"] > 0


def test_a_turn_is_of_whole_epochs() -> None:
    class Counted:
        unit, calls = 8, list[int]()

        def losses(self, count: int) -> list[Any]:
            return []

        def run(self, steps: int) -> None:
            self.calls.append(steps)

    who = Counted()
    found = rounds.measure({"gpubp compiled": who}, 2, 1e-6)["gpubp compiled"]
    assert all(steps % 8 == 0 for steps in who.calls)
    assert len(found["rounds"]) == 2


def test_ratios_are_to_float32_peers() -> None:
    rates = {"gpubp plain": 6.0, "textbook": 9.0, "torch fused": 3.0, "jax.jit": 2.0,
             "jax.scan": 1.0, "torch bf16": 8.0}  # fmt: skip
    found: dict[str, Any] = {
        who: {"steps_per_second": rate, "rounds": [rate, 2 * rate]} for who, rate in rates.items()
    }
    rounds.compare(found)
    row = found["gpubp plain"]
    assert row["to_best_peer"] == {"peer": "torch fused", "ratio": 2.0, "least": 2.0,
                                   "largest": 2.0}  # fmt: skip
    assert (row["to_best_jax"]["peer"], row["to_best_jax"]["ratio"]) == ("jax.jit", 3.0)


@pytest.mark.thorough
def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "cpu.json"
    said = _cpu("--only=W1", "--contenders=textbook,gpubp plain,gpubp compiled", "--rounds=1",
                "--seconds=0.01", "--threads=1", "--json", f"--out={out}")  # fmt: skip
    assert said.returncode == 0, said.stderr
    last = json.loads(said.stdout.splitlines()[-1])
    assert {"textbook", "gpubp plain"} <= set(last["W1"])
    result = json.loads(out.read_text())
    assert cpu_table.headline(result) == last
    run = result["runs"][0]
    assert not set(threads.HARMFUL) & set(run["variables"])
    assert [pool["num_threads"] for pool in run["threadpools"]] == [1] * len(run["threadpools"])
    assert "W1: 2-8-1" in cpu_table.markdown(result)


@pytest.mark.parametrize(
    "wrong", ["--only=W99", "--contenders=nobody", "--threads=0", "--threads=a", "--rounds=0"]
)
def test_wrong_usage(wrong: str) -> None:
    said = _cpu(wrong)
    assert said.returncode == 2
    assert wrong.partition("=")[0] in said.stderr


def _cpu(*options: str) -> Any:
    command = [sys.executable, "-m", "bench.cpu", *options]
    return subprocess.run(command, cwd=threads.ROOT, capture_output=True, text=True)


def _result() -> dict[str, Any]:
    rates = {"gpubp compiled": 1234.5, "jax.jit": 823.0, "torch bf16": 1e4, "torch fused": 9.87}
    figures: Any = {who: {"steps_per_second": rate} for who, rate in rates.items()}
    ratio = {"peer": "jax.jit", "ratio": 1.5, "least": 1.4, "largest": 1.6}
    figures["gpubp compiled"]["to_best_jax"] = ratio
    found = {"W2": {"says": "a net", "contenders": figures}, "W3": {"says": "b", "contenders": {}}}
    run = {"threads": 2, "cpu": "AMD of this test", "cores": 2, "date": "2026-01-02T",
           "commit": "c", "versions": {"jax": "0.1"}, "results": found}  # fmt: skip
    return {"rounds": 3, "runs": [run]}


def test_the_table_leads_with_the_ratio_to_jax() -> None:
    said = cpu_table.markdown(_result())
    assert (
        "| W2: a net | **1.50** (1.40 to 1.60) |  | 1,230 |  | 823 (jit) | 9.87 (fused) |" in said
    )
    assert all(part in said for part in ("AMD of this test", "jax 0.1", "2026-01-02", "half"))


def test_the_figure(tmp_path: Path) -> None:
    require("matplotlib")
    cpu_figure.draw(_result(), str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_threads_are_said_to_every_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    around = threads.surroundings(1)
    assert "OPENBLAS_CORETYPE" not in around
    assert around["OMP_NUM_THREADS"] == around["NPROC"] == "1"
    assert "multi_thread_eigen=false" in around["XLA_FLAGS"]


def test_a_busy_machine_is_told() -> None:
    assert busy.warning(0.4) is not None
    assert busy.warning(0.01) is busy.warning(None) is None


def test_what_is_installed_is_counted_once() -> None:
    found = sizes("gpubp")
    assert {"gpubp", "numpy", "safetensors"} <= set(found)
    assert "llvmlite" not in found
    assert found["together"] == sum(n for name, n in found.items() if name != "together")


def test_workloads_are_what_they_say() -> None:
    assert WORKLOADS["W3"].widths == (784, 512, 256, 10)
    assert (WORKLOADS["W2"].hidden, WORKLOADS["W7"].hidden) == ("relu", None)
    assert [name for name, load in WORKLOADS.items() if load.has_dropout] == ["W5"]
