"""bench.gpu and bench.evidence without a GPU: who disagrees, dies or is late, and what is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from bench import evidence, evidence_texts, gpu, gpu_call, gpu_check, kernel_texts
from bench.contenders import build as build_for_cpu
from bench.gpu_contenders import CONTENDERS, Contender, Setting, UnavailableError, base, build
from bench.gpu_parts import (
    Budget,
    agreement,
    capture,
    contest,
    kernels,
    large,
    loads,
    scaling,
    targets,
)  # fmt: skip
from bench.listing import listing
from bench.probes.runner import read_rows
from bench.workloads import Workload, mlp, problem
from tests import compiled_blas
from tests.conftest import require

ROOT = Path(__file__).resolve().parent.parent
DRY = Setting("cpu", unroll=2, tiny=True)
SMALL = Workload("small", mlp((3, 4, 2)), batch=5, batches=4)
SQUARES = Workload("squares", mlp((3, 4, 4)), batch=5, batches=4, loss="squares")
MEMBERS = replace(SMALL, says="members", members=3)
LIBRARIES = {"gpubp compiled": "llvmlite", "gpubp plain": "numpy"}
SHA = kernel_texts.fingerprint
STEPS = 10  # more than an epoch


def textbook(load: Workload, steps: int = STEPS) -> Any:
    losses = build_for_cpu("textbook", problem(load), 1).losses(steps)
    return np.asarray(losses, np.float64).reshape(steps, -1)


# -- contenders ----------------------------------------------------------------------------------


def with_workloads() -> Iterator[Any]:
    """Each contender with a few workloads: jax takes seconds for each, torch.compile more.

    jax.jit takes part in a contest below.
    """
    few = {"jax.jit": [], "jax.scan": [MEMBERS], "torch vmap": [MEMBERS],
           "torch.compile": []}  # fmt: skip
    for name in CONTENDERS:
        for load in few.get(name, [SMALL, SQUARES, MEMBERS]):
            yield pytest.param(name, load, id=f"{name}, {load.says}")


@pytest.mark.parametrize(("name", "load"), list(with_workloads()))
def test_contenders_agree(name: str, load: Workload) -> None:
    require(LIBRARIES.get(name, name.partition(".")[0].partition(" ")[0]))
    who = build(name, problem(load), DRY)
    found, expected = who.losses(STEPS), textbook(load)
    assert found.shape == expected.shape == (STEPS, load.members or 1)
    np.testing.assert_allclose(found, expected, rtol=contest.LIMITS["float32"])
    spent, device = who.timed(3)
    assert spent > 0.0
    assert device is None  # there are no events on the CPU
    assert bool(who.note) == (name in ("gpubp compiled", "torch graph"))
    assert set(who.kernels()) == ({f"{load.says}: step"} if name == "gpubp compiled" else set())


@pytest.mark.parametrize(("name", "unit"), [("torch graph", 2), ("jax.scan", 2), ("jax.jit", 1)])
def test_several_steps_go_into_one_launch(name: str, unit: int) -> None:
    require(name.partition(".")[0].partition(" ")[0])
    who = build(name, problem(SMALL), DRY)
    assert (who.unit, who.calls) == (unit, 4 // unit)


def test_vmap_is_for_ensembles() -> None:
    require("torch")
    with pytest.raises(UnavailableError, match="ensembles"):
        build("torch vmap", problem(SMALL), DRY)


def test_an_epoch_is_divided_without_a_rest() -> None:
    with pytest.raises(UnavailableError, match="4 batches are no multiple of 3 steps"):
        base.groups(4, 3)


@pytest.mark.parametrize("name", ["gpubp compiled", "gpubp plain"])
def test_lower_precisions_are_for_a_gpu(name: str) -> None:
    with pytest.raises(UnavailableError, match="tf32 is for compiled steps on a GPU"):
        build(name, problem(SMALL), replace(DRY, precision="tf32"))


def test_a_training_that_leaves_the_finite_is_no_contender() -> None:
    require("llvmlite")
    given = problem(SMALL)
    given.x[3] = np.inf
    with pytest.raises(ArithmeticError, match="step 4 was not finite"):
        build("gpubp compiled", given, DRY).losses(4)


# -- the same on a stand-in for CUDA ---------------------------------------------------------------


@pytest.fixture
def cuda(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A device whose kernels, products and graphs run on the CPU; its events tell nothing."""
    cublas = compiled_blas.install(monkeypatch)
    # Handles of networks that are gone stay, so that no two have one number.
    monkeypatch.setattr(cublas, "cublasDestroy_v2", lambda handle: compiled_blas.SUCCESS)
    monkeypatch.setattr(stand_in.cuda, "get_elapsed_time", lambda *events: 2.0, raising=False)
    return Setting("cuda", unroll=2, tiny=True)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("load", "precision"), [(SMALL, "float32"), (SQUARES, "tf32"), (MEMBERS, "bf16")]
)
def test_compiled_steps_agree_and_tell_their_kernels(
    load: Workload, precision: str, cuda: Setting
) -> None:
    how = replace(cuda, precision=precision)
    who = build("gpubp compiled", problem(load), how)
    apart = np.abs(who.losses(STEPS) / textbook(load) - 1.0)
    assert apart.max() <= contest.LIMITS[precision]
    assert who.timed(2)[1] == 2e-3
    assert not who.note
    texts = evidence_texts.steps((load, how))
    assert dict(who.kernels()) == {name: SHA(text) for name, text in texts.items()}


def test_the_plain_path_agrees_and_tells_its_kernels(cuda: Setting) -> None:
    who, known = contest._entered("gpubp plain", problem(SMALL), textbook(SMALL), cuda)
    assert known["losses_apart"] <= contest.LIMITS["float32"]
    assert any(name.startswith("gpubp_relu_pullback(float32") for name in known["kernels"])
    assert who.timed(1)[1] == 2e-3


@pytest.mark.thorough
def test_steps_are_equal_however_they_are_launched(cuda: Setting) -> None:
    rows = dict(capture.probe(cuda, Budget(600.0)))
    assert set(rows) == set(capture.WAYS)
    assert not [row for row in rows.values() if row.get("equal") != capture._TINY_STEPS]


def test_steps_that_cannot_be_captured_are_no_contender(
    cuda: Setting, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise RuntimeError("the stream does not capture")

    monkeypatch.setattr(stand_in.cuda.Stream, "begin_capture", refuse)
    who = build("gpubp compiled", problem(SMALL), cuda)
    with (
        pytest.warns(UserWarning, match="could not be captured"),
        pytest.raises(RuntimeError, match="could not be captured as a CUDA graph"),
    ):
        who.losses(1)


# -- contests ------------------------------------------------------------------------------------


def scripted(load: Workload, spent: float = 1e-4, wrong: float = 1.0, fails_at: int = 99) -> Any:
    """A contender whose losses are right but for a factor, which fails in some call."""
    losses, calls = textbook(load, 8) * wrong, [0]

    def take(i: int) -> Any:
        calls[0] += 1
        if calls[0] > fails_at:
            raise RuntimeError("lost the device")
        time.sleep(spent)
        return losses[(calls[0] - 1) % len(losses)]

    return Contender(take, 4, 1, np.asarray, lambda: None)


def held(
    monkeypatch: pytest.MonkeyPatch, who: dict[str, Any], seconds: float = 60.0
) -> dict[str, Any]:
    def build(name: str, data: Any, setting: Setting) -> Any:
        return who[name]()

    monkeypatch.setattr(contest, "build", build)
    monkeypatch.setattr(contest, "load", lambda names: None)
    given = loads.Contest(SMALL, tuple(who))
    rows = contest.contest(given, replace(DRY, unroll=4), Budget(seconds))
    return read_rows("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def test_who_lies_or_fails_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise UnavailableError("torch is not installed")

    rows = held(monkeypatch, {
        "gpubp compiled": lambda: scripted(SMALL),
        "gpubp plain": lambda: scripted(SMALL, wrong=1.001),
        "torch eager": lambda: scripted(SMALL, spent=4e-4),
        "torch graph": missing,
        "jax.jit": lambda: scripted(SMALL, fails_at=9),
        "jax.scan": lambda: scripted(SMALL, wrong=np.nan),
    })  # fmt: skip
    ours = rows["small: gpubp compiled"]
    assert set(ours["ratio_to"]) == {"torch eager"}
    assert ours["ratio_to_best_peer"] > 1.0
    assert ours["steps_per_second"] == pytest.approx(1e6 / ours["us_a_step"], rel=1e-2)
    assert len(ours["rounds"]) == 2
    for liar in ("gpubp plain", "jax.scan"):
        row = rows[f"small: {liar}"]
        assert "DisagreementError" in row["error"]
        assert "rounds" not in row
    assert rows["small: torch graph"] == {"left_out": "torch is not installed"}
    assert rows["small: jax.jit"]["error"] == "RuntimeError: lost the device"
    assert rows["small: jax.jit"]["losses_apart"] == 0.0


def test_who_takes_too_long_to_build_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> Any:
        time.sleep(60.0)

    who = {"gpubp plain": lambda: scripted(SMALL), "torch.compile": slow, "jax.jit": slow}
    rows = held(monkeypatch, who, seconds=0.5)
    assert "rounds" in rows["small: gpubp plain"]
    assert rows["small: torch.compile"]["error"].startswith("TimeoutError: took more than")
    assert rows["small: jax.jit"]["error"] == "TimeoutError: no time was left"


def test_ratios_say_how_many_times_as_fast_gpubp_is() -> None:
    figures: dict[str, Any] = {
        "gpubp compiled": {"us_a_step": 2.0, "rounds": [1.0, 2.0, 4.0]},
        "torch graph": {"us_a_step": 6.0, "rounds": [6.0, 6.0, 6.0]},
        "jax.scan": {"us_a_step": 3.0, "rounds": [3.0, 3.0, 4.0]},
    }
    row = contest.compared(figures)["gpubp compiled"]
    assert row["ratio_to"]["torch graph"] == {"ratio": 3.0, "least": 1.5, "largest": 6.0}
    assert (row["best_peer"], row["ratio_to_best_peer"]) == ("jax.scan", 1.5)
    assert "ratio_to" not in figures["torch graph"]


def test_all_workloads_are_divided_into_launches() -> None:
    everything = [*loads.SMALL, loads.LARGE, loads.ENSEMBLE, *loads.SCALING]
    for given in everything:
        assert base.groups(given.load.batches, given.unroll) >= 1
        assert set(given.who) <= set(CONTENDERS)
        assert loads.tiny(given).load.batches % loads.tiny(given).unroll == 0
    assert len({given.load.says for given in everything}) >= len(everything) - 1


# -- the other parts -----------------------------------------------------------------------------


def test_a_bit_that_differs_is_found() -> None:
    losses, weights = np.asarray([[2.0], [1.0]]), np.asarray([1.0, 2.0], np.float32)
    same = losses, weights, {"k0": "a"}
    assert capture.compared(same, same, 2)["equal"] == 2
    other = weights.copy()
    other.view(np.uint32)[1] ^= 1
    with pytest.raises(ArithmeticError, match="1 of 2 weights differ"):
        capture.compared(same, (losses, other, {}), 2)
    with pytest.raises(ArithmeticError, match=r"loss of step 2 of 2 is .*, not .*1\.0"):
        capture.compared(same, (np.asarray([[2.0], [1.5]]), weights, {}), 2)
    still = np.ones((2, 1)), weights, {}
    with pytest.raises(ArithmeticError, match="say nothing"):
        capture.compared(still, still, 2)


def test_a_step_that_a_graph_would_freeze_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    require("llvmlite")
    run = capture.Training.run

    def frozen(self: Any, start: int, count: int, order: Any = None) -> Any:
        if count == 3:  # as if the number of the step had been kept from the capture
            self.net._pass.step = 5
        return run(self, start, count, order)

    monkeypatch.setattr(capture.Training, "run", frozen)
    rows = dict(capture.probe(DRY, Budget(60.0)))
    wrong = {name for name, row in rows.items() if "error" in row}
    assert wrong == {"8 steps in a launch, 3 in a call"}


def test_a_training_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "EPOCHS", 1)
    expected = agreement._trained("cpu", "float32", False)
    row = agreement._beside(DRY, "float32", False, expected)
    assert (row["error_in_tolerances"], row["path"]) == (0.0, "plain")
    monkeypatch.setattr(agreement, "OPTIMIZER", gpubp.Momentum(0.0501))
    with pytest.raises(ArithmeticError, match="tolerances from NumPy's"):
        agreement._beside(DRY, "float32", False, expected)


def test_a_kernel_that_differs_is_found() -> None:
    be, tanh = gpubp.select("cpu"), gpubp.activations.ACTIVATIONS["tanh"]
    delta, a = np.linspace(-1, 1, 99, dtype="f4"), np.linspace(0, 0.9, 99, dtype="f4")
    assert kernels._difference(be, tanh, delta, a) == 0.0

    class Wrong:
        map = staticmethod(lambda f, *given: be.map(f, *given) * np.float32(1 + 1e-5))
        to_numpy = staticmethod(be.to_numpy)

    with pytest.raises(ArithmeticError, match="differs from the formula on the host"):
        kernels._difference(Wrong(), tanh, delta, a)


def test_targets_are_met_or_missed_or_not_measured() -> None:
    parts: dict[str, Any] = {
        "ceilings": {"results": {"product bf16": {"tflop_per_s": 800.0}}},
        "capture": {"results": {"one": {}, "two": {"error": "differs"}}},
        "kernels": {"results": {"copy": {"gb_per_s": 1.0}, "tanh": {"share_of_copy": 0.84}}},
        "small": {"results": {"a: gpubp compiled": {"ratio_to_best_peer": 1.2}, "a: jax.jit": {}}},
        "large": {"results": {
            "b: gpubp compiled": {"precision": "bf16", "tflop_per_s": 700.0},
            "c: gpubp compiled": {"precision": "tf32", "tflop_per_s": 300.0},
        }},
    }  # fmt: skip
    targets.add_shares(parts)
    found = {f"{t['part']} {t['what']}": t for t in targets.judged(parts, dry=False)}
    assert {name: t["met"] for name, t in found.items()} == {
        "capture one: agrees": True, "capture two: agrees": False,
        "kernels tanh: share of a copy": False, "small a: gpubp compiled: to the best peer": True,
        "large b: gpubp compiled: share of a product": True,
        "large c: gpubp compiled: share of a product": None,  # its ceiling was not measured
        "large b: gpubp compiled: to the best peer": None,
        "large c: gpubp compiled: to the best peer": None,
    }  # fmt: skip
    assert {t["met"] for t in targets.judged(parts, dry=True)} == {None}
    assert "MISSED  kernels: tanh" in gpu.targets_table(list(found.values()))


# -- the command ---------------------------------------------------------------------------------

WRITE = "import os, sys, time; f = open(sys.argv[1], 'a'); f.write('[\"a\", {}]\\n'); f.flush()"


def fake_parts(monkeypatch: pytest.MonkeyPatch, **scripts: str) -> list[float]:
    """Let the parts be these scripts; return the limits that they are given."""
    limits: list[float] = []

    def command(part: str, device: str, limit: float) -> list[str]:
        assert device == "cpu"
        limits.append(limit)
        return [sys.executable, "-c", f"{WRITE}\n{scripts.get(part, '')}"]

    monkeypatch.setattr(gpu, "command", command)
    return limits


@pytest.mark.thorough
def test_a_part_that_dies_or_is_late_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_parts(monkeypatch, small="os.kill(os.getpid(), 9)", large="time.sleep(600)",
               capture="raise OSError('lost')")  # fmt: skip
    out = tmp_path / "gpu.json"
    asked = ["--dry-run", "--seconds", "6", "--out", str(out)]
    assert gpu.main([*asked, "--only", "small,large,capture,scaling"]) == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out.splitlines()[-1])
    assert result == json.loads(out.read_text())
    parts = result["parts"]
    assert {name: part["status"] for name, part in parts.items()} == {
        "ceilings": "ok", "capture": "failed", "small": "failed", "large": "timed out",
        "scaling": "ok",
    }  # fmt: skip
    assert parts["capture"]["error"] == "OSError: lost"
    assert parts["small"]["error"] == f"killed: {signal.strsignal(9)}"
    assert all(part["results"] == {"a": {}} for part in parts.values())
    assert result["dry_run"] is True
    assert result["device"]["kind"] == "cpu"
    assert {"date", "commit", "versions", "targets"} <= set(result)
    assert "large: timed out" in printed.err


def test_time_that_is_left_is_for_later_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = fake_parts(monkeypatch)
    assert gpu.main(["--dry-run", "--seconds", "100"]) == 0
    capsys.readouterr()
    seconds = list(gpu.PARTS.values())
    assert gpu.SECONDS == sum(seconds) < 480
    assert limits[0] == pytest.approx(100 * seconds[0] / gpu.SECONDS, abs=2.0)
    assert limits[-1] > 85.0  # nobody before it took its time


def test_a_dry_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    require("llvmlite")
    out = tmp_path / "gpu.json"
    assert gpu.main(["--dry-run", "--only", "capture,kernels", "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    parts = result["parts"]
    assert set(parts["ceilings"]["results"]) == {
        "copy", "product bf16", "product tf32", "product float32",
    }  # fmt: skip
    assert set(parts["capture"]["results"]) == set(capture.WAYS)
    assert all(row["equal"] == row["steps"] for row in parts["capture"]["results"].values())
    shown = parts["kernels"]["results"]["tanh"]
    assert shown["elements"] < kernels.SIZE
    assert shown["share_of_copy"] > 0.0
    assert {target["met"] for target in result["targets"]} == {None}
    assert evidence.recorded(tmp_path) == []  # what ran on the CPU is evidence of nothing


def test_a_contest_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("llvmlite", "torch", "jax"):
        require(library)
    who = ("gpubp compiled", "torch graph", "jax.jit")
    monkeypatch.setattr(scaling, "SCALING", [replace(loads.SCALING[0], who=who)])
    rows = dict(scaling.probe(DRY, Budget(600.0)))
    assert {name.partition(": ")[2] for name in rows} == set(who)
    assert all({"losses_apart", "us_a_step", "rounds"} <= set(row) for row in rows.values())
    (ours,) = (row for name, row in rows.items() if name.endswith("gpubp compiled"))
    assert set(ours["ratio_to"]) == {"torch graph", "jax.jit"}


def test_precisions_of_large_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch")
    who = ("gpubp compiled", "torch eager")
    monkeypatch.setattr(large, "LARGE", replace(loads.LARGE, who=who))
    rows = dict(large.probe(DRY, Budget(600.0)))
    says = loads.LARGE.load.says
    for precision in ("bf16", "tf32"):
        row = rows[f"{says}, {precision}: torch eager"]
        assert row["precision"] == precision
        assert row["tflop_per_s"] == pytest.approx(row["flop"] / row["us_a_step"] / 1e6)
        assert "left_out" in rows[f"{says}, {precision}: gpubp compiled"]
    exact = rows[f"{says}, tf32: torch eager"]["losses_apart"]
    assert rows[f"{says}, bf16: torch eager"]["losses_apart"] > 10 * exact


@pytest.mark.parametrize("wrong", [["--only", "small,speed"], ["--seconds", "0"]])
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(wrong)
    assert ("unknown part 'speed'" in (said := capsys.readouterr().err)) or "above 0" in said


def test_without_a_device_one_line_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(("bench.gpu: no CUDA device", "bench.gpu: CuPy is missing"))


# -- the ledger ----------------------------------------------------------------------------------


def result_file(folder: Path, name: str, kind: str, date: str, rows: Any) -> None:
    device = {"kind": kind, "name": "a card"}
    result = {"device": device, "date": date, "commit": "abc", "parts": {"x": {"results": rows}}}
    (folder / name).write_text(json.dumps(result))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    old, new = {"f": SHA("f, once"), "g": SHA("g, once")}, {"f": SHA("f")}
    result_file(tmp_path, "old.json", "cuda", "2026-01-01", {"a": {"kernels": old}})
    result_file(tmp_path, "new.json", "cuda", "2026-02-01", {"a": {"kernels": new}})
    failed = {"error": "differs", "kernels": {"h": SHA("h")}}
    result_file(tmp_path, "failed.json", "cuda", "2026-03-01", {"a": failed})
    result_file(tmp_path, "cpu.json", "cpu", "2026-03-01", {"a": {"kernels": {"h": SHA("h")}}})
    (tmp_path / "other.json").write_text("[1]")
    return tmp_path


def test_what_is_fresh_stale_or_never_ran(results: Path) -> None:
    texts = {"f": "f", "g": "g", "h": "h", "f elsewhere": "f"}
    found = evidence.ledger(texts, evidence.recorded(results))
    assert {entry.name: entry.state for entry in found} == {
        "f": "fresh", "g": "stale", "h": "not yet run on a GPU", "f elsewhere": "fresh",
    }  # fmt: skip
    assert found[0].run == evidence.Run("new.json", "a card", "2026-02-01", "abc")
    assert found[1].run == evidence.Run("old.json", "a card", "2026-01-01", "abc")
    assert evidence.lines(found)[1] == "g: stale (a card, 2026-01-01, abc, old.json)"
    assert evidence.lines(found)[-1] == "4 kernels: 2 fresh, 1 stale, 1 not yet run on a GPU"


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [("g", (), 1), ("g", ("--report",), 0), ("g, once", (), 0)],
)
def test_the_exit_code_tells_of_what_is_stale(
    text: str, options: tuple[str, ...], code: int, results: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(evidence_texts, "all_texts", lambda: {"g": text, "h": "h"})
    assert evidence.main(["--results", str(results), "--json", *options]) == code
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"] for row in rows] == ["g", "h"]
    assert rows[0]["sha256"] == SHA(text)
    assert rows[1]["run"] is None


def test_texts_of_steps_follow_what_is_trained() -> None:
    load = loads.SMALL[0].load
    texts = evidence_texts.steps((load, Setting()))
    names = {name.partition(": ")[2] for name in texts}
    assert {"k0", "stage", "judge"} <= names
    assert "scatter" not in names  # the module has it, the step does not launch it
    assert texts == evidence_texts.steps((load, Setting()))
    other = evidence_texts.steps((replace(load, optimizer="adamw"), Setting()))
    assert set(texts.values()) - set(other.values())


def test_texts_of_the_check_are_those_that_it_launches() -> None:
    texts = evidence_texts.checked("activations")
    assert any(name.startswith("gpubp_tanh_pullback(float32") for name in texts)
    assert any(name.startswith("gpubp_tanh_pullback(float64") for name in texts)
    assert "listing" not in gpubp.backend._BUILT_IN


def test_the_cuda_backend_launches_what_is_listed(stand_in: Any) -> None:
    def train(device: str) -> None:
        net = gpubp.Network(gpubp.MLP([4], 2, activation="relu"), inputs=3, device=device)
        x, t = net.be.asarray(np.ones((2, 3))), net.be.asarray(np.zeros((2, 1)), "int64")
        net.train_step(x, t, gpubp.CrossEntropy(), gpubp.Adam())

    with listing() as texts:
        train("listing")
    with kernel_texts.launched("cuda") as launched:
        train("cuda")
    assert len(launched) > 3
    assert dict(launched) == {name: SHA(text) for name, text in texts.items()}


def test_a_check_is_recorded() -> None:
    code, found, table = gpu_check.checked("cpu", "losses")
    assert (code, found["beyond_tolerance"], found["kernels"]) == (0, [], {})
    assert found["comparisons"] > 100
    assert "beyond tolerance" in table


# -- one call ------------------------------------------------------------------------------------


def test_all_parts_take_less_than_nine_minutes(tmp_path: Path) -> None:
    found = gpu_call.parts(tmp_path)
    assert sum(part.limit for part in found) + gpu_call._SETTING_UP < 540
    benchmark = next(part for part in found if part.name == "benchmark")
    assert float(benchmark.command[benchmark.command.index("--seconds") + 1]) < benchmark.limit


@pytest.mark.thorough
def test_parts_of_a_call_do_not_end_one_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def python(name: str, script: str, limit: float = 60.0, needs: str = "") -> gpu_call.Part:
        return gpu_call.Part(name, (sys.executable, "-c", script), limit, needs)

    pid = tmp_path / "pid"
    hangs = f"""import subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], stderr=subprocess.DEVNULL)
open({str(pid)!r}, "w").write(str(child.pid))
try: time.sleep(600)
except KeyboardInterrupt: print("told what it had", flush=True)"""
    fakes = [
        python("fails", "print('no'); raise SystemExit(3)"), python("hangs", hangs, 6.0),
        python("lacks", "", needs="no-such-program"), python("works", "print('9 passed')"),
    ]  # fmt: skip
    monkeypatch.setattr(gpu_call, "parts", lambda out: fakes)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert gpu_call.main() == 1
    found = json.loads((tmp_path / "out" / "gpu_call.json").read_text())["parts"]
    assert {name: (row["status"], row["said"]) for name, row in found.items()} == {
        "fails": ("failed (3)", "no"), "hangs": ("timed out", "told what it had"),
        "lacks": ("skipped", "no-such-program is not there"), "works": ("ok", "9 passed"),
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1].endswith("9 passed")
    for _ in range(100):  # until the process that it left behind is gone
        if not Path(f"/proc/{pid.read_text()}").exists():
            break
        time.sleep(0.02)
    else:
        state = Path(f"/proc/{pid.read_text()}/stat").read_text().split()[2]
        assert state == "Z"


def test_a_package_that_is_not_installed_is_made_importable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare = tmp_path / "python"  # one that knows of no installed package
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    for folder in ("gpubp", "backends"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    monkeypatch.setattr(gpu_call, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(bare))
    link, test = tmp_path / "gpubp" / "backends", [str(bare), "-c", "import gpubp.backends"]
    with (tmp_path / "log").open("wb") as log, gpu_call.prepared(log) as environment:
        assert link.is_symlink()
        assert subprocess.run(test, cwd=tmp_path, env=environment).returncode == 0
    assert not link.exists()


@pytest.mark.thorough
def test_the_texts_that_a_check_asks_for_are_the_same_each_time() -> None:
    """Whatever other backends there are: an array of NumPy's is theirs, too."""
    others = [gpubp.select("cpu", precision) for precision in ("float32", "float64")]
    nets = [gpubp.Network(gpubp.Linear(1), 1, device=be) for be in others]
    found = evidence_texts.checked("losses")
    assert nets
    assert {name.split("(")[1].split()[0] for name in found} == {"float32", "float64"}
    assert sum(name.startswith("gpubp_absolute(") for name in found) == 2
    assert found == evidence_texts.checked("losses")
