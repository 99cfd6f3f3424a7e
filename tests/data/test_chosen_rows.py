"""Rows that are chosen keep their names in messages, and are chosen in two ways alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp.data import Arrays, Preprocessing, Rows, Table
from gpubp.data.encoders import Numeric, Standardised
from gpubp.data.outcomes import Classes, Numbers
from gpubp.errors import InputError

CLASSES = Preprocessing((Numeric("age", 0.0, 1.0),), Classes("y", ("no", "yes")))
NUMBERS = Preprocessing((Numeric("age", 0.0, 1.0),), Numbers("y", (0.0,), (1.0,)))
ARRAYS = Preprocessing(Standardised((2,), (0.0, 0.0), (1.0, 1.0)), Classes("y", (0, 1)))


def table(**entries: Any) -> Table:
    """Rows without a fault but for what is given, by `column_row`."""
    columns: dict[str, Any] = {"age": [1.0] * 6, "y": ["no", "yes"] * 3}
    for place, entry in entries.items():
        name, number = place.split("_")
        columns[name][int(number) - 1] = entry
    return Table(columns, "a.csv")


# Of a table whose row 4 is at fault: how that is met, and what is said of it.
MET: dict[str, tuple[Table, Any]] = {
    "an unknown class": (table(y_4="maybe"), lambda t, r: CLASSES.targets(t, rows=r)),
    "no class": (table(y_4=None), lambda t, r: CLASSES.targets(t, rows=r)),
    "no number": (table(y_4=None), lambda t, r: NUMBERS.targets(t, rows=r)),
    "too far": (table(age_4=1e300), lambda t, r: CLASSES.features(t, rows=r)),
    "missing": (table(age_4=np.nan), lambda t, r: CLASSES.features(t, rows=r)),
    "infinite": (table(age_4=np.inf), lambda t, r: CLASSES.features(t, rows=r)),
    "a text": (table(age_4="x", **{f"age_{k}": None for k in (1, 2, 3, 5, 6)}),
               lambda t, r: Preprocessing((Numeric("age", 0.0, 1.0, 0.0),)).features(t, rows=r)),
    "in training": (table(y_4=None), lambda t, r: Preprocessing.fit(t, "y", rows=r)),
    "in training on numbers": (
        table(**{f"y_{k}": 0.5 * k for k in (1, 2, 3, 5, 6)}, y_4=None),
        lambda t, r: Preprocessing.fit(t, "y", rows=r),
    ),
    "an array": (table(), lambda t, r: ARRAYS.features(np.where(np.arange(6) == 3, 1e300, 1.0)
                 .repeat(2).reshape(6, 2), rows=r)),
    "targets of arrays": (table(), lambda t, r: ARRAYS.targets(
        Arrays(np.ones((6, 2)), np.asarray([0, 1, 0, 7, 0, 1])), rows=r)),
}  # fmt: skip


@pytest.mark.parametrize("rows", [[2, 3], [3], [5, 3, 0], np.arange(6) > 1], ids=str)
@pytest.mark.parametrize("name", MET)
def test_a_message_names_the_row_of_the_file(name: str, rows: Any) -> None:
    given, meet = MET[name]
    with pytest.raises(InputError, match=r"\brow 4\b"):
        meet(given, rows)


@pytest.mark.parametrize("name", [n for n in MET if "array" not in n])
def test_rows_of_rows_keep_their_names(name: str) -> None:
    given, meet = MET[name]
    with pytest.raises(InputError, match=r"\brow 4\b"):
        meet(given.rows([5, 4, 3, 2]).rows([1, 2, 3]), [2, 1])
    with pytest.raises(InputError, match=r"\brow 4\b"):
        meet(given.rows([1, 3]).without("other").only(["y", "age"]), None)


def test_the_training_rows_are_named_where_they_lack_entries() -> None:
    with pytest.raises(InputError, match=r"a\.csv: row 4, column 'age' has no entry"):
        Preprocessing.fit(table(age_4=np.nan).rows([5, 3, 0]), "y")


def test_batches_of_a_table_name_its_rows() -> None:
    ages = np.ones(300)
    ages[150] = np.nan
    prep = Preprocessing((Numeric("age", 0.0, 1.0),))
    source = Rows(Table({"age": ages}, "a.csv"), rows=np.arange(100, 200), transform=prep.features)
    net = gpubp.Network(gpubp.Linear(1), inputs=1)
    with pytest.raises(InputError, match=r"a\.csv: row 151, column 'age' has no entry"):
        net.predict(source)


def test_batches_of_an_array_name_where_the_count_begins() -> None:
    x = np.ones((300, 2))
    x[150, 1] = np.nan
    rows = Rows(x, np.where(np.arange(300) == 170, 7, 0), rows=np.arange(100, 200),
                target_transform=ARRAYS.targets)  # fmt: skip
    net = gpubp.Network(gpubp.Linear(2), inputs=2)
    with pytest.raises(InputError, match=r"Rows: target_transform of rows 101, 102, 103, \.\.\. of "
                       r"all, the first of which is called row 1: .*row 71 is 7"):  # fmt: skip
        net.fit(rows, loss="cross_entropy", batch_size=100, shuffle=False)
    with pytest.raises(InputError, match=r"transform of rows 101, .*row 51, feature 2, is nan"):
        net.predict(Rows(x, rows=np.arange(100, 200), transform=ARRAYS.features))


WAYS: dict[str, Any] = {
    "fit a table": lambda r: Preprocessing.fit(table(), "y", rows=r),
    "fit arrays": lambda r: Preprocessing.fit((np.eye(6), [0, 1] * 3), rows=r),
    "features of a table": lambda r: CLASSES.features(table(), rows=r),
    "features of an array": lambda r: ARRAYS.features(np.ones((6, 2)), rows=r),
    "targets of a table": lambda r: CLASSES.targets(table(), rows=r),
    "targets": lambda r: CLASSES.targets(["no"] * 6, rows=r),
    "a table": lambda r: table().rows(r),
    "a source": lambda r: Rows(np.ones((6, 2)), rows=r),
}


@pytest.mark.parametrize(
    "rows",
    [[6], [-1], [0.0, 1.0], np.asarray([1.5]), slice(0, 3), 3, "rows", [[0, 1]], [True, False],
     np.ones(7, bool), [None], [[0], [1, 2]], {0, 1}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", WAYS)
def test_rows_are_an_index_array_or_a_mask(name: str, rows: Any) -> None:
    with pytest.raises(InputError, match="rows"):
        WAYS[name](rows)


def test_a_mask_chooses_what_its_indices_choose() -> None:
    mask = np.asarray([True, True, False, False, True, True])
    rows = np.flatnonzero(mask)
    given, x, y = table(age_2=7.0), np.arange(12.0).reshape(6, 2), [0, 1] * 3
    for which in (mask, mask.tolist(), rows.tolist(), rows.astype(np.uint8), tuple(rows)):
        assert Preprocessing.fit(given, "y", rows=which) == Preprocessing.fit(given, "y", rows=rows)
        assert Preprocessing.fit((x, y), rows=which) == Preprocessing.fit((x, y), rows=rows)
        assert np.array_equal(CLASSES.features(given, which), CLASSES.features(given)[rows])
        assert np.array_equal(CLASSES.targets(given, which), CLASSES.targets(given)[rows])
        assert np.array_equal(ARRAYS.features(x, which), ARRAYS.features(x)[rows])
    assert CLASSES.features(given, []).shape == (0, 1)


def test_examples_and_targets_are_pairs() -> None:
    with pytest.raises(InputError, match="x has 10 rows and y has 5; expected a target for each"):
        Preprocessing.fit((np.ones((10, 2)), np.arange(5)))
    with pytest.raises(InputError, match="x has 2 rows and y is a single value"):
        Preprocessing.fit((np.eye(2), 3))


@pytest.mark.parametrize("given", [{"d": 3}, {"d": None}, {"d": [1.0], "e": "x"}])
def test_a_column_has_an_entry_for_each_row(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"column '[de]' is .*; expected an entry for each row"):
        Preprocessing.fit(given)
    with pytest.raises(InputError, match=r"column '[de]' is .*; expected an entry for each row"):
        Table(given)


def test_columns_that_are_lists_become_arrays() -> None:
    given = Table({"a": [1, 2, 3], "b": ["x", "y\0", None]}).rows([2, 1])
    assert given["a"].tolist() == [3, 2]
    assert given["b"].tolist() == [None, "y\0"]


@pytest.mark.parametrize(
    "labels", [[5], [-1], [2], [0.0], [True], "no", [[0, 1], [1, 9]], [[0], 1]]
)
def test_a_label_is_that_of_a_class(labels: Any) -> None:
    with pytest.raises(InputError, match="labels"):
        CLASSES.decode(labels)


def test_labels_of_any_shape_are_decoded() -> None:
    assert CLASSES.decode([[0, 1], [1, 1]]).tolist() == [["no", "yes"], ["yes", "yes"]]
    assert CLASSES.decode([]).shape == (0,)
    assert CLASSES.decode(np.uint8(1)) == "yes"
