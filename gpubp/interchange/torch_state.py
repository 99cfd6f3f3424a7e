"""Weights as torch's `state_dict()` has them, out of a network and into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import inputs
from ..backend import Backend
from ..errors import InputError, shown
from ..network import Network
from .members import member_of
from .torch_names import Entry, entries

_LONGEST = 500  # letters of a name


def to_torch_state(net: Network, *, member: int | None = None) -> dict[str, Any]:
    """Return the network's arrays as the `state_dict()` of its twin in torch, as NumPy arrays.

    Names and layout are told in `gpubp.interchange.torch_names`. `num_batches_tracked` is how
    many updates the network has made. An ensemble's arrays have a leading axis of members, as
    those of `torch.func.stack_module_state`; `member` picks one. Raises `InputError` for a layer
    of your own that has arrays.

    In torch: `model.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})`.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    >>> {name: array.shape for name, array in to_torch_state(net).items()}
    {'0.weight': (4, 3), '0.bias': (4,), '2.weight': (2, 4), '2.bias': (2,)}
    """
    found = list(entries(net.layer, net.spec))
    k = None if member is None else member_of(net, member)
    own = {path: net.be.to_numpy(array) for path, array in net.state_dict().items()}
    lead = () if net.members is None else (net.members,)
    counter = np.full(lead, net.updates, dtype=np.int64)
    state = {}
    for entry in found:
        array = counter if entry.path is None else own[entry.path]
        array = array if k is None else array[k]
        array = np.swapaxes(array, -1, -2) if entry.transposed else array
        state[entry.name] = np.array(array, order="C")
    return state


def from_torch_state(
    net: Network, state: Mapping[str, Any], strict: bool = True, prefix: str = ""
) -> None:
    """Take over the arrays of a torch `state_dict()`; the twin of `to_torch_state`.

    `state` holds torch tensors on any device, NumPy arrays, or whatever else speaks DLPack, of
    floating type: float16 and bfloat16 too. `prefix` such as `"module."`, `"model."` or
    `"_orig_mod."` is cut off the names. With `strict=False` those that fit by name are taken and
    the others left alone. An ensemble takes stacked arrays, see `to_torch_state`.

    Raises `InputError` that lists by torch's names what is missing, unexpected or of another
    shape, or names what is no number; nothing is changed then.

    >>> import numpy as np
    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(2), inputs=3)
    >>> from_torch_state(net, {"weight": np.ones((2, 3)), "bias": np.zeros(2)})
    >>> net.predict([[1.0, 2.0, 3.0]]).tolist()
    [[6.0, 6.0]]
    """
    wanted = {entry.name: entry for entry in entries(net.layer, net.spec)}
    given, others = stripped(state, prefix)
    arrays = {n: numbers(net.be, given[n], n) for n in wanted if n in given}
    lead = () if net.members is None else (net.members,)
    faults = _names_at_fault(wanted, given, others) if strict else []
    for name, array in arrays.items():
        faults += _shape_at_fault(wanted[name], tuple(array.shape), lead)
    if faults:
        raise InputError(
            f"this state is of another network: {'; '.join(faults)}{_hint(wanted, given)}"
        )
    taken = {}
    for name, array in arrays.items():
        entry = wanted[name]
        check(net.be, array, name, counter=entry.path is None)
        if entry.path is not None:
            taken[entry.path] = np.swapaxes(array, -1, -2) if entry.transposed else array
    net.load_state_dict(taken, strict=False)


def numbers(be: Backend, value: Any, name: str) -> Any:
    """Return a tensor of torch's, or any other array, as one of NumPy's that holds real numbers.

    >>> import gpubp
    >>> numbers(gpubp.select("cpu"), np.ones(2, dtype=np.float16), "weight").dtype.name
    'float32'
    """
    try:
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # torch's, on any device
            value = value.detach().cpu()
            value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
        elif getattr(getattr(value, "dtype", None), "name", "") == "bfloat16":
            value = np.asarray(value).astype(np.float32)
        value = inputs.numbers(be, value, name)
        array = value if isinstance(value, np.ndarray) else be.to_numpy(value)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read as an array of numbers: {error}") from error
    return array.astype(np.float32) if array.dtype == np.float16 else np.asarray(array)


def stripped(state: Any, prefix: str) -> tuple[dict[str, Any], list[str]]:
    """The arrays by name without the prefix, and the names that do not have it."""
    if not isinstance(state, Mapping):
        raise InputError(
            f"the state is a {type(state).__name__}; expected names and arrays, as those of "
            "model.state_dict()"
        )
    if not all(isinstance(name, str) for name in state):
        raise InputError(f"the state has names {list(state)}; expected texts such as '0.weight'")
    longest = max(state, key=len, default="")
    if len(longest) > _LONGEST:
        raise InputError(f"the state has a name of {len(longest):,} letters, {shown(longest)}")
    if not isinstance(prefix, str):
        raise InputError(f"prefix is {prefix!r}; expected a text such as 'module.'")
    given = {n[len(prefix) :]: state[n] for n in state if n.startswith(prefix)}
    return given, [n for n in state if not n.startswith(prefix)]


def _names_at_fault(
    wanted: Mapping[str, Entry], given: Mapping[str, Any], others: Sequence[str]
) -> list[str]:
    # torch, too, does without the counter, which old files lack
    missing = [n for n, entry in wanted.items() if entry.path is not None and n not in given]
    unexpected = sorted([*(given.keys() - wanted.keys()), *others])
    faults = [f"missing: {listed(missing)}"] if missing else []
    return faults + ([f"unexpected: {listed(unexpected)}"] if unexpected else [])


def listed(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name)[1:-1] for name in names[:most]) + more


def _shape_at_fault(entry: Entry, shape: tuple[int, ...], lead: tuple[int, ...]) -> list[str]:
    expected = (*lead, *entry.shape)
    # an older torch kept the counter of one batch norm as an array of one
    if shape == expected or (entry.path is None and shape == (*lead, 1)):
        return []
    fault = f"{entry.name} has shape {shape}, expected {expected}"
    other_way = entry.transposed and shape == (*lead, *entry.shape[::-1])
    return [f"{fault}: (n_out, n_in), the transpose of gpubp's W" if other_way else fault]


def _hint(wanted: Mapping[str, Entry], given: Mapping[str, Any]) -> str:
    """The prefix that would do, if one does."""
    first = next(iter(wanted), "")
    for name in given if first and not wanted.keys() & given.keys() else ():
        if name.endswith(f".{first}"):
            prefix = name[: -len(first)]
            return f'; give prefix="{prefix}" if that is what stands before the names'
    return ""


def check(be: Backend, array: Any, name: str, counter: bool) -> None:
    kinds, expected = ("iu", "a whole number") if counter else ("f", "a floating type")
    if array.dtype.kind not in kinds:
        raise InputError(f"{name} has dtype {array.dtype}; expected {expected}")
    inputs.finite(be, array, name)
    most = float(np.finfo(be.precision).max)
    if not counter and array.size and float(np.abs(array).max()) > most:
        raise InputError(
            f"{name} holds a number above {most:.3g}, the largest of {be.precision}; "
            'make the network with dtype="float64"'
        )
    if name.endswith("running_var") and array.size and float(array.min()) < 0.0:
        raise InputError(f"{name} holds {float(array.min()):g}; a variance is at least 0")
