"""Label Studio's ML backend, asked over HTTP by its own server code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.tools import need

from singletrack import loading
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, iou
from singletrack.integrations import label_studio

if TYPE_CHECKING:
    from tests.integrations.conftest import Moving

CONFIG = """<View>
  <Video name="video" value="$clip" framerate="25"/>
  <VideoRectangle name="box" toName="video"/>
  <Labels name="label" toName="video"><Label value="square"/></Labels>
</View>"""
pytestmark = pytest.mark.filterwarnings("ignore")


def region(id: str, boxes: dict[int, Box], **changes: object) -> dict[str, Any]:
    """A rectangle as a person draws it, in frames of 320 x 240 that count from 0."""
    sequence = [
        {
            "frame": frame + 1,
            "enabled": True,
            "rotation": 0,
            "x": x / 3.2,
            "y": y / 2.4,
            "width": width / 3.2,
            "height": height / 2.4,
            "time": (frame + 1) / 25,
        }
        for frame, (x, y, width, height) in boxes.items()
    ]
    value = {"framesCount": 16, "duration": 0.64, "sequence": sequence, "labels": ["square"]}
    return {"id": id, "type": "videorectangle", "from_name": "box", "to_name": "video", "value": value, **changes}


def expand(result: dict[str, Any]) -> dict[int, Box]:
    """All frames of a region, by Label Studio's own function."""
    video = need("label_studio_sdk._extensions.label_studio_tools.postprocessing.video")
    (whole,) = video.extract_key_frames([result])
    return {
        item["frame"] - 1: (item["x"] * 3.2, item["y"] * 2.4, item["width"] * 3.2, item["height"] * 2.4)
        for item in whole["value"]["sequence"]
    }


def test_rectangles_are_tracked_to_the_end(moving: Moving, tracker: Any, tmp_path: Path) -> None:
    clip = moving.write(tmp_path / "clip.mp4")
    drawn = [region("first", {0: moving.boxes[0][0]}), region("second", {4: moving.boxes[4][1]})]
    found, score = label_studio.track_regions(clip, [*drawn, {"id": "x", "type": "choices"}], tracker)
    assert [each["id"] for each in found] == ["first", "second"]
    assert [each["value"]["labels"] for each in found] == [["square"], ["square"]]
    assert 0.3 < score <= 1
    for number, each in enumerate(found):
        boxes = expand(each)
        assert sorted(boxes) == list(range(4 * number, 16))
        assert len(each["value"]["sequence"]) < 10
        for frame, box in boxes.items():
            assert iou(box, moving.boxes[frame][number]) > 0.6


def test_keyframes_stay_and_an_end_is_an_end(moving: Moving, tracker: Any, tmp_path: Path) -> None:
    clip = moving.write(tmp_path / "clip.mp4")
    drawn = region("a", {frame: moving.boxes[frame][0] for frame in (2, 10)})
    drawn["value"]["sequence"][1]["enabled"] = False
    (found,), _ = label_studio.track_regions(clip, [drawn], tracker, tolerance=0.5)
    boxes = expand(found)
    assert sorted(boxes) == list(range(2, 11))
    for frame in (2, 10):
        np.testing.assert_allclose(boxes[frame], moving.boxes[frame][0], atol=1.01)  # sides by 0.5
    assert found["value"]["sequence"][-1]["enabled"] is False


def test_bad_regions_are_refused(moving: Moving, tracker: Any, tmp_path: Path) -> None:
    clip = moving.write(tmp_path / "clip.mp4")
    with pytest.raises(
        InputError, match=r"region 1, frame 17: expected labels of .*, frames 0 to 15; got a box in frame 16"
    ):
        label_studio.track_regions(clip, [region("a", {16: (0, 0, 5, 5)})], tracker)
    with pytest.raises(InputError, match="region 1: expected a keyframe"):
        label_studio.track_regions(clip, [region("a", {})], tracker)
    assert label_studio.track_regions(clip, [], tracker) == ([], 0.0)


@pytest.fixture
def client(
    moving: Moving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: Any
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The backend's server, and a task whose clip is in Label Studio's local storage."""
    monkeypatch.setenv("LABEL_STUDIO_BASE_DATA_DIR", str(tmp_path / "data"))
    server = need("label_studio_ml.api")
    tools = need("label_studio_tools.core.utils.io")
    moving.write(tmp_path / "clip.mp4")
    monkeypatch.setattr(tools, "LOCAL_FILES_DOCUMENT_ROOT", str(tmp_path))
    monkeypatch.setattr(loading, "load", lambda *_, **__: tracker)
    app = server.init_app(model_class=label_studio.make_backend(), model_dir=str(tmp_path / "models"))
    task = {"id": 5, "data": {"clip": "/data/local-files/?d=clip.mp4"}, "annotations": []}
    yield app.test_client(), task
    need("label_studio_ml.model").LabelStudioMLManager._current_model = {}


def test_label_studio_asks_and_gets_regions(client: tuple[Any, dict[str, Any]], moving: Moving) -> None:
    http, task = client
    assert http.get("/health").get_json()["status"] == "UP"
    answer = http.post("/setup", json={"project": "1.1", "schema": CONFIG, "hostname": "", "access_token": ""})
    assert answer.status_code == 200, answer.data
    drawn = region("drawn", {0: moving.boxes[0][0]})
    asked = {"tasks": [task], "project": "1.1", "label_config": CONFIG, "params": {"context": {"result": [drawn]}}}
    answer = http.post("/predict", json=asked)
    assert answer.status_code == 200, answer.data
    (prediction,) = answer.get_json()["results"]
    assert prediction["model_version"] == "singletrack ostrack-tiny"
    (found,) = prediction["result"]
    assert found["id"] == "drawn"
    assert sorted(expand(found)) == list(range(16))
    interface = need("label_studio_sdk.label_interface").LabelInterface(CONFIG)
    assert interface.validate_prediction({"result": prediction["result"], "score": prediction["score"]})
    json.dumps(prediction, allow_nan=False)


def test_drawn_before_or_not_at_all(client: tuple[Any, dict[str, Any]], moving: Moving) -> None:
    http, task = client
    http.post("/setup", json={"project": "1.1", "schema": CONFIG, "hostname": "", "access_token": ""})
    annotated = {**task, "annotations": [{"result": [region("old", {0: moving.boxes[0][1]})]}]}
    asked = {"tasks": [task, annotated], "project": "1.1", "label_config": CONFIG}
    empty, tracked = http.post("/predict", json=asked).get_json()["results"]
    assert empty["result"] == []
    assert [each["id"] for each in tracked["result"]] == ["old"]
