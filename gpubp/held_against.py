"""The first compiled step of a network, held against the same step on the plain path.

Both are taken on copies. The gradient of each parameter is compared in its 2-norm, and not
element by element: in float32 a unit at the kink of a ReLU may be on for one path and off for the
other, which changes a few elements by all they have. Where about a share r of rounding decides
over a kink, so decides a share r of the units, whose squares add up: the norm may then differ by
sqrt(r). Near a minimum gradients cancel, and rounding is large beside what is left: a step that
differs is looked at once more with weights drawn anew, and counts if it differs there, too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import pickling
from .backend import Backend
from .bound import Bound
from .number_table import NumberTable
from .programs import Compiled, arrays_of, flat, keys_of
from .rounding import error, pieces, tolerance

_CHOOSING = {"where", "maximum", "minimum", "abs", "gt", "ge", "lt", "le", "opaque"}
"""Operations whose slope jumps somewhere, or of which nobody knows."""


class BeyondHalf(Exception):  # noqa: N818 - nobody's fault
    """A step that is finite in float32 and not in 16-bit floats."""


_MOST = 0.5
"""Of the norm of a gradient; so much can be rounding where products are of 16 bits."""

_SCALE = 128.0
"""Of gradients in 16-bit floats: few overflow, and few of those that count come to zero."""


def difference(net: Bound, steps: Compiled, x: Any, t: Any, w: Any) -> str:
    """Return what a compiled step does otherwise than the plain one, and by how much; or "".

    `x`, `t` and `w` are one batch. The network stays as it is.
    """
    found = _compared(net, pickling.state_of(net), steps, x, t, w)
    if not found:
        return ""
    drawn = Bound(net.layer, net.inputs, device=net.be, seed=net.seed if net.members is None
                  else net.seeds)  # fmt: skip
    drawn.freeze(*net.frozen)
    return found and _compared(drawn, pickling.state_of(drawn), steps, x, t, w)


def _compared(net: Bound, state: dict[str, Any], steps: Compiled, x: Any, t: Any, w: Any) -> str:
    job, precision = steps.job, steps.job.precision or net.be.precision
    one, other = _twin(net, state), _twin(net, state)
    scales = np.tile([_SCALE, 0.0], (net.members or 1, 1)) if job.precision == "fp16" else None
    losses, bad = _compiled_step(one, steps, x, t, w, scales)
    if scales is not None and scales[:, 0].min() < _SCALE:  # a gradient that overflows so
        one, scales = _twin(net, state), np.tile([1.0, 0.0], (net.members or 1, 1))
        losses, bad = _compiled_step(one, steps, x, t, w, scales)
    loss, sound = _plain_gradient(other, job, x, t, w)
    lead = net.members or 1
    if scales is not None and (sound & (bad > 0)).any():
        raise BeyondHalf(
            "numbers of a step are beyond 65504, the largest in 16-bit floats: scale the inputs, "
            "or give precision='bf16', which reaches as far as float32"
        )
    if not np.array_equal(sound, bad == 0):
        return f"steps that are finite: {(bad == 0).tolist()}, on the plain path {sound.tolist()}"
    if not sound.all():
        return ""  # training ends here on either path, or goes on without these members
    allowed = tolerance(precision, [1.0], steps.longest)
    slack = min(_MOST, math.sqrt(allowed) if _chooses(steps) else allowed)
    size = max(1.0, float(np.abs(loss).max()))
    if (far := error(losses, loss)) > allowed * size:
        return f"the loss, {losses.tolist()} and not {loss.tolist()}, by {far:.1e}"
    for path, far in _norms(one, other, lead):
        if not far <= slack:
            return f"the gradient of {path!r}, in norm by {far:.1e} where {slack:.1e} is rounding"
    for path, pending in other._pass.pending.items():
        value = _on_host(net.be, pending)
        mine = _on_host(net.be, one.arrays.state_dict()[path]).reshape(value.shape)
        if error(mine, value) > max(allowed, tolerance(precision, value, steps.longest)):
            return f"the running state {path!r}, by {error(mine, value):.1e}"
    return _update(one, other, steps)


def _twin(net: Bound, state: dict[str, Any]) -> Bound:
    twin = Bound.__new__(Bound)
    pickling.restore(twin, state | {"device": net.be, "written": []})
    return twin


def _compiled_step(
    one: Bound, steps: Compiled, x: Any, t: Any, w: Any, scales: Any
) -> tuple[Any, Any]:
    job, members = steps.job, one.members or 1
    arrays = arrays_of(one, job.optimizer)
    numbers = NumberTable(one.steps, job.optimizer, members).of(one.steps.slots.updates + 1, 1)
    going = np.ones(members, dtype=bool)
    order = np.arange(job.rows) if job.shuffled else None
    more = {"scales": scales} if scales is not None else {}
    found = steps.over(one, arrays).run(
        *(None if a is None else flat(one.be, a) for a in (x, t, w)), order, job.rows, 0,
        one.updates, numbers, keys_of(one), going, False, **more,
    )  # fmt: skip
    return found[0][0], found[1]


def _plain_gradient(other: Bound, job: Any, x: Any, t: Any, w: Any) -> tuple[Any, Any]:
    """The loss, and which members had a finite step; the gradient lies where it belongs."""
    be, steps, optimizer = other.be, other.steps, job.optimizer
    x = x.reshape(len(x), *other.inputs)
    y, context = other._forward(x, True)
    value, delta = job.loss.value_and_delta(be, y, t, w)
    other._backward(context, delta)
    steps.slots.of(optimizer)
    rate = steps.rate_at(optimizer, steps.slots.updates + 1)
    steps.gather(optimizer)
    ok = be.finite(other.grad, value, rate)
    if other._pass.pending:
        ok = other.arrays.sound_state(other._pass.pending) & ok
    sound = np.broadcast_to(_on_host(be, ok).reshape(-1), (other.members or 1,))
    return _on_host(be, value).astype(np.float64).reshape(-1), sound


def _on_host(be: Backend, a: Any) -> Any:
    """An array, or a number, as NumPy's; not copied if it is there."""
    return be.to_numpy(a) if be.owns(a) and not isinstance(a, np.ndarray) else np.asarray(a)


def _norms(one: Bound, other: Bound, lead: int) -> Any:
    """How far each gradient is from that of the plain path, beside its norm.

    One that is small beside the others of the network may be a sum that cancels, such as that of a
    bias in front of a normalisation: it counts as large as they are.
    """
    given, wanted = (_on_host(n.be, n.grad).reshape(lead, -1) for n in (one, other))
    places = other.arrays.params.places.values()
    parts = [slice(place.start, place.stop) for place in places]
    norms = np.stack([_norm(wanted[:, part]) for part in parts])
    whole = np.linalg.norm(norms, axis=0) / math.sqrt(max(1, other.n_parameters))
    for place, part, own in zip(places, parts, norms, strict=True):
        size = np.maximum(own, whole * math.sqrt(place.stop - place.start))
        far = _norm(given[:, part], wanted[:, part])
        share = np.divide(far, size, out=np.where(far > 0.0, math.inf, 0.0), where=size > 0.0)
        yield place.path, float(share.max(initial=0.0))


def _norm(*arrays: Any) -> Any:
    """The 2-norm of each row of an array, or of the difference of two."""
    return np.sqrt(
        [sum(_square(*part) for part in pieces(*row)) for row in zip(*arrays, strict=True)]
    )


def _square(a: Any, b: Any = 0.0) -> float:
    difference = a - b
    return float(difference @ difference)


def _update(one: Bound, other: Bound, steps: Compiled) -> str:
    """What the update is that follows from the compiled gradient, beside what it was."""
    be, job = other.be, steps.job
    be.write(other.grad, one.grad)
    t = other.steps.slots.updates + 1
    other.steps.replace(job.optimizer, t)
    wanted, given = arrays_of(other, job.optimizer), arrays_of(one, job.optimizer)
    for name in ("theta", *(n for n in wanted if n.startswith("slot:"))):
        new, expected = _on_host(be, given[name]), _on_host(be, wanted[name])
        allowed = tolerance(be.precision, expected, 4 if job.optimizer.max_norm is None
                            else steps.longest)  # fmt: skip
        far = error(new, expected)
        if far > allowed:
            what = "the new weights" if name == "theta" else f"the slot {name[5:]!r}"
            return f"{what}, from the same gradient, by {far:.1e} where {allowed:.1e} is rounding"
    return ""


def _chooses(steps: Compiled) -> bool:
    """Whether some operation of a step has a kink."""
    seen: set[int] = set()
    left = [v for phase in steps.recording.phases for v in phase.sinks.values()]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if value.op in _CHOOSING:
            return True
        left += value.args
    return False
