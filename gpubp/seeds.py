"""From seeds to numbers: everything random is drawn on the host, whatever the device.

Each array has a generator of its own, named by the seed and by the array's path, so that weights
depend neither on the device nor on what else the network holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .errors import InputError, whole
from .storage import Layout, Shape

Seeds = int | Iterable[int]


def member_seeds(seed: Seeds, members: int | None) -> list[int]:
    """Return one seed for each member: `seed`, `seed + 1`, ..., or those given.

    >>> member_seeds(7, 3)
    [7, 8, 9]
    """
    if members is not None and (not whole(members) or members < 1):
        raise InputError(f"members is {members!r}; expected at least 1, or None for one network")
    several = isinstance(seed, Iterable) and not whole(seed)
    given: list[Any] = list(seed) if several else [seed]  # type: ignore[arg-type]
    if not given or any(not whole(s) or s < 0 for s in given):
        raise InputError(f"seed is {seed!r}; expected whole numbers of at least 0")
    if not several:
        return [int(given[0]) + k for k in range(members or 1)]
    if members not in (None, len(given)):
        raise InputError(f"{len(given)} seeds were given for {members} members")
    return [int(s) for s in given]


def draw(layout: Layout, seeds: Sequence[int], lead: Shape) -> Any:
    """Draw all arrays of all members, flat, in float64."""
    flat = np.zeros((len(seeds), layout.size))
    for member, seed in enumerate(seeds):
        for path, start, param in layout.places.values():
            drawn = param.init(generator(seed, path), param.shape)
            flat[member, start : start + drawn.size] = drawn.reshape(-1)
    return flat.reshape((*lead, layout.size))


def generator(seed: int, path: str) -> Any:
    """Return the generator that the array at `path` is drawn from."""
    child = np.random.SeedSequence(seed, spawn_key=tuple(path.encode()))
    return np.random.Generator(np.random.Philox(child))


def shuffler(seed: int, epoch: int) -> Any:
    """Return the generator that the examples of an epoch are shuffled by."""
    child = np.random.SeedSequence(seed, spawn_key=(epoch,))
    return np.random.Generator(np.random.Philox(child))


def keys(seeds: Sequence[int], lead: Shape) -> Any:
    """Return the key of each member's random bits, uint32 `(..., 1, 1)`."""
    return np.asarray([_word(seed) for seed in seeds], dtype=np.uint32).reshape((*lead, 1, 1))


@lru_cache(maxsize=4096)
def _word(seed: int) -> int:
    return int(np.random.SeedSequence(seed).generate_state(1)[0])
