"""The architecture: each module imports from lower floors only, and in no circle.

The imports are read, not run; one inside a function counts as one at the top. Modules of one
floor may import each other as long as no circle comes of it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS: list[set[str]] = [
    {"errors", "rounding", "version"},
    {"activations", "initializers", "bits", "schedules", "special", "distributions", "piecewise"}
    | {"foreign", "linesearch"},
    {"backend", "program.*"},
    {"storage", "run", "inputs", "seeds", "arrays", "groups", "categories"}
    | {"files", "headers", "source", "tensors"},
    {"layers.*", "losses.*", "optimizers.*"},
    {"diagnosis", "data.*", "slots", "describe", "bounds"},
    {"updates", "number_table"},
    {"bound"},
    {"opaque", "recording", "passages"},
    {"evaluation", "training", "history", "interrupts", "io", "lsuv", "pickling", "progress"}
    | {"saved", "programs", "held_against", "blocks", "memory"},
    {"arguments", "checkpoints", "lbfgs", "plateau", "restarts", "resume"}
    | {"found", "settings", "compiling"}
    | {"feeds", "streaming"},
    {"fitting"},
    {"watch", "findings", "health", "plots", "explained"},
    {"network"},
    {"check.*", "interchange.*"},
    {"cli.*", "__main__"},
]  # fmt: skip
CLI = len(FLOORS) - 1
BACKENDS = 2  # the floor that gpubp.backends may see, and nothing above it
LIBRARIES = {"numpy", "cupy", "llvmlite", "scipy", "array_api_compat", "torch", "jax"}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without `gpubp.`; a package by its own."""
    found: dict[str, Path] = {}
    for folder, prefix in (("gpubp", ()), ("backends", ("backends",))):
        for path in (ROOT / folder).rglob("*.py"):
            parts = (*prefix, *path.relative_to(ROOT / folder).with_suffix("").parts)
            found[".".join(p for p in parts if p != "__init__")] = path
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imports(name: str) -> set[str]:
    """All that a module imports, in full: `gpubp.x`, `gpubp.x.attribute`, `numpy`, ..."""
    package = ["gpubp", *name.split(".")] if name else ["gpubp"]
    if name not in PACKAGES:
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {f"{whole}.{alias.name}" for alias in node.names}
    return found


def own(name: str) -> set[str]:
    """The modules of gpubp that a module imports, without `gpubp.`."""
    found = set()
    for full in imports(name):
        first, _, rest = full.partition(".")
        if first != "gpubp":
            continue
        while rest and rest not in MODULES:  # cut off what is a name in a module
            rest = rest.rpartition(".")[0]
        found.add(rest)
    return found


def floor(name: str) -> int:
    for number, members in enumerate(FLOORS):
        if name in members or f"{name.partition('.')[0]}.*" in members:
            return number
    raise AssertionError(f"gpubp.{name} has no floor: enter it in FLOORS")


UPSTAIRS = [n for n in MODULES if n and not n.startswith("backends") and n != "program"]


def test_the_imports_are_read_as_they_are_written() -> None:
    assert {"gpubp.errors.InputError", "numpy"} <= imports("inputs")
    assert {"errors", "backend", "program.formula"} <= own("backends.cuda")
    assert own("layers.mlp") >= {"errors", "initializers", "layers.linear", "layers.sequential"}
    assert {"layers", "losses", "network"} <= own("")


@pytest.mark.parametrize("name", UPSTAIRS)
def test_imports_go_down(name: str) -> None:
    package = name.partition(".")[0]
    for other in own(name):
        if other == "":
            assert floor(name) == CLI, f"gpubp.{name} imports the whole library"
            continue
        same = other.partition(".")[0] == package and package in PACKAGES
        down = floor(other) < floor(name) or floor(other) == floor(name)
        assert same or down, f"gpubp.{name} on floor {floor(name)} imports gpubp.{other}"


def test_the_package_itself_hands_on_what_lies_below_the_command_line() -> None:
    assert all(floor(other) < CLI for other in own(""))


def test_no_circle() -> None:
    """Take away what imports nothing that is left, until nothing is left."""
    left = {name: own(name) - {name, ""} for name in MODULES if name}
    for name, others in left.items():  # to import a module is to run its package first
        parents = {other.rpartition(".")[0] for other in others} - {""}
        left[name] = {o for o in others | parents if o != name and not name.startswith(f"{o}.")}
    while left:
        free = {name for name, others in left.items() if not others & left.keys()}
        assert free, f"imports go in a circle among {sorted(left)}"
        left = {name: others for name, others in left.items() if name not in free}


@pytest.mark.parametrize("name", sorted(FLOORS[1]))
def test_formulas_know_errors_and_each_other_alone(name: str) -> None:
    assert own(name) <= {"errors", *FLOORS[1]}


FORMULAS = [n for n in MODULES if n.startswith(("layers", "losses", "optimizers"))]
FORMULAS += sorted(FLOORS[1] - {"distributions"})  # an orthogonal matrix takes numpy.linalg.qr


@pytest.mark.parametrize("name", FORMULAS)
def test_mathematics_knows_no_array_library(name: str) -> None:
    assert not {full.partition(".")[0] for full in imports(name)} & LIBRARIES


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("backends")])
def test_backends_see_the_lowest_floors_only(name: str) -> None:
    others = {other for other in own(name) if not other.startswith("backends")}
    assert all(floor(other) <= BACKENDS for other in others)


@pytest.mark.parametrize("name", [n for n in MODULES if not n.startswith("backends")])
def test_nothing_imports_a_backend(name: str) -> None:
    """They are loaded by name when they are asked for."""
    assert not {other for other in own(name) if other.startswith("backends")}
    assert not {full for full in imports(name) if full.startswith("backends")}


@pytest.mark.parametrize("name", MODULES)
def test_cupy_is_loaded_by_its_backend_alone(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    named = imports(name) | {text for text in texts if isinstance(text, str)}
    loads = any(text == "cupy" or text.startswith("cupy.") for text in named)
    assert loads == (name in ("backends.cuda", "backends.cuda_steps"))
