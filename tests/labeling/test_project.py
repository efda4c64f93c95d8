from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import singletrack
from singletrack.errors import InputError, ProjectError
from singletrack.labeling import LabeledBox, LabeledTarget, LabelSet, Project, Segment, VideoInfo
from singletrack.labeling.labels import PALETTE
from singletrack.labeling.project import default_path, imported_keyframes, segments_between
from singletrack.video import VideoWriter

A, B, C = (2.0, 10.0, 12.0, 10.0), (22.0, 10.0, 12.0, 10.0), (30.25, 12.5, 10.0, 8.0)


@pytest.fixture
def project(clip: Path, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "clip.singletrack", clip) as project:
        yield project


def tracked(box: tuple[float, float, float, float], score: float = 0.5) -> LabeledBox:
    return LabeledBox(box=box, score=score, source="tracker")


def test_new_project_describes_its_source(project: Project, clip: Path) -> None:
    names = tuple(f"{number:03d}.png" for number in range(20))
    assert project.video == VideoInfo(name="clip", width=64, height=48, frame_count=20, frame_names=names)
    assert project.source == clip
    assert project.targets() == ()
    assert project.labels() == LabelSet(video=project.video)
    assert project.cuts() == ()


def test_targets(project: Project) -> None:
    assert project.add_target("white car", "car") == 1
    assert project.add_target("dog", attributes={"tail": "up"}) == 2
    project.change_target(1, name="car 7", color="#010203")
    first, second = project.targets()
    assert first == LabeledTarget(id=1, name="car 7", label="car", color="#010203")
    assert second == LabeledTarget(id=2, name="dog", label="object", color="#56b4e9", attributes={"tail": "up"})
    project.set_keyframe(2, 3, A)
    project.remove_target(2)
    assert [target.id for target in project.targets()] == [1]
    with pytest.raises(InputError, match="there is no target 2; ids are: 1"):
        project.keyframes(2)
    assert project.add_target("cat") == 3  # 2 is not used again


def test_keyframes_between_which_boxes_are_interpolated(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, A)
    project.set_keyframe(id, 10, B)
    assert project.keyframes(id) == {0: LabeledBox(box=A, keyframe=True), 10: LabeledBox(box=B, keyframe=True)}
    boxes = project.boxes(id)
    assert list(boxes) == list(range(11))
    assert boxes[3] == LabeledBox(box=(8.0, 10.0, 12.0, 10.0), score=0.0, source="interpolation")
    assert list(project.boxes(id, 9, 15)) == [9, 10]
    project.set_keyframe(id, 10, C)
    assert project.keyframes(id)[10].box == C
    project.remove_keyframe(id, 10)
    assert list(project.boxes(id)) == [0]
    with pytest.raises(InputError, match="car has no keyframe 10; its keyframes are: 0"):
        project.remove_keyframe(id, 10)


@pytest.mark.parametrize(
    ("frame", "box", "message"),
    [
        (20, A, "frame must be from 0 to 19; got 20"),
        (-1, A, "got -1"),
        (0, (70.0, 0.0, 5.0, 5.0), "must overlap"),
        (0, (1.0, 1.0, 0.0, 5.0), "must be positive"),
        (0, (1.0, float("nan"), 2.0, 5.0), "finite"),
    ],
)
def test_bad_keyframes_are_refused(
    project: Project, frame: int, box: tuple[float, float, float, float], message: str
) -> None:
    id = project.add_target("car")
    with pytest.raises(InputError, match=message):
        project.set_keyframe(id, frame, box)
    assert project.keyframes(id) == {}


def test_absent_until_the_next_keyframe(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 2, A)
    project.set_keyframe(id, 5, None)
    project.set_keyframe(id, 9, B)
    boxes = project.boxes(id)
    assert [frame for frame, each in boxes.items() if each.box is None] == [5, 6, 7, 8]
    assert boxes[5].keyframe
    assert not boxes[6].keyframe
    assert [(segment.left, segment.first, segment.last, segment.right) for segment in project.segments(id)] == [
        (None, 0, 1, 2),
        (2, 3, 4, None),
        (9, 10, 19, None),
    ]


def test_segments_of_keyframes() -> None:
    assert segments_between(1, {}, 9) == []
    assert segments_between(1, {3: None}, 9) == []
    assert segments_between(1, {0: A, 1: B}, 3) == [
        Segment(target=1, first=2, last=2, left=1, right=None, left_box=B, right_box=None)
    ]
    assert segments_between(1, {0: A, 4: B, 8: A}, 9) == [
        Segment(target=1, first=1, last=3, left=0, right=4, left_box=A, right_box=B),
        Segment(target=1, first=5, last=7, left=4, right=8, left_box=B, right_box=A),
    ]


def test_only_changed_segments_are_stale(project: Project) -> None:
    id = project.add_target("car")
    for frame, box in ((0, A), (10, B), (19, C)):
        project.set_keyframe(id, frame, box)
    first, second = project.stale_segments(id)
    project.store_track(first, {frame: tracked(A) for frame in range(1, 10)})
    project.store_track(second, {11: tracked(B)}, complete=False)
    assert project.stale_segments(id) == [second]
    boxes = project.boxes(id)
    assert boxes[9] == tracked(A)
    assert boxes[11] == tracked(B)
    assert boxes[12].source == "interpolation"
    project.set_keyframe(id, 15, B)
    assert [segment.first for segment in project.stale_segments(id)] == [11, 16]
    project.undo()
    assert project.boxes(id) == boxes  # what belongs to these keyframes is shown again
    with pytest.raises(InputError, match="frames 1 to 9; got a box in frame 10"):
        project.store_track(first, {10: tracked(A)})


def test_what_was_tracked_before_a_change_is_known_until_it_is_tracked_anew(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, A)
    (segment,) = project.stale_segments(id)
    project.store_track(segment, {frame: tracked(A) for frame in range(1, 18)})
    assert project.outdated_boxes(id) == {}
    project.set_keyframe(id, 10, B)
    assert list(project.boxes(id)) == list(range(11))  # those after the new keyframe are no labels any more
    assert project.boxes(id)[5].source == "interpolation"
    assert project.labels().targets[0].boxes == project.boxes(id)
    assert project.outdated_boxes(id) == {frame: tracked(A) for frame in range(1, 18) if frame != 10}
    assert list(project.outdated_boxes(id, 12, 13)) == [12, 13]
    first, second = project.stale_segments(id)
    project.store_track(first, {frame: tracked(B) for frame in range(1, 10)})
    assert list(project.outdated_boxes(id)) == list(range(11, 18))
    project.store_track(second, {11: tracked(B), 12: tracked(B)}, complete=False)  # stopped after two frames
    assert list(project.outdated_boxes(id)) == list(range(13, 18))
    project.set_keyframe(id, 10, C)
    assert project.outdated_boxes(id)[11] == tracked(B)  # the newest of those that were
    assert project.outdated_boxes(id)[13] == tracked(A)
    for stale in project.stale_segments(id):
        project.store_track(stale, {})
    assert project.outdated_boxes(id) == {}


def test_a_complete_segment_has_no_box_where_none_was_stored(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, A)
    project.set_keyframe(id, 4, B)
    (segment, _) = project.stale_segments(id)
    project.store_track(segment, {1: tracked(A)})
    assert list(project.boxes(id)) == [0, 1, 4]


def test_undo_and_redo(project: Project) -> None:
    assert not project.can_undo
    assert project.undo() is None
    id = project.add_target("car")
    project.set_keyframe(id, 3, A)
    project.set_keyframe(id, 3, B)
    project.set_keyframe(id, 3, B)  # changes nothing: no edit
    project.set_keyframe(id, 7, None)
    project.set_cuts([5, 9])
    project.remove_target(id)
    states = [project.labels()]
    words = []
    while (done := project.undo()) is not None:
        words.append(done)
        states.append(project.labels())
    assert words == [
        "remove target car",
        "set scene cuts",
        "mark car absent from frame 7",
        "set keyframe 3 of car",
        "set keyframe 3 of car",
        "add target car",
    ]
    assert project.cuts() == ()
    assert states[4].targets[0].boxes[3].box == A
    assert project.can_redo
    for state in reversed(states[:-1]):
        assert project.redo() is not None
        assert project.labels() == state
    assert project.cuts() == (5, 9)
    assert project.redo() is None


def test_a_new_edit_ends_what_could_be_redone(project: Project) -> None:
    project.add_target("car")
    project.undo()
    project.add_target("dog")
    assert not project.can_redo
    assert [(target.id, target.name) for target in project.targets()] == [(2, "dog")]


def test_history_outlives_the_process(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 3, A)
    project.set_keyframe(id, 3, B)
    project.undo()
    project.close()
    with Project.open(project.path) as again:
        assert again.keyframes(id)[3].box == A
        assert again.redo() == "set keyframe 3 of car"
        assert again.keyframes(id)[3].box == B
        assert again.undo()
        assert again.undo()
        assert again.undo() == "add target car"
        assert again.undo() is None


def test_label_project_makes_and_opens(clip: Path, tmp_path: Path) -> None:
    with singletrack.label_project(clip) as project:
        project.add_target("car")
        assert project.path == tmp_path / "clip.singletrack"
    with singletrack.label_project(clip) as project:
        assert [target.name for target in project.targets()] == ["car"]
    assert default_path(tmp_path / "a.b.mp4") == tmp_path / "a.b.singletrack"
    with singletrack.label_project(clip, tmp_path / "other.singletrack") as project:
        assert project.targets() == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "clip.singletrack", "other.singletrack"]


def test_a_second_writer_is_refused_and_a_reader_is_not(project: Project) -> None:
    id = project.add_target("car")
    with pytest.raises(ProjectError, match="open in another program"):
        Project.open(project.path)
    other = subprocess.run(
        [sys.executable, "-c", f"import singletrack.labeling as l; l.Project.open({str(project.path)!r})"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "one at a time may change it" in other.stderr
    with Project.open(project.path, read_only=True) as reader:
        project.set_keyframe(id, 1, A)
        assert list(reader.keyframes(id)) == [1]
        with pytest.raises(ProjectError, match="for reading only"):
            reader.set_keyframe(id, 2, A)
    project.close()
    project.close()
    Project.open(project.path).close()


def test_a_closed_project_says_so(project: Project) -> None:
    project.close()
    with pytest.raises(ProjectError, match="was closed"):
        project.targets()


def test_a_moved_source_is_found_and_another_one_refused(project: Project, clip: Path, tmp_path: Path) -> None:
    project.add_target("car")
    project.close()
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    clip.rename(moved)
    with pytest.raises(ProjectError, match=r"give its new path: `singletrack label CLIP --project clip\.singletrack`"):
        Project.open(project.path)
    with Project.open(project.path, source=moved) as again:
        assert again.source == moved
    with Project.open(project.path) as again:  # it remembers
        assert again.source == moved
    other = tmp_path / "other"
    shutil.copytree(moved, other)
    shutil.copy(other / "000.png", other / "001.png")
    with pytest.raises(ProjectError, match="is not the video"):
        Project.open(project.path, source=other)


def test_another_source_of_the_same_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, 30.0) as video:
        for number in range(3):
            video.write(np.full((64, 64, 3), 40 * number, np.uint8))
    Project.create(tmp_path / "film.singletrack", path).close()
    data = bytearray(path.read_bytes())
    data[100] ^= 255
    path.write_bytes(data)
    with pytest.raises(ProjectError, match="its content differs"):
        Project.open(tmp_path / "film.singletrack")


def test_project_and_source_moved_together(project: Project, clip: Path, tmp_path: Path) -> None:
    project.close()
    new = tmp_path / "new"
    new.mkdir()
    clip.rename(new / "clip")
    project.path.rename(new / "clip.singletrack")
    with Project.open(new / "clip.singletrack") as again:
        assert again.source == new / "clip"


def test_files_that_are_no_projects(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.singletrack"
    with pytest.raises(ProjectError, match="there is no project file"):
        Project.open(path)
    path.write_bytes(b"")
    with pytest.raises(ProjectError, match="is not a label project"):
        Project.open(path)
    with pytest.raises(InputError, match="exists already"):
        Project.create(path, clip)
    path.unlink()
    sqlite3.connect(path).executescript("CREATE TABLE a (b)").connection.close()
    with pytest.raises(ProjectError, match="is not a label project"):
        Project.open(path)
    path.unlink()
    Project.create(path, clip).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ProjectError, match="newer singletrack"):
        Project.open(path)
    content = path.read_bytes()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 1")
    database.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\x07" * (len(content) - 4096))
    with pytest.raises(ProjectError, match="cannot read or write"):
        Project.open(path)


# --- imports ---


def test_import_keeps_every_box(project: Project) -> None:
    boxes: dict[int, LabeledBox] = {}
    for frame in range(3, 9):
        boxes[frame] = LabeledBox(box=(frame * 2.0, 5.0, 8.0 + (frame == 6), 6.0), score=0.25, source="import")
    boxes[9] = boxes[10] = LabeledBox(box=None)
    boxes[14] = LabeledBox(box=B)
    target = LabeledTarget(id=7, name="car", label="car", boxes=boxes)
    assert imported_keyframes(boxes) == {
        3: (6.0, 5.0, 8.0, 6.0),
        5: (10.0, 5.0, 8.0, 6.0),
        6: (12.0, 5.0, 9.0, 6.0),
        7: (14.0, 5.0, 8.0, 6.0),
        8: (16.0, 5.0, 8.0, 6.0),
        9: None,
        14: B,
    }
    (id,) = project.import_labels(LabelSet(video=project.video, targets=(target,)))
    assert id == 1
    assert project.stale_segments(id) == []
    imported = project.boxes(id)
    assert {frame: each.box for frame, each in imported.items() if frame not in (11, 12, 13)} == {
        frame: each.box for frame, each in boxes.items()
    }
    assert imported[4] == LabeledBox(box=(8.0, 5.0, 8.0, 6.0), score=0.25, source="import")
    assert project.undo() == "import 1 target"
    assert project.targets() == ()


def test_import_of_keyframes_and_of_a_single_box(project: Project) -> None:
    keyed = LabeledTarget(
        id=1,
        name="a",
        label="a",
        boxes={
            0: LabeledBox(box=A, keyframe=True),
            1: LabeledBox(box=B, source="interpolation"),
            2: LabeledBox(box=C, keyframe=True),
        },
    )
    single = LabeledTarget(id=2, name="b", label="b", boxes={4: LabeledBox(box=A)})
    project.import_labels(LabelSet(video=project.video, targets=(keyed, single)))
    assert list(project.keyframes(1)) == [0, 2]
    assert project.boxes(1)[1].box == B
    assert project.stale_segments(1) == []
    assert [(segment.first, segment.last) for segment in project.stale_segments(2)] == [(0, 3), (5, 19)]
    (again,) = project.import_labels(LabelSet(video=project.video, targets=(keyed,)), keep_boxes=False)
    assert [(segment.first, segment.last) for segment in project.stale_segments(again)] == [(1, 1), (3, 19)]


def test_import_of_another_video_is_refused(project: Project) -> None:
    other = VideoInfo(name="other", width=64, height=48, frame_count=21)
    with pytest.raises(InputError, match="21 frames; clip has 64 x 48 and 20"):
        project.import_labels(LabelSet(video=other))


# --- suggestions ---


def test_suggestions_are_the_frame_of_each_gap_that_helps_most(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, A)
    project.set_keyframe(id, 10, B)
    between, after = project.stale_segments(id)
    doubts = {1: (0.9, "low score"), 4: (0.4, "size jumps"), 5: (0.4, "lost"), 8: (0.5, "lost")}
    project.store_track(between, {frame: tracked(A) for frame in range(1, 10)}, doubts=doubts)
    project.store_track(after, {15: tracked(B)}, doubts={15: (0.6, "lost")})
    found = project.suggestions()
    assert [(each.frame, each.doubt, each.reason) for each in found] == [(4, 0.4, "size jumps"), (15, 0.6, "lost")]
    near = 0.9 * np.exp(-0.3) + 0.4 + 0.4 * np.exp(-0.1) + 0.5 * np.exp(-0.4)
    assert [each.helps for each in found] == pytest.approx([near, 0.6])
    assert project.suggestions(1) == found[:1]
    project.set_keyframe(id, 15, B)
    assert [each.frame for each in project.suggestions()] == [4]
    assert [each.frame for each in project.suggestions(least=0.95)] == []


def test_a_cut_that_ended_a_track_is_suggested(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, A)
    (segment,) = project.stale_segments(id)
    project.add_found_cuts([5, 12])
    project.store_track(segment, {frame: tracked(A) for frame in range(1, 12)}, complete=False)
    assert project.suggestions() == []
    project.store_track(segment, {frame: tracked(A) for frame in range(1, 12)})
    assert [(each.frame, each.reason) for each in project.suggestions()] == [(12, "scene cut")]
    project.set_keyframe(id, 12, None)
    assert project.suggestions() == []


def test_imported_targets_get_colors_that_no_other_has(project: Project) -> None:
    project.add_target("a")
    project.add_target("b", color=PALETTE[3].upper())
    targets = tuple(
        LabeledTarget(id=id, name="x", label="car", color=color, boxes={0: LabeledBox(box=A)})
        for id, color in enumerate([PALETTE[0], PALETTE[0], PALETTE[3], "#123456", PALETTE[2]], start=1)
    )
    project.import_labels(LabelSet(video=project.video, targets=targets))
    project.add_target("c")
    colors = [target.color.lower() for target in project.targets()]
    assert len(set(colors)) == len(colors) == 8
    assert colors[5] == "#123456"
    project.add_target("d")  # none is left
    assert project.targets()[-1].color in PALETTE
