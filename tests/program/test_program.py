"""Programs: the golden texts, and what the calls of a step share."""

from __future__ import annotations

import pytest

from gpubp.program.calls import Guard, Launch, Product
from gpubp.program.program import build
from tests.program.golden import FOLDER, texts
from tests.program.recorded import NETWORKS, recording

TEXTS = texts()


@pytest.mark.parametrize("name", TEXTS)
def test_programs_are_those_that_were_read(name: str) -> None:
    expected = (FOLDER / name).read_text(encoding="utf-8")
    assert TEXTS[name] == expected, "python -m tests.program.golden writes them anew"


def test_no_golden_text_is_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*.txt")} == set(TEXTS)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_moves_weights_lies_behind_the_guard(name: str) -> None:
    calls = build(recording(name).phases, "float64").calls
    guard = next(n for n, call in enumerate(calls) if isinstance(call, Guard))
    assert [isinstance(call, Guard) for call in calls].count(True) == 1
    for number, call in enumerate(calls):
        if isinstance(call, Launch):
            written = {b.memory for b, w in zip(call.arrays, call.writes, strict=True) if w}
            moves = {m for m in written if m in ("theta", "state") or m.startswith("slot:")}
            assert not moves or number > guard


def test_the_products_of_a_network_are_those_of_backpropagation() -> None:
    calls = build(recording("mlp", rows=5).phases, "float64").calls
    products = [call for call in calls if isinstance(call, Product)]
    assert [(p.out.rows, p.inner, p.out.cols) for p in products] == [
        (5, 3, 4), (5, 4, 2),  # forward
        (4, 5, 2), (5, 2, 4), (3, 5, 4),  # the gradients of weights, and of what lies between
    ]  # fmt: skip
    assert all(p.flops == 2 * p.out.rows * p.inner * p.out.cols for p in products)


def test_equal_layers_have_equal_kernels() -> None:
    import gpubp
    from gpubp.recording import Shadow

    def kernels(depth: int) -> int:
        net = gpubp.Network(gpubp.MLP([8] * depth, 8), inputs=8)
        optimizer = gpubp.SGD()
        shadow = Shadow(net, optimizer, 4)
        phases = shadow.record(gpubp.SquaredError(), optimizer, (8, "T"), False).phases
        return len({c.kernel for c in build(phases, "float32").calls if isinstance(c, Launch)})

    assert kernels(4) == kernels(8)
