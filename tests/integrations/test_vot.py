"""What we say to the VOT toolkit, without the toolkit."""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack import loading
from singletrack.errors import InputError, MissingDependencyError
from singletrack.integrations.vot import VOTTracker, add_entry, make_entry, serve
from singletrack.tracking.base import Result

BOX = (10.0, 12.0, 20.0, 24.0)


class Drift:
    """A tracker whose box moves a pixel to the right each frame; all copies note what they are asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def init(self, frame: NDArray[np.uint8], box: Any) -> None:
        assert (frame.dtype, frame.ndim) == (np.uint8, 3)
        self.box = box
        self.calls.append("init")

    def update(self, frame: NDArray[np.uint8]) -> Result:
        x, y, width, height = self.box
        self.box = x + 1, y, width, height
        self.calls.append("update")
        return Result(box=self.box, score=0.5, lost=False)


@pytest.fixture
def drift(monkeypatch: pytest.MonkeyPatch) -> Drift:
    loaded = Drift()
    monkeypatch.setattr(loading, "load_with", lambda name, options: loaded)
    return loaded


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "00000001.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), (255, 128, 0), np.uint8))
    return str(path)


def test_the_model_has_seen_a_frame_before_the_toolkit_may_call(drift: Drift) -> None:
    VOTTracker()
    assert drift.calls == ["init", "update"]


def test_targets_come_at_any_frame_and_are_answered_in_their_order(drift: Drift, picture: str) -> None:
    tracker = VOTTracker()
    assert tracker.multiobject
    other = (30.0, 5.0, 8.0, 8.0)
    assert tracker.init(picture, [(BOX, {})]) == [(BOX, {"confidence": 1.0})]
    assert tracker.update(picture) == [((11.0, 12.0, 20.0, 24.0), {"confidence": 0.5})]
    assert tracker.update(picture, [(other, {})]) == [
        ((12.0, 12.0, 20.0, 24.0), {"confidence": 0.5}),
        (other, {"confidence": 1.0}),
    ]
    assert [box[0] for box, _ in tracker.update(picture)] == [13.0, 31.0]
    assert tracker.init(picture, [(other, {})]) == [(other, {"confidence": 1.0})]


def test_a_picture_is_read_as_rgb_and_of_several_channels_the_color_is_used(
    drift: Drift, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = VOTTracker()
    seen: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(Drift, "init", lambda self, frame, box: seen.append(frame))
    tracker.init(picture, [(BOX, {})])
    assert seen[0][0, 0].tolist() == [0, 128, 255]
    color, depth = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    tracker.init({"depth": depth, "color": color}, [(BOX, {})])
    assert seen[1] is color


def test_a_mask_comes_as_its_corner_pixels(drift: Drift, picture: str) -> None:
    corners = [(23, 34), (28, 34), (28, 42), (23, 42)]
    assert VOTTracker().init(picture, [(corners, {})])[0][0] == (23.0, 34.0, 6.0, 9.0)
    assert VOTTracker().init(picture, [([(5, 5)] * 4, {})])[0][0] == (5.0, 5.0, 1.0, 1.0)


@pytest.mark.parametrize("region", [(3.0, 4.0), [[0, 1], [1, 1]], None, []])
def test_another_region_is_refused_with_what_to_do(drift: Drift, picture: str, region: Any) -> None:
    with pytest.raises(InputError, match="add `convert = rectangle` to"):
        VOTTracker().init(picture, [(region, {})])


def test_serving_without_trax_says_what_to_install(drift: Drift, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = VOTTracker()
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"trax, which is not installed; run: pip install .*\[vot\]"):
        serve(tracker)


@pytest.mark.parametrize("text", ["update_interval=10", "[10]"])
def test_settings_that_are_no_json_are_refused(drift: Drift, text: str) -> None:
    with pytest.raises(InputError, match=r'example: \{"update_interval": 10\}'):
        VOTTracker(settings=text)


# --- trackers.ini ------------------------------------------------------------------------------------------


def parse(text: str, name: str) -> dict[str, str]:
    """As the toolkit reads it."""
    registry = configparser.ConfigParser()
    registry.read_string(text)
    return dict(registry[name])


def test_an_entry_over_trax_starts_this_very_interpreter() -> None:
    entry = parse(make_entry("tiny"), "tiny")
    assert entry["protocol"] == "trax"
    assert entry["label"] == "tiny"
    assert shlex.split(entry["command"]) == [
        *(sys.executable, "-m", "singletrack", "vot", "serve"),
        *("--model", "ostrack-tiny"),
    ]


def test_paths_become_absolute_and_survive_blanks_and_percent_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "my 100%.safetensors"
    entry = parse(make_entry("big", model="ostrack-256", weights=Path(weights.name), engine="onnx"), "big")
    assert shlex.split(entry["command"])[5:] == [
        *("--model", "ostrack-256"),
        *("--weights", str(weights)),
        *("--engine", "onnx"),
    ]
    entry = parse(make_entry("mine", model="mine.onnx", in_process=True), "mine")
    assert entry["arg_model"] == str(tmp_path / "mine.onnx")


def test_an_entry_in_process_names_the_tracker_and_waits_for_it_to_load() -> None:
    entry = parse(make_entry("tiny", device="cpu", in_process=True), "tiny")
    assert entry == {
        "label": "tiny",
        "protocol": "python",
        "command": "singletrack.integrations.vot:VOTTracker",
        "convert": "rectangle",
        "arg_model": "ostrack-tiny",
        "arg_device": "cpu",
        "timeout": "120",
    }


def test_a_name_that_the_toolkit_would_pass_over_is_refused() -> None:
    with pytest.raises(InputError, match=r"got 'tiny\.onnx'; give another with --name"):
        make_entry("tiny.onnx")


def test_entries_are_added_and_what_stands_there_stays(tmp_path: Path) -> None:
    registry = tmp_path / "trackers.ini"
    registry.write_text("# mine\n[other]\ncommand = run me")  # no line end
    add_entry(registry, "a", make_entry("a"))
    add_entry(registry, "b", make_entry("b", in_process=True))
    text = registry.read_text()
    assert text.startswith("# mine\n[other]\ncommand = run me\n")
    assert parse(text, "other") == {"command": "run me"}
    assert parse(text, "a")["protocol"] == "trax"
    assert parse(text, "b")["protocol"] == "python"
    with pytest.raises(InputError, match="already has a tracker 'a'; remove that section, or give another --name"):
        add_entry(registry, "a", make_entry("a"))
    assert registry.read_text() == text


def test_a_file_that_is_no_registry_is_left_alone(tmp_path: Path) -> None:
    registry = tmp_path / "trackers.ini"
    registry.write_text("no section\n")
    with pytest.raises(InputError, match=r"cannot read .*trackers\.ini"):
        add_entry(registry, "a", make_entry("a"))
    assert registry.read_text() == "no section\n"


def test_neither_the_toolkit_nor_trax_is_imported_with_us() -> None:
    check = "import sys, singletrack.cli.vot; sys.exit(', '.join({'vot', 'trax'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True)
