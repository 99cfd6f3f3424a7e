"""Descriptions in model files that ask for what no file justifies, or for what does not exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpubp
from gpubp import io
from tests.hostile import changed, empty, good, model, refused

LINEAR = {"type": "Linear", "n_out": 2, "W": "zeros", "b": None}
IDENTITY = {"type": "Identity"}


def within(layer: Any, depth: int) -> Any:
    for _ in range(depth):
        layer = {"type": "Sequential", "layers": [layer]}
    return layer


def tied(depth: int) -> Any:
    return {"type": "Tied", "body": tied(depth - 1), "times": 100} if depth else IDENTITY


DOUBLED = {"type": "Concatenate", "layers": [IDENTITY, IDENTITY]}
ABSURD: dict[str, tuple[bytes, str]] = {
    "a width of 10^12": (changed(layer={**LINEAR, "n_out": 10**12}), "too large for a file of 26"),
    "a width of 10^30": (changed(layer={**LINEAR, "n_out": 10**30}), "too large"),
    "inputs of 10^12": (changed(inputs=[10**12]), "too large for a file of 26 numbers"),
    "inputs of 10^12 for no weights": (empty(IDENTITY, inputs=[10**12]), "too large"),
    "inputs of 10^4 x 10^4": (empty({"type": "Flatten"}, inputs=[10**4, 10**4]), "too large"),
    "inputs of 33 axes": (empty(IDENTITY, inputs=[1] * 33), "'inputs' is a list of 33"),
    "10^6 hidden layers": (
        changed(layer={"type": "MLP", "hidden": [1] * 10**6, "n_out": 2}), "200,000 values",
    ),
    "10^5 hidden layers": (
        changed(layer={"type": "MLP", "hidden": [1] * 10**5, "n_out": 2}), "10,000 layers",
    ),
    "a layer of 10^12 hidden units": (
        changed(layer={"type": "MLP", "hidden": [10**12], "n_out": 2}), "too large",
    ),
    "20,000 layers": (
        empty({"type": "Sequential", "layers": [IDENTITY] * 20_000}), "more than 10,000 layers",
    ),
    "10,000 wide layers": (
        empty({"type": "Sequential", "layers": [IDENTITY] * 9_000}, inputs=[10**6]), "too much",
    ),
    "10,000 wide branches": (
        empty({"type": "Sum", "layers": [within({"type": "Columns", "start": 0, "stop": 1}, 1)]
               * 4_000}, inputs=[10**6]),
        "too much",
    ),
    "10,000 wide branches with weights": (
        empty({"type": "Sum", "layers": [within(LINEAR, 1)] * 4_000}, inputs=[10**6]), "too much",
    ),
    "doubled 60 times": (
        empty({"type": "Sequential", "layers": [DOUBLED] * 60}, inputs=[1]), "too large|too much",
    ),
    "doubled inside 60 times": (
        empty({"type": "Sequential", "layers": [within(DOUBLED, 60)] * 60}, inputs=[1]),
        "too large|too much",
    ),
    "tied 10^9 times": (
        changed(layer={"type": "Tied", "body": LINEAR, "times": 10**9}, inputs=[2]),
        "more than 100,000 times",
    ),
    "tied 10^9 times to nothing": (
        empty({"type": "Tied", "body": IDENTITY, "times": 10**9}), "more than 100,000 times",
    ),
    "tied 100 times, 9 times over": (empty(tied(9)), "more than 100,000 times"),
    "categories 10^12": (
        changed(layer={"type": "Embedding", "n": 10**12, "dim": 2}), "at most 2.24",
    ),
    "vectors of 10^12": (changed(layer={"type": "Embedding", "n": 4, "dim": 10**12}), "too large"),
    "a table of 10^13": (
        changed(layer={"type": "Embedding", "n": 2**24, "dim": 10**6}), "another network",
    ),
    "shaped as 10^12": (empty({"type": "Reshape", "shape": [10**12, -1]}), "has 3 numbers"),
    "shaped into 10^5 axes": (empty({"type": "Reshape", "shape": [-1] + [1] * 10**5}), "axes"),
    "columns up to 10^12": (
        empty({"type": "Columns", "start": 0, "stop": 10**12}), "has 3 features",
    ),
    "5,000 layers in layers": (
        model(json.dumps({**good()[0], "layer": "?", "digest": io.digest({})}).replace(
            '"?"', '{"type": "Sequential", "layers": [' * 5_000 + "]}" * 5_000), {}),
        "nested too deeply|layers in layers",
    ),
    "many layers in layers": (empty(within(IDENTITY, 102)), "layers in layers more than 100"),
    "10^9 members": (changed(members=10**9), "'members' is 1000000000"),
    "5 members of one seed": (changed(members=5), "1 seeds for 5 members"),
    "10^6 seeds": (changed(members=10**6, seeds=[0] * 10**6), "'seeds' is a list of 1000000"),
    "10^5 members without arrays": (
        changed(members=10**5, seeds=[0] * 10**5), r"shape \(3, 4\), expected \(100000, 3, 4\)",
    ),
    "a weight of 10^12 rows": (
        model({**good()[0], "layer": {"type": "Linear", "n_out": 1}, "inputs": [2**22]},
              {"W": np.zeros((2, 1), "f4"), "b": np.zeros(1, "f4")}),
        "another network",
    ),
    "a loss of 10^6 weights": (
        changed(loss={"type": "CrossEntropy", "class_weight": [1.0] * 10**6}), "200,000 values",
    ),
}  # fmt: skip


LIMITED = """
import json, pathlib, sys, time
import gpubp
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    taken = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
except ImportError:
    taken = lambda: 0
before, told = taken(), {}
for path in pathlib.Path(sys.argv[1]).iterdir():
    began = time.perf_counter()
    try:
        gpubp.load(path)
        message = "was read"
    except gpubp.InputError as error:
        message = str(error)
    except BaseException as error:
        message = repr(error)
    told[path.name] = message, time.perf_counter() - began
print(json.dumps([told, taken() - before]))
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What a process of a gigabyte of addresses says of each file and how long it takes.

    Besides how many kilobytes of memory it took at most.
    """
    folder = tmp_path_factory.mktemp("absurd")
    for number, (data, _) in enumerate(ABSURD.values()):
        (folder / str(number)).write_bytes(data)
    surroundings = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LIMITED, str(folder)], env=surroundings,
                          capture_output=True, text=True, check=True)  # fmt: skip
    told, kilobytes = json.loads(done.stdout)
    return dict(zip(ABSURD, (told[str(n)] for n in range(len(ABSURD))), strict=True)), kilobytes


@pytest.mark.parametrize("name", ABSURD)
def test_what_is_of_absurd_size_is_refused_soon(
    limited: tuple[dict[str, Any], int], name: str
) -> None:
    message, seconds = limited[0][name]
    assert re.search(ABSURD[name][1], message), message
    assert "absurd" in message, "the file is not named"
    assert "memory" not in message
    assert len(message) < 2_000
    assert seconds < 5.0


def test_nothing_of_absurd_size_is_allocated(limited: tuple[dict[str, Any], int]) -> None:
    assert limited[1] < 400_000, "kilobytes"


def test_a_layer_of_ones_own_does_not_lift_the_bounds(tmp_path: Path) -> None:
    (tmp_path / "net").write_bytes(changed(inputs=[10**12]))
    with pytest.raises(gpubp.InputError, match="too large"):
        gpubp.load(tmp_path / "net", layer=gpubp.layers.Flatten())


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "format 0": ({"format": 0}, "format 0; this gpubp reads formats 1 to 2"),
    "format 1.0": ({"format": 1.0}, "format 1.0"),
    "format true": ({"format": True}, "format True"),
    "a path of another": ({"path": "fast"}, "'path' is 'fast'; expected one of plain"),
    "no path": ({"path": None}, "'path' is None"),
    "dtype of 16 bits": ({"dtype": "float16"}, "'dtype' is 'float16'"),
    "dtype in a list": ({"dtype": ["float32"]}, r"'dtype' is \['float32'\]"),
    "a seed below 0": ({"seeds": [-1]}, r"'seeds' is \[-1\]"),
    "a seed of 10^40": ({"seeds": [10**40]}, "'seeds'"),
    "a seed of truth": ({"seeds": [True]}, "'seeds'"),
    "seeds of one network": ({"seeds": [0, 1]}, "2 seeds for one network"),
    "no members": ({"members": 0}, "'members' is 0"),
    "members below 0": ({"members": -1}, "'members' is -1"),
    "members that are true": ({"members": True}, "'members' is True"),
    "updates below 0": ({"updates": -1}, "'updates' is -1; expected a whole number"),
    "updates of 10^30": ({"updates": 10**30}, "'updates' is 1"),
    "updates of 10^300": ({"updates": 10**300}, "more than 38 digits"),
    "updates of 1.5": ({"updates": 1.5}, "'updates' is 1.5"),
    "epochs below 0": ({"epochs": -1}, "'epochs' is -1"),
    "epochs in words": ({"epochs": "ten"}, "'epochs' is 'ten'"),
    "epochs of 1e30": ({"epochs": 1e30}, "'epochs' is 1e"),
    "inputs of fractions": ({"inputs": [3.0]}, r"'inputs' is \[3.0\]"),
    "inputs that are a number": ({"inputs": 3}, "'inputs' is 3"),
    "inputs of nothing": ({"inputs": []}, r"'inputs' is \[\]"),
    "frozen and unknown": ({"frozen": ["7.W"]}, "frozen parameter '7.W' is none"),
    "frozen by a group": ({"frozen": ["weights"]}, "frozen parameter 'weights' is none"),
    "frozen by a number": ({"frozen": [0]}, r"'frozen' is \[0\]"),
    "frozen by a text": ({"frozen": "0.W"}, "'frozen' is '0.W'"),
    "a layer that is a list": ({"layer": [LINEAR]}, "'layer' is a list of 1"),
    "an initialiser for a layer": ({"layer": {"type": "HeNormal"}}, "HeNormal.*expected a layer"),
    "a layer that is a base": ({"layer": {"type": "Branches"}}, "unknown type 'Branches'"),
    "a type of 10^5 letters": ({"layer": {"type": "a" * 10**5}}, "a text of 100,000 letters"),
    "a name of 10^5 letters": ({"layer": {"type": "MLP", "a" * 10**5: 1}}, "a text of 100,000"),
    "a type that is a list": ({"layer": {"type": ["Linear"]}}, r"unknown type \['Linear'\]"),
    "a width in words": ({"layer": {**LINEAR, "n_out": "2"}}, "a width is '2'"),
    "a width that is true": ({"layer": {**LINEAR, "n_out": True}}, "a width is True"),
    "hidden layers in words": (
        {"layer": {"type": "MLP", "hidden": "12", "n_out": 2}}, "hidden is '12'",
    ),
    "hidden layers in layers": (
        {"layer": {"type": "MLP", "hidden": [[4]], "n_out": 2}}, r"a width is \[4\]",
    ),
    "layers that are a number": ({"layer": {"type": "Sequential", "layers": 3}}, "layers is 3"),
    "layers that are a text": ({"layer": {"type": "Sequential", "layers": "ab"}}, "layers is 'ab'"),
    "layers that are numbers": ({"layer": {"type": "Sum", "layers": [1]}}, "item 0 is 1"),
    "layers in place of a layer": (
        {"layer": {"type": "Sequential", "layers": [IDENTITY, [IDENTITY] * 1_000]}}, "item 1 is",
    ),
    "an activation in a list": ({"layer": {"type": "Activation", "name": ["tanh"]}}, "activation"),
    "a body that is true": ({"layer": {"type": "Checkpoint", "body": True}}, "the body is True"),
    "a rate of 2": ({"layer": {"type": "Dropout", "rate": 2}}, "rate is 2"),
    "a shape of truth": ({"layer": {"type": "Reshape", "shape": [True]}}, "Reshape"),
    "an initialiser in an initialiser": (
        {"layer": {**LINEAR, "W": {"type": "Constant", "value": {"type": "Normal"}}}}, "value",
    ),
    "a loss in a list": ({"loss": [1]}, r"'loss' is \[1\]"),
    "a loss of one's own in a list": ({"own_loss": ["Mine"]}, r"'own_loss' is \['Mine'\]"),
    "a loss of one's own that is code": ({"own_loss": "f();x"}, "'own_loss' is 'f"),
    "a loss of one's own of 10^6 letters": ({"own_loss": "a" * 10**6}, "'own_loss' is 'a"),
    "a preprocessing in a list": ({"preprocessing": [1]}, r"'preprocessing' is \[1\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_descriptions_that_are_wrong(tmp_path: Path, name: str) -> None:
    entries, told = WRONG[name]
    refused(tmp_path / "net", changed(**entries), told)


@pytest.mark.parametrize("key", sorted(good()[0].keys() - {"versions"}))
def test_descriptions_that_are_incomplete(tmp_path: Path, key: str) -> None:
    description, arrays = good()
    del description[key]
    told = {"digest": "", "format": "format None"}.get(key, f"incomplete.*{key}")
    data = model(description, arrays, digest=key != "digest")
    refused(tmp_path / "net", data, told)


CODE = [
    {"type": "os.system", "command": "touch PLACE"},
    {"type": "builtins.eval", "source": "open('PLACE', 'w')"},
    {"type": "eval"}, {"type": "__import__"}, {"type": "kept_bytes"}, {"type": "Layer"},
    {"type": "Linear", "n_out": 2, "__class__": "os.system"},
    {"type": "Linear", "n_out": 2, "W": {"type": "subprocess.Popen", "args": ["touch", "PLACE"]}},
    {"type": "Linear", "n_out": 2, "W": "__import__('os').system('touch PLACE')"},
    {"type": "Activation", "name": "__class__"},
    {"type": "Checkpoint", "body": {"type": "os.system", "command": "touch PLACE"}},
    {"type": "Checkpoint", "body": "os.system"},
    {"type": "Tied", "body": {"type": "Network"}},
    {"type": "Tied", "body": LINEAR, "times": "__import__('os')"},
    {"type": "MLP", "hidden": [3], "n_out": 2, "init": {"type": "builtins.open", "file": "PLACE"}},
    {"type": "MLP", "hidden": [3], "n_out": 2, "norm": "__init__"},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CODE)))
def test_nothing_that_a_file_names_is_run(tmp_path: Path, number: int) -> None:
    place = tmp_path / "ran"
    layer = json.loads(json.dumps(CODE[number]).replace("PLACE", str(place)))
    refused(tmp_path / "net", changed(layer=layer))
    refused(tmp_path / "net", changed(loss=layer))
    assert not place.exists()
