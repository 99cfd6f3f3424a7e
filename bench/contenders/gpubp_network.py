"""A workload as a network of gpubp, with the first weights that all contenders have."""

from __future__ import annotations

from typing import Any

import gpubp

from ..workloads import (
    ADAM,
    DECAY,
    LAYER_NORM_EPS,
    Activation,
    Dropout,
    LayerNorm,
    Linear,
    Net,
    Node,
    Problem,
)  # fmt: skip


def network(problem: Problem, device: str = "cpu") -> gpubp.Network:
    """Return the network, at the start of its training."""
    load = problem.load
    net = gpubp.Network(sequential(load.net), load.widths[0], device=device, members=load.members)
    net.load_state_dict(dict(zip(net.state_dict(), problem.weights, strict=True)))
    return net


def sequential(net: Net) -> gpubp.Layer:
    """Return the layers of a network."""
    return gpubp.Sequential(*[_layer(node) for node in net])


def _layer(node: Node) -> gpubp.Layer:
    if isinstance(node, Linear):
        return gpubp.Linear(node.n_out)
    if isinstance(node, LayerNorm):
        return gpubp.LayerNorm(eps=LAYER_NORM_EPS)
    if isinstance(node, Activation):
        return gpubp.Activation(node.name)
    if isinstance(node, Dropout):
        return gpubp.Dropout(node.rate)
    return gpubp.Residual(sequential(node.body))


def loss_and_optimizer(problem: Problem) -> tuple[Any, Any]:
    """Return the loss and the optimizer of a workload."""
    load, (beta1, beta2, eps) = problem.load, ADAM
    loss = gpubp.CrossEntropy() if load.loss == "cross_entropy" else gpubp.MeanSquaredError()
    if load.optimizer == "sgd":
        return loss, gpubp.SGD(load.rate)
    if load.optimizer == "adam":
        return loss, gpubp.Adam(load.rate, beta1, beta2, eps)
    return loss, gpubp.AdamW(load.rate, beta1, beta2, eps, weight_decay=DECAY)
