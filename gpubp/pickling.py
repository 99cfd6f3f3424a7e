"""A network as plain data and back: for `pickle`, `copy.deepcopy`, and another device."""

from __future__ import annotations

from typing import Any

from .backend import Backend, select
from .bound import Bound
from .errors import DeviceError, InputError

_BOUND = {
    "layer", "inputs", "seeds", "members", "spec", "be", "arrays", "steps", "watch",
    "_lead", "_pass", "_run", "_last", "_compiled",
}  # fmt: skip
"""The attributes of a `Bound`: what they hold is in `state_of`, or made anew where it is needed."""


def state_of(net: Bound) -> dict[str, Any]:
    """Return everything that training changes, with arrays of NumPy's.

    >>> import gpubp
    >>> sorted(state_of(gpubp.Network(gpubp.Linear(1), inputs=2)))[:4]
    ['arrays', 'device', 'dtype', 'frozen']
    """
    be, steps = net.be, net.steps
    slots, written = steps.slots, net.arrays.written
    return {
        "layer": net.layer,
        "inputs": net.inputs,
        "device": be.device,
        "dtype": be.precision,
        "seed": net.seed if net.members is None else list(net.seeds),
        "arrays": {path: be.to_numpy(array) for path, array in net.state_dict().items()},
        "gradients": be.to_numpy(net.grad) if written else None,
        "written": sorted(written),
        "pending": {path: be.to_numpy(a) for path, a in net._pass.pending.items() if written},
        "last": [be.to_numpy(array) for array in net._last] if written else [],
        "slots": {name: be.to_numpy(array) for name, array in slots.arrays.items()},
        "optimizer": (slots.kind, slots.updates),
        "updates": net.updates,
        "frozen": net.frozen,
        "rates": (steps.rate_scale, steps.rate),
        "loss_scale": steps.loss_scale,
        "members": (steps.halted, steps.lost, steps.tolerant),
    }


def attributes(net: Bound) -> dict[str, Any]:
    """Return what a network has beside what `Bound` makes of it, that of a subclass as well.

    >>> import gpubp
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=2)
    >>> net.note = "first try"
    >>> attributes(net)
    {'note': 'first try'}
    """
    return {name: value for name, value in vars(net).items() if name not in _BOUND}


def check_named(be: Backend) -> None:
    """Raise `DeviceError` for a backend that no name selects, for only names can be pickled."""
    if type(select(be.device, be.precision)) is not type(be):
        raise DeviceError(f"a network on {be.device}, which no name selects, cannot be pickled")


def restore(net: Bound, state: dict[str, Any]) -> None:
    """Make `net`, which has nothing yet, the network that `state_of` described."""
    Bound.__init__(  # that of a subclass may take other arguments
        net,
        state["layer"],
        state["inputs"],
        device=state["device"],
        dtype=state["dtype"],
        seed=state["seed"],
        weights=state["arrays"],
    )
    net.restore_updates(state["updates"])
    net.freeze(*state["frozen"])
    steps = net.steps
    steps.rate_scale, steps.rate = state["rates"]
    steps.loss_scale = state.get("loss_scale")
    steps.slots.kind, steps.slots.updates = state["optimizer"]
    halted, steps.lost, steps.tolerant = state["members"]
    with net.be.activate():
        steps.halt(halted)
        steps.slots.arrays = {n: net.be.asarray(a) for n, a in state["slots"].items()}
        if state["written"]:  # backward passes since the last step
            net.be.write(net.grad, net.be.asarray(state["gradients"]))
            net.arrays.written.update(state["written"])
            pending = {path: net.be.asarray(a) for path, a in state["pending"].items()}
            net._pass.pending = pending
            x, delta = state["last"]
            net._last = net.be.asarray(x), net.be.asarray(delta)


def move(net: Bound, device: str | Backend) -> None:
    """Take a network to another device, in place; where that fails nothing is changed."""
    be = select(device, None if isinstance(device, Backend) else net.be.precision)
    if be.precision != net.be.precision:
        raise InputError(f"a network in {net.be.precision} cannot be moved to {be.precision}")
    if net.steps.elsewhere:
        raise InputError("the averaged weights are in place: move outside `net.averaged()`")
    if be is net.be:
        return
    there = Bound.__new__(Bound)
    restore(there, state_of(net) | {"device": be})
    for name in ("_last", "_compiled"):  # arrays of the device that it has left
        vars(net).pop(name, None)
    for name in ("be", "arrays", "_pass", "_run", "steps", "_last"):
        if hasattr(there, name):
            setattr(net, name, getattr(there, name))
