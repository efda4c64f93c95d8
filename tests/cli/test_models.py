from __future__ import annotations

import pytest

from singletrack.cli.main import main
from singletrack.zoo import ZOO


def test_every_model_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["MODEL", "WEIGHTS", "WHAT", "SCORES"]
    assert [line.split()[0] for line in lines] == list(ZOO)
    for line, entry in zip(lines, ZOO.values(), strict=True):
        assert ("in the package" in line) == entry.bundled
        assert line.index(entry.description) == header.index("WHAT")
        assert line.endswith(entry.reported_results)
