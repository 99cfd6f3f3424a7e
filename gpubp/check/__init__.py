"""Is backpropagation right, and do all devices agree? Of a layer, or of a whole network."""

from .layers import layer
from .networks import network
from .report import Report, Row
from .tolerance import error, tolerance

__all__ = ["Report", "Row", "error", "layer", "network", "tolerance"]
