"""How much a box must hold: every locked package it needs, with bytecode, and the product."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INSTALLED_MB = 230


def closure(repository: Path) -> dict[str, metadata.Distribution]:
    """Every package that the product needs on a box."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    found: dict[str, metadata.Distribution] = {}
    waiting = [(Requirement(text), frozenset({""})) for text in project["dependencies"]]
    while waiting:
        need, extras = waiting.pop()
        if need.marker and not any(need.marker.evaluate({"extra": e}) for e in extras):
            continue
        key = canonicalize_name(need.name)
        if key not in found:
            found[key] = metadata.distribution(key)
            inner = frozenset({"", *need.extras})
            waiting += [(Requirement(text), inner) for text in found[key].requires or ()]
    return found


def size(files) -> int:
    """Bytes of files and of the bytecode that Python keeps beside them."""
    total = 0
    for path in map(Path, files):
        if not path.is_file() or path.suffix == ".pyc":
            continue
        total += path.stat().st_size
        if path.suffix == ".py":
            kept = path.parent / "__pycache__"
            total += sum(c.stat().st_size for c in kept.glob(f"{path.stem}.cpython-3??.pyc"))
    return total


def test_what_a_box_installs_fits_its_budget(repository):
    needed = closure(repository)
    assert {"onnxruntime", "numpy", "sqlalchemy"} <= set(needed)
    sizes = {
        name: size(held.locate_file(file) for file in held.files or ())
        for name, held in needed.items()
    }
    sizes["edge_daemon"] = size((repository / "edge_daemon").rglob("*"))
    assert sizes["onnxruntime"] > 20e6  # the files were found
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:8])
    assert sum(sizes.values()) / 1e6 <= INSTALLED_MB, largest
