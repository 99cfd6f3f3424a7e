"""Layers: each a frozen description with its forward pass directly above its delta equations."""

from .activation import Activation
from .base import Layer
from .batch_norm import BatchNorm
from .dropout import Dropout, GaussianDropout
from .layer_norm import LayerNorm, RMSNorm
from .linear import Linear
from .mlp import MLP

__all__ = [
    "MLP",
    "Activation",
    "BatchNorm",
    "Dropout",
    "GaussianDropout",
    "Layer",
    "LayerNorm",
    "Linear",
    "RMSNorm",
]
