"""A model predicts where only NumPy, array-api-compat and safetensors are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpubp
from gpubp import layers
from gpubp.data import Preprocessing, Table

ALONE = """
import sys

class Nothing:
    "Finds no module but those of the standard library and of four packages."
    allowed = sys.stdlib_module_names | {"numpy", "gpubp", "array_api_compat", "safetensors"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
before = set(sys.modules)
"""
PREDICT = """
import gpubp, numpy
net = gpubp.load(sys.argv[1], device="cpu")
x = numpy.load(sys.argv[2])
numpy.savez(sys.argv[3], y=net.predict(x), p=net.predict_proba(x), c=net.predict_class(x))
late = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(late - Nothing.allowed))
"""
FINDS = """
try:
    import tqdm
except ModuleNotFoundError:
    print("refused")
"""
BODY = gpubp.Sequential(
    gpubp.MLP([8], 5, norm="batch", dropout=0.1, activation="gelu"),
    layers.Residual(layers.PReLU()),
    layers.Concatenate(layers.LayerNorm(), layers.Columns(0, 2)), gpubp.Linear(3),
)  # fmt: skip


def alone(code: str, *arguments: Path) -> str:
    asked = [sys.executable, "-c", ALONE + code, *map(str, arguments)]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("members", [None, 2])
def test_nothing_else_is_needed(tmp_path: Path, members: int | None) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    net = gpubp.Network(BODY, inputs=4, members=members)
    net.fit(x, np.arange(40) % 3, epochs=1)
    net.save(tmp_path / "net")
    np.save(tmp_path / "x.npy", x)
    # `cython_runtime` and such are made by extension modules, not found in a folder
    told = alone(PREDICT, tmp_path / "net", tmp_path / "x.npy", tmp_path / "y.npz")
    assert not [name for name in told.split() if "cython" not in name], told
    with np.load(tmp_path / "y.npz") as found:
        assert found["y"].tobytes() == net.predict(x).tobytes()
        assert found["p"].tobytes() == net.predict_proba(x).tobytes()
        assert found["c"].tolist() == net.predict_class(x).tolist()


def test_raw_data_needs_nothing_else(tmp_path: Path) -> None:
    table = Table({"age": np.asarray([20.0, 40.0, 30.0]), "town": ["Ulm", "Bonn", "Ulm"],
                   "bought": ["no", "yes", "no"]})  # fmt: skip
    prepared = Preprocessing.fit(table, target="bought")
    net = gpubp.Network(gpubp.MLP([4], 2), inputs=prepared.width)
    net.loss, net.preprocessing = gpubp.CrossEntropy(), prepared
    net.save(tmp_path / "net")
    code = """
import gpubp, numpy
net = gpubp.load(sys.argv[1])
x = net.preprocessing.features({"town": ["Bonn", "Ulm"], "age": [20, 30]})
print(net.preprocessing.decode(net.predict_class(x)).tolist(), net.classes)
"""
    x = prepared.features({"town": ["Bonn", "Ulm"], "age": [20, 30]})
    expected = prepared.decode(net.predict_class(x)).tolist()
    assert alone(code, tmp_path / "net") == f"{expected} ['no', 'yes']"


def test_the_finder_of_these_tests_refuses_what_is_installed() -> None:
    pytest.importorskip("tqdm")
    assert alone(FINDS) == "refused"
