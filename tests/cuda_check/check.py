"""Compile a text as CuPy would, and read what became of its kernels."""

from __future__ import annotations

import importlib
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

# What ptxas says of one kernel, in this order, with other lines between.
_PTXAS = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_SHARED = re.compile(r"(\d+) bytes smem")
_SECTION = re.compile(r"^\.text\.(\w+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")
_DOUBLE = re.compile(r"(DADD|DMUL|DFMA|DSETP|DMNMX|DMMA)\b|.*(\.F64|64H)\b")
_LOCAL = re.compile(r"(LDL|STL)\b")
_VECTOR = re.compile(r"LDG\b.*\.128\b")


@dataclass(frozen=True)
class Usage:
    """What a kernel uses: registers of a thread, bytes, and instructions with how often."""

    kernel: str
    registers: int
    shared: int
    stack: int
    spilled: int
    instructions: Counter[str]

    def found(self, pattern: re.Pattern[str]) -> dict[str, int]:
        """The instructions that match."""
        return {name: n for name, n in self.instructions.items() if pattern.match(name)}

    @property
    def vector_loads(self) -> int:
        """Loads of 16 bytes at once from the memory of the device."""
        return sum(self.found(_VECTOR).values())

    def faults(self, precision: str, budget: int) -> Iterator[str]:
        if self.spilled:
            yield f"{self.kernel}: {self.spilled} bytes of registers are spilled"
        local = self.found(_LOCAL)
        if self.stack or local:
            yield f"{self.kernel}: {self.stack} bytes of local memory{_listed(local)}"
        if self.registers > budget:
            yield f"{self.kernel}: {self.registers} registers, its budget is {budget}"
        if precision == "float32" and (double := self.found(_DOUBLE)):
            yield f"{self.kernel}: double arithmetic in a kernel of float32{_listed(double)}"


@dataclass(frozen=True)
class Report:
    """The kernels of a text for one architecture, and what is wrong with them, in words."""

    arch: int
    kernels: list[Usage] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_text(text: str, arch: int, budget: int, precision: str = "float32") -> Report:
    """Compile a text for an architecture such as 90 and look through all its kernels.

    A kernel must not spill, use local memory or more registers than `budget`, and one of float32
    must not compute in doubles. A text that does not compile is a fault too. Needs CuPy and
    nvdisasm, and no GPU.
    """
    cubin, log = _compiled(text, arch)
    if cubin is None:
        return Report(arch, faults=[f"does not compile: {log}"])
    instructions = _instructions(cubin)
    kernels = [
        Usage(
            found["name"],
            int(found["registers"]),
            sum(map(int, _SHARED.findall(found["rest"]))),
            int(found["stack"]),
            int(found["stores"]) + int(found["loads"]),
            instructions.pop(found["name"]),
        )
        for found in _PTXAS.finditer(log)
    ]
    # A kernel that ptxas was not read of would pass unseen.
    assert not instructions, f"kernels without a line of ptxas: {', '.join(instructions)}\n{log}"
    kernels.sort(key=lambda usage: usage.kernel)
    faults = [fault for usage in kernels for fault in usage.faults(precision, budget)]
    return Report(arch, kernels, faults if kernels else ["no kernel"])


def _compiled(text: str, arch: int) -> tuple[bytes | None, str]:
    """The machine code, or None, and what the compiler said."""
    nvrtc: Any = importlib.import_module("cupy.cuda").nvrtc
    program = nvrtc.createProgram(text, "kernels.cu", (), ())
    try:
        options = ("-ftz=true", "--device-as-default-execution-space", *_includes())
        nvrtc.compileProgram(program, (f"-arch=sm_{arch}", *options, "--ptxas-options=-v"))
        cubin: bytes = nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError:
        lines = nvrtc.getProgramLog(program).splitlines()
        return None, next((line for line in lines if "error" in line), "the compiler failed")
    else:
        # CuPy cuts the last byte off, as if this were a string of C; nvdisasm wants it back.
        return cubin + bytes(-len(cubin) % 8), nvrtc.getProgramLog(program)
    finally:
        nvrtc.destroyProgram(program)


@cache
def _includes() -> tuple[str, ...]:
    """Where the headers of 16-bit numbers are."""
    folder = importlib.import_module("cuda.pathfinder").find_nvidia_header_directory("cudart")
    return () if folder is None else (f"-I{folder}",)


def _instructions(cubin: bytes) -> dict[str, Counter[str]]:
    """How often each kernel has each instruction."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [nvdisasm(), "--print-code", "--no-dataflow", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Counter[str]] = {}
    for line in listing.splitlines():
        if section := _SECTION.match(line):
            current = found.setdefault(section[1], Counter())
        elif instruction := _INSTRUCTION.match(line):
            current[instruction[1]] += 1
    return found


@cache
def nvdisasm() -> str:
    """The path of the disassembler; `FileNotFoundError` where there is none."""
    pathfinder = importlib.import_module("cuda.pathfinder")
    path: str | None = pathfinder.find_nvidia_binary_utility("nvdisasm")
    if path is None:
        raise FileNotFoundError("nvdisasm is missing; pip install nvidia-cuda-nvdisasm")
    return path


def _listed(instructions: dict[str, int]) -> str:
    return f" ({', '.join(f'{n} {name}' for name, n in instructions.items())})" * bool(instructions)
