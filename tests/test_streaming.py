"""Networks over sources: the bits of arrays, in memory that does not grow, refused with a name."""

from __future__ import annotations

import signal
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpubp
from gpubp import evaluation, streaming
from gpubp.backend import Backend
from gpubp.data import Preprocessing, Rows, Stream, Table, class_weights, prefetch, split
from gpubp.feeds import Feed
from tests.conftest import require

_RNG = np.random.default_rng(8)
X = _RNG.normal(size=(30, 3)).astype(np.float32)
Y = np.arange(30) % 3
T = X[:, :1] * 2 + 1
W = _RNG.uniform(size=30)
QUICK = settings(derandomize=True, max_examples=25, deadline=None, database=None)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == prefetch.NAME]


def mlp(n_out: int = 3, **chosen: Any) -> gpubp.Network:
    layer = gpubp.MLP([5], n_out, activation="tanh", dropout=0.2)
    return gpubp.Network(layer, inputs=3, **chosen)


def bits_of(net: gpubp.Network) -> Any:
    to_bytes: Callable[[Any], bytes] = lambda a: net.be.to_numpy(a).tobytes()  # noqa: E731
    slots = {name: to_bytes(slot) for name, slot in net.steps.slots.arrays.items()}
    figures = [{k: v for k, v in record.items() if k != "seconds"} for record in net.history]
    return {p: to_bytes(a) for p, a in net.state_dict().items()}, slots, figures, net.updates


def blocks(*lengths: int, parts: Any = (X, Y)) -> list[Any]:
    """The rows in blocks of these lengths, and one of what is left."""
    ends = [0, *np.cumsum(lengths).tolist(), len(parts[0])]
    return [tuple(a[start:stop] for a in parts) for start, stop in pairwise(ends)]


def trained(source: Any, y: Any = None, make: Any = mlp, **how: Any) -> Any:
    net = make()
    net.fit(source, y, **{"epochs": 2, "batch_size": 7, **how})
    return bits_of(net)


# -- the bits of arrays ------------------------------------------------------------------------

HOW: dict[str, dict[str, Any]] = {
    "as it is": {},
    "unshuffled": {"shuffle": False},
    "another order": {"shuffle_seed": 4},
    "one by one": {"batch_size": 1, "epochs": 1},
    "all at once": {"batch_size": None},
    "in parts": {"micro_batch": 3},
    "not looked at": {"check_finite": False},
    "classes weighed": {"loss": gpubp.CrossEntropy(class_weight=class_weights(Y[:20], 3))},
    "a schedule": {"optimizer": gpubp.SGD(gpubp.LinearWarmup(0.1, steps=10))},
}


@pytest.mark.parametrize("name", HOW)
def test_sources_give_the_bits_of_arrays(name: str) -> None:
    how, held = HOW[name], (X[:9], Y[:9])
    expected = trained(X, Y, **how, validation=held)
    for depth in (0, 2):
        rows = Rows(X, Y, prefetch=depth)
        of_stream = {"n": 30, "prefetch": depth}  # with n a stream may come in one batch
        first = Stream(blocks(9, parts=(X, Y))[:1], prefetch=depth)
        assert trained(rows, **how, validation=Rows(*held, prefetch=depth)) == expected
        assert trained(Stream(blocks(4, 11, 3), **of_stream), **how, validation=first) == expected


def test_sources_give_the_bits_of_arrays_on_every_device(backend: Backend) -> None:
    def make() -> gpubp.Network:
        return gpubp.Network(gpubp.MLP([5], 3, activation="tanh"), inputs=3, device=backend)

    weighted = gpubp.CrossEntropy(class_weight=(1, 2, 3))
    how: dict[str, Any] = {"make": make, "loss": weighted, "validation": (X, Y)}
    expected = trained(X, Y, sample_weight=W, **how)
    how["validation"] = Rows(X, Y)
    assert trained(Rows(X, Y, w=W), **how) == expected
    assert trained(Stream(blocks(4, 11, parts=(X, Y, W))), **how) == expected


@QUICK
@given(
    lengths=st.lists(st.integers(0, 9), max_size=6).filter(lambda lengths: sum(lengths) <= 30),
    size=st.integers(1, 31),
    depth=st.integers(0, 2),
)
def test_where_blocks_end_makes_no_difference(lengths: list[int], size: int, depth: int) -> None:
    stream = Stream(blocks(*lengths), prefetch=depth)
    how: dict[str, Any] = {"batch_size": size, "shuffle": False, "epochs": 1}
    assert trained(stream, **how) == trained(X, Y, **how)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_gives_the_bits_of_its_array(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", X.astype(float))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def make() -> gpubp.Network:
        return mlp(dtype=dtype)

    expected = trained(X, Y, make=make)
    assert trained(mapped, Y, make=make) == expected
    assert trained(Rows(mapped, Y), make=make) == expected
    assert trained(Rows(np.asfortranarray(X), Y), make=make) == expected
    raw = np.round(X * 100).astype(np.int16)
    scaled = raw.astype(np.float32) / np.float32(50)
    rows = Rows(raw, Y, transform=lambda x: x.astype(np.float32) / np.float32(50))
    assert trained(rows, make=make) == trained(scaled, Y, make=make)


@pytest.mark.parametrize("loss", ["mean_squared_error", "binary_cross_entropy", "cross_entropy"])
def test_every_kind_of_target_streams(loss: str) -> None:
    t = np.abs(np.tanh(X))
    expected = trained(X, t, loss=loss)
    assert trained(Rows(X, t), loss=loss) == expected
    assert trained(Stream(blocks(8, parts=(X, t))), loss=loss) == expected


def test_tensors_and_loaders_of_torch_are_read() -> None:
    torch = require("torch")
    tensors = torch.tensor(X), torch.tensor(Y)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=4)
    expected = trained(X, Y)
    assert trained(Rows(*tensors)) == expected
    assert trained(Stream(loader)) == expected


def test_a_table_goes_through_preprocessing_row_by_row() -> None:
    town = np.asarray(["Ulm", "Bonn", None], dtype=object)[Y]
    label = np.asarray(["no", "yes"], dtype=object)[np.arange(30) % 2]
    table = Table({"age": X[:, 0].astype(float), "town": town, "label": label})
    chosen, _ = split(label)
    part = table.rows(chosen)
    made = Preprocessing.fit(part, target="label", impute="most_frequent")

    def make() -> gpubp.Network:
        return gpubp.Network(gpubp.MLP([4], 2), inputs=made.width)

    source = Rows(table, label, rows=chosen, transform=made.features,
                  target_transform=made.targets)  # fmt: skip
    expected = trained(made.features(part), made.targets(part["label"]), make=make)
    assert trained(source, make=make) == expected


def test_members_and_restarts_read_sources() -> None:
    def several() -> gpubp.Network:
        return mlp(members=3)

    assert trained(Rows(X, Y), make=several) == trained(X, Y, make=several)
    for held in (None, (X[:9], Y[:9])):
        how: dict[str, Any] = {"restarts": 3, "loss": gpubp.CrossEntropy()}
        expected = trained(X, Y, **how, validation=held)
        held_out = None if held is None else Rows(*held)
        assert trained(Rows(X, Y), **how, validation=held_out) == expected
        assert trained(Stream(blocks(8)), **how, validation=held_out) == expected


def test_training_in_two_parts_goes_on_with_the_next_epoch() -> None:
    epochs: list[int] = []

    def parts(epoch: int) -> Any:
        epochs.append(epoch)
        return blocks(10)

    net = mlp()
    for _ in range(2):
        net.fit(Stream(parts, buffer=8), batch_size=7, epochs=2, validation=Stream(parts))
    assert sorted(epochs) == [0, 0, 0, 0, 0, 1, 2, 3]
    whole = mlp()
    whole.fit(Stream(blocks(10), buffer=8), batch_size=7, epochs=4, validation=Rows(X, Y))
    assert bits_of(net)[:2] == bits_of(whole)[:2]


def test_a_generator_does_for_one_epoch() -> None:
    how: dict[str, Any] = {"epochs": 1}
    assert trained(Stream(iter(blocks(8))), **how) == trained(X, Y, **how)
    net, stream = mlp(), Stream(iter(blocks(8)))
    before = bits_of(net)
    with pytest.raises(gpubp.InputError, match=r"epochs=2: Stream is read 2 times.*Stream\(lambda"):
        net.fit(stream, epochs=2)
    assert bits_of(net) == before
    net.fit(stream, epochs=1, batch_size=7)  # nothing of it was lost
    assert bits_of(net) == trained(X, Y, **how)
    validation = Stream(iter(blocks(8)))
    with pytest.raises(gpubp.InputError, match="validation Stream is read 2 times"):
        net.fit(X, Y, epochs=2, validation=validation)
    with pytest.raises(gpubp.InputError, match="with the choice, Stream is read 2 times"):
        mlp().fit(Stream(iter(blocks(8))), epochs=1, restarts=2)


# -- inference ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 2])
def test_inference_takes_sources(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "BLOCK", 8)
    monkeypatch.setattr(streaming, "BLOCK", 8)
    for net in (mlp(), mlp(members=2)):
        net.fit(X, Y, epochs=1)
        sources = [Rows(X, prefetch=depth), Rows(X, Y, prefetch=depth),
                   Stream(blocks(9), prefetch=depth),
                   Stream([X[:5], X[5:]], prefetch=depth)]  # fmt: skip
        for name in ("predict", "predict_proba", "predict_class"):
            expected = getattr(net, name)(X)
            for source in sources:
                found = getattr(net, name)(source)
                assert found.dtype == expected.dtype
                assert np.array_equal(found, expected)
        expected = net.evaluate(X, Y, sample_weight=W)
        assert net.evaluate(Rows(X, Y, w=W, prefetch=depth)) == expected
        assert net.evaluate(Stream(blocks(9, parts=(X, Y, W)), prefetch=depth)) == expected
        chosen = [5, 2, 2]
        assert np.array_equal(net.predict_class(Rows(X, rows=chosen)), net.predict_class(X[chosen]))


@QUICK
@given(
    lengths=st.lists(st.integers(0, 9), max_size=3),
    size=st.integers(1, 31),
    weighed=st.booleans(),
)
def test_r2_of_a_source_is_that_of_arrays(lengths: list[int], size: int, weighed: bool) -> None:
    net = gpubp.Network(gpubp.Linear(2), inputs=3, dtype="float64")
    t = np.concatenate([T, 1e6 + X[:, :1]], axis=1)
    loss, w = "mean_squared_error", W if weighed else None
    parts = (X, t) if w is None else (X, t, w)
    with pytest.MonkeyPatch.context() as patch:
        for module in (evaluation, streaming):
            patch.setattr(module, "BLOCK", size)
        expected = net.evaluate(X, t, loss=loss, sample_weight=w)
        found = net.evaluate(Stream(blocks(*lengths, parts=parts)), loss=loss)
    assert found["loss"] == expected["loss"]
    assert abs(found["r2"] - expected["r2"]) <= 1e-12 * abs(1 - expected["r2"])
    assert abs(net.evaluate(Rows(X, t, w=w), loss=loss)["r2"] / expected["r2"] - 1) < 1e-12


def test_blocks_that_weigh_nothing_say_nothing() -> None:
    net, w = gpubp.Network(gpubp.Linear(1), inputs=3, dtype="float64"), W.copy()
    w[:10] = 0
    expected = net.evaluate(X, T, loss="mean_squared_error", sample_weight=w)
    found = net.evaluate(Stream(blocks(10, parts=(X, T, w))), loss="mean_squared_error")
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_stream_without_weight_is_refused_at_the_end_of_its_epoch() -> None:
    for depth in (0, 2):
        net = mlp()
        stream = Stream(blocks(10, parts=(X, Y, 0 * W)), prefetch=depth)
        with pytest.raises(gpubp.InputError, match=r"^Stream: the rows weigh nothing together"):
            net.fit(stream)
        assert not len(net.history)


# -- memory ------------------------------------------------------------------------------------


def test_memory_stays_flat_over_a_long_stream() -> None:
    def parts() -> Iterator[Any]:
        for _ in range(125):
            x = np.ones((8000, 4), dtype=np.float32)
            yield x, x[:, :1]

    net = gpubp.Network(gpubp.Linear(1), inputs=4)
    how: dict[str, Any] = {"loss": "mean_squared_error", "epochs": 1, "batch_size": 4000}
    tracemalloc.start()
    try:
        net.fit(Stream(parts), **how)  # 1,000,000 rows, 20 MB
        net.evaluate(Stream(parts))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert net.updates == 250
    assert peak < 4e6


# -- what does not fit -------------------------------------------------------------------------


def spoiled(a: Any, index: Any, value: float) -> Any:
    copy = a.copy()
    copy[index] = value
    return copy


NAN, LABEL = spoiled(X, (17, 1), np.nan), spoiled(Y, 17, 9)
HEAVY = spoiled(W, 17, -1.0)
CATEGORY = spoiled(np.zeros((30, 1)), 17, 2.0)


def embedding() -> gpubp.Network:
    layer = gpubp.Sequential(gpubp.Embedding(2, 3), gpubp.Flatten(), gpubp.Linear(3))
    return gpubp.Network(layer, inputs=1)


# A source, and what is said; before training, for the rows that are looked at then.
EARLY: dict[str, tuple[Any, dict[str, Any], str]] = {
    "width": (Rows(X[:, :2], Y), {}, r"^Rows: x has shape \(30, 2\); the network takes \(n, 3\)"),
    "width of blocks": (Stream([(X[:, :2], Y)]), {}, r"^Stream, block 0: x has shape \(30, 2\)"),
    "no targets": (Rows(X), {}, "^Rows: there are no targets"),
    "no targets in blocks": (Stream([X]), {}, "^Stream, block 0: there are no targets"),
    "text": (Rows(X.astype(str), Y), {}, "^Rows: x has dtype <U"),
    "float labels": (Rows(X, W), {}, "^Rows: y has dtype float64; class labels are integers"),
    "masked": (Rows(np.ma.masked_less(X, 0), Y), {}, "^Rows.*: x has masked elements"),
    "lengths": (Stream([(X, Y[:4])]), {}, "block 0: x has 30 examples and y has 4"),
    "first row": (Rows(NAN, Y, rows=[17, 3]), {}, r"^Rows, row 17: x\[17, 1\] is nan"),
    "a row": (Rows(NAN, Y), {}, r"^Rows, row 17: x\[17, 1\] is nan; clean the data"),
    "a label": (Rows(X, LABEL), {}, "^Rows, row 17: y holds the label 9"),
    "a label in blocks": (Stream(blocks(30, parts=(X, LABEL))), {},
                          "^Stream, block 0, row 17: y holds the label 9"),
    "a weight": (Rows(X, Y, w=HEAVY), {}, "^Rows, row 17: sample_weight holds -1"),
    "a late label": (Rows(np.zeros((99999, 3)), spoiled(np.zeros(99999, dtype=int), 98765, 3)), {},
                     "^Rows, row 98765: y holds the label 3"),
    "no weight": (Rows(X, Y, w=0 * W), {}, "^Rows: the rows weigh nothing together"),
    "y beside it": (Rows(X, Y), {"y": Y}, "^Rows has its own targets and weights: leave y out"),
    "weights beside it": (Stream(blocks()), {"sample_weight": W}, "leave sample_weight out"),
    "validation": (X, {"y": Y, "validation": Rows(X[:, :2], Y)}, "^validation Rows: x has shape"),
    "validation row": (X, {"y": Y, "validation": Stream([(NAN, Y)])},
                       r"^validation Stream, block 0, row 17: x\[17, 1\] is nan"),
    "no validation": (X, {"y": Y, "validation": Rows}, "give a pair .x, y., or a source"),
    "nothing": (Stream([]), {}, "no rows in epoch 0"),
    "no y": (X, {}, "no targets: give y, or a source"),
    "lbfgs": (Rows(X, Y), {"optimizer": gpubp.optimizers.LBFGS(), "batch_size": None},
              "LBFGS takes all examples in one go"),
    "all of a stream": (Stream(blocks()), {"batch_size": None}, "give a batch_size, or n= to Str"),
    "schedule": (Rows(X, Y), {"optimizer": gpubp.SGD(gpubp.LinearWarmup(0.1, 5))},
                 "10 more are asked for"),
    "schedule of a stream": (Stream(blocks(), n=30),
                             {"optimizer": gpubp.SGD(gpubp.LinearWarmup(0.1, 5))},
                             "10 more are asked for"),
}  # fmt: skip


@pytest.mark.parametrize("name", EARLY)
def test_what_can_be_known_is_said_before_training(name: str) -> None:
    x, how, message = EARLY[name]
    net = mlp()
    before = bits_of(net)
    with pytest.raises(gpubp.InputError, match=message):
        net.fit(x, **{"batch_size": 6, "epochs": 2, **how})
    assert bits_of(net) == before


def test_a_category_is_named_by_its_row() -> None:
    stream = Stream(blocks(10, parts=(CATEGORY, Y)))
    for source, row in ((Rows(CATEGORY, Y), "Rows, row 17"), (stream, "Stream, block 1, row 7")):
        number = row.rpartition(" ")[2]
        with pytest.raises(gpubp.InputError, match=rf"{row}: x\[{number}, 0\] is 2; that feature"):
            embedding().fit(source, epochs=1)


MANY = 5000
LATE: list[tuple[Callable[[Any], Any], str, Any]] = [
    (lambda at: Rows(spoiled(np.zeros((MANY, 3)), (at, 1), np.inf), np.zeros(MANY, dtype=int)),
     "Rows, row 4500: x\\[4500, 1\\] is inf", 4096),
    (lambda at: Rows(np.zeros((MANY, 3)), spoiled(np.zeros(MANY, dtype=int), at, 3),
                     target_transform=lambda y: y),
     "Rows, row 4500: y holds the label 3", 4096),
    (lambda at: Stream([(np.zeros((500, 3)), spoiled(np.zeros(500, dtype=int), 7, k == 9 and 5))
                        for k in range(10)]), "Stream, block 9, row 7: y holds the label 5", 4500),
    (lambda at: Stream([(np.zeros((500, 3 + k // 9)), np.zeros(500, dtype=int))
                        for k in range(10)]), r"Stream, block 9: x has shape \(500, 4\)", 4500),
]  # fmt: skip


@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(("make", "message", "rows"), LATE)
def test_what_comes_later_keeps_what_was_learned(
    make: Any, message: str, rows: int, depth: int
) -> None:
    source, net = make(4500), mlp()
    source.prefetch = depth
    with pytest.raises(gpubp.InputError, match=f"^{message}"):
        net.fit(source, batch_size=50, shuffle=False, validation=Rows(X, Y))
    assert net.updates == rows // 50
    assert net.history.records == []
    net.fit(X, Y, epochs=1)  # and it can be gone on with


@pytest.mark.usefixtures("one_by_one")
def test_an_error_in_a_step_ends_the_thread() -> None:
    net = mlp()
    optimizer = gpubp.SGD(gpubp.LinearWarmup(0.1, 3))
    with pytest.raises(gpubp.InputError) as caught:
        net.fit(Stream(blocks(8)), optimizer=optimizer, batch_size=2)
    assert not [thread for thread in threading.enumerate() if thread.name == prefetch.NAME]
    assert "ends after 3 updates" in str(caught.value)


def test_what_the_precision_cannot_hold_is_an_infinity_and_no_warning() -> None:
    feed = Feed(mlp(), Rows(spoiled(X.astype(float), (2, 1), 1e300)), check_finite=True)
    with pytest.raises(gpubp.InputError, match=r"row 2: x\[2, 1\] is inf"):
        list(feed.batches(7))


def test_data_that_are_not_looked_at_are_found_in_the_step(backend: Backend) -> None:
    """The batch that spoiled a step is there to be looked into, on a device that is ahead too."""
    said = []
    for x, y in ((NAN, Y), (Rows(NAN, Y), None), (Stream(blocks(4, parts=(NAN, Y))), None)):
        net = gpubp.Network(gpubp.MLP([5], 3), inputs=3, device=backend)
        with pytest.raises(gpubp.NonFiniteError) as caught:
            net.fit(x, y, batch_size=2, shuffle=False, check_finite=False)
        said.append((str(caught.value), net.updates))
    assert said[0] == said[1] == said[2]
    assert said[0][1] == 8
    assert "step 9" in said[0][0]


def test_a_step_that_was_lost_is_told_before_the_block_that_came_after(backend: Backend) -> None:
    net = gpubp.Network(gpubp.MLP([5], 3), inputs=3, device=backend)
    source = Stream(blocks(*[4] * 7, parts=(NAN, spoiled(Y, 27, 9))))
    with pytest.raises(gpubp.NonFiniteError, match="step 9"):
        net.fit(source, batch_size=2, shuffle=False, check_finite=False)
    assert net.updates == 8


def test_a_schedule_ends_where_nobody_knew_how_long_the_stream_was() -> None:
    net = mlp()
    optimizer = gpubp.SGD(gpubp.LinearWarmup(0.1, 3))
    with pytest.raises(gpubp.InputError, match="ends after 3 updates"):
        net.fit(Stream(blocks(8)), optimizer=optimizer, batch_size=7)
    assert net.updates == 3


def normalised() -> gpubp.Network:
    layer = gpubp.Sequential(gpubp.Linear(4), gpubp.BatchNorm(), gpubp.Linear(3))
    return gpubp.Network(layer, inputs=3)


def test_batch_normalisation_meets_the_rest_of_a_stream() -> None:
    net = normalised()
    said = "the last batch of 29 has 1 rows: batch normalisation needs 2"
    with pytest.raises(gpubp.InputError, match=said):
        net.fit(Stream(blocks(8)), batch_size=29, epochs=1)
    assert net.updates == 1
    for source in (Rows(X, Y), Stream(blocks(8), n=30)):
        fresh = normalised()
        with pytest.raises(gpubp.InputError, match="30 examples in batches of 29 leave 1"):
            fresh.fit(source, batch_size=29)
        assert not fresh.updates
    with pytest.raises(gpubp.InputError, match="batch normalisation needs 2 examples"):
        normalised().fit(Stream(blocks(8)), batch_size=1)
    net = normalised()
    with pytest.raises(gpubp.InputError, match=r"last batch of 8 has 6 rows: .*micro_batch=5"):
        net.fit(Stream(blocks(8)), batch_size=8, micro_batch=5, epochs=1)


def test_arrays_of_a_device_are_given_as_they_are() -> None:
    strict: Any = pytest.importorskip("array_api_strict")
    elsewhere = strict.asarray(X, device=strict.Device("device1"))
    with pytest.raises(gpubp.InputError, match="give arrays of a device to fit itself"):
        Rows(elsewhere, Y)
    with pytest.raises(gpubp.DeviceError, match=r"Stream, block 0: .*device1"):
        mlp().fit(Stream([(elsewhere, Y)]))


# -- left and gone on with ---------------------------------------------------------------------


@pytest.fixture
def default_handler() -> Iterator[None]:
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def interrupted_in_step(net: gpubp.Network, number: int) -> None:
    take, steps = net.train_step, 0

    def step(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == number:
            signal.raise_signal(signal.SIGINT)
        return take(*arguments)

    net.train_step = step  # type: ignore[method-assign]


SOURCES: dict[str, Callable[[], Any]] = {
    "rows": lambda: Rows(X, Y),
    "stream": lambda: Stream(blocks(8), buffer=10),
    "stream without a thread": lambda: Stream(blocks(8), buffer=10, prefetch=0),
}


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread hands over one batch at a time, and so it has to wait."""
    monkeypatch.setattr(prefetch, "_MOST", 1)


@pytest.mark.usefixtures("default_handler", "one_by_one")
@pytest.mark.parametrize("name", SOURCES)
def test_ctrl_c_ends_training_and_the_thread(name: str) -> None:
    net = mlp()
    interrupted_in_step(net, 7)
    with pytest.raises(KeyboardInterrupt) as caught:
        net.fit(SOURCES[name](), batch_size=2)
    assert net.updates == 7
    assert len(net.history) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == prefetch.NAME]
    del caught


@pytest.mark.usefixtures("default_handler")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("step", [2, 8])
def test_an_epoch_is_gone_on_with_where_it_was_left(name: str, step: int, tmp_path: Path) -> None:
    how: dict[str, Any] = {"batch_size": 7, "epochs": 3, "validation": Rows(X, Y)}
    whole = mlp()
    whole.fit(SOURCES[name](), **how)
    net = mlp()
    interrupted_in_step(net, step)
    with pytest.raises(KeyboardInterrupt):
        net.fit(SOURCES[name](), **how, checkpoint=tmp_path)
    again = mlp()
    again.fit(SOURCES[name](), **how, checkpoint=tmp_path, resume=True)
    assert bits_of(again) == bits_of(whole)
    others = {"rows": Rows(X, Y[::-1].copy())}
    other = others.get(name, Stream(blocks(8), buffer=11))
    with pytest.raises(gpubp.InputError, match="written by another training"):
        mlp().fit(other, **how, checkpoint=tmp_path, resume=True)


def test_progress_is_shown_where_nobody_knows_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    mlp().fit(Stream(blocks(8)), epochs=2, progress=True)
    assert "epoch   2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "blocks",
    [[([[1.0, 2.0, 3.0], [1.0, 2.0]], [0, 1])], [[[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], [0, 1]]]],
)
def test_ragged_blocks_are_told_as_such(blocks: Any) -> None:
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
    with pytest.raises(gpubp.InputError, match="Stream, block 0"):
        net.fit(Stream(blocks), epochs=1)


def test_a_stream_goes_on_in_the_epoch_where_training_was_left(tmp_path: Any) -> None:
    opened: list[int] = []
    closed: list[int] = []
    x = np.random.default_rng(0).normal(size=(20, 3))

    def blocks(epoch: int) -> Any:
        opened.append(epoch)
        try:
            yield x[:12] + epoch, np.arange(12) % 2
            yield x[12:] + epoch, np.arange(8) % 2
        finally:
            closed.append(epoch)

    def fit(epochs: int, **how: Any) -> gpubp.Network:
        net = gpubp.Network(gpubp.MLP([4], 2), inputs=3)
        net.fit(Stream(blocks), epochs=epochs, batch_size=8, **how)
        return net

    wanted = fit(4)
    fit(2, checkpoint=tmp_path)
    opened.clear()
    closed.clear()
    net = fit(4, checkpoint=tmp_path, resume=True)
    assert net.theta.tobytes() == wanted.theta.tobytes()
    assert opened == closed == [2, 3]
