"""Fingerprints of the kernels that ran: what a result on a device is evidence of."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a kernel's text.

    >>> fingerprint("y = x;")[:8]
    'cfcdb24e'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprints(where: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprint of each text, under the name of its kernel and where it belongs.

    >>> list(fingerprints("784-128-10", {"forward": "y = x;"}))
    ['784-128-10: forward']
    """
    return {f"{where}: {name}": fingerprint(text) for name, text in texts.items()}


def element_wise(arguments: tuple[Any, ...]) -> tuple[str, str]:
    """Return name and text of an element-wise kernel, of what `cuda.kernel_text` returned.

    >>> element_wise(("float32 x", "float32 y", "y = -x;", "negative", True, "typedef float T;"))
    ('negative(float32 x)', 'float32 x -> float32 y\\nnegative True\\ntypedef float T;\\ny = -x;')
    """
    inputs, outputs, body, name, reduced, preamble = arguments
    text = f"{inputs} -> {outputs}\n{name} {reduced}\n{preamble}\n{body}"
    return f"{name}({inputs})", text


class Collection(dict[str, str]):
    """Texts or fingerprints of kernels by name.

    Another of the same name, such as one with other constants, is numbered.

    >>> found = Collection()
    >>> for text in "aba":
    ...     found.enter("f", text)
    >>> found
    {'f': 'a', 'f #2': 'b'}
    """

    def enter(self, name: str, text: str) -> None:
        number, key = 1, name
        while self.get(key, text) != text:
            number += 1
            key = f"{name} #{number}"
        self[key] = text


@contextmanager
def launched(device: str) -> Iterator[Collection]:
    """Collect the fingerprints of the element-wise kernels that are made inside of `with`.

    There are none on another device than a GPU.
    """
    found = Collection()
    if not device.startswith("cuda"):
        yield found
        return
    cuda: Any = importlib.import_module("gpubp.backends.cuda")
    true = cuda.kernel_text

    def kernel_text(*given: Any) -> Any:
        made = true(*given)
        name, text = element_wise(made)
        found.enter(name, fingerprint(text))
        return made

    cuda._fused.cache_clear()  # a kernel made before would not be made again
    cuda.kernel_text = kernel_text
    try:
        yield found
    finally:
        cuda.kernel_text = true
