"""Who may import whom: the table of docs/architecture.md, held against every import in the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "singletrack"

LEVELS = {
    "errors": -1,
    "opencv": 0,
    "install": 0,
    "telemetry": 0,
    "interrupts": 0,
    "published": 0,
    "weights": 0,
    "files": 1,
    "workers": 1,
    "cache": 2,
    "locking": 2,
    "models": 3,
    "video": 3,
    "geometry": 3,
    "tracking": 4,
    "engines": 4,
    "datasets": 4,
    "drawing": 4,
    "results": 4,
    "publish": 4,
    "events": 5,
    "steps": 5,
    "effects": 5,
    "auto": 5,
    "outputs": 6,
    "trajectories": 6,
    "references": 6,
    "registry": 5,
    "training": 6,
    "evaluation": 6,
    "export": 6,
    "loading": 7,
    "labeling": 8,
    "api": 9,
    "doctor": 9,
    "profiling": 9,
    "inspecting": 9,
    "integrations": 9,
    "bulk": 9,
    "web": 10,
    "cli": 11,
    "__init__": 12,
    "__main__": 12,
}
BESIDE = {("drawing", "tracking.base"), ("results", "tracking.base")}
NEEDS_TORCH = ("models/", "training/", "export/", "engines/torch_engine.py")


def sources() -> list[str]:
    return sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def part_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def imports_of(path: str) -> list[str]:
    """Every module of ours that a file imports, as a dotted name below singletrack."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module == "singletrack":
                found += [alias.name for alias in node.names]
            elif module.startswith("singletrack."):
                found.append(module.removeprefix("singletrack."))
        elif isinstance(node, ast.Import):
            found += [a.name.removeprefix("singletrack.") for a in node.names if a.name.startswith("singletrack.")]
    return found


@pytest.mark.parametrize("path", sources())
def test_imports_point_down(path: str) -> None:
    part = part_of(path)
    assert part in LEVELS, f"{part} has no level in the table: decide who may import it"
    for module in imports_of(path):
        other = module.split(".")[0]
        if other == part or (part, module) in BESIDE:
            continue
        assert other in LEVELS, f"{path} imports singletrack.{module}, which has no level"
        assert LEVELS[other] < LEVELS[part], f"{path} imports singletrack.{module}: not below it"


@pytest.mark.parametrize("path", sources())
def test_only_some_may_need_torch(path: str) -> None:
    if path.startswith(NEEDS_TORCH):
        return
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        names = (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        assert not any(name.split(".")[0] == "torch" for name in names), f"{path} imports torch"


def test_import_brings_no_torch_and_no_engine() -> None:
    check = (
        "import sys, singletrack; "
        "heavy = {'torch', 'openvino', 'onnxruntime', 'tensorboard', 'av'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
