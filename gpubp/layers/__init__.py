"""Layers: each a frozen description with its forward pass directly above its delta equations."""

from .activation import Activation
from .base import Layer
from .batch_norm import BatchNorm
from .layer_norm import LayerNorm, RMSNorm
from .linear import Linear
from .mlp import MLP
from .prelu import PReLU
from .sequential import Sequential
from .softmax import LogSoftmax, Softmax

__all__ = [
    "MLP",
    "Activation",
    "BatchNorm",
    "Layer",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "PReLU",
    "RMSNorm",
    "Sequential",
    "Softmax",
]
