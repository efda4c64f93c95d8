from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.datasets.made_copies import Tree, archive


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "copy")


@pytest.fixture(params=["folder", "zip", "tar"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Tree], Path]:
    """Gives the root of a made copy: the folder, or one archive with all of it."""

    def store(tree: Tree) -> Path:
        if request.param == "folder":
            return tree.root
        return archive(tree.root, tmp_path / f"packed.{request.param}", inside=tree.root.name)

    return store
