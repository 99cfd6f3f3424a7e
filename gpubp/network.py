"""The network as its user sees it: fit, predict, evaluate, save, and the explicit loop."""

from __future__ import annotations

import os
from typing import Any

from . import evaluation, inputs, io, memory, pickling, streaming
from .backend import Backend
from .errors import DeviceError, InputError, shown
from .fitting import Fitting
from .layers import Layer
from .losses import Loss
from .losses import loss as named_loss
from .source import Source


class Network(Fitting):
    """A layer bound to a device: what it computes, and everything that training changes.

    `layer` is a `gpubp.Layer` such as `MLP([128, 64], 10)`, `inputs` the number of features (or
    the shape of one example), `device` `"cpu"`, `"cuda"`, `"cuda:1"`, `"auto"` or a backend,
    `dtype` `"float32"` or `"float64"`. `seed` fixes weights and noise. `members=K` makes an
    ensemble of K networks that are trained at once: member k has seed `seed + k` (or the k-th of
    a sequence) and equals the network trained alone. `weights`, all arrays by path as
    `state_dict` returns them, are taken in place of drawn ones. Raises `InputError` and
    `DeviceError`.

    >>> import numpy as np
    >>> import gpubp
    >>> x = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> y = np.asarray([0, 1, 1, 0])
    >>> net = gpubp.Network(gpubp.MLP([8], 2, activation="tanh"), inputs=2, seed=0)
    >>> history = net.fit(x, y, optimizer=gpubp.Adam(0.1), epochs=100, batch_size=4)
    >>> net.predict_class(x).tolist()
    [0, 1, 1, 0]

    The explicit loop is the same arithmetic, step by step:

    >>> loss = gpubp.CrossEntropy()
    >>> y_hat, ctx = net.forward(x)
    >>> value, delta = loss(y_hat, y)
    >>> net.backward(ctx, delta)
    >>> net.step(gpubp.Adam(0.1))
    """

    _preprocessing: Any = None

    @property
    def preprocessing(self) -> Any:
        """What raw data went through before the network saw it: a `gpubp.data.Preprocessing`.

        None where nothing is known of it. It is saved with the network. `InputError` for anything
        else.
        """
        return self._preprocessing

    @preprocessing.setter
    def preprocessing(self, given: Any) -> None:
        if given is not None:
            from .data.preprocessing import Preprocessing  # which most networks do without

            if not isinstance(given, Preprocessing):
                raise InputError(f"preprocessing is {shown(given)}; expected a gpubp.data."
                                 "Preprocessing, or None")  # fmt: skip
        self._preprocessing = given

    own_loss: str | None = None
    """The type of the loss that a loaded network was trained with, where that is none of gpubp's.

    A file holds its name alone: `gpubp.load(path, loss=...)` takes the loss itself.
    """

    @property
    def classes(self) -> Any:
        """The names of the classes, as the preprocessing has them; None without."""
        return None if self.preprocessing is None else self.preprocessing.classes

    def to(self, device: str | Backend) -> Network:
        """Move the network to another device, in place, and return it; a later `fit` goes on there.

        Weights, running state, the optimizer's slots and everything else that training changes go
        along, to the bit; arrays taken from it before stay where they were. Not for a callback
        while `fit` trains. Raises `DeviceError` where the device cannot be used and `InputError`
        for one of another dtype, with nothing changed.

        >>> import gpubp
        >>> gpubp.Network(gpubp.Linear(1), inputs=2).to("cpu").be.device
        'cpu'
        """
        pickling.move(self, device)
        return self

    # -- inference -----------------------------------------------------------------------------

    def predict(self, x: Any) -> Any:
        """Return the raw output `(n, *out)` (an ensemble: `(members, n, *out)`) in inference mode.

        Out comes the kind of array that went in: NumPy's of NumPy's, of lists and of what NumPy
        can see, CuPy's of CuPy's, tensors of torch of tensors, where those are; of other arrays of
        a CUDA device CuPy's. Of a source (`gpubp.data.Rows` or `Stream`) comes an array of NumPy's
        with its rows in order. Arrays of the network's device are not copied, host data is copied
        to it, what does not fit there a few thousand rows at a time, and `DeviceError` is raised
        for an array of another device.

        >>> import gpubp
        >>> gpubp.Network(gpubp.Linear(1, W="ones"), inputs=2).predict([[1, 2]])
        array([[3.]], dtype=float32)
        """
        return self._infer(x, lambda y: y)

    def predict_proba(self, x: Any) -> Any:
        """Return class probabilities: softmax `(n, classes)`, or the sigmoid of each output.

        Needs a classification loss, which `fit` leaves in `net.loss`; `InputError` without one,
        and for a hinge, whose outputs are no probabilities.
        """
        loss = self._classifier()
        return self._infer(x, lambda y: loss.probabilities(self.be, y))

    def predict_class(self, x: Any) -> Any:
        """Return the most probable class `(n,)`, or 0 and 1 for each yes-or-no output."""
        loss = self._classifier()
        return self._infer(x, lambda y: loss.classes(self.be, y))

    def _infer(self, x: Any, last: Any) -> Any:
        with memory.told(self, evaluation.BLOCK):
            if isinstance(x, Source):
                return streaming.outputs(self, x, last)
            be, given = self.be, inputs.numbers(self.be, x, "x")
            stay = memory.stays(self, given)
            examples = inputs.features(be, given, self.inputs, "x", self.spec.categories, stay)
            return inputs.like(x, be, evaluation.outputs(self, examples, last))

    def _classifier(self) -> Loss:
        if self.loss is None:
            raise InputError(self.lacks_loss("call fit, or set net.loss to one such as "
                                              "gpubp.CrossEntropy()"))  # fmt: skip
        if not self.loss.classifies:
            raise InputError(f"{type(self.loss).__name__} is no classification loss: use predict")
        return self.loss

    def lacks_loss(self, remedy: str) -> str:
        """Return what is wrong where a loss is needed and there is none.

        >>> import gpubp
        >>> gpubp.Network(gpubp.Linear(1), inputs=2).lacks_loss("set net.loss")
        'the network has no loss yet: set net.loss'
        """
        if self.own_loss is None:
            return f"the network has no loss yet: {remedy}"
        return (f"the network was trained with {self.own_loss}, a loss of your own: "
                f"gpubp.load(path, loss={self.own_loss}())")  # fmt: skip

    def evaluate(
        self, x: Any, y: Any = None, *, loss: str | Loss | None = None, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Return the mean `loss` per example, and `accuracy` for classes or `r2` for numbers.

        `r2` is that of what the loss says is predicted: exp(z) for `Poisson`, the means for
        `GaussianNLL`, the output nearest to the median for several quantiles, else the output.
        `loss` is that of `fit` where none is given. In an ensemble each figure is a list. A source
        (`gpubp.data.Rows` or `Stream`) takes the place of `x`, `y` and `sample_weight`.

        >>> import gpubp
        >>> net = gpubp.Network(gpubp.Linear(1, W="ones"), inputs=1)
        >>> net.evaluate([[1.0], [2.0]], [1.0, 2.0], loss="mean_squared_error")
        {'loss': 0.0, 'r2': 1.0}
        """
        if loss is None and self.loss is None:
            raise InputError(f"evaluate: {self.lacks_loss('give loss=')}")
        chosen = named_loss(loss) if loss is not None else self.loss
        assert chosen is not None
        with memory.told(self, evaluation.BLOCK):
            return self._figures(self._data(x, y, sample_weight, chosen, True, ""), chosen)

    # -- files ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, running state and the description of the layers to one file.

        The optimizer's slots are not in it, nor the factor of `ReduceOnPlateau`: a later `fit`
        begins with fresh ones. A layer or a loss of your own is there by name, not as code: give
        it to `gpubp.load` again.
        """
        io.save(self, path, self.loss, self.epochs)

    def __getstate__(self) -> dict[str, Any]:
        pickling.check_named(self.be)
        return {"network": pickling.state_of(self), "attributes": pickling.attributes(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pickling.restore(self, state["network"])
        vars(self).update(state["attributes"])

    def __repr__(self) -> str:
        members = "" if self.members is None else f", members={self.members}"
        return (
            f"Network({self.layer!r}, inputs={self.inputs}, device={self.be.device!r}, "
            f"dtype={self.be.precision!r}{members}): {self.n_parameters:,} parameters"
        )


def load(
    path: str | os.PathLike[str],
    *,
    device: str | Backend = "cpu",
    layer: Layer | None = None,
    loss: str | Loss | None = None,
) -> Network:
    """Return the network that `Network.save` wrote, on any device.

    `layer` is needed where the network holds a layer of your own. Where it was trained with a
    loss of your own, `loss` is that loss; without it the network predicts, and says whose it
    lacks where one is needed. A `loss` given takes the place of any in the file. Raises
    `InputError` for a file that cannot be read or is of another version, for a backend of another
    dtype, and for a loss that is not for the network's outputs.

    >>> import os, tempfile
    >>> import gpubp
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> gpubp.Network(gpubp.MLP([3], 2), inputs=4).save(path)
    >>> gpubp.load(path).n_parameters
    23
    """
    chosen = None if loss is None else named_loss(loss)
    saved = io.restore(path, device, layer)
    try:
        net = Network(**saved.options)
        net.loss = saved.loss
        saved.settle(net)
    except DeviceError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no network that can be: {error!s:.600}") from error
    net.epochs, net.preprocessing, net.path = saved.epochs, saved.preprocessing, saved.path
    if chosen is not None:
        net.loss = chosen
    elif saved.own_loss is not None:
        net.own_loss = saved.own_loss
    return net
