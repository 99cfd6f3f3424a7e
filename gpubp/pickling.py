"""A network as plain data and back: what `pickle`, `copy.deepcopy` and other processes need."""

from __future__ import annotations

from typing import Any

from .backend import select
from .bound import Bound
from .errors import DeviceError


def state_of(net: Bound) -> dict[str, Any]:
    """Return everything that training changes, with arrays of NumPy's.

    Raises `DeviceError` for a network on a backend that no name selects.

    >>> import gpubp
    >>> sorted(state_of(gpubp.Network(gpubp.Linear(1), inputs=2)))[:4]
    ['arrays', 'device', 'dtype', 'frozen']
    """
    be = net.be
    if type(select(be.device, be.precision)) is not type(be):
        raise DeviceError(f"a network on {be.device}, which no name selects, cannot be pickled")
    slots = net.steps.slots
    return {
        "layer": net.layer,
        "inputs": net.inputs,
        "device": be.device,
        "dtype": be.precision,
        "seed": net.seed if net.members is None else list(net.seeds),
        "arrays": {path: be.to_numpy(array) for path, array in net.state_dict().items()},
        "slots": {name: be.to_numpy(array) for name, array in slots.arrays.items()},
        "optimizer": (slots.kind, slots.updates),
        "updates": net.updates,
        "frozen": net.frozen,
        "rate_scale": net.steps.rate_scale,
        "members": (net.steps.halted, net.steps.lost, net.steps.tolerant),
    }


def restore(net: Bound, state: dict[str, Any]) -> None:
    """Make `net`, which has nothing yet, the network that `state_of` described."""
    state = dict(state)
    arrays, slots = state.pop("arrays"), state.pop("slots")
    kind, slot_updates = state.pop("optimizer")
    updates, frozen = state.pop("updates"), state.pop("frozen")
    rate_scale = state.pop("rate_scale")
    halted, lost, tolerant = state.pop("members")
    net.__init__(**state)  # type: ignore[misc]
    net.load_state_dict(arrays)
    net.restore_updates(updates)
    net.freeze(*frozen)
    net.steps.rate_scale = rate_scale
    net.steps.slots.kind, net.steps.slots.updates = kind, slot_updates
    with net.be.activate():
        net.steps.lost, net.steps.tolerant = lost, tolerant
        net.steps.halt(halted)
        net.steps.slots.arrays = {name: net.be.asarray(array) for name, array in slots.items()}
