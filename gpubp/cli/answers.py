"""Predictions under their names, and what becomes of them where the targets are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import Arrays, Table
from ..data.outcomes import Numbers
from ..data.raw import column, missing, place
from ..errors import InputError
from ..network import Network
from . import predicting
from .predicting import Figures, Predicted
from .telling import say

# -- what is written ---------------------------------------------------------------------------


def columns(net: Network, found: Predicted) -> dict[str, Any]:
    """Name what was predicted of some rows."""
    prep = net.preprocessing
    if found.labels is None:
        values = found.values
        if prep is not None and isinstance(prep.outputs, Numbers):
            values = prep.values(values)
        return _numbered("predicted", values)
    names = _names(net)
    if found.labels.ndim > 1:
        return _numbered("predicted", found.labels) | _numbered("p", found.chances)
    labels = found.labels if prep is None else prep.decode(found.labels)
    told = {"predicted": labels}
    if found.chances is not None:
        told |= {f"p_{name}": found.chances[:, i] for i, name in enumerate(names)}
    return told


def _numbered(name: str, values: Any) -> dict[str, Any]:
    values = values.reshape(len(values), -1)
    if values.shape[1] == 1:
        return {name: values[:, 0]}
    return {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}


def _names(net: Network) -> list[Any]:
    return list(range(classes_of(net) or 0)) if net.preprocessing is None else net.classes or []


def classes_of(net: Network) -> int | None:
    """How many classes there are; None for numbers."""
    if net.loss is None or not net.loss.classifies:
        return None
    width = int(net.spec.shape[-1])
    return 2 if width == 1 else width


# -- how well ----------------------------------------------------------------------------------


def wanted(net: Network, raw: Table | Arrays) -> Any:
    """The targets in the data, if there are such as this network predicts.

    Labels, -1 for a class it does not know and -2 for a missing one; or numbers with NaN.
    """
    prep, classes = net.preprocessing, classes_of(net)
    if isinstance(raw, Table):
        if prep is None or prep.target not in raw.columns:
            return None
        y = column(raw[prep.target], place(raw, prep.target))
    elif raw.y is None or net.loss is None:
        return None
    else:
        y = np.asarray(raw.y)
    try:
        if classes is None:
            width = int(net.spec.shape[-1])
            return _numbers(y, width if net.loss is None else int(net.loss.target_width(width)))
        if prep is not None:
            return _places(prep.outputs, y)
        if y.ndim == 1 and y.dtype.kind in "biu":
            return np.where((y >= 0) & (y < classes), y, -1).astype(np.int64)
    except InputError as error:
        say(f"no figure: {error}")
    return None


def _numbers(y: Any, width: int) -> Any:
    y = y.reshape(len(y), -1)
    if y.dtype.kind not in "biuf" or y.shape[1] != width:
        raise InputError("the target in the data is not what this network predicts")
    return y.astype(np.float64)


def _places(of: Any, y: Any) -> Any:
    gone = missing(column(y, "the target")) if y.dtype.kind in "fO" else np.zeros(len(y), bool)
    found = np.full(len(y), -2, dtype=np.int64)
    if not gone.all():
        found[~gone] = of.places(y[~gone])
    return found


def compare(net: Network, found: Predicted, wanted: Any, figures: Figures) -> None:
    if found.labels is not None:
        there = wanted > -2
        if found.labels.ndim == 1:
            figures.add(found.labels[there], wanted[there])
        return
    values = found.values.reshape(len(wanted), -1)
    if net.preprocessing is not None:
        values = net.preprocessing.values(values).reshape(len(wanted), -1)
    there = np.isfinite(wanted).all(axis=-1)
    figures.add(values[there], wanted[there])


def tell(net: Network, figures: Figures | None, n: int) -> dict[str, Any]:
    """Say the figures, and return them."""
    if figures is None or not figures.rows:
        return {}
    found = figures.result()
    target = "y" if net.preprocessing is None else net.preprocessing.target
    of = f", of the {figures.rows:,} rows whose target is known" if figures.rows < n else ""
    say(predicting.text(found, target) + of)
    return predicting.as_json(found)
