"""What the GPU benchmark trains, and who takes part in each contest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..gpu_contenders import CONTENDERS
from ..workloads import Workload, mlp

UNROLL = 32
"""Steps in a launch, of those who launch several at once."""
_ROWS = 1 << 18
"""As many rows at most are drawn for a workload."""
_TINY = 8


@dataclass(frozen=True)
class Contest:
    """A workload, its contenders, and the steps whose losses are compared before any timing."""

    load: Workload
    who: tuple[str, ...]
    compared: int = 8

    @property
    def unroll(self) -> int:
        return min(UNROLL, self.load.batches)


_SINGLE = tuple(name for name in CONTENDERS if name != "torch vmap")
_LARGE = ("gpubp compiled", "torch eager", "torch graph", "torch.compile")
_SCALING = ("gpubp compiled", "torch graph", "jax.scan")


def _net(widths: tuple[int, ...], batch: int) -> Workload:
    """A network of ReLU layers, classes behind it, Adam; an epoch is a multiple of the unroll."""
    batches = min(256, max(1, _ROWS // batch))
    says = "-".join(map(str, widths)) + f", batch {batch}"
    return Workload(says, mlp(widths), batch, batches)


SMALL = [
    Contest(_net((784, 128, 10), 128), _SINGLE),
    Contest(_net((784, 256, 256, 256, 256, 10), 256), _SINGLE),
    Contest(_net((784, 512, 512, 10), 128), _SINGLE),
]
LARGE = Contest(
    Workload("4 layers of 4096, squares, batch 8192", mlp((4096,) * 5), 8192, 4, loss="squares"),
    _LARGE, compared=3,
)  # fmt: skip
LARGE_PRECISIONS = ("bf16", "tf32")
ENSEMBLE = Contest(
    replace(_net((784, 32, 10), 128), says="64 of 784-32-10, batch 128", members=64, batches=64),
    tuple(CONTENDERS),
)
SCALING = [
    Contest(_net((784, 128, 10), batch), _SCALING) for batch in (32, 128, 512, 2048, 8192, 65536)
]


def tiny(contest: Contest) -> Contest:
    """The same contest with little of everything.

    >>> tiny(SMALL[0]).load.widths, tiny(SMALL[0]).unroll
    ((8, 8, 8), 4)
    """
    load = contest.load
    widths = tuple(min(width, _TINY) for width in load.widths)
    members = None if load.members is None else 3
    small = replace(load, net=mlp(widths), batch=_TINY, batches=4, members=members)
    return replace(contest, load=small)


def multiply_adds(load: Workload) -> int:
    """Floating-point operations of the matrix products of a step: no gradient of the input.

    >>> multiply_adds(Workload("", mlp((3, 4, 2)), batch=1, batches=1))
    96
    """
    pairs = [n * m for n, m in zip(load.widths, load.widths[1:], strict=False)]
    return 2 * load.batch * (load.members or 1) * (3 * sum(pairs) - pairs[0])
