from __future__ import annotations

import pytest

from singletrack.cli.main import main
from singletrack.registry import MODELS


def test_every_model_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["MODEL", "WEIGHTS", "DESCRIPTION", "SCORES"]
    assert [line.split()[0] for line in lines] == list(MODELS)
    for line, entry in zip(lines, MODELS.values(), strict=True):
        assert ("bundled" in line) == entry.bundled
        assert line.index(entry.description) == header.index("DESCRIPTION")
        assert line.endswith(entry.reported_results)
