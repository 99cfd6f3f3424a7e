"""Real data that travels with the library."""

from .digits import Digits, digits
from .table import Arrays, Table

__all__ = ["Arrays", "Digits", "Table", "digits"]
