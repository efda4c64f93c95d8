"""Labels that try every part of a format: several targets and classes, absences, losses, gaps, odd texts."""

from __future__ import annotations

import pytest

from singletrack.labeling.labels import LabeledBox, LabeledTarget, LabelSet, VideoInfo

VIDEO = VideoInfo(name="clip one.mp4", width=640, height=360, frame_count=12, fps=25.0)


def make_labels() -> LabelSet:
    car = {
        0: LabeledBox(box=(10.25, 20.5, 40.0, 30.75), keyframe=True),
        1: LabeledBox(box=(12.13, 21.0, 40.5, 30.0), score=0.875, source="tracker"),
        2: LabeledBox(box=(14.0, 22.0, 41.0, 31.0), score=0.5, source="tracker"),
        3: LabeledBox(box=(14.0, 22.0, 41.0, 31.0), score=0.125, lost=True, source="tracker"),
        4: LabeledBox(box=None, keyframe=True),
        5: LabeledBox(box=None, source="interpolation"),
        6: LabeledBox(box=(100.0, 50.0, 60.0, 40.0), keyframe=True),
        7: LabeledBox(box=(104.0, 52.0, 62.0, 42.0), score=0.75, source="tracker"),
        # frames 8 to 11 are not labeled
    }
    dog = {frame: LabeledBox(box=(300.0 + 7 * frame, 200.0, 50.0, 40.0), source="tracker") for frame in range(3, 12)}
    far = {11: LabeledBox(box=(0.0, 0.0, 640.0, 360.0), source="import")}
    return LabelSet(
        video=VIDEO,
        targets=(
            LabeledTarget(
                id=1, name="=white car", label="car", color="#112233", attributes={"parked": "no"}, boxes=car
            ),
            LabeledTarget(id=2, name="Rex & <b>co</b>", label="dog", boxes=dog),
            LabeledTarget(id=7, name="'far' \"away\", ja", label="car", boxes=far),
        ),
    )


@pytest.fixture
def labels() -> LabelSet:
    return make_labels()
