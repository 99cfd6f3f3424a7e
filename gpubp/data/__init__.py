"""Real data that travels with the library."""

from .digits import Digits, digits

__all__ = ["Digits", "digits"]
