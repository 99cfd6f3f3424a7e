"""Training that can be left at any moment and gone on with, to the same bits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from .errors import InputError, whole
from .files import check_writable
from .history import Monitor

_NAME = re.compile(r"checkpoint-(\d+)-(\d+)\.safetensors")
_TEMPORARY = re.compile(r"\.(checkpoint-\d+-\d+|best)\.safetensors\.\d+\.[0-9a-f]+")
BEST = "best.safetensors"


class Checkpoints:
    """Where `fit` writes what it needs to be gone on with, and how often.

    Every `every` epochs (`unit="updates"`: updates), at the end, and before Ctrl-C or SIGTERM ends
    the training, a file `checkpoint-EPOCHS-BATCHES.safetensors` is written to `folder`: all that
    training changes, so that `fit(..., resume=True)` ends with the bits of a training that was
    never left, on the same path and device. The newest `keep` files stay, and in
    `best.safetensors` the network with the best `monitor` so far, a figure of the records
    (`None`: `val_loss` where there are validation data, else `loss`; of an ensemble the mean), as
    `gpubp.load` reads it. Each file is written whole or not at all. One folder is for one
    training. Raises `InputError` for numbers out of range.

    >>> import tempfile
    >>> import gpubp
    >>> folder, task = tempfile.mkdtemp(), {"x": [[0.0], [1.0]], "y": [1.0, 3.0]}
    >>> how = {"loss": "mean_squared_error", "checkpoint": gpubp.Checkpoints(folder, keep=2)}
    >>> net = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> _ = net.fit(**task, **how, epochs=3)
    >>> sorted(os.listdir(folder))[1:]
    ['checkpoint-000002-000000.safetensors', 'checkpoint-000003-000000.safetensors']
    >>> again = gpubp.Network(gpubp.Linear(1), inputs=1)
    >>> history = again.fit(**task, **how, epochs=5, resume=True)
    >>> history["epoch"]
    [1, 2, 3, 4, 5]
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int = 1,
        *,
        unit: str = "epochs",
        keep: int = 3,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise InputError(f"checkpoint: the folder is {folder!r}; give the name of one")
        for name, count in (("every", every), ("keep", keep)):
            if not whole(count) or count < 1:
                raise InputError(
                    f"checkpoint: {name} is {count!r}; expected a whole number of at least 1"
                )
        if unit not in ("epochs", "updates"):
            raise InputError(f"checkpoint: unit is {unit!r}; expected 'epochs' or 'updates'")
        if monitor is not None or mode is not None:
            Monitor(monitor or "loss", mode)
        self.folder, self.every, self.unit, self.keep = Path(folder), int(every), unit, int(keep)
        self.monitor, self.mode = monitor, mode

    def files(self) -> list[Path]:
        """Return the checkpoints that are there, oldest first.

        >>> Checkpoints("no-such-folder").files()
        []
        """
        try:
            named = [(_NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
        except OSError:
            return []
        return [path for *_, path in sorted((int(m[1]), int(m[2]), p) for m, p in named if m)]

    def epochs(self, begun: int = 0) -> int:
        """Return how many epochs the newest checkpoint has behind it; `begun` where there is none.

        >>> Checkpoints("no-such-folder").epochs()
        0
        """
        found = [_NAME.fullmatch(path.name) for path in self.files()]
        return int(found[-1][1]) if found and found[-1] else begun

    def prepare(self) -> None:
        """Make the folder if need be, and remove what a killed process left half written there.

        Raises `InputError` where nothing can be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot write checkpoints to {self.folder}: {error}") from error
        check_writable(self.folder / BEST)
        for path in self.folder.iterdir():
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def check_checkpoint(where: Any, every: int | None, resume: bool) -> Checkpoints | None:
    """Return what `fit` was given as checkpoints; `InputError` for what is none."""
    if where is None:
        if every is not None or resume:
            raise InputError("every and resume are for checkpoints: give checkpoint=FOLDER")
        return None
    if not isinstance(where, Checkpoints):
        return Checkpoints(where, 1 if every is None else every)
    if every is not None:
        raise InputError("every is given twice: leave it to the gpubp.Checkpoints")
    return where
