"""What is said where an optional library is not there, and that none is loaded unasked."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gpubp
from gpubp.interchange import to_onnx


def test_without_onnx_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(gpubp.InputError, match=r"pip install 'gpubp\[onnx\]'"):
        to_onnx(gpubp.Network(gpubp.MLP([5], 2), inputs=3))


def test_the_package_loads_none_of_the_libraries() -> None:
    code = "import gpubp.interchange, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not loaded & {"torch", "onnx", "onnxruntime", "sklearn", "ml_dtypes", "safetensors"}
