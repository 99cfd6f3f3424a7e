"""What is shipped: the packages, their data, a light import, and a tidy top level."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import gpubp

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "gpubp", "backends", "tests", "bench"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[str]:
    """The files under version control; without it the test of them is skipped."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no version control here")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip(listed.stderr.strip())
    return listed.stdout.splitlines()


def test_every_package_is_listed_and_there(project: dict[str, Any]) -> None:
    places = {"gpubp": ROOT / "gpubp", "gpubp.backends": ROOT / "backends"}
    found = {
        ".".join([name, *init.parent.relative_to(folder).parts])
        for name, folder in places.items()
        for init in folder.rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found
    assert project["tool"]["setuptools"]["package-dir"] == {"gpubp.backends": "backends"}


def test_no_module_lies_outside_a_package() -> None:
    for folder in (ROOT / "gpubp", ROOT / "backends"):
        for path in folder.rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


def test_data_files_are_listed_and_there(project: dict[str, Any]) -> None:
    listed: dict[str, list[str]] = project["tool"]["setuptools"]["package-data"]
    shipped = {
        path
        for package, patterns in listed.items()
        for pattern in patterns
        for path in (ROOT / Path(*package.split("."))).glob(pattern)
    }
    found = {
        path
        for folder in (ROOT / "gpubp", ROOT / "backends")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert shipped == found
    assert {"py.typed", "digits.npz", "DIGITS-LICENSE.txt"} <= {path.name for path in shipped}


@pytest.mark.parametrize("name", ["py.typed", "data/digits.npz", "data/DIGITS-LICENSE.txt"])
def test_data_files_are_installed(name: str) -> None:
    assert files("gpubp").joinpath(name).is_file()


def test_every_licence_is_shipped(project: dict[str, Any]) -> None:
    assert all((ROOT / name).is_file() for name in project["project"]["license-files"])
    assert "gpubp/data/DIGITS-LICENSE.txt" in project["project"]["license-files"]


def test_the_top_level_is_what_it_is() -> None:
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_no_built_file_is_kept() -> None:
    built = (".pyc", ".so", ".whl", ".gz", ".egg-info")
    assert not [name for name in tracked() if name.endswith(built) or "__pycache__" in name]


def test_the_versions_agree(project: dict[str, Any]) -> None:
    assert gpubp.__version__ == project["project"]["version"] == metadata.version("gpubp")


LATER = [
    "tqdm", "safetensors", "array_api_compat", "cupy", "torch", "llvmlite", "scipy",
    "importlib.metadata", "logging", "gpubp.check", "gpubp.cli", "gpubp.backends.cuda",
    "hashlib", "numpy.random", "numpy.ma", "shutil", "statistics",
]  # fmt: skip


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh process has loaded after running `code`."""
    report = f"{code}\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    found = loaded_after("import gpubp")
    assert "gpubp.network" in found
    return found - loaded_after("import numpy")  # what NumPy itself loads is not ours to save


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_needed_at_once_is_imported_later(loaded: set[str], name: str) -> None:
    assert name not in loaded


def test_training_on_the_cpu_needs_numpy_alone() -> None:
    code = (
        "import gpubp; net = gpubp.Network(gpubp.MLP([3], 1), inputs=2);"
        "net.fit([[1, 2]], [1], loss='squared_error', epochs=1); net.predict([[1, 2]])"
    )
    names = {name.split(".")[0] for name in loaded_after(code)}
    assert not names & {"tqdm", "safetensors", "array_api_compat", "cupy", "torch", "llvmlite"}


def test_all_that_the_core_needs_is_declared(project: dict[str, Any]) -> None:
    declared = {d.split(">")[0].split("[")[0] for d in project["project"]["dependencies"]}
    assert {"numpy", "safetensors", "tqdm", "array-api-compat"} <= declared
    assert not declared & {"torch", "llvmlite"}
    assert not any(name.startswith("cupy") for name in declared)
