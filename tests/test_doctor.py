from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from singletrack import doctor
from singletrack.cli.main import main
from singletrack.doctor import examine, examine_cache, examine_weights, find_faults, format_facts
from singletrack.engines import ENGINES

ENGINE = {"installed": True, "devices": {"CPU (a processor)": ["FP32"]}}


@pytest.fixture
def one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only OpenVINO is looked at: importing all engines takes long."""
    monkeypatch.setattr(doctor, "ENGINES", {"openvino": ENGINES["openvino"]})
    monkeypatch.setattr(doctor, "installed_engines", lambda: ["openvino"])


@pytest.mark.usefixtures("one_engine")
def test_facts_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    facts = examine(seconds=0.01)
    assert facts["singletrack"] == metadata.version("singletrack")
    assert facts["processor"]["name"]
    assert 1 <= facts["processor"]["cores usable"] <= facts["processor"]["cores allowed"] <= (os.cpu_count() or 1)
    assert facts["packages"]["openvino"]
    assert facts["variables"]["OMP_NUM_THREADS"] == "1"
    (device,) = [name for name in facts["engines"]["openvino"]["devices"] if name.startswith("CPU")]
    assert "FP32" in facts["engines"]["openvino"]["devices"][device]
    speed = facts["speed"]["openvino"]
    assert speed["frames/s"] > 0
    assert speed["overlap"] > doctor.LEAST_OVERLAP
    assert speed["difference"] == 0.0
    assert facts["faults"] == []
    assert json.loads(json.dumps(facts)) == facts
    text = format_facts(facts)
    assert f"singletrack: {facts['singletrack']}" in text.splitlines()
    assert "  OMP_NUM_THREADS: 1" in text.splitlines()


def test_an_engine_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise ImportError("libcuda.so.1: cannot open\nshared object file")

    monkeypatch.setattr(doctor, "installed_engines", lambda: ["onnx"])
    monkeypatch.setitem(doctor._DEVICES, "onnx", broken)
    facts = examine(seconds=0)
    assert facts["engines"]["onnx"]["error"] == "ImportError: libcuda.so.1: cannot open shared object file"
    assert facts["engines"]["torch"] == {"installed": False, "install": ENGINES["torch"][1]}
    assert "speed" not in facts
    assert facts["faults"] == ["engine onnx: ImportError: libcuda.so.1: cannot open shared object file"]
    monkeypatch.setattr("singletrack.loading.load", lambda *_, **__: broken())
    assert "ImportError" in doctor.measure_speed(0.01)["onnx"]["error"]


def test_damaged_weights_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sound = examine_weights()
    assert all(state.startswith("sha256 ") for state in sound.values())
    changed = tmp_path / "ostrack-tiny.onnx"
    changed.write_bytes(b"no graph")

    class Listed:
        hash = type("Hash", (), {"value": "somethingelse"})()

        def __str__(self) -> str:
            return "singletrack/weights/ostrack-tiny.onnx"

    monkeypatch.setattr("singletrack.loading.bundled_file", lambda *_: changed)
    monkeypatch.setattr(metadata, "files", lambda _: [Listed()])
    state = examine_weights()["ostrack-tiny.onnx"]
    assert state.startswith("damaged: sha256 ")
    assert state.endswith("differs from the package; install singletrack again")
    facts = {"engines": {"torch": ENGINE}, "weights": {"ostrack-tiny.onnx": state}}
    assert list(find_faults(facts)) == [f"ostrack-tiny.onnx: {state}"]


def test_faults() -> None:
    facts: dict[str, Any] = {"engines": {"a": {"installed": False}}, "weights": {}, "speed": {"a": {"overlap": 0.1}}}
    assert list(find_faults(facts)) == [
        "no engine is installed",
        "engine a: tracks the generated clip with an overlap of only 0.1",
    ]


def test_cache_that_is_not_there(tmp_path: Path) -> None:
    assert examine_cache(tmp_path / "no" / "where") == {
        "folder": str(tmp_path / "no" / "where"),
        "files": 0,
        "megabytes": 0,
        "writable": True,
    }
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(("faults", "code"), [([], 0), (["engine onnx: broken"], 1)])
def test_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], faults: list[str], code: int
) -> None:
    from singletrack.cli import doctor as verb

    monkeypatch.setattr(verb, "examine", lambda seconds: {"singletrack": "1", "seconds": seconds, "faults": faults})
    try:
        ended = main(["doctor", "--json", "--seconds", "2"])
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended == code
    assert json.loads(capsys.readouterr().out) == {"singletrack": "1", "seconds": 2.0, "faults": faults}
