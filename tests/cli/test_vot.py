from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from singletrack.cli.main import main
from singletrack.install import install_command
from singletrack.integrations import vot
from singletrack.loading import LoadOptions


@pytest.fixture
def trax(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed."""
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: object())


def test_register_loads_the_model_and_adds_it(
    trax: None, loads: list[tuple[str, LoadOptions]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vot", "register", "--workspace", str(tmp_path), "--device", "cpu"]) == 0
    assert loads == [("ostrack-tiny", LoadOptions(device="cpu", settings={}))]
    written = (tmp_path / "trackers.ini").read_text()
    assert "[ostrack-tiny]" in written
    assert "protocol = trax" in written
    assert "--device cpu" in written
    assert capsys.readouterr().out.strip() == written.strip()


def test_register_twice_needs_another_name(
    trax: None, loads: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vot", "register", "--workspace", str(tmp_path)]) == 0
    assert main(["vot", "register", "--workspace", str(tmp_path)]) == 2
    assert "give another --name" in capsys.readouterr().err
    assert main(["vot", "register", "--workspace", str(tmp_path), "--name", "second", "--in-process"]) == 0
    assert "[second]" in (tmp_path / "trackers.ini").read_text()


def test_a_model_that_does_not_load_is_not_registered(trax: None, tmp_path: Path) -> None:
    assert main(["vot", "register", "--workspace", str(tmp_path), "--model", "ostrack-256"]) == 2
    assert not (tmp_path / "trackers.ini").exists()


def test_without_trax_only_a_process_of_the_toolkits_own_is_offered(
    loads: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: None)
    assert main(["vot", "register", "--workspace", str(tmp_path)]) == 1
    assert install_command("vot") in capsys.readouterr().err
    assert main(["vot", "serve"]) == 1
    assert main(["vot", "register", "--workspace", str(tmp_path), "--in-process"]) == 0


def test_serve_hands_over_a_loaded_model(loads: list[tuple[str, LoadOptions]], monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []
    monkeypatch.setattr("singletrack.cli.vot.serve", served.append)
    assert main(["vot", "serve", "--model", "ostrack-tiny", "--engine", "openvino"]) == 0
    assert loads == [("ostrack-tiny", LoadOptions(engine="openvino", settings={}))]
    assert isinstance(served[0], vot.VOTTracker)


def test_settings_reach_the_tracker_by_either_way(
    trax: None, loads: list[tuple[str, LoadOptions]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "--precision",
        "fp32",
        "--keep-ratio",
        "0.5",
        "--set",
        "update_interval=10",
        "--set",
        "update_above=0.00001",
        "--set",
        "unrounded_crops=true",
    ]
    expected = {"update_interval": 10, "update_above": 0.00001, "unrounded_crops": True}
    register = ["vot", "register", "--workspace", str(tmp_path), "--model", "ostrack-tiny", *words]
    assert main([*register, "--name", "trax"]) == 0
    assert main([*register, "--name", "own", "--in-process"]) == 0
    registry = configparser.ConfigParser()
    registry.read(tmp_path / "trackers.ini")
    monkeypatch.setattr("singletrack.cli.vot.serve", lambda tracker: None)
    _, _, _, *command = shlex.split(registry["trax"]["command"])
    assert main(command) == 0
    own = {key: registry["own"][f"arg_{key}"] for key in ("model", "precision", "keep_ratio", "settings")}
    vot.VOTTracker(**own)  # type: ignore[arg-type]
    assert [options for _, options in loads] == [LoadOptions(precision="fp32", keep_ratio=0.5, settings=expected)] * 4
