"""Values: their sorts, equal work that is done once, and what is folded."""

from __future__ import annotations

import pytest

from gpubp.program.values import FLOAT, INTEGER, UNSIGNED, Graph, Region, one


def leaf(graph: Graph, rows: int | None, cols: int | None, name: str = "x") -> object:
    return graph.leaf(Region(name, 0, rows or 1, cols or 1), rows, cols, FLOAT)


@pytest.mark.parametrize(
    ("rows", "cols", "sort"),
    [
        (4, 3, "matrix"),
        (1, 3, "matrix"),
        (4, None, "column"),
        (None, 3, "row"),
        (None, None, "one"),
    ],
)
def test_a_batch_of_one_still_has_rows(rows: int | None, cols: int | None, sort: str) -> None:
    x = leaf(Graph(), rows, cols)
    assert x.sort == sort  # type: ignore[attr-defined]
    assert x.size == (rows or 1) * (cols or 1)  # type: ignore[attr-defined]


def test_equal_work_is_one_value() -> None:
    graph = Graph()
    x = leaf(graph, 4, 3)
    assert graph.value("mul", (x, x)) is graph.value("mul", (x, x))
    assert graph.constant(1.0, FLOAT) is not graph.constant(1, UNSIGNED)
    assert graph.constant(0.0, FLOAT) is not graph.constant(-0.0, FLOAT)
    assert len(graph.values) == 6


def test_numbers_are_folded_where_the_result_is_certain() -> None:
    graph = Graph()
    two, none = graph.constant(2.0, FLOAT), graph.constant(0.0, FLOAT)
    assert graph.value("mul", (two, two)).attr == 4.0
    assert graph.value("div", (two, none)).op == "div"  # left to the machine
    assert graph.value("sqrt", (two,)).op == "sqrt"


def test_a_reduction_along_an_axis_that_is_not_there_is_the_value() -> None:
    graph = Graph()
    row = leaf(graph, None, 3)
    assert graph.reduced("colsum", row) is row
    assert graph.reduced("rowsum", row).sort == "one"
    assert graph.reduced("colmax", leaf(graph, 4, 3)).sort == "row"


def test_axes_that_do_not_fit_are_refused() -> None:
    assert one([None, 3, 3]) == 3
    with pytest.raises(TypeError, match=r"axes of \[2, 3\]"):
        one([2, 3])
    with pytest.raises(TypeError, match="no fractions"):
        Graph().constant(0.5, INTEGER)


def test_values_of_another_graph_are_refused() -> None:
    x = leaf(Graph(), 4, 3)
    with pytest.raises(ValueError, match="another graph"):
        Graph().value("neg", (x,))


def test_regions_overlap_in_one_memory_only() -> None:
    a = Region("theta", 0, 2, 4)
    assert a.overlaps(Region("theta", 7, 1, 4))
    assert not a.overlaps(Region("theta", 8, 1, 4))
    assert not a.overlaps(Region("grad", 0, 2, 4))
