"""The arrays of one network: parameters, gradients and running state, flat and by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import inputs, seeds
from .backend import Array, Backend
from .errors import InputError
from .storage import Gradients, Layout, Shape, Spec, views


class Arrays:
    """What a layer's `spec` asks for, allocated for all members and drawn from their seeds.

    `theta` and `grad` are flat, `(..., n)`; `w`, `g` and `state` are how layers see them.

    >>> import gpubp
    >>> spec = gpubp.Linear(2).build((3,))
    >>> arrays = Arrays(gpubp.select("cpu"), spec, [0], ())
    >>> arrays.theta.shape, arrays.state_dict()["W"].shape
    ((32,), (3, 2))
    """

    def __init__(self, be: Backend, spec: Spec, members: Sequence[int], lead: Shape) -> None:
        self._be, self._lead = be, lead
        self.params, self._running = Layout(spec, "params"), Layout(spec, "state")
        self.theta = be.asarray(seeds.draw(self.params, members, lead))
        self.grad = be.zeros((*lead, self.params.size))
        self._state = be.asarray(seeds.draw(self._running, members, lead))
        self.written: set[str] = set()
        self._frozen: set[str] = set()
        self.w = views(be, spec, self.params, self.theta, "params")
        gradients = views(be, spec, self.params, self.grad, "params")
        self.g = Gradients(be, "", gradients, spec, self.written, self._frozen)
        self.state = views(be, spec, self._running, self._state, "state")

    def parameter(self, path: str) -> Array:
        """A parameter itself, not a copy."""
        return self.params.view(self._be, self.theta, path)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and running state by path."""
        return {
            path: self._copy(layout.view(self._be, flat, path))
            for layout, flat in self._named()
            for path in layout.places
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool) -> None:
        """Take over named arrays; nothing is changed if one does not fit."""
        if not isinstance(state, Mapping):
            raise InputError(f"the weights are a {type(state).__name__}; expected names and arrays")
        if not all(isinstance(path, str) for path in state):
            raise InputError(f"the weights are named {list(state)}; expected texts such as '0.W'")
        place = {path: (lay, flat) for lay, flat in self._named() for path in lay.places}
        given = {p: inputs.numbers(self._be, state[p], p) for p in place if p in state}
        self._refuse_misfits(place, given, sorted(state.keys() - place.keys()), strict)
        new = {path: self._be.asarray(array) for path, array in given.items()}
        for path, array in new.items():
            inputs.finite(self._be, array, path)
        for path, value in new.items():
            layout, flat = place[path]
            self._be.write(layout.view(self._be, flat, path), value)

    def _refuse_misfits(
        self,
        place: Mapping[str, tuple[Layout, Array]],
        given: Mapping[str, Array],
        unexpected: Sequence[str],
        strict: bool,
    ) -> None:
        faults = []
        if strict and (missing := sorted(place.keys() - given.keys())):
            faults.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            faults.append(f"unexpected: {', '.join(unexpected)}")
        for path, array in given.items():
            wanted = (*self._lead, *place[path][0].places[path].param.shape)
            if tuple(array.shape) != wanted:
                faults.append(f"{path} has shape {tuple(array.shape)}, expected {wanted}")
        if faults:
            raise InputError(f"these weights are of another network: {'; '.join(faults)}")

    def _named(self) -> list[tuple[Layout, Array]]:
        return [(self.params, self.theta), (self._running, self._state)]

    def _copy(self, x: Array) -> Array:
        return self._be.xp.asarray(x, copy=True)

    def gradients(self) -> dict[str, Array]:
        """Copies of the gradients by path: of this step if it has begun, else of the last."""
        if self.written:
            self.finish_gradients()
        view = self.params.view
        return {p: self._copy(view(self._be, self.grad, p)) for p in self.params.places}

    def set_frozen(self, paths: Sequence[str]) -> None:
        """Take no gradients of the named parameters, from the next backward pass on."""
        self._frozen.clear()
        self._frozen.update(paths)
        self.written.clear()
        for path in paths:
            self._clear(path)

    def finish_gradients(self) -> None:
        """Set the gradients to zero that no layer has added to since the last step."""
        if len(self.written) + len(self._frozen) == len(self.params.places):
            return
        for path in self.params.places.keys() - self.written - self._frozen:
            self._clear(path)

    def _clear(self, path: str) -> None:
        out = self.params.view(self._be, self.grad, path)
        self._be.write(out, self._be.zeros(tuple(out.shape)))

    def sound_state(self, pending: Mapping[str, Array]) -> Array:
        """Whether new running state is finite, per member `(..., 1)`."""
        xp, sound = self._be.xp, self._be.zeros((*self._lead, 1)) == 0.0
        for value in pending.values():
            flat = xp.reshape(value, (*self._lead, -1))
            sound = sound & xp.all(xp.isfinite(flat), axis=-1, keepdims=True)
        return sound

    def commit(self, pending: Mapping[str, Array], ok: Any) -> None:
        """Take over new running state where the step was finite."""
        for path, value in pending.items():
            out = self._running.row(self._be, self._state, path)
            if ok is not True:
                mask = self._be.xp.reshape(
                    ok, (*self._lead, *(1 for _ in out.shape[len(self._lead) :]))
                )
                value = self._be.xp.where(mask, value, out)
            self._be.write(out, value)
