"""tests/slow.txt names tests that exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.conftest import SLOW

ROOT = Path(__file__).parent.parent


def test_the_list_is_sorted() -> None:
    assert sorted(SLOW) == SLOW


@pytest.mark.parametrize("name", SLOW)
def test_each_exists(name: str) -> None:
    path, _, test = name.partition("::")
    assert (ROOT / path).exists()
    if test:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
