"""Weights in files that torch reads and writes: plain safetensors, no pickles."""

from __future__ import annotations

import os
from typing import Any

from ..errors import InputError
from ..files import opened, write_atomically
from ..network import Network
from ..tensors import read_tensors, tensor_bytes
from .torch_state import from_torch_state, to_torch_state

_PICKLED = (b"PK\x03\x04", b"\x80")
"""How a file of `torch.save` begins: a zip archive, or a pickle as before torch 1.6."""


def to_torch_file(net: Network, path: str | os.PathLike[str], *, member: int | None = None) -> None:
    """Write the network's arrays as a safetensors file that torch loads.

    In torch: `model.load_state_dict(safetensors.torch.load_file(path))`. Names and layout are
    told in `gpubp.interchange.torch_names`; for `member` see `to_torch_state`. A file of that name
    is replaced only by a complete one. Raises `InputError` as `to_torch_state`, and where the file
    cannot be written.

    >>> import os, tempfile
    >>> import gpubp
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
    >>> to_torch_file(gpubp.Network(gpubp.Linear(2), inputs=3), path)
    >>> sorted(read_torch_file(path))
    ['bias', 'weight']
    """
    # the framework is what transformers, for one, looks at before it reads
    write_atomically(path, tensor_bytes(to_torch_state(net, member=member), {"format": "pt"}))


def from_torch_file(
    net: Network, path: str | os.PathLike[str], strict: bool = True, prefix: str = ""
) -> None:
    """Take over the arrays of a safetensors file that torch wrote.

    In torch: `safetensors.torch.save_file(model.state_dict(), path)`. Its tensors may be float64,
    float32, float16 or bfloat16. For `strict` and `prefix` see `from_torch_state`. Raises
    `InputError` as that does, and for files that are no safetensors, with what to do about those
    of `torch.save`; nothing is changed then.

    >>> import os, tempfile
    >>> import gpubp
    >>> path = os.path.join(tempfile.mkdtemp(), "mlp.safetensors")
    >>> first, second = (gpubp.Network(gpubp.MLP([4], 2), 3, seed=seed) for seed in (0, 1))
    >>> to_torch_file(first, path)
    >>> from_torch_file(second, path)
    >>> bool((first.theta == second.theta).all())
    True
    """
    state = read_torch_file(path)
    try:
        from_torch_state(net, state, strict, prefix)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_torch_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tensors of a safetensors file as NumPy arrays by name; 16-bit floats as float32.

    For `gpubp.interchange.network_from_torch_state`. Raises `InputError` as `from_torch_file`.

    >>> read_torch_file("no-such-file.safetensors")
    Traceback (most recent call last):
    gpubp.errors.InputError: there is no file no-such-file.safetensors
    """
    try:
        _, arrays = read_tensors(path, widen=True)
    except InputError as error:  # a safetensors file, too, may begin as a pickle does
        raise (InputError(_remedy(path)) if _is_pickled(path) else error) from None
    return arrays


def _is_pickled(path: str | os.PathLike[str]) -> bool:
    try:
        with opened(path) as file:
            return file.read(8).startswith(_PICKLED)
    except InputError:
        return False


def _remedy(path: str | os.PathLike[str]) -> str:
    return (
        f"{path} is a file of torch.save, a pickle, which could run code and is not read; "
        "write a safetensors file of it in torch:\n"
        f"    state = torch.load({os.fspath(path)!r}, map_location='cpu', weights_only=True)\n"
        "    safetensors.torch.save_file({k: v.clone().contiguous() for k, v in state.items()}, "
        "'weights.safetensors')"
    )
