"""The kernels of a program as the text of one module of CUDA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpubp.program.c_expressions import preludes
from gpubp.program.calls import Guard, Launch, Program

from .cuda_layout import Layout
from .cuda_text import head
from .cuda_writer import Writer


@dataclass(frozen=True)
class Printed:
    """A kernel as text, with its name, the layout it is launched with, and the arrays it takes.

    One that is `guarded` takes the words of sound members too.
    """

    name: str
    text: str
    layout: Layout
    arrays: tuple[int, ...]
    guarded: bool


def printed(program: Program, aligned: Any, members: bool) -> list[Printed | None]:
    """Return the kernel of each call of a program, None for a call that is none.

    `aligned(buffer)` says whether a buffer begins at a multiple of 16 bytes. With `members` each
    array has one more argument, how many elements its memory of one member is from that of the
    next, and the grid has the members along y. Kernels behind the guard do nothing for members
    whose step was not sound. Equal texts have one name.
    """
    names: dict[str, str] = {}
    found: list[Printed | None] = []
    guarded = False
    for call in program.calls:
        guarded = guarded or isinstance(call, Guard)
        if not isinstance(call, Launch):
            found.append(None)
            continue
        writer = Writer(call, program.precision, [aligned(b) for b in call.arrays], members,
                        guarded)  # fmt: skip
        text = writer.text()
        name = names.setdefault(text, f"k{len(names)}")
        text = text.replace("KERNEL", name, 1)
        found.append(Printed(name, text, writer.layout, writer.taken, guarded))
    return found


def module(kernels: Iterable[Printed | None], program: Program, by_hand: Mapping[str, str]) -> str:
    """Return the text of a module with these kernels, each once, and those written by hand."""
    texts = {k.name: k.text for k in kernels if k is not None}
    whole = "\n\n".join([*texts.values(), *by_hand.values()]) + "\n"
    return head(program.precision, program.half) + "\n" + preludes(whole) + "\n" + whole


def texts(
    kernels: Iterable[Printed | None], program: Program, by_hand: Mapping[str, str]
) -> dict[str, str]:
    """Return the text of each kernel of a module, with all that its module begins with.

    Those that were printed have the name KERNEL in it: what a kernel is does not depend on the
    number it has in its module.
    """
    begin = head(program.precision, program.half) + "\n"
    found = {k.name: k.text.replace(f" {k.name}(", " KERNEL(", 1) for k in kernels if k is not None}
    return {
        name: begin + preludes(text) + "\n" + text for name, text in {**found, **by_hand}.items()
    }
