"""Real data that travels with the library."""

from .digits import Digits, digits
from .splits import class_weights, folds, split
from .table import Arrays, Table

__all__ = ["Arrays", "Digits", "Table", "class_weights", "digits", "folds", "split"]
