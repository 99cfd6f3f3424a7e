"""How far two paths may differ: `gpubp.rounding`, where checks look for it."""

from __future__ import annotations

from ..rounding import error, largest, tolerance

__all__ = ["error", "largest", "tolerance"]
