"""Training: the loop that ends with the weights one came for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from . import compiling, evaluation, feeds, inputs, memory, restarts, streaming
from .arguments import check_callbacks, check_counts, check_keep, check_rest, pair, record_names
from .backend import select
from .bound import Bound
from .checkpoints import Checkpoints, check_checkpoint
from .compiling import check_compile, check_precision
from .errors import InputError, NonFiniteError
from .feeds import Feed
from .found import path_of
from .history import Callback, History
from .interrupts import Interrupts
from .lbfgs import LineSearchTrainer, check_search
from .losses import Loss
from .losses import loss as named_loss
from .optimizers import Adam, Optimizer
from .optimizers import optimizer as named_optimizer
from .progress import Bar
from .restarts import Restarts
from .resume import Run
from .source import Source
from .streaming import StreamTrainer
from .training import Data, Trainer


class Fitting(Bound):
    """The part of `Network` that trains; see there for the arguments.

    >>> import gpubp
    >>> net = Fitting(gpubp.Linear(1), inputs=1)
    >>> history = net.fit([[0.0], [1.0]], [1.0, 3.0], loss="mean_squared_error", epochs=2)
    >>> history["epoch"], net.epochs
    ([1, 2], 2)
    """

    _loss: Loss | None = None

    @property
    def loss(self) -> Loss | None:
        """The loss of the last `fit`, which says what the raw outputs mean; may be set by name."""
        return self._loss

    @loss.setter
    def loss(self, given: str | Loss | None) -> None:
        chosen = None if given is None else named_loss(given)
        if chosen is not None:
            chosen.check(self.spec.shape[-1])
        self._loss = chosen

    history: History = History()
    """The records of the last `fit`."""

    restarts: Restarts | None = None
    """What became of each of the networks of the last `fit(restarts=...)`."""

    path: str = "plain"
    """How the steps of the last `fit` were computed, `"plain"` or `"compiled"`."""

    epochs: int = 0
    """How many epochs were trained, over all calls of `fit`."""

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: str | Loss = "cross_entropy",
        optimizer: str | Optimizer | None = None,
        epochs: int = 10,
        batch_size: int | None = 32,
        micro_batch: int | None = None,
        validation: tuple[Any, Any] | Source | None = None,
        sample_weight: Any = None,
        shuffle: bool = True,
        shuffle_seed: int = 0,
        callbacks: Sequence[Callback] = (),
        check_finite: bool = True,
        progress: bool = False,
        restarts: int | None = None,
        keep: str = "best",
        checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
        every: int | None = None,
        resume: bool = False,
        compile: bool | str = "auto",
        threads: int | None = None,
        precision: str | None = None,
    ) -> History:
        """Train, and return a record of each epoch; a second call goes on where this one ended.

        `x` is `(n, features)`; `y` as the `loss` takes it, a 1-D one counting as `(n, 1)` only
        where the network has one output. The `optimizer` is `Adam()` if none is given.
        `batch_size=1` is SGD by single example, None the full batch; the last, smaller batch is
        used. `micro_batch` limits how many examples go through at a time: gradients, random bits
        and the update are those of the whole batch, for less memory (batch normalisation alone
        sees the smaller ones). `shuffle_seed` fixes the order of the examples in every epoch,
        `shuffle=False` keeps it as it is. With `sample_weight` `(n,)` a mean loss is
        sum(w l) / sum(w).

        Arrays of NumPy, lists and what NumPy can see are host data and are copied to the network's
        device; arrays of that device (CuPy's, tensors of torch, what has DLPack or the CUDA array
        interface) are used as they are, without a copy where their dtype is the network's. Those
        of another device are refused with `DeviceError`. Host data that would fill more than 80 %
        of the memory that is free on the device stays on the host, and so does a memory map: each
        batch is copied while the one before it is in use, with the same result to the last bit.
        Where the device's memory ends, `OutOfMemoryError` says which batch size would fit; no
        step that was taken is lost.

        What need not be in memory at once comes as a source, `gpubp.data.Rows` or `Stream`, in the
        place of `x` and `y`, or of the pair `validation`. Its rows are looked at when they are
        read; what was learned before an error there is kept.

        `validation=(x, y)` adds `val_loss` and `val_accuracy` or `val_r2` to each record;
        `history["loss"]` is the mean per example over the epoch's batches as they were met.
        `callbacks` are told of each epoch; `progress` shows a line for each on standard error.
        `check_finite=False` skips the look for NaN and infinities in the data.

        `restarts=K` trains K networks at once, with the seeds `seed`, `seed + 1`, ..., each as it
        would be alone, and keeps the best: by the loss of the validation data, if there are any,
        at the end. A member that meets a step which is not finite is left out. What became of
        each stands in `net.restarts`, with `keep="all"` also the ensemble of all of them.

        `checkpoint=FOLDER` writes there, every `every` epochs (1 if not given), what it takes to go
        on: `resume=True` goes on with the newest, where there is one, and `epochs` counts from
        where that training began. It ends with the bits of one that was never left. Ctrl-C and
        SIGTERM write one before they end it; see `gpubp.Checkpoints`.

        `compile=True` makes one function of many steps, on the CPU (`pip install gpubp[cpu]`) or,
        as CUDA graphs, on a GPU, and says why where it cannot; `"auto"` does so where it can and
        the training is long enough to gain by it; `history.path` says which it was,
        `history.reason` why it was plain. A layer that cannot be compiled, such as one with
        functions of its own, goes the plain path in the midst of compiled steps, on one thread
        (on a GPU all of a training with such a layer does); `history.reason` names it. Compiling
        takes seconds, once: what was compiled is kept on disk. `threads` are those that compute:
        None takes one for a small step, else as many as there are cores. The bits of a compiled
        training are the same in every run with as many threads, and differ from those of the plain
        path by rounding.

        On a GPU `precision="tf32"`, `"bf16"` or `"fp16"` makes the matrix products of a float32
        network in fewer bits, in compiled steps: they multiply rounded numbers and add up in
        float32; weights, gradients, slots and all else stay float32. With `"fp16"` gradients are
        scaled on their way through the layers, so that few are rounded to zero; a step whose
        gradient overflows is left out, counts, and halves the scale.

        Raises `InputError` before anything is changed, and `NonFiniteError` where a step would
        have made NaN or an infinity: that step is not taken. Ctrl-C ends the step under way,
        keeps the records in `net.history` and raises KeyboardInterrupt.
        """
        check_keep(keep)
        if restarts is not None:
            how = {k: v for k, v in locals().items() if k not in ("self", "restarts", "keep")}
            return self._restart(restarts, keep, how)
        chosen = named_loss(loss)
        method = named_optimizer(Adam() if optimizer is None else optimizer)
        self.steps.check(method, done=0 if resume else None)
        check_counts(1, epochs=epochs, batch_size=1 if batch_size is None else batch_size)
        check_counts(0, shuffle_seed=shuffle_seed)
        if micro_batch is not None:
            check_counts(1, micro_batch=micro_batch)
        check_callbacks(callbacks)
        check_compile(compile, threads)
        products = check_precision(precision, self.be.precision, compile)
        where = check_checkpoint(checkpoint, every, resume)
        with self.be.activate():
            begun = self.epochs if where is None or not resume else where.epochs(self.epochs)
            data = self._data(x, y, sample_weight, chosen, check_finite, "", begun)
            held_out = None
            if validation is not None:
                held = pair(validation)
                held_out = self._data(*held, None, chosen, check_finite, "validation ")
            if not method.stepwise:
                check_search(self, data, batch_size, micro_batch)
                if isinstance(data, Data) and inputs.on_host(self.be, data.x):
                    data = Data(*self.be.rows(data.x, data.t, data.w))  # read once, and kept
            feeds.check(self, data, held_out, epochs, batch_size, micro_batch)
            size, seed = batch_size or data.n or 1, shuffle_seed if shuffle else None
            batches = None
            if data.n is not None:
                batches = -(-data.n // min(size, data.n))
                check_rest(self.spec.least_rows, data.n, size, micro_batch)
                self.steps.check(method, epochs * batches, done=0 if resume else None)
            over = StreamTrainer if isinstance(data, Feed) else Trainer
            train = over if method.stepwise else LineSearchTrainer
            trainer = train(self, data, chosen, method, size, seed, micro_batch)
            going_on = None if where is None or not resume else path_of(where.files())
            trainer, why = compiling.trainer(trainer, compile, threads, epochs, going_on, products)
            trainer.watched = bool(callbacks)
            run = None
            if where is not None:
                run = Run(where, self, trainer, callbacks, held_out, resume)
                epochs = run.epochs_left(epochs)
            self._begin(chosen, held_out is not None, callbacks)
            self.path = self.history.path = trainer.path
            self.history.reason = why
            trainer.bar = Bar(None if batches is None else epochs * batches, progress)
            try:
                at_once = min(trainer.batch_size, micro_batch or trainer.batch_size)
                told = memory.told(self, at_once, trainer.settle)
                with compiling.limited(threads if trainer.multiplies else None), told:
                    self._epochs(trainer, epochs, held_out, callbacks, run)
            finally:
                trainer.bar.close()
                self._end(callbacks)
        return self.history

    def _end(self, callbacks: Sequence[Callback]) -> None:
        """Tell all callbacks, whatever one of them says; the last word is that of the first."""
        with ExitStack() as ending:
            ending.callback(self.steps.go_on)
            for callback in reversed(callbacks):
                ending.callback(callback.on_fit_end, self, self.history)

    def _restart(self, count: int, keep: str, how: dict[str, Any]) -> History:
        """Train `count` networks as `how` says; become the best of them."""
        restarts.check(self, count)
        judged = how["x"] if how["validation"] is None else how["validation"]
        feeds.check_passes(judged, how["epochs"] + 1, "restarts: with the choice, Stream")
        together = restarts.ensemble(self, count)
        try:
            together.fit(**how)
        except KeyboardInterrupt:
            if together.updates:
                self._choose(together, keep, how)
            raise
        self._choose(together, keep, how)
        return self.history

    def _choose(self, together: Any, keep: str, how: dict[str, Any]) -> None:
        held = how["validation"]
        x, y = (how["x"], how["y"]) if held is None else pair(held)
        w = how["sample_weight"] if held is None else None
        losses = together.evaluate(x, y, sample_weight=w)["loss"]
        with self.be.activate():
            self.restarts = restarts.outcome(together, losses, keep)
            self._become(together, self.restarts.best)

    def _become(self, together: Any, k: int) -> None:
        """Take over everything from member `k` of an ensemble; on the current device."""
        self.load_state_dict({path: a[k, ...] for path, a in together.state_dict().items()})
        self.take_seed(together.seeds[k])
        self.history = restarts.alone(together.history, k)
        # A member that stopped early made fewer updates than the last of them.
        missed = len(together.history) - len(self.history)
        updates = together.updates
        if missed:
            updates = updates // len(together.history) * len(self.history)
        self.loss, self.epochs = together.loss, together.epochs - missed
        self.path = together.path
        self.restore_updates(updates)
        slots, theirs, xp = self.steps.slots, together.steps.slots, self.be.xp
        slots.kind, slots.updates = theirs.kind, updates
        slots.arrays = {n: xp.asarray(a[k, ...], copy=True) for n, a in theirs.arrays.items()}
        scale = together.steps.rate_scale
        self.steps.rate_scale = float(scale if np.ndim(scale) == 0 else scale[k])
        scales = together.steps.loss_scale
        self.steps.loss_scale = None if scales is None else scales[k : k + 1].copy()

    def _begin(self, loss: Loss, validated: bool, callbacks: Sequence[Callback]) -> None:
        """Tell the callbacks; where one refuses, everything is as it was."""
        before = self.loss, self.history
        self.loss, self.history = loss, History(names=record_names(loss, validated))
        begun: list[Callback] = []
        try:
            for callback in callbacks:
                callback.on_fit_begin(self)
                begun.append(callback)
        except BaseException:
            self._end(begun)
            self.loss, self.history = before
            raise

    def _epochs(
        self,
        trainer: Trainer,
        epochs: int,
        held_out: Data | Feed | None,
        callbacks: Sequence[Callback],
        run: Run | None,
    ) -> None:
        position = None if run is None else run.take()
        last = self.epochs + epochs
        if run is not None:
            trainer.after_batch, trainer.until_due = run.after_batch, run.until_due
        with Interrupts(None if run is None else run.leave) as interrupts:
            while self.epochs < last and not self.history.stopped:
                trained = trainer.epoch(self.epochs, interrupts, position)
                position = None
                record = {"epoch": self.epochs + 1, **trained, "lr": self.steps.rates()}
                self.epochs += 1
                if held_out is not None:
                    found = self._figures(held_out, trainer.loss)
                    record |= {f"val_{name}": figure for name, figure in found.items()}
                self.history.records.append(record)
                trainer.bar.show(record)
                if self.steps.lost.all():
                    raise NonFiniteError("no member is left: each met a step that was not finite; "
                                         "try a lower rate", self.updates, "loss")  # fmt: skip
                reasons: list[str | None] = [trainer.stopped]
                reasons += [callback.on_epoch_end(self, record) for callback in callbacks]
                self.history.stopped = "; ".join(str(reason) for reason in reasons if reason)
                if run is not None:
                    run.after_epoch(record, self.epochs == last or bool(self.history.stopped))

    def _figures(self, data: Data | Feed, loss: Loss) -> dict[str, Any]:
        if isinstance(data, Feed):
            return streaming.figures(self, data, loss)
        return evaluation.figures(self, data.x, data.t, data.w, loss)

    def _data(
        self, x: Any, y: Any, w: Any, loss: Loss, check_finite: bool, which: str, epoch: int = 0
    ) -> Data | Feed:
        be, width = self.be, self.spec.shape[-1]
        loss.check(width)
        if loss.targets in ("labels", "soft") and width == 1:
            raise InputError(
                "cross-entropy over one output is zero whatever it is: use binary_cross_entropy "
                "for yes or no, mean_squared_error for numbers, or an output for each class"
            )
        if isinstance(x, Source):
            return feeds.feed(self, x, y, w, loss, check_finite, which, epoch)
        if y is None:
            raise InputError("there are no targets: give y, or a source such as gpubp.data.Rows")
        x, name = inputs.numbers(be, x, f"{which}x"), f"{which}x"
        stay = memory.stays(self, x, y, w)
        examples = inputs.features(be, x, self.inputs, name, self.spec.categories, stay)
        n, home = int(examples.shape[0]), be
        if inputs.on_host(be, examples):
            home, y, w = select("cpu", be.precision), inputs.brought(be, y), inputs.brought(be, w)
        t = loss.read(home, y, width, n, f"{which}y")
        if check_finite:
            inputs.finite(be, examples, name)
            inputs.finite(home, t, f"{which}y")
        return Data(examples, t, inputs.weights(home, w, n))
