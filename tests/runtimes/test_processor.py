"""The processor's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from singletrack.runtimes.processor import processor_name


def test_the_processor_has_a_name() -> None:
    assert processor_name()


def test_name_family_and_model_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "processor : 0\ncpu family : 25\nmodel : 1\nmodel name : AMD EPYC\n\nprocessor : 1\nmodel : 1\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: told)
    assert processor_name() == "AMD EPYC family 25 model 1"


def test_without_that_file_python_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert processor_name() == "arm64"
