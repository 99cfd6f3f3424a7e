"""The look through kernels' texts finds what is planted, and nothing in what is right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import OWN_FORMULAS, require
from tests.cuda_check import __main__ as program
from tests.cuda_check import check
from tests.cuda_check.check import Usage, check_text
from tests.cuda_check.zoo import Text, zoo

LOOP = """
extern "C" __global__ void k(const {T}* a, {T}* b, int n) {{
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {{
    {body}
  }}
}}"""
SPILLING = """
extern "C" __global__ void __launch_bounds__(1024, 2) k(const float* a, float* b) {
  float x[64];
  #pragma unroll
  for (int i = 0; i < 64; ++i) x[i] = a[i * 1024 + threadIdx.x];
  #pragma unroll
  for (int i = 0; i < 64; ++i) b[i * 1024 + threadIdx.x] = x[i] * x[63 - i];
}"""
INDEXED = """
    float x[32] = {};
    for (int j = 0; j < n; ++j) x[int(a[j]) & 31] += a[j];
    b[i] = x[i & 31];"""
WIDE = """
extern "C" __global__ void k(const float4* a, float4* b) {
  __shared__ float4 kept[64];
  kept[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  b[threadIdx.x] = kept[63 - threadIdx.x];
}"""


@pytest.fixture(autouse=True)
def tools() -> None:
    require("cupy")
    require("cuda.pathfinder")
    try:
        check.nvdisasm()
    except FileNotFoundError as why:
        pytest.skip(str(why))


def loop(body: str, real: str = "float") -> str:
    return LOOP.format(T=real, body=body)


def looked_at(text: str, precision: str = "float32", budget: int = 64) -> tuple[Usage, list[str]]:
    report = check_text(text, 90, budget, precision)
    (usage,) = report.kernels
    return usage, report.faults


def test_a_right_kernel_has_no_fault() -> None:
    usage, faults = looked_at(loop("b[i] = a[i] * float(0.1);"))
    assert not faults
    assert usage.kernel == "k"
    assert 4 < usage.registers < 32
    assert usage.instructions["FMUL.FTZ"] >= 1  # denormals are flushed, as in CuPy
    assert (usage.shared, usage.stack, usage.spilled, usage.vector_loads) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("body", "instruction"),
    [("b[i] = a[i] * 0.1;", "DMUL"), ("b[i] = a[i] > 0.1 ? a[i] : 0;", "DSETP"),
     ("b[i] = float(sqrt(double(a[i])));", "MUFU.RSQ64H"), ("b[i] = a[i] + 0.1;", "F2F.F64.F32")],
)  # fmt: skip
def test_double_arithmetic_is_found(body: str, instruction: str) -> None:
    _, (fault,) = looked_at(loop(body))
    assert fault.startswith("k: double arithmetic in a kernel of float32 (")
    assert instruction in fault


def test_a_kernel_of_float64_may_compute_in_doubles() -> None:
    usage, faults = looked_at(loop("b[i] = a[i] * 0.1;", "double"), "float64")
    assert usage.instructions["DMUL"] >= 1
    assert not faults


def test_a_spill_is_found() -> None:
    usage, faults = looked_at(SPILLING)
    assert usage.spilled > 0
    assert faults[0] == f"k: {usage.spilled} bytes of registers are spilled"


def test_local_memory_is_found() -> None:
    usage, (fault,) = looked_at(loop(INDEXED))
    assert (usage.stack, usage.spilled) == (128, 0)
    assert fault.startswith("k: 128 bytes of local memory (")
    assert "LDL" in fault


def test_too_many_registers_are_found() -> None:
    body = "b[i] = a[i];"
    needed = looked_at(loop(body))[0].registers
    assert not looked_at(loop(body), budget=needed)[1]
    _, (fault,) = looked_at(loop(body), budget=needed - 1)
    assert fault == f"k: {needed} registers, its budget is {needed - 1}"


def test_vector_loads_and_shared_memory_are_counted() -> None:
    usage, faults = looked_at(WIDE)
    assert not faults
    assert (usage.vector_loads, usage.shared) == (1, 64 * 16)


def test_every_kernel_of_a_text_is_looked_at() -> None:
    second = loop("b[i] = a[i] * 0.1;").replace(" k(", " second(")
    report = check_text(loop("b[i] = a[i];") + second, 75, 64)
    assert [usage.kernel for usage in report.kernels] == ["k", "second"]
    assert [fault.split(":")[0] for fault in report.faults] == ["second"]


def test_a_text_without_kernels_or_sense_is_a_fault() -> None:
    assert check_text("static int x;", 90, 64).faults == ["no kernel"]
    (fault,) = check_text(loop("b[i] = c[i];"), 90, 64).faults
    assert fault.startswith("does not compile: ")
    assert '"c" is undefined' in fault


def test_16_bit_numbers_have_their_headers() -> None:
    body = "b[i] = __float2bfloat16(2.0f * __bfloat162float(a[i]));"
    text = "#include <cuda_bf16.h>\n" + loop(body, "__nv_bfloat16")
    assert not looked_at(text)[1]


@pytest.mark.parametrize("name", ["activations float32", "activations float64"])
@pytest.mark.parametrize("arch", [75, 120])
def test_activations_are_sound(name: str, arch: int) -> None:
    text = zoo()[name]
    report = check_text(text.code, arch, text.budget, text.precision)
    assert not report.faults
    assert len(report.kernels) == text.code.count("__global__")


def test_every_formula_of_the_library_is_in_the_zoo() -> None:
    codes = [text.code for name, text in zoo().items() if name.endswith(" float32")]
    assert sum(code.count("__global__") for code in codes) >= len(OWN_FORMULAS) > 100


def test_the_program_tells_kernels_and_faults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    texts = {"right": Text(loop("b[i] = a[i];"), "float32", 64)}
    monkeypatch.setattr(program, "zoo", lambda: texts)
    assert program.main(["--arch", "80,90", "--random", "0"]) == 0
    out = capsys.readouterr().out
    assert "2 texts compiled, 2 kernels, 0 faults" in out
    assert out.splitlines()[0].split()[:3] == ["text", "kernel", "arch"]
    texts["wrong"] = Text(loop("b[i] = a[i] * 0.1;"), "float32", 64)
    file = tmp_path / "kernels.json"
    assert program.main(["--arch", "90", "--random", "0", "--out", str(file)]) == 1
    assert "\nwrong, sm_90: k: double arithmetic" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert [row["text"] for row in written["kernels"]] == ["right", "wrong"]
    assert len(written["faults"]) == 1
