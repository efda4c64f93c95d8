"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The recorded numbers and pictures beside the repository on the project's own machines."""
    folder = ROOT.parent / "shared"
    if not (folder / "fixtures" / "FIXTURES.md").is_file():
        pytest.skip(f"needs the recorded fixtures, which are not part of the repository: {folder} is absent")
    return folder


SLOW = [line for line in (ROOT / "tests" / "slow.txt").read_text().splitlines() if not line.startswith("#")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/slow.txt."""
    for item in items:
        name = item.nodeid.partition("[")[0]
        if any(name == slow or name.startswith((f"{slow}/", f"{slow}::")) for slow in SLOW):
            item.add_marker(pytest.mark.slow)
