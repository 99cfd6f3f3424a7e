"""What a distribution and all that it needs take on the disk, as it is installed here."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def sizes(wanted: str) -> dict[str, int]:
    """Return the bytes of each distribution that `wanted` needs, and of all `"together"`.

    `wanted` is a requirement such as `"torch"` or `"gpubp[cpu]"`. Bytecode counts; what is not
    installed here does not. A package that is installed in place counts by its source.
    """
    found: dict[str, int] = {}
    _gather(Requirement(wanted), found, set())
    ordered = dict(sorted(found.items(), key=lambda entry: -entry[1]))
    return {**ordered, "together": sum(found.values())}


def _gather(wanted: Requirement, found: dict[str, int], seen: set[str]) -> None:
    name = canonicalize_name(wanted.name)
    for extra in ("", *wanted.extras):
        if f"{name}[{extra}]" in seen:
            continue
        seen.add(f"{name}[{extra}]")
        try:
            package = metadata.distribution(wanted.name)
        except metadata.PackageNotFoundError:
            return
        found.setdefault(name, _bytes(package))
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                _gather(needed, found, seen)


def _bytes(package: metadata.Distribution) -> int:
    if canonicalize_name(package.metadata["Name"]) == "gpubp":
        root = Path(__file__).resolve().parent.parent
        files = [file for part in ("gpubp", "backends") for file in (root / part).rglob("*")]
    else:
        files = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return sum(file.stat().st_size for file in files if file.is_file())
