"""Layers: each a frozen description with its forward pass directly above its delta equations."""

from .activation import Activation
from .base import Layer
from .linear import Linear
from .mlp import MLP
from .sequential import Sequential

__all__ = ["MLP", "Activation", "Layer", "Linear", "Sequential"]
