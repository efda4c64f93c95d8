from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singletrack.datasets.registry import open_dataset
from singletrack.errors import InputError, ProjectError
from singletrack.labeling import LabeledBox, Project
from singletrack.labeling.lessons import write_lessons
from singletrack.video.images import read_picture

A, B = (2.0, 10.0, 12.0, 10.0), (22.0, 10.0, 12.0, 10.0)


def make_project(path: Path, clip: Path) -> Path:
    with Project.create(path, clip) as project:
        car, dog = project.add_target("car"), project.add_target("dog")
        project.add_target("never drawn")
        project.set_keyframe(car, 2, A)
        _, after = project.stale_segments(car)
        tracked = {frame: LabeledBox(box=B, score=0.5, lost=frame in (5, 6), source="tracker") for frame in range(3, 9)}
        project.store_track(after, tracked)
        project.set_keyframe(dog, 0, A)
        project.set_keyframe(dog, 10, B)  # not tracked between them
    return path


def test_sequences_of_what_was_drawn_and_tracked(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lessons"
    names = write_lessons([make_project(tmp_path / "a.singletrack", clip)], folder)
    assert names == ["clip_1_car", "clip_2_dog"]
    car, dog = open_dataset("folder", folder)
    assert len(car) == 7  # frames 2 to 8
    np.testing.assert_array_equal(car.frames[1], read_picture(clip / "003.png"))
    assert car.visible is not None
    assert car.visible.tolist() == [True, True, True, False, False, True, True]  # lost in 5 and 6
    np.testing.assert_allclose(car.boxes_xywh[[0, 1]], [A, B])
    assert dog.visible is not None
    assert np.flatnonzero(dog.visible).tolist() == [0, 10]
    assert [each.name for each in folder.iterdir() if each.name.startswith(".")] == []


def test_projects_of_clips_of_one_name(clip: Path, tmp_path: Path) -> None:
    paths = [make_project(tmp_path / name, clip) for name in ("a.singletrack", "b.singletrack")]
    names = write_lessons(paths, tmp_path / "lessons")
    assert names == ["clip_1_car", "clip_2_dog", "clip_1_car_2", "clip_2_dog_2"]
    assert len(open_dataset("folder", tmp_path / "lessons")) == 4


def test_projects_without_a_box_and_files_that_are_none(clip: Path, tmp_path: Path) -> None:
    Project.create(tmp_path / "empty.singletrack", clip).close()
    with pytest.raises(InputError, match=r"expected boxes in .*empty\.singletrack; got none"):
        write_lessons([tmp_path / "empty.singletrack"], tmp_path / "lessons")
    assert list((tmp_path / "lessons").iterdir()) == []
    with pytest.raises(ProjectError, match="there is no project file"):
        write_lessons([tmp_path / "missing.singletrack"], tmp_path / "lessons")
