"""Learning rates that change with the step: the number of the update, counted from 0.

Steps are updates, not epochs: an epoch of 1000 examples in batches of 32 has 32 of them. Where
torch.optim.lr_scheduler has a schedule too, the rates are its rates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .errors import InputError, real, whole


class Schedule:
    """The base of all schedules: a rate for each update, counted from 0.

    `length` is for how many updates it is defined, None for any number. A schedule of your own
    overrides `rate(step)`. Raises `InputError` for a step that is past the end or no step.

    >>> class Halving(Schedule):
    ...     def rate(self, step):
    ...         return 0.1 * 0.5**step
    >>> Halving()(2), Halving().values(3)
    (0.025, [0.1, 0.05, 0.025])
    """

    @property
    def length(self) -> int | None:
        """For how many updates it is defined; None for any number."""
        return None

    def rate(self, step: int) -> float:
        """Return the rate of a step that is below `length`."""
        raise TypeError(f"{type(self).__name__} does not say what the rate is")

    def __call__(self, step: int) -> float:
        """Return the rate of update `step`."""
        if not whole(step) or step < 0:
            raise InputError(f"step is {step!r}; expected a whole number of at least 0")
        if self.length is not None and step >= self.length:
            raise InputError(
                f"{self!r} ends after {self.length} updates and was asked for one more: give it "
                "more steps, or what follows with .then()"
            )
        try:
            return float(self.rate(step))
        except OverflowError:
            return math.inf

    def values(self, n: int) -> list[float]:
        """Return the rates of the first `n` updates."""
        return [self(step) for step in range(n)]

    def then(self, following: Schedule | float, after: int | None = None) -> Then:
        """Return this schedule, followed by another one or by a fixed rate.

        The other begins at its own step 0 when this one ends, or `after` so many updates.

        >>> LinearWarmup(1.0, 4).then(CosineDecay(1.0, 2)).then(0.01).values(7)
        [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.01]
        """
        other = following if isinstance(following, Schedule) else ConstantRate(following)
        steps = self.length if after is None else after
        if steps is None:
            raise InputError(f"{self!r} has no end: say after how many updates with after=")
        _whole(self, after=steps)
        if self.length is not None and steps > self.length:
            raise InputError(f"{self!r} ends after {self.length} updates; after is {after}")
        return Then(self, other, steps)


def _whole(owner: Schedule, **counts: Any) -> None:
    for name, count in counts.items():
        if not whole(count) or count < 1:
            kind = type(owner).__name__
            raise InputError(f"{kind}: {name} is {count!r}; expected a whole number of at least 1")


def _real(owner: Schedule, most: float = math.inf, **values: Any) -> None:
    for name, value in values.items():
        if not 0 <= real(value) <= most or real(value) == math.inf:
            expected = (
                "a finite number of at least 0" if most == math.inf else f"one in 0 to {most}"
            )
            raise InputError(f"{type(owner).__name__}: {name} is {value!r}; expected {expected}")


@dataclass(frozen=True)
class Then(Schedule):
    """One schedule for `after` updates, then another from its own beginning: see `Schedule.then`.

    >>> Then(ConstantRate(0.1), StepDecay(1.0, every=2), 1).values(4)
    [0.1, 1.0, 1.0, 0.1]
    """

    first: Schedule
    second: Schedule
    after: int

    def __post_init__(self) -> None:
        for name, given in (("first", self.first), ("second", self.second)):
            if not isinstance(given, Schedule):
                raise InputError(f"Then: {name} is {given!r}; expected a schedule")
        if not whole(self.after) or self.after < 0:
            raise InputError(f"Then: after is {self.after!r}; expected a whole number, 0 or more")

    @property
    def length(self) -> int | None:
        return None if self.second.length is None else self.after + self.second.length

    def rate(self, step: int) -> float:
        return self.first(step) if step < self.after else self.second(step - self.after)


@dataclass(frozen=True)
class ConstantRate(Schedule):
    """lr.

    >>> ConstantRate(0.1).then(0.01, after=2).values(3)
    [0.1, 0.1, 0.01]
    """

    lr: float

    def __post_init__(self) -> None:
        _real(self, lr=self.lr)

    def rate(self, step: int) -> float:
        return float(self.lr)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """lr factor^floor(step / every).

    >>> StepDecay(1.0, every=2, factor=0.5).values(5)
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _real(self, lr=self.lr, factor=self.factor)
        _whole(self, every=self.every)

    def rate(self, step: int) -> float:
        return float(self.lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class MultiStepDecay(Schedule):
    """lr factor^k, k the number of `milestones` reached; they rise.

    >>> MultiStepDecay(1.0, (1, 3), factor=0.5).values(5)
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    lr: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _real(self, lr=self.lr, factor=self.factor)
        given: Any = self.milestones
        several = isinstance(given, tuple | list) and all(whole(m) and m > 0 for m in given)
        if not several or any(a >= b for a, b in pairwise(given)):
            raise InputError(
                f"MultiStepDecay: milestones is {given!r}; expected whole numbers above 0 that rise"
            )
        object.__setattr__(self, "milestones", tuple(int(m) for m in given))

    def rate(self, step: int) -> float:
        return float(self.lr * self.factor ** sum(m <= step for m in self.milestones))


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """lr factor^(step / steps): by `factor` in every `steps` updates, smoothly.

    >>> ExponentialDecay(1.0, 0.25, steps=2).values(3)
    [1.0, 0.5, 0.25]
    """

    lr: float
    factor: float
    steps: int = 1

    def __post_init__(self) -> None:
        _real(self, lr=self.lr, factor=self.factor)
        _whole(self, steps=self.steps)

    def rate(self, step: int) -> float:
        return float(self.lr * self.factor ** (step / self.steps))


@dataclass(frozen=True)
class _Timed(Schedule):
    lr: float
    steps: int

    def __post_init__(self) -> None:
        own = dict(vars(self))
        counts = {name: own.pop(name) for name in ("steps", "growth") if name in own}
        _whole(self, **counts)
        _real(self, **{k: v for k, v in own.items() if k not in ("cycles", "anneal")})

    @property
    def length(self) -> int | None:
        return self.steps


@dataclass(frozen=True)
class LinearWarmup(_Timed):
    """start + (lr - start) step / steps for `steps` updates; then another schedule takes over.

    >>> LinearWarmup(1.0, steps=4).then(1.0).values(6)
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start: float = 0.0

    def rate(self, step: int) -> float:
        return self.start + (self.lr - self.start) * step / self.steps


@dataclass(frozen=True)
class PolynomialDecay(_Timed):
    """floor + (lr - floor) (1 - step / steps)^power for `steps` updates.

    >>> PolynomialDecay(1.0, steps=4).values(4)
    [1.0, 0.75, 0.5, 0.25]
    """

    power: float = 1.0
    floor: float = 0.0

    def rate(self, step: int) -> float:
        return float(self.floor + (self.lr - self.floor) * (1 - step / self.steps) ** self.power)


@dataclass(frozen=True)
class CosineDecay(_Timed):
    """floor + (lr - floor) (1 + cos(pi step / steps)) / 2, with warm restarts where asked for.

    There are `cycles` of them (None: without end), each `growth` times as long as the one before;
    the first has `steps` updates (SGDR; Loshchilov and Hutter, 2017).

    >>> CosineDecay(1.0, steps=2, cycles=2, growth=2).length
    6
    >>> [round(rate, 3) for rate in CosineDecay(1.0, steps=2, cycles=2, growth=2).values(6)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146]
    """

    floor: float = 0.0
    cycles: int | None = 1
    growth: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycles is not None:
            _whole(self, cycles=self.cycles)

    @property
    def length(self) -> int | None:
        return None if self.cycles is None else self._before(self.cycles)

    def _before(self, cycles: int) -> int:
        """How many updates that many cycles have together."""
        if self.growth == 1:
            return self.steps * cycles
        return int(self.steps * (self.growth**cycles - 1) // (self.growth - 1))

    def rate(self, step: int) -> float:
        cycle = step // self.steps if self.growth == 1 else 0
        while self._before(cycle + 1) <= step:
            cycle += 1
        part = (step - self._before(cycle)) / (self.steps * self.growth**cycle)
        return self.floor + (self.lr - self.floor) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class OneCycle(_Timed):
    """From lr / divide up to `lr`, then down to lr / (divide final): Smith and Topin (2017).

    The rise takes the share `rise` of `steps`; `anneal` is `"cos"` or `"linear"`. The momentum is
    left as it is: with torch's OneCycleLR that is `cycle_momentum=False`.

    >>> OneCycle(1.0, steps=5, rise=0.6, divide=10, final=10, anneal="linear").values(3)
    [0.1, 0.55, 1.0]
    """

    rise: float = 0.3
    divide: float = 25.0
    final: float = 1e4
    anneal: str = "cos"

    def __post_init__(self) -> None:
        super().__post_init__()
        _real(self, most=1.0, rise=self.rise)
        if self.anneal not in ("cos", "linear"):
            raise InputError(f"OneCycle: anneal is {self.anneal!r}; expected 'cos' or 'linear'")
        if self.steps < 2 or min(self.divide, self.final) <= 0:
            raise InputError(f"{self!r}: expected steps of at least 2, divide and final above 0")

    def rate(self, step: int) -> float:
        top, last, low = self.rise * self.steps - 1, self.steps - 1, self.lr / self.divide
        if step <= top and top > 0:
            return self._between(low, self.lr, step / top)
        top = max(top, 0.0)
        return self._between(self.lr, low / self.final, (step - top) / (last - top))

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal == "linear":
            return start + (end - start) * part
        return end + (start - end) * (1 + math.cos(math.pi * part)) / 2
