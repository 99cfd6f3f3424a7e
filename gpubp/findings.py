"""The judgement of gradient health: what is wrong, where, since when, and what helps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from .errors import InputError, real, whole

Record = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """From where on a figure is a finding; each may be changed by name.

    - `vanishing`: |dL/dy| of a layer as a part of that at the output. At 1e-4 plain gradient
      descent moves this layer 10,000 times more slowly; ReLU networks begun as He proposed,
      normalised and residual ones stay within 1e-2 over 50 layers.
    - `exploding`: the same from above. Batch normalisation alone makes gradients grow by 1.21 a
      layer (Yang et al., 2019), 300 over 30 layers: that trains, and stays below 1e4.
    - `steep`: the norm of a weight's gradient over that of the weight, exploding too. Below 1 in
      a network that trains; at 100 a rate of 0.01 replaces the weights in one step.
    - `dead`: the share of a rectifier's units whose output is 0 for the whole batch. Some dead
      units are usual; half of a layer is capacity lost.
    - `saturated`: the share of units whose slope is below 1 % of the steepest: for nine examples
      in ten, or, of a rectifier, for all.
    - `large_update`, `small_update`: the norm of a weight's update over that of the weight. About
      1e-3 is usual, and 1e-2 in the first steps of Adam; at 0.1 ten steps replace the weights, and
      below 1e-6 they need a million. A small one counts where it was so from the start: at the
      end of training updates may vanish.
    - `rows`: a batch of fewer examples says nothing of dead and saturated units.
    - `samples`: for how many sampled updates in a row a figure must be beyond its limit, so that
      a first step, or weights that begin at zero, raise no alarm. Exploding gradients are told at
      once: there may be no second sample.

    Raises `InputError` for numbers below 0, and counts below 1.

    >>> Limits().vanishing, Limits(dead=0.9).dead
    (0.0001, 0.9)
    """

    vanishing: float = 1e-4
    exploding: float = 1e4
    steep: float = 100.0
    dead: float = 0.5
    saturated: float = 0.5
    large_update: float = 0.1
    small_update: float = 1e-6
    rows: int = 16
    samples: int = 2

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type in ("int", int):
                if not whole(value) or value < 1:
                    raise InputError(f"Limits: {each.name} is {value!r}; expected a whole number "
                                     "of at least 1")  # fmt: skip
            elif not real(value) >= 0:
                raise InputError(f"Limits: {each.name} is {value!r}; expected a number of at "
                                 "least 0")  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: `str()` says it in a sentence with its remedy.

    `layer` is the path of the layer or parameter where it is worst, `step` the sampled update at
    which it was first certain, `others` how many more are beyond the limit then.

    >>> print(Finding("dead units", "1", 50, 0.75, 0.5, "are 0", "use leaky_relu"))
    dead units: layer '1': 75 % are 0 at step 50 (limit 50 %): use leaky_relu
    """

    name: str
    layer: str
    step: int
    figure: float
    threshold: float
    what: str
    remedy: str
    member: int | None = None
    others: int = 0

    def __str__(self) -> str:
        whose = "" if self.member is None else f" of member {self.member}"
        more = f", and in {self.others} more" if self.others else ""
        figure, limit = (_number(self.name, each) for each in (self.figure, self.threshold))
        return (f"{self.name}: layer {self.layer!r}{whose}: {figure} {self.what} at step "
                f"{self.step}{more} (limit {limit}): {self.remedy}")  # fmt: skip


def _number(name: str, figure: float) -> str:
    return f"{100 * figure:.0f} %" if name.endswith("units") else f"{figure:.2g}"


class _Rule(NamedTuple):
    """One sort of finding: its limit, which way is worse (1: upwards), and where to look."""

    name: str
    limit: float
    sign: int
    samples: int
    look: Callable[[Record], Iterator[tuple[str, Any]]]
    what: str
    remedy: str
    from_the_start: bool = False


def judge(records: Sequence[Record], limits: Limits | None = None) -> list[Finding]:
    """Return the findings in `Health.records`, in the order of the steps at which they began.

    Each sort of finding is told once: when it is first certain, where it is worst.

    >>> layers = [{"path": str(i), "delta": 1e-9 if i == 0 else 1.0} for i in range(2)]
    >>> records = [{"step": s, "rows": 32, "output_delta": 1.0, "layers": layers,
    ...             "parameters": []} for s in (1, 50)]
    >>> [(found.name, found.layer, found.step) for found in judge(records)]
    [('vanishing gradients', '0', 50)]
    """
    found: dict[str, Finding] = {}
    for rule in _rules(limits or Limits()):
        one = _first(records, rule)
        if one is not None and one.step < getattr(found.get(rule.name), "step", math.inf):
            found[rule.name] = one
    return sorted(found.values(), key=lambda f: f.step)


def _rules(limits: Limits) -> list[_Rule]:
    def units(name: str) -> Callable[[Record], Iterator[tuple[str, Any]]]:
        return lambda record: _units(record, name, limits)

    n, calmer = limits.samples, (
        "use smaller initial weights (He or Glorot), scaled inputs and targets, normalisation, or "
        "a clip such as gpubp.ClipGlobalNorm(1.0)"
    )  # fmt: skip
    return [
        _Rule("exploding gradients", limits.exploding, 1, 1, _relative,
              "times the gradient at the output reaches it", calmer),
        _Rule("exploding gradients", limits.steep, 1, 1, _steepness,
              "times the weights is the norm of their gradient", calmer),
        _Rule("vanishing gradients", limits.vanishing, -1, n, _relative,
              "of the gradient at the output reaches it",
              "use ReLU with He initialisation, normalisation or residual connections"),
        _Rule("dead units", limits.dead, 1, n, units("dead"),
              "of its units are 0 for the whole batch",
              "use a lower rate, biases that begin at zero, or leaky_relu"),
        _Rule("saturated units", limits.saturated, 1, n, units("saturated"),
              "of its units are where the activation is flat",
              "use smaller initial weights, scaled inputs, normalisation or a rectifier"),
        _Rule("update too large", limits.large_update, 1, n, _ratios,
              "of the weights is replaced by one update",
              "use a lower rate, a warm-up or gradient clipping"),
        _Rule("update too small", limits.small_update, -1, n, _ratios,
              "of the weights is replaced by one update",
              "use a higher rate, or see what keeps the gradient from this layer", True),
    ]  # fmt: skip


def _first(records: Sequence[Record], rule: _Rule) -> Finding | None:
    runs: dict[tuple[str, int | None], int] = {}
    cleared: set[tuple[str, int | None]] = set()
    for record in records:
        beyond: dict[tuple[str, int | None], float] = {}
        for place, figure in _places(rule.look(record)):
            if rule.sign * figure > rule.sign * rule.limit or (
                rule.name.endswith("units") and figure == rule.limit
            ):
                beyond[place] = figure
            elif rule.from_the_start:
                cleared.add(place)
        runs = {place: runs.get(place, 0) + 1 for place in beyond if place not in cleared}
        certain = {p: beyond[p] for p, times in runs.items() if times >= rule.samples}
        if certain:
            (layer, member), figure = max(certain.items(), key=lambda item: rule.sign * item[1])
            others = len({path for path, _ in certain}) - 1
            return Finding(rule.name, layer, record["step"], figure, rule.limit, rule.what,
                           rule.remedy, member, others)  # fmt: skip
    return None


def _places(figures: Iterator[tuple[str, Any]]) -> Iterator[tuple[tuple[str, int | None], float]]:
    """Each figure that is a number, by path and member."""
    for path, figure in figures:
        several = isinstance(figure, list)
        for member, value in enumerate(figure if several else [figure]):
            if value is not None:
                yield (path, member if several else None), value


def _relative(record: Record) -> Iterator[tuple[str, Any]]:
    """|dL/dy| of each layer over that of the output.

    None where one of them is 0: what is cut off, by dead units or by weights that begin at zero,
    does not vanish by and by.
    """
    for layer in record["layers"]:
        yield layer["path"], over(layer["delta"], record.get("output_delta"), zeros=False)


def _units(record: Record, name: str, limits: Limits) -> Iterator[tuple[str, Any]]:
    if record.get("rows", 0) < limits.rows:
        return
    # The last layer of a good classifier is sure of its answers, and so saturated.
    for layer in record["layers"][:-1]:
        dead = layer.get("dead")
        if name == "saturated" and dead is not None and _largest(dead) >= limits.dead:
            continue  # told as dead units
        yield layer["path"], layer.get(name)


def _largest(figure: Any) -> float:
    return max(figure) if isinstance(figure, list) else float(figure)


def _ratios(record: Record) -> Iterator[tuple[str, Any]]:
    return _of_weights(record, "update")


def _steepness(record: Record) -> Iterator[tuple[str, Any]]:
    return _of_weights(record, "gradient")


def _of_weights(record: Record, name: str) -> Iterator[tuple[str, Any]]:
    """A norm over that of the weights; None where there is no gradient: frozen, or cut off."""
    for parameter in record["parameters"]:
        if parameter["kind"] == "weight":  # biases begin at zero
            part = over(parameter[name], parameter["weights"])
            yield parameter["path"], _where(parameter["gradient"], part)


def _where(condition: Any, figure: Any) -> Any:
    if isinstance(condition, list):
        return [_where(one, other) for one, other in zip(condition, figure, strict=True)]
    return figure if condition else None


def over(a: Any, b: Any, zeros: bool = True) -> Any:
    """Return a / b, for each member of a list; None where that is no finite number.

    >>> over(1.0, 4.0), over([1.0, None], [2.0, 2.0]), over(1.0, 0.0)
    (0.25, [0.5, None], None)
    """
    if isinstance(a, list) and isinstance(b, list):
        return [over(one, other, zeros) for one, other in zip(a, b, strict=True)]
    if a is None or not b or (a == 0 and not zeros):
        return None
    quotient = a / b
    return quotient if math.isfinite(quotient) else None
