"""The arrays of one network: parameters, gradients and running state, flat and by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import inputs, seeds
from .backend import Array, Backend
from .errors import InputError
from .storage import Gradients, Layout, Place, Shape, Spec, views


class Arrays:
    """What a layer's `spec` asks for, allocated for all members and drawn from their seeds.

    `theta` and `grad` are flat, `(..., n)`; `w`, `g` and `state` are how layers see them. Where
    arrays are `given` by path nothing is drawn, nor allocated before all are seen to fit.

    >>> import gpubp
    >>> spec = gpubp.Linear(2).build((3,))
    >>> arrays = Arrays(gpubp.select("cpu"), spec, [0], ())
    >>> arrays.theta.shape, arrays.state_dict()["W"].shape
    ((32,), (3, 2))
    """

    def __init__(
        self, be: Backend, spec: Spec, members: Sequence[int], lead: Shape,
        given: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._be, self._lead = be, lead
        self.params, self._running = Layout(spec, "params"), Layout(spec, "state")
        new = None if given is None else self._fitting(given, True)
        self.theta = self._begin(self.params, members, drawn=new is None)
        self.grad = be.zeros((*lead, self.params.size))
        self._state = self._begin(self._running, members, drawn=new is None)
        if new is not None:
            self._take(new)
        self.written: set[str] = set()
        self._frozen: set[str] = set()
        self.w = views(be, spec, self.params, self.theta, "params")
        gradients = views(be, spec, self.params, self.grad, "params")
        self.g = Gradients(be, "", gradients, spec, self.written, self._frozen)
        self.state = views(be, spec, self._running, self._state, "state")

    @property
    def running(self) -> Array:
        """All running state in one flat array `(..., n)`."""
        return self._state

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
        self._take(self._fitting(state, strict))

    def _begin(self, layout: Layout, members: Sequence[int], drawn: bool) -> Array:
        if drawn:
            return self._be.asarray(seeds.draw(layout, members, self._lead))
        return self._be.zeros((*self._lead, layout.size))

    def _fitting(self, state: Mapping[str, Any], strict: bool) -> dict[str, Array]:
        """Return those of the named arrays that are here too; `InputError` if one does not fit."""
        if not isinstance(state, Mapping):
            raise InputError(f"the weights are a {type(state).__name__}; expected names and arrays")
        if not all(isinstance(path, str) for path in state):
            raise InputError(f"the weights are named {list(state)}; expected texts such as '0.W'")
        place = self.params.places | self._running.places
        given = {p: inputs.numbers(self._be, state[p], p) for p in place if p in state}
        self._refuse_misfits(place, given, sorted(state.keys() - place.keys()), strict)
        new = {path: self._be.asarray(array) for path, array in given.items()}
        for path, array in new.items():
            inputs.finite(self._be, array, path)
        return new

    def _take(self, new: Mapping[str, Array]) -> None:
        for layout, flat in self._named():
            for path in layout.places.keys() & new.keys():
                self._be.write(layout.view(self._be, flat, path), new[path])

    def _refuse_misfits(
        self,
        place: Mapping[str, Place],
        given: Mapping[str, Array],
        unexpected: Sequence[str],
        strict: bool,
    ) -> None:
        faults = []
        if strict and (missing := sorted(place.keys() - given.keys())):
            faults.append(f"missing: {_listed(missing)}")
        if strict and unexpected:
            faults.append(f"unexpected: {_listed(unexpected)}")
        for path, array in given.items():
            wanted = (*self._lead, *place[path].param.shape)
            if tuple(array.shape) != wanted:
                faults.append(f"{path} has shape {tuple(array.shape)}, expected {wanted}")
        if faults:
            told = _listed(faults, "; ")
            raise InputError(f"these weights are of another network: {told}")

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


def _listed(names: Sequence[str], between: str = ", ") -> str:
    """The names, or the first of them: a message should be read."""
    more = f"{between}and {len(names) - 12:,} more" if len(names) > 12 else ""
    return between.join(names[:12]) + more
