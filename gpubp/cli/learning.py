"""How `gpubp train` learns: the options, and what stands in for those not given."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from ..compiling import PRECISIONS
from ..data import class_weights
from ..errors import InputError
from ..losses import LOSSES, CrossEntropy, Loss
from ..losses import loss as named_loss
from ..optimizers import L1, L2, OPTIMIZERS, ClipGlobalNorm, Optimizer
from ..optimizers import optimizer as named_optimizer
from ..schedules import CosineDecay, OneCycle
from . import options
from .parts import Task
from .recipe import DIGITS, Recipe, recipe
from .task import DIGITS as DIGITS_DATA

_SCHEDULES: dict[str, Any] = {"cosine": CosineDecay, "one-cycle": OneCycle, "none": None}
COMPILE: dict[str, bool | str] = {"auto": "auto", "on": True, "off": False}
"""What `fit` takes for the choices of `--compile`."""

_TWO_CLASSES = ("unit", "binary")


@dataclass(frozen=True)
class Plan:
    """What `fit` is called with, and what the network has to put out."""

    loss: Loss
    optimizer: Optimizer
    epochs: int
    batch_size: int | None
    outputs: int
    updates: int
    text: str


def add_to(parser: Any) -> None:
    """Add the options of learning."""
    group = parser.add_argument_group("learning")
    group.add_argument(
        "--loss",
        metavar="NAME",
        help="cross_entropy for classes and mean_squared_error, of "
        "standardised numbers, if not given; " + ", ".join(LOSSES),
    )
    group.add_argument(
        "--class-weight",
        choices=["balanced"],
        help="let all classes weigh the same in a cross-entropy",
    )
    group.add_argument(
        "--optimizer", default="adam", metavar="NAME", help=", ".join([*OPTIMIZERS, "lbfgs"])
    )
    group.add_argument(
        "--lr",
        type=float,
        metavar="RATE",
        help="learning rate; of another optimizer than adam its own",
    )
    group.add_argument("--schedule", choices=list(_SCHEDULES), help="of the rate")
    group.add_argument(
        "--l1", type=float, metavar="X", default=0.0, help="penalty on |w|, of weights alone"
    )
    group.add_argument("--l2", type=float, metavar="X", help="penalty on w^2 / 2, likewise")
    group.add_argument(
        "--weight-decay", type=float, metavar="X", help="decoupled, of weights alone"
    )
    group.add_argument(
        "--clip", type=float, metavar="X", help="the most that the gradient's norm may be"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the training rows")
    group.add_argument(
        "--batch-size", type=options.batch, metavar="N", help="rows in an update, or full"
    )
    group.add_argument(
        "--early-stopping",
        type=int,
        metavar="PATIENCE",
        help="end when the "
        "validation loss has not improved for so many epochs, and take the weights "
        "of the best",
    )
    group.add_argument(
        "--restarts", type=int, metavar="N", help="first weights trained at once, best kept"
    )
    group.add_argument(
        "--compile",
        choices=list(COMPILE),
        default="auto",
        help="make one function of many steps; auto does so where that can be done and pays",
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="that compute; as many as pay if not given"
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of matrix products, on a GPU; that of --dtype if not given",
    )
    group.add_argument("--checkpoint", metavar="FOLDER", help="write there what it takes to go on")
    group.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="epochs from checkpoint to checkpoint; 1 if not given",
    )
    group.add_argument("--resume", action="store_true", help="go on with the newest checkpoint")


def loss_of(given: argparse.Namespace) -> Loss | None:
    """Return the loss that was asked for, None where none was."""
    return None if given.loss is None else named_loss(given.loss)


def plan(given: argparse.Namespace, data: Task, loss: Loss | None) -> Plan:
    """Return what is done, as the options and the number of training rows say."""
    rows = len(data.train)
    usual = DIGITS if data.name == DIGITS_DATA else recipe(rows)
    chosen = _filled(given, usual)
    size = None if chosen.batch_size == "full" else int(chosen.batch_size)
    updates = chosen.epochs * (1 if size is None or size < 1 else -(-rows // size))
    loss = _loss(given, data, loss)
    return Plan(
        loss=loss,
        optimizer=_optimizer(given, chosen, updates),
        epochs=chosen.epochs,
        batch_size=size,
        outputs=_outputs(loss, data),
        updates=updates,
        text=f"{rows} training rows: {chosen.text(given.optimizer)}",
    )


def _filled(given: argparse.Namespace, usual: Recipe) -> Recipe:
    """The recipe, with what was given in its place; another optimizer has a rate of its own."""
    own = given.optimizer == "adam"
    lr = given.lr if given.lr is not None or not own else usual.lr
    schedule = given.schedule if given.schedule is not None or not own else usual.schedule
    decayed = given.weight_decay is not None or given.l1
    l2 = given.l2 if given.l2 is not None else 0.0 if decayed else usual.l2
    epochs = usual.epochs if given.epochs is None else given.epochs
    batch_size = usual.batch_size if given.batch_size is None else given.batch_size
    return Recipe(epochs, batch_size, lr, schedule, l2)


def _optimizer(given: argparse.Namespace, chosen: Recipe, updates: int) -> Optimizer:
    usual = named_optimizer(given.optimizer)
    lr: Any = usual.lr if chosen.lr is None else chosen.lr
    schedule = _SCHEDULES[chosen.schedule or "none"]
    if schedule is not None and updates > 0:
        lr = schedule(float(lr), updates)
    asked = given.weight_decay
    return type(usual)(
        lr=lr,
        weight_decay=usual.weight_decay if asked is None else asked,
        penalty=[p for p in (L1(given.l1), L2(chosen.l2)) if p.strength],  # type: ignore[arg-type]
        clip=None if given.clip is None else ClipGlobalNorm(given.clip),
    )


def _loss(given: argparse.Namespace, data: Task, loss: Loss | None) -> Loss:
    """The loss, which has to be one for classes where there are some, and for numbers else."""
    classes = data.classes
    if loss is None:
        loss = named_loss("mean_squared_error" if classes is None else "cross_entropy")
    if (classes is None) == loss.classifies or loss.targets == "soft":
        held = "numbers" if classes is None else "classes"
        fits = [name for name, known in LOSSES.items()
                if (classes is None) != known.classifies and known.targets != "soft"]  # fmt: skip
        raise InputError(f"--loss {given.loss} is not for a target of {held}; take one of "
                         f"{', '.join(fits)}")  # fmt: skip
    if classes is not None and loss.targets in _TWO_CLASSES and len(classes) != 2:
        raise InputError(f"--loss {given.loss} is for two classes, and the target has "
                         f"{len(classes)}: take cross_entropy")  # fmt: skip
    if given.class_weight is not None:
        if not isinstance(loss, CrossEntropy):
            raise InputError("--class-weight is for --loss cross_entropy")
        return CrossEntropy(class_weight=class_weights(data.train.t, len(classes or ())))
    return loss


def _outputs(loss: Loss, data: Task) -> int:
    """How many outputs the network has."""
    if data.classes is not None:
        return 1 if loss.targets in _TWO_CLASSES else len(data.classes)
    k = int(data.train.t.shape[1])
    return next(width for width in (k, 2 * k) if loss.target_width(width) == k)
