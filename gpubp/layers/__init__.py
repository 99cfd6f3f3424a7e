"""Layers: each a frozen description with its forward pass directly above its delta equations."""

from .activation import Activation
from .base import Layer
from .batch_norm import BatchNorm
from .checkpoint import Checkpoint, kept_bytes
from .dropout import Dropout, GaussianDropout
from .embedding import Embedding
from .joins import Branches, Concatenate, Multiply, Sum
from .layer_norm import LayerNorm, RMSNorm
from .linear import Linear
from .mlp import MLP
from .noise import GaussianNoise
from .prelu import PReLU
from .residual import Residual
from .sequential import Sequential
from .shapes import Columns, Flatten, Identity, Reshape
from .softmax import LogSoftmax, Softmax
from .tied import Tied

__all__ = [
    "MLP",
    "Activation",
    "BatchNorm",
    "Branches",
    "Checkpoint",
    "Columns",
    "Concatenate",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "Layer",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "Multiply",
    "PReLU",
    "RMSNorm",
    "Reshape",
    "Residual",
    "Sequential",
    "Softmax",
    "Sum",
    "Tied",
    "kept_bytes",
]
