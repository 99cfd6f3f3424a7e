"""What a call costs: on the host, on the device, and from the call until all is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from . import Result, Row, attempt, gpu, kernels
from .blas import Blas
from .capture import captured
from .clock import Clock
from .kinds import uniform
from .lt import Lt, Matmul
from .step import CALLS, Step

NODES = (1, 8, 32, 128)
STEPS = (1, 8, 32)
BATCH, WIDTH = 32, 128


def probe() -> Iterator[Row]:
    """Time tiny calls, graphs of tiny kernels, products, and training steps, eager and captured."""
    cp = gpu()
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        clock = Clock(cp, stream)
        for name, call in kernel_calls(cp):
            yield name, attempt(call_cost, clock, call)
        for nodes in NODES:
            yield f"graph of {nodes} kernels", attempt(graph_cost, cp, clock, nodes)
        for name, call in product_calls(cp, stream):
            yield name, attempt(call_cost, clock, call)
        yield f"eager step of {CALLS} calls", attempt(eager_step, cp, clock)
        for steps in STEPS:
            yield f"graph of {steps} steps", attempt(step_cost, cp, clock, steps)


def kernel_calls(cp: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Calls on so little data that only their cost is left."""
    x, y, out = (uniform(cp, (256,), seed).astype("f4") for seed in range(3))
    pullback, axpy = kernels.gelu_pullback(cp), kernels.axpy(cp)
    yield "ufunc, out=", lambda: cp.add(x, y, out=out)
    yield "ufunc, new array", lambda: cp.add(x, y)
    yield "ElementwiseKernel, out given", lambda: pullback(x, y, out)
    yield "RawKernel", lambda: axpy(out, x, 0.5)
    rows = uniform(cp, (32, 128), 3).astype("f4")
    sums = cp.empty(128, "f4")
    yield "sum, axis -1", lambda: cp.sum(rows, axis=-1)
    yield "sum, axis -2, out=", lambda: cp.sum(rows, axis=-2, out=sums)


def product_calls(cp: Any, stream: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The same of matrix products."""
    blas, lt = Blas(cp, stream), Lt(cp, stream)
    for n in (32, 128):
        a, b, c = (uniform(cp, (n, n), seed).astype("f4") for seed in range(3))
        yield f"cupy.matmul {n}, out=", partial(cp.matmul, a, b, out=c)
        yield f"cublasSgemm {n}", blas.sgemm(a, b, c)
        yield f"cublasGemmEx {n}", blas.product("float32", a, b, c)
        planned = Matmul("float32", "DEFAULT", a, b, c)
        planned.plan(lt)
        yield f"cublasLtMatmul {n}", planned


def call_cost(clock: Clock, call: Callable[[], Any]) -> Result:
    """Time one call."""
    return clock.cost(lambda i: call())


def graph_cost(cp: Any, clock: Clock, nodes: int) -> Result:
    """Time the launch of one graph, and each of its kernels' share."""
    x, y = (uniform(cp, (256,), seed).astype("f4") for seed in range(2))
    axpy = kernels.axpy(cp)

    def call() -> Any:
        for _ in range(nodes):
            axpy(y, x, 1e-3)
        return y

    call()
    return launched(clock, captured(clock.stream, call)[0], nodes, "kernel")


def eager_step(cp: Any, clock: Clock) -> Result:
    """Time one step, call by call."""
    step = Step(cp, clock.stream, BATCH, WIDTH)
    return clock.cost(lambda i: step())


def step_cost(cp: Any, clock: Clock, steps: int) -> Result:
    """Time a graph of so many steps, and one step's share."""
    step = Step(cp, clock.stream, BATCH, WIDTH)
    step()

    def call() -> Any:
        for _ in range(steps):
            step()
        return step.weights

    return launched(clock, captured(clock.stream, call)[0], steps, "step")


def launched(clock: Clock, graph: Any, parts: int, part: str) -> Result:
    """Return the cost of launching a graph, and the cost over its equal parts."""
    graph.upload(clock.stream)
    cost = clock.cost(lambda i: graph.launch(clock.stream), calls=16)
    medians = {key: cost[key] for key in ("host_us", "device_us", "wall_us")}
    shares = {f"{key} a {part}": v and round(v / parts, 3) for key, v in medians.items()}
    return {**shares, **cost}
