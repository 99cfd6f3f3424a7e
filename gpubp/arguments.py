"""What `fit` is asked for, looked at before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import InputError, whole
from .history import Callback
from .losses import Loss
from .source import Source


def check_counts(least: int, **counts: Any) -> None:
    """Raise `InputError` for a count that is no whole number or too small."""
    for name, count in counts.items():
        if not whole(count) or count < least:
            raise InputError(f"{name} is {count!r}; expected a whole number of at least {least}")


def check_rest(least: int, n: int, size: int, micro_batch: int | None) -> None:
    """Raise `InputError` if some batch of n examples has fewer rows than a layer needs.

    >>> check_rest(2, 101, 50, None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gpubp.errors.InputError: 101 examples ... take a batch_size such as 49 or 51
    """
    if least <= _fewest(n, size, micro_batch):
        return
    if n < least:
        raise InputError(f"batch normalisation needs {least} examples in training, x has {n}")
    if micro_batch is not None and least <= _fewest(n, size, None):
        works = [m for m in range(least, size + 1) if least <= _fewest(n, size, m)]
        raise InputError(
            f"batches of {size} in parts of micro_batch={micro_batch} leave some with fewer than "
            f"the {least} examples that batch normalisation needs in training: take a micro_batch "
            f"such as {_around(works, micro_batch)}"
        )
    works = [s for s in range(least, n + 1) if least <= _fewest(n, s, None)]
    raise InputError(
        f"{n} examples in batches of {size} leave {_fewest(n, size, None)} at the end, and batch "
        f"normalisation needs {least} in training: take a batch_size such as {_around(works, size)}"
    )


def _fewest(n: int, size: int, micro_batch: int | None) -> int:
    """The rows of the smallest part of the smallest batch."""
    batches = {min(size, n), n % size or min(size, n)}
    if micro_batch is None:
        return min(batches)
    return min(b % micro_batch or min(micro_batch, b) for b in batches)


def _around(works: Sequence[int], given: int) -> str:
    below = [w for w in works if w < given]
    above = [w for w in works if w > given]
    return " or ".join(str(w) for w in (*below[-1:], *above[:1]))


def pair(validation: Any) -> tuple[Any, Any]:
    """Return `(x, y)` if that is what it is, `(source, None)` of a source."""
    if isinstance(validation, Source):
        return validation, None
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise InputError("validation: give a pair (x, y), or a source such as gpubp.data.Rows")
    return validation[0], validation[1]


def check_keep(keep: str) -> None:
    """Raise `InputError` for a choice of restarts that is none."""
    if keep not in ("best", "all"):
        raise InputError(f"keep is {keep!r}; expected 'best' or 'all'")


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raise `InputError` unless all of them are callbacks."""
    if not isinstance(callbacks, Sequence):
        raise InputError(f"callbacks is {callbacks!r}; expected a list of gpubp.Callback")
    for i, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise InputError(f"callbacks[{i}] is {callback!r}; expected a gpubp.Callback")


def record_names(loss: Loss, validated: bool) -> tuple[str, ...]:
    """The figures that each record of a fit will hold."""
    names = ("epoch", "loss", "seconds", "lr")
    figure = "val_accuracy" if loss.classifies else "val_r2"
    return (*names, "val_loss", figure) if validated else names
