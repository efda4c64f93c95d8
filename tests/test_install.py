"""The command that adds an extra fits how singletrack was installed."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from singletrack.install import DOCS, command_for, install_command


def test_from_pypi() -> None:
    assert command_for({}, "train") == 'pip install "singletrack[train]"'


def test_from_a_clone(tmp_path: Path) -> None:
    folder = tmp_path / "my clone"
    folder.mkdir()
    origin = {"url": folder.as_uri(), "dir_info": {}}
    assert command_for(origin, "train") == f'pip install "{folder}[train]"'
    assert command_for({**origin, "dir_info": {"editable": True}}, "onnx") == f'pip install --editable "{folder}[onnx]"'


def test_from_a_clone_that_is_gone(tmp_path: Path) -> None:
    assert command_for({"url": (tmp_path / "gone").as_uri()}, "train") == 'pip install "singletrack[train]"'


def test_from_a_repository() -> None:
    origin = {"url": "https://example.org/it.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert command_for(origin, "vot") == 'pip install "singletrack[vot] @ git+https://example.org/it.git"'
    origin["vcs_info"]["requested_revision"] = "v1"  # type: ignore[index]
    assert command_for(origin, "vot") == 'pip install "singletrack[vot] @ git+https://example.org/it.git@v1"'


def test_run_from_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    install_command.cache_clear()
    try:
        root = Path(__file__).resolve().parent.parent
        assert install_command("train") == f'pip install "{root}[train]"'
    finally:
        install_command.cache_clear()


def test_pages_are_where_the_package_says() -> None:
    root = Path(__file__).parents[1]
    (home,) = re.findall(r"Documentation = \"(.+)\"", (root / "pyproject.toml").read_text())
    assert f"{DOCS}/" == home
    assert f"site_url: {home}\n" in (root / "mkdocs.yml").read_text()
    named = re.findall(r"docs_page\([\"']([\w-]+)[\"']\)", "\n".join(map(Path.read_text, (root / "src").rglob("*.py"))))
    assert len(named) > 5
    assert not [name for name in named if not (root / "docs" / f"{name}.md").is_file()]
