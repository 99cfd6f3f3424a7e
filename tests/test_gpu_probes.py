"""bench.gpu_probes without a GPU: isolation, limits, the report, and the host's arithmetic."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import gpu_probes
from bench.probes import UnavailableError, blas, capture, clock, epilogues, kinds, lt
from bench.probes.runner import run_part
from tests import compiled_blas
from tests.compiled_streams import Stream

ROOT = Path(__file__).resolve().parent.parent
ROW = (
    "import json, os, sys, time; f = open(sys.argv[1], 'a', buffering=1); f.write('[\"a\", {}]\\n')"
)

STREAM = Stream(non_blocking=True)


def fake(script: str) -> list[str]:
    """Return the command of a part that writes one result and then runs `script`."""
    return [sys.executable, "-c", f"{ROW}\n{script}\nf.close()"]


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        ("", "ok", None),
        ("raise ValueError('broken')", "failed", "ValueError: broken"),
        ("os.kill(os.getpid(), 9)", "failed", f"killed: {signal.strsignal(9)}"),
        ("sys.exit('cannot ' 'start')", "failed", "cannot start"),
        ("print('no such library', file=sys.stderr); sys.exit(77)", "skipped", "no such library"),
        ('f.write(\'["b", {"us\')', "ok", None),
    ],
)
def test_what_a_part_wrote_is_kept_however_it_ends(
    script: str, status: str, error: str | None
) -> None:
    part = run_part(fake(script), limit=600)
    assert (part["status"], part.get("error")) == (status, error)
    assert part["results"] == {"a": {}}


def test_a_part_that_hangs_is_killed() -> None:
    part = run_part(fake("time.sleep(3600)"), limit=0.5)
    assert part["status"] == "timed out"
    assert part["error"] == "killed at its limit of 0.5 s"


def test_a_part_with_a_failed_measurement_has_failed() -> None:
    part = run_part(fake('f.write(\'["b", {"error": "no"}]\\n\')'), limit=600)
    assert part["status"] == "failed"
    assert part["error"] == "1 of 2 measurements failed: b"
    assert list(part["results"]) == ["a", "b"]


def fake_machine(monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Let the parts be these scripts, on a device that is there."""
    rows = [["device", {"name": "fake"}], ["versions", {"cupy": "0"}]]
    scripts["device"] = "\n".join(f"f.write('{json.dumps(row)}\\n')" for row in rows)
    monkeypatch.setattr(gpu_probes, "command", lambda part: fake(scripts.get(part, "")))


def test_all_parts_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_machine(monkeypatch, bits="raise OSError('lost')", launch="os.kill(os.getpid(), 9)")
    out = tmp_path / "probes.json"
    assert gpu_probes.main(["--out", str(out)]) == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out.splitlines()[-1])
    assert result == json.loads(out.read_text())
    assert {"device", "versions", "date", "commit", "parts"} <= set(result)
    states = {name: part["status"] for name, part in result["parts"].items()}
    assert list(states) == list(gpu_probes.LIMITS)
    assert {name for name, state in states.items() if state != "ok"} == {"bits", "launch"}
    assert all(part["results"] == {"a": {}} for part in result["parts"].values())
    assert "bits: failed" in printed.err
    assert "OSError: lost" in printed.err


def test_only_what_is_asked_for_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_machine(monkeypatch, launch="raise OSError('must not run')")
    assert gpu_probes.main(["--only", "bits,capture", "--seconds", "600"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    ran = {name for name, part in parts.items() if part["status"] == "ok"}
    assert ran == {"bits", "capture"}
    assert parts["launch"]["status"] == "skipped"


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_probes.main(["--only", "bits,speed"])
    assert "unknown part 'speed'; the parts are capture, launch" in capsys.readouterr().err


def test_without_a_device_one_line_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu_probes"],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(("gpu_probes: no CUDA device", "gpu_probes: CuPy is missing"))


@pytest.mark.parametrize("part", ["device", *gpu_probes.LIMITS])
def test_a_part_says_that_cupy_is_missing(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    module = importlib.import_module(f"bench.probes.{part}")
    with pytest.raises(UnavailableError, match="CuPy is missing"):
        next(module.probe())


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_numbers_survive_being_stored(kind: str) -> None:
    x = kinds.uniform(np, (100, 70), seed=3)
    assert x.min() < -0.99
    assert x.max() > 0.99
    assert len(np.unique(x)) == x.size
    stored = kinds.encode(kind, x)
    assert stored.dtype == kinds.KINDS[kind].storage
    assert kinds.relative_error(kinds.decode(kind, stored), x) <= kinds.KINDS[kind].tolerance


class OnDevice(np.ndarray[Any, Any]):
    """A NumPy array with the one attribute of CuPy's that the bindings use."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])


def on_device(x: Any) -> Any:
    return np.ascontiguousarray(x).view(OnDevice)


@pytest.fixture
def host_blas(monkeypatch: pytest.MonkeyPatch) -> blas.Blas:
    compiled_blas.install(monkeypatch)
    return blas.Blas(compiled_blas.CUPY, STREAM)


@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_products_are_of_row_major_arrays(ta: bool, tb: bool, host_blas: blas.Blas) -> None:
    a, b = kinds.uniform(np, (3, 5), 1), kinds.uniform(np, (5, 4), 2)
    c = on_device(np.full((3, 4), np.nan))
    operands = on_device(a.T if ta else a), on_device(b.T if tb else b)
    assert host_blas.product("float64", *operands, c, ta, tb)() is c
    STREAM.synchronize()
    np.testing.assert_allclose(c, a @ b, rtol=0, atol=1e-15 * 8 * 5)


def test_three_axes_are_a_batch(host_blas: blas.Blas) -> None:
    a, b = kinds.uniform(np, (2, 3, 5), 1), kinds.uniform(np, (2, 5, 4), 2)
    c = on_device(np.full((2, 3, 4), np.nan))
    assert host_blas.product("float64", on_device(a), on_device(b), c)() is c
    STREAM.synchronize()
    np.testing.assert_allclose(c, a @ b, rtol=0, atol=1e-15 * 8 * 5)


def test_shapes_that_do_not_fit_are_refused(host_blas: blas.Blas) -> None:
    x = on_device(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="shapes do not fit"):
        host_blas.product("float64", x, x, x)


@pytest.mark.parametrize("kind", epilogues.TYPES)
@pytest.mark.parametrize("epilogue", epilogues.PROBLEMS)
def test_the_judge_passes_right_outputs_and_no_others(kind: str, epilogue: str) -> None:
    make = epilogues.PROBLEMS[epilogue]
    problem = make(np.random.default_rng(1), kind, epilogue, 7, 9, 5)
    written = {"d": problem.d, "bias": problem.bias, "aux": problem.aux}
    right = dict(written)
    for name in {"d", "bias", "aux"} & set(problem.expected):
        right[name] = kinds.encode(kind, problem.expected[name])
    if "mask" in problem.expected:
        mask = np.pad(problem.expected["mask"], ((0, 0), (0, problem.aux_ld - 5)))
        right["aux"] = np.packbits(mask, axis=-1, bitorder="little")
    assert epilogues.judge(kind, problem.expected, right)["close"]
    for name in set(problem.expected) - {"d by erf"}:
        buffer = "aux" if name == "mask" else name
        spoiled = {**right, buffer: epilogues.poison(right[buffer].shape, right[buffer].dtype)}
        assert not epilogues.judge(kind, problem.expected, spoiled)["close"]


def test_cublaslt_takes_the_description() -> None:
    try:
        library = lt.library()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    x, w, z = (on_device(np.zeros(shape, "f4")) for shape in ((6, 8), (8, 128), (6, 128)))
    bias, aux = on_device(np.zeros(128, "f4")), on_device(np.zeros((6, 16), "u1"))
    matmul = lt.Matmul("tf32", "RELU_AUX_BIAS", x, w, z, bias, aux, 128, tb=False, ta=False)
    expected = {lt.EPILOGUE: 134, lt.AUX_LD: 128, lt.TRANSA: 0, lt.BIAS_POINTER: bias.data.ptr}
    sizes = {lt.EPILOGUE: 4, lt.TRANSA: 4}
    for attribute, value in expected.items():
        got = ctypes.c_uint64(0)
        size = sizes.get(attribute, 8)
        arguments = (matmul.description, attribute, ctypes.byref(got), size, None)
        assert library.cublasLtMatmulDescGetAttribute(*arguments) == 0
        assert got.value == value


class HostTime:
    """A clock that moves only when told to, and the events of a device that takes no time."""

    now = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def device(self) -> Any:
        event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
        cuda = SimpleNamespace(Event=lambda: event, get_elapsed_time=lambda first, last: 0.25)
        return SimpleNamespace(RawKernel=lambda text, name: lambda *a, **k: None, cuda=cuda)


@pytest.mark.parametrize(("call_us", "host_us"), [(2, 2.0), (100, 100.0), (10**6, None)])
def test_the_hold_outlasts_the_host_or_no_time_is_given(
    call_us: int, host_us: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_time = HostTime()
    monkeypatch.setattr(clock, "time", fake_time)

    def call(i: int) -> None:
        fake_time.now += call_us * 1000

    stream = SimpleNamespace(synchronize=lambda: None)
    cost = clock.Clock(fake_time.device(), stream).cost(call)
    assert cost["host_us"] == host_us
    assert (cost["device_us"] is None) == (host_us is None)
    assert cost["wall_us"] == call_us


def test_a_refused_capture_leaves_the_stream_out_of_capture() -> None:
    ended = []
    stream = SimpleNamespace(begin_capture=lambda: None, end_capture=lambda: ended.append(True))

    def refuse() -> None:
        raise NotImplementedError("cuBLAS")

    with pytest.raises(NotImplementedError, match="cuBLAS"):
        capture.captured(stream, refuse)
    assert ended == [True]
