"""Raw data to features: what training rows say, what is refused, and what a file may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpubp.data import Arrays, Preprocessing, Table
from gpubp.data.encoders import Categorical, Numeric, Pixels, Standardised
from gpubp.data.outcomes import Classes, Numbers, is_classes
from gpubp.data.statistics import fills, moments
from gpubp.errors import InputError
from tests.conftest import require, rng

QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def texts(*entries: str | None) -> Any:
    return np.asarray(entries, dtype=object)


def people() -> Table:
    return Table(
        {
            "age": np.asarray([20.0, 40.0, 30.0, 50.0, 25.0]),
            "town": texts("Ulm", "Bonn", "Ulm", "Rom", "Bonn"),
            "one": np.full(5, 0.1),
            "bought": texts("no", "yes", "no", "yes", "no"),
            "income": np.asarray([1.5e3, 4e3, 2.5e3, 5e3, 2e3]),
        },
        "people.csv",
    )


def test_numbers_are_standardised_and_texts_become_columns() -> None:
    prep = Preprocessing.fit(people().without("income"), target="bought")
    assert prep.names == ("age", "town=Bonn", "town=Rom", "town=Ulm", "one")
    x = prep.features(people(), dtype="float64")
    age = people()["age"]
    assert np.allclose(x[:, 0], (age - age.mean()) / age.std(), rtol=1e-14, atol=0)
    assert x[:, 1:4].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert not x[:, 4].any()  # a constant column is zero and its scale one
    assert prep.inputs[2] == Numeric("one", 0.1, 1.0)  # type: ignore[index]
    assert prep.features(people()).dtype == np.float32
    assert prep.targets(people()).tolist() == [0, 1, 0, 1, 0]
    assert prep.decode([1, 0]).tolist() == ["yes", "no"]


def test_columns_go_by_name_whatever_their_order_and_company() -> None:
    prep = Preprocessing.fit(people().without("income"), target="bought")
    columns = dict(reversed(list(people().columns.items()))) | {"more": np.zeros(5)}
    given = prep.features(Table(columns).without("bought"))
    assert given.tobytes() == prep.features(people()).tobytes()
    with pytest.raises(InputError, match=r"people.csv has no column 'age'.*nearest: 'one'"):
        prep.features(people().without("age"))
    with pytest.raises(InputError, match="expected a table with the columns 'age', 'town'"):
        prep.features(np.zeros((2, 3)))


@pytest.mark.parametrize("impute", [None, "median"])
def test_rows_held_out_change_no_statistic(impute: str | None) -> None:
    table, chosen = people(), [0, 2, 3]
    changed = {
        "age": np.asarray([20.0, 1e6, 30.0, 50.0, -1.0]),
        "town": texts("Ulm", "Here", "Ulm", "Rom", "There"),
        "one": np.asarray([0.1, 5.0, 0.1, 0.1, 7.0]),
        "bought": texts("no", "maybe", "no", "yes", "later"),
        "income": np.asarray([1.5e3, 0.0, 2.5e3, 5e3, 1e9]),
    }
    for target in ("bought", "income"):
        first = Preprocessing.fit(table, target=target, rows=chosen, impute=impute)
        assert first == Preprocessing.fit(Table(changed), target=target, rows=chosen, impute=impute)
        assert first == Preprocessing.fit(table.rows(chosen), target=target, impute=impute)
    x, y, rows = rng().normal(size=(9, 3)), np.linspace(0.0, 1.0, 9), np.arange(5)
    other, changed_y = x.copy(), y.copy()
    other[5:] *= 100.0
    changed_y[5:] = 7.5
    first = Preprocessing.fit((x, y), rows=rows, impute=impute)
    assert first == Preprocessing.fit((other, changed_y), rows=rows, impute=impute)
    assert first == Preprocessing.fit((x[:5], y[:5]), impute=impute)


def test_arrays_are_standardised_as_columns_are(tmp_path: Path) -> None:
    x = rng().normal(3.0, 2.0, size=(50, 2, 3))
    np.save(tmp_path / "x.npy", x)
    prep = Preprocessing.fit((x, np.arange(50) % 3))
    expected = (x - x.mean(0)) / x.std(0)
    assert np.allclose(prep.features(x, dtype="float64"), expected.reshape(50, 6), atol=1e-12)
    assert (prep.width, prep.names[4], prep.classes) == (6, "x[1, 1]", [0, 1, 2])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert Preprocessing.fit(mapped).inputs == prep.inputs
    assert prep.features(x, rows=[3, 1]).tobytes() == prep.features(x[[3, 1]]).tobytes()
    assert prep.features(x.reshape(50, 6)).tobytes() == prep.features(x).tobytes()
    with pytest.raises(InputError, match=r"x has shape \(50, 3\); expected \(n, 2, 3\)"):
        prep.features(x[:, 0])


def test_images_are_divided_by_255() -> None:
    x = np.asarray([[[0, 51], [255, 102]]] * 4, dtype=np.uint8)
    prep = Preprocessing.fit(Arrays(x, np.asarray([0, 1, 0, 1])))
    assert prep.inputs == Pixels((2, 2))
    assert prep.features(x)[0].tolist() == np.float32([0.0, 0.2, 1.0, 0.4]).tolist()
    assert prep.features(x.astype(np.int64)).tobytes() == prep.features(x).tobytes()
    with pytest.raises(InputError, match="whole numbers from 0 to 255"):
        prep.features(x / 255.0)
    with pytest.raises(InputError, match="holds -1; in training these were"):
        prep.features(x.astype(np.int64) - 1)


def test_an_unknown_category_is_zeros_and_is_told() -> None:
    prep = Preprocessing.fit(people().without("income", "one"), target="bought")
    seen = Table({"age": np.asarray([1.0, 2.0, 3.0]), "town": texts("Ulm", "Oslo", "Oslo")})
    assert prep.features(seen)[1, 1:].tolist() == [0.0, 0.0, 0.0]
    assert prep.unknown(seen) == {"town": {"Oslo": 2}}
    assert prep.unknown(people()) == {}


# -- what is missing ---------------------------------------------------------------------------


def holes() -> Table:
    return Table(
        {
            "age": np.asarray([1.0, np.nan, 4.0, 1.0, 10.0]),
            "town": texts("Ulm", "Bonn", None, "Ulm", None),
            "y": np.asarray([0.5, 1.5, 2.5, 3.5, 4.5]),
        },
        "holes.csv",
    )


def test_a_missing_entry_is_an_error_that_says_where_and_what_to_do() -> None:
    expected = (
        r"holes.csv: row 2, column 'age' has no entry, nor have 2 others in 2 columns; fill such "
        r"entries by impute='mean', 'median' or 'most_frequent' \(--impute\)"
    )
    with pytest.raises(InputError, match=expected):
        Preprocessing.fit(holes(), target="y")
    with pytest.raises(InputError, match=expected):  # whichever rows are held out
        Preprocessing.fit(holes(), target="y", rows=[0, 3])
    prep = Preprocessing.fit(holes(), target="y", impute="mean", rows=[0, 1, 3, 4])
    assert prep.features(holes()).shape == (5, 3)
    full = Preprocessing.fit(holes().rows([0, 3]), target="y")
    with pytest.raises(
        InputError, match=r"row 3, column 'town' has no entry, nor .* complete rows"
    ):
        full.features(holes(), rows=[0, 4, 2])


@pytest.mark.parametrize(("how", "fill"), [("mean", 4.0), ("median", 2.5), ("most_frequent", 1.0)])
def test_what_is_missing_is_filled_from_training_rows(how: str, fill: float) -> None:
    prep = Preprocessing.fit(holes(), target="y", impute=how)
    age, town = prep.inputs  # type: ignore[misc]
    assert (age.fill, age.mean) == (fill, 4.0)
    assert town == Categorical("town", ("Bonn", "Ulm"), "Ulm")
    x = prep.features(holes(), dtype="float64")
    assert x[1, 0] == (fill - 4.0) / age.scale
    assert x[2, 1:].tolist() == [0.0, 1.0]
    array = np.stack([holes()["age"], np.arange(5.0)], axis=1)
    of_array = Preprocessing.fit(array, impute=how)
    assert of_array.inputs.fills == (fill, 2.0 if how != "most_frequent" else 0.0)  # type: ignore[union-attr]
    assert np.isfinite(of_array.features(array)).all()
    with pytest.raises(InputError, match="row 2, feature 1 is nan; fill what is missing"):
        Preprocessing.fit(array)
    with pytest.raises(InputError, match=r"row 2, feature 1, is nan; .* impute='mean'"):
        Preprocessing.fit(array[2:]).features(array)


@pytest.mark.parametrize("target", [np.asarray([1.0, np.nan, 2.0]), texts("a", None, "b")])
def test_a_missing_target_is_always_an_error(target: Any) -> None:
    table = Table({"x": np.zeros(3), "y": target}, "t.csv")
    with pytest.raises(InputError, match=r"t.csv: column 'y': row 2 has no entry"):
        Preprocessing.fit(table, target="y", impute="mean")


@pytest.mark.parametrize(
    ("columns", "how", "said"),
    [
        ({"id": [f"p{i}" for i in range(40)]}, {}, "'id' holds 40 different texts .*--drop 'id'"),
        ({"a": [f"p{i % 11}" for i in range(40)]}, {"one_hot_limit": 10}, "more than 10 categ"),
        ({"a": [*map(str, range(39)), "x1"]}, {}, "39 numbers and 1 texts such as 'x1'"),
        ({"a": [None] * 40}, {"impute": "mean"}, "no entry in any training row"),
        ({"a": [np.nan] * 40}, {"impute": "mean"}, "no entry in any training row"),
        ({"a": [np.inf] * 40}, {}, "row 1 is inf"),
        ({"a": np.asarray([1.0, "b"] * 20, object)}, {}, "row 1 is of type|numbers alone"),
        ({"a": [10**400] * 40}, {}, "no float can hold"),
        ({"a": [b"x"] * 40}, {}, "expected numbers or texts"),
        ({}, {}, "no column to learn from beside the target"),
        ({"a": [1.0] * 40}, {"impute": "meen"}, "nearest: 'mean'"),
        ({"a": [1.0] * 40}, {"task": "regresion"}, "nearest: 'regression'"),
        ({"a": [1.0] * 40}, {"target": "z"}, "has no column 'z'"),
        ({"a": [1.0] * 40}, {"rows": []}, "no row"),
        ({"a": [1.0] * 40}, {"one_hot_limit": 0}, "one_hot_limit is 0"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    columns: dict[str, Any], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        Preprocessing.fit(columns | {"y": [0.0, 1.0] * 20}, **{"target": "y", **how})


def test_what_was_numbers_must_stay_numbers() -> None:
    prep = Preprocessing.fit(people().without("income"), target="bought")
    texted = people().columns | {"age": texts("1", "2", "3", "4", "5")}
    with pytest.raises(InputError, match="column 'age': row 1 is the text '1'; in training"):
        prep.features(texted)
    numbered = people().columns | {"town": np.zeros(5)}
    with pytest.raises(InputError, match=r"in training it held texts: .*--text 'town'"):
        prep.features(numbered)
    far = people().columns | {"age": np.full(5, 1e300)}
    with pytest.raises(InputError, match="too far from all training data"):
        prep.features(far)


# -- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "classes", "rule"),
    [
        (["a", "b"], True, "texts"),
        ([True, False], True, "yes or no"),
        ([0.0, 1.0, 1.0], True, "2 different whole numbers"),
        ([1.0, 2.0, 3.0] * 5, True, "3 different whole numbers"),
        ([1.0, 2.0, 3.0], False, "3 different numbers"),
        (np.arange(21.0).repeat(9), False, "21 different numbers"),
        (np.arange(100).repeat(9), True, "integers from 0 to 99 without a gap"),
        (np.arange(100).repeat(9) * 2, False, "100 different numbers"),
        ([0.5, 0.0], False, "not whole"),
        (np.zeros((4, 2)), False, "several numbers"),
    ],
)
def test_the_task_is_told_by_the_target(y: Any, classes: bool, rule: str) -> None:
    found, why = is_classes(y)
    assert found is classes
    assert rule in why
    prep_task = "classification" if classes else "regression"
    if len(np.unique(np.asarray(y))) > 1:
        x = np.arange(2.0 * len(y)).reshape(-1, 2)
        assert Preprocessing.fit((x, np.asarray(y))).task == prep_task


def test_numbers_of_a_target_come_back_in_their_unit() -> None:
    prep = Preprocessing.fit(people(), target="income")
    t = prep.targets(people())
    assert (prep.task, prep.classes, t.shape) == ("regression", None, (5, 1))
    assert abs(t.mean()) < 1e-15
    assert abs(t.std() - 1.0) < 1e-15
    assert np.allclose(prep.values(t), people()["income"], rtol=1e-15)
    assert prep.values(np.stack([t, t])).shape == (2, 5)  # of two members
    counts = Preprocessing.fit(people(), target="income", centre=False)
    assert counts.outputs == Numbers("income", (0.0,), (3e3,))
    assert np.allclose(counts.targets(people())[:, 0], people()["income"] / 3e3, rtol=1e-15)
    y = rng().normal(5.0, 3.0, size=(7, 2))
    several = Preprocessing.fit((np.zeros((7, 1)), y))
    assert np.allclose(several.values(several.targets(y)), y, rtol=1e-14)
    with pytest.raises(InputError, match="no class"):
        several.decode([0])
    with pytest.raises(InputError, match="1 numbers for each row; expected 2"):
        several.targets(y[:, 0])


@pytest.mark.parametrize(
    ("given", "names", "back"),
    [
        (np.asarray([3.0, 1.0]), (1, 3), "int64"),
        (np.asarray([7, 2], dtype=np.uint8), (2, 7), "int64"),
        (np.asarray([0.5, 1.0]), (0.5, 1.0), "float64"),
        (np.asarray([True, False]), (False, True), "bool"),
        (["b\0", "b"], ("b", "b\0"), "object"),
    ],
)
def test_classes_come_back_as_they_were_given(given: Any, names: Any, back: str) -> None:
    prep = Preprocessing.fit((np.zeros((2, 1)), given), task="classification")
    assert prep.outputs == Classes("y", names)
    assert [type(name) for name in prep.classes or ()] == [type(name) for name in names]
    decoded = prep.decode(prep.targets(given))
    assert decoded.tolist() == list(given)
    assert decoded.dtype == back


def test_a_class_that_no_training_row_has_is_named() -> None:
    prep = Preprocessing.fit(people().without("income"), target="bought")
    with pytest.raises(InputError, match="row 2 is 'maybe', which is none of the 2 classes"):
        prep.targets(["no", "maybe"])
    with pytest.raises(InputError, match="were texts, such as 'no'"):
        prep.targets([1.0, 0.0])
    with pytest.raises(InputError, match="the one class 'no'"):
        Preprocessing.fit(people().rows([0, 2]), target="bought")
    with pytest.raises(InputError, match="without a target"):
        Preprocessing.fit(people()).targets(people())
    with pytest.raises(InputError, match="holds texts, such as 'no'"):
        Preprocessing.fit(people(), target="bought", task="regression")


def test_data_frames_are_tables() -> None:
    pandas = require("pandas")
    frame = pandas.DataFrame(
        {"a": [1, 2, 3, 4], "b": ["x", None, "x", "y"], "c": [True, False, None, True],
         "y": ["p", "q", "p", "q"]}
    )  # fmt: skip
    frame["d"] = frame["b"].astype("category")
    prep = Preprocessing.fit(frame, target="y", impute="most_frequent")
    assert prep.names == ("a", "b=x", "b=y", "c", "d=x", "d=y")
    assert prep.features(frame)[1].tolist() == [*prep.features(frame)[1, :1].tolist(), 1, 0,
                                                prep.features(frame)[1, 3], 1, 0]  # fmt: skip


# -- statistics --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-300, 1e-5, 1.0, 1e300])
def test_moments_of_any_magnitude(scale: float) -> None:
    x = rng(1).normal(2.0, 1.0, size=(100, 3))
    found = moments(x * scale)
    assert np.allclose(found.means, x.mean(0) * scale, rtol=1e-13)
    assert np.allclose(found.scales, x.std(0) * scale, rtol=1e-13)


def test_moments_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rng(2).normal(50.0, 0.1, size=(64, 3)).astype(np.float32)
    x[3, 1] = np.nan
    whole, medians = moments(x), fills(x, "median", None)
    monkeypatch.setattr("gpubp.data.statistics.BLOCK", 8)
    parts = moments(x)
    assert np.allclose(parts.means, whole.means, rtol=1e-15)
    assert np.allclose(parts.scales, whole.scales, rtol=1e-11)
    assert parts.counts.tolist() == [64, 63, 64]
    assert fills(x, "median", None).tolist() == medians.tolist()
    assert np.allclose(medians, np.nanmedian(x.astype(float), axis=0), rtol=1e-15)


# -- plain data --------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
above = st.floats(min_value=0.0, exclude_min=True, allow_infinity=False)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def columns(draw: Any) -> Any:
    found: list[Any] = []
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        if draw(st.booleans()):
            found.append(Numeric(name, draw(finite), draw(above), draw(st.none() | finite)))
        else:
            kinds = tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
            found.append(Categorical(name, kinds, draw(st.none() | st.sampled_from(kinds))))
    return tuple(found)


@st.composite
def outputs(draw: Any) -> Any:
    if draw(st.booleans()):
        of = draw(st.sampled_from([names, st.integers(-(2**60), 2**60), finite, st.booleans()]))
        return Classes(draw(names), tuple(draw(st.lists(of, min_size=1, max_size=2, unique=True))))
    pairs = draw(st.lists(st.tuples(finite, above), min_size=1, max_size=3))
    return Numbers(draw(names), tuple(m for m, _ in pairs), tuple(s for _, s in pairs))


@QUICK
@given(columns(), st.none() | outputs())
def test_plain_data_make_an_equal_one(inputs: Any, target: Any) -> None:
    prep = Preprocessing(inputs, target)
    assert Preprocessing.rebuild(json.loads(json.dumps(prep.plain()))) == prep


@pytest.mark.parametrize(
    "inputs",
    [Pixels((28, 28)), Standardised((2,), (0.0, 1.5), (1.0, 2.0)),
     Standardised((1, 2), (0.0, 1.5), (1.0, 2.0), (3.0, 4.0))],
)  # fmt: skip
def test_plain_arrays_make_an_equal_one(inputs: Any) -> None:
    prep = Preprocessing(inputs, Classes("y", ("a", "b")))
    assert Preprocessing.rebuild(json.loads(json.dumps(prep.plain()))) == prep


NUMERIC: dict[str, Any] = {"type": "Numeric", "name": "a", "mean": 0, "scale": 1, "fill": None}
TEXTS: dict[str, Any] = {"type": "Categorical", "name": "b", "categories": ["x"], "fill": None}
ARRAY: dict[str, Any] = {
    "type": "Standardised", "shape": [2], "means": [0, 1], "scales": [1, 1], "fills": None
}  # fmt: skip
CLASSES: dict[str, Any] = {"type": "Classes", "name": "y", "names": ["p", "q"]}
NUMBERS: dict[str, Any] = {"type": "Numbers", "name": "y", "means": [0], "scales": [1]}


@pytest.mark.parametrize(
    "given",
    [
        None, [], 3, "text", {}, {"inputs": []}, {"inputs": [], "outputs": None},
        {"inputs": [NUMERIC], "outputs": None, "more": 1},
        {"inputs": [NUMERIC, NUMERIC], "outputs": None},
        {"inputs": {"a": NUMERIC}, "outputs": None},
        {"inputs": [ARRAY], "outputs": None}, {"inputs": NUMERIC, "outputs": None},
        {"inputs": [CLASSES], "outputs": None}, {"inputs": [NUMERIC], "outputs": NUMERIC},
        {"inputs": [[]], "outputs": None}, {"inputs": [NUMERIC], "outputs": []},
        {"inputs": [{"type": "os.system"}], "outputs": None},
        {"inputs": [{"type": ["Numeric"]}], "outputs": None},
        *[{"inputs": [NUMERIC | changed], "outputs": None} for changed in (
            {"mean": "0"}, {"mean": float("nan")}, {"mean": float("inf")}, {"mean": True},
            {"mean": 10**400}, {"mean": None}, {"scale": 0}, {"scale": -1.0}, {"name": 3},
            {"name": None}, {"name": "\ud800"}, {"fill": "0"}, {"fill": float("nan")},
            {"extra": 1}, {3: 4}, {"type": "Pixels"},
        )],
        *[{"inputs": [TEXTS | changed], "outputs": None} for changed in (
            {"categories": []}, {"categories": "x"}, {"categories": [3]}, {"fill": "z"},
            {"categories": ["x", "x"]}, {"categories": {"x": 1}}, {"categories": ["\udfff"]},
            {"fill": ["x"]}, {"categories": ["x"] * 1_000_001},
        )],
        *[{"inputs": ARRAY | changed, "outputs": None} for changed in (
            {"shape": [3]}, {"shape": []}, {"shape": [2.0]}, {"shape": [True, 2]}, {"shape": 2},
            {"shape": [-1, -2]}, {"shape": [10**30]}, {"shape": [10**6, 10**6]},
            {"shape": [1] * 9}, {"means": [0]}, {"scales": [1, 0]}, {"fills": [1]},
            {"fills": [1, "x"]}, {"means": None},
        )],
        *[{"inputs": {"type": "Pixels", "shape": [4], "divisor": 255} | changed, "outputs": None}
          for changed in ({"shape": [10**12]}, {"divisor": 0}, {"divisor": float("inf")})],
        *[{"inputs": [NUMERIC], "outputs": CLASSES | changed} for changed in (
            {"names": []}, {"names": ["p", "p"]}, {"names": ["p", 1]}, {"names": [1, 1.5]},
            {"names": [True, 1]}, {"names": [[1]]}, {"names": [float("nan")]}, {"names": "pq"},
            {"names": [10**30]}, {"name": 1},
        )],
        *[{"inputs": [NUMERIC], "outputs": NUMBERS | changed} for changed in (
            {"means": []}, {"means": [], "scales": []}, {"means": [0, 1]}, {"scales": [0]},
            {"scales": ["1"]},
        )],
    ],
)  # fmt: skip
def test_what_a_file_must_not_hold_is_refused(given: Any) -> None:
    with pytest.raises(InputError) as told:
        Preprocessing.rebuild(given)
    assert len(str(told.value)) < 400
