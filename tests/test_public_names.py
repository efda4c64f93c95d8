from __future__ import annotations

from importlib.metadata import version

import pytest

import singletrack


@pytest.mark.parametrize("name", singletrack.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(singletrack, name).__name__ == name
    assert name in dir(singletrack)


def test_public_names() -> None:
    tools = [name for name in singletrack.__all__ if not name.endswith("Error")]
    assert tools == [
        "MultiTracker",
        "Result",
        "Tracker",
        "follow_live",
        "label_project",
        "load",
        "open_video",
        "restore",
        "track",
    ]


def test_version() -> None:
    assert singletrack.__version__ == version("singletrack")


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'follow_all'"):
        singletrack.follow_all  # noqa: B018


def test_dir_shows_public_names_alone() -> None:
    assert [name for name in dir(singletrack) if not name.startswith("__")] == sorted(singletrack.__all__)
    assert "__version__" in dir(singletrack)
