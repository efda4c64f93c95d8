from __future__ import annotations

import pytest

from singletrack.cli.main import main
from singletrack.registry import MODELS


def test_every_model_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["MODEL", "WEIGHTS", "PARAMETERS", "GMACS", "DESCRIPTION", "SCORES"]
    assert [line.split()[0] for line in lines] == list(MODELS)
    for line, entry in zip(lines, MODELS.values(), strict=True):
        assert ("bundled" in line) == entry.bundled
        assert line.index(entry.description) == header.index("DESCRIPTION")
        assert line.endswith(entry.reported_results)
        assert f" {entry.parameters:.1f}  " in line
        assert f" {entry.gmacs:.2f}  " in line


def test_measured_speeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--measure", "--threads", "1"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    end = header.index("UPDATES/S") + len("UPDATES/S")
    for line, entry in zip(lines, MODELS.values(), strict=True):
        rate = line[end - len("UPDATES/S") : end].strip()
        assert (float(rate) > 0) if entry.bundled else rate == ""
