"""Is backpropagation right, and do all devices agree? Of a part, or of a whole network."""

from .layers import layer
from .losses import loss
from .networks import network
from .optimizers import optimizer
from .report import Report, Row
from .tolerance import error, tolerance

__all__ = ["Report", "Row", "error", "layer", "loss", "network", "optimizer", "tolerance"]
