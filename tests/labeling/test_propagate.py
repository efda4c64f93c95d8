from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.labeling.fakes import BrightTracker, MovingTracker, StatefulBrightTracker

from singletrack.errors import InputError, VideoError
from singletrack.geometry.boxes import Box
from singletrack.labeling import LabeledBox, Project, propagate
from singletrack.labeling.propagate import TrackProgress, track_segments
from singletrack.opencv import cv2
from singletrack.video import FrameReader, random_access

FRAMES, WIDTH, HEIGHT = 20, 64, 48


def true_box(frame: int) -> Box:
    return 2.0 * frame, 10.0, 12.0, 10.0


@pytest.fixture
def project(clip: Path, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "clip.singletrack", clip) as project:
        yield project


def boxes_of(project: Project, target: int) -> dict[int, Box | None]:
    return {frame: each.box for frame, each in project.boxes(target).items()}


def test_one_keyframe_is_followed_both_ways(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 8, true_box(8))
    tracker = BrightTracker()
    assert track_segments(project, tracker=tracker)
    assert boxes_of(project, id) == {frame: true_box(frame) for frame in range(20)}
    assert project.boxes(id)[3] == LabeledBox(box=true_box(3), score=0.75, source="tracker")
    assert len(tracker.frames) == 11 + 8
    assert project.stale_segments(id) == []
    assert track_segments(project, tracker=BrightTracker())


def test_between_two_keyframes_the_drift_of_both_runs_is_taken_out(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    project.set_keyframe(id, 10, true_box(10))
    project.set_keyframe(id, 19, None)
    assert track_segments(project, tracker=BrightTracker(drift=0.5))
    boxes = project.boxes(id)
    middle = boxes[5].box
    assert middle is not None
    assert middle[1:] == pytest.approx((10.0, 12.0, 10.0))
    assert abs(middle[0] - 10.0) < 2.0  # each run alone is 2.5 pixels off
    assert boxes[12].box == (25.0, 10.0, 12.0, 10.0)  # forward only, before an absent stretch
    assert boxes[19].box is None


def test_only_changed_segments_are_tracked_again(project: Project) -> None:
    id = project.add_target("car")
    for frame in (0, 10, 19):
        project.set_keyframe(id, frame, true_box(frame))
    track_segments(project, tracker=BrightTracker())
    tracker = BrightTracker()
    track_segments(project, tracker=tracker)
    assert tracker.frames == []
    project.set_keyframe(id, 15, true_box(15))
    track_segments(project, tracker=tracker)
    assert len(tracker.frames) == 2 * (5 + 4)


def test_targets_share_one_pass_over_the_frames(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = FrameReader.frame
    monkeypatch.setattr(FrameReader, "frame", lambda self, number: read.append(number) or original(self, number))
    for start in (0, 5):
        project.set_keyframe(project.add_target("car"), start, true_box(start))
    tracker = BrightTracker()
    assert track_segments(project, tracker=tracker)
    assert read == [*range(20), *range(6)]
    assert len(tracker.frames) == 19 + 14 + 5
    assert boxes_of(project, 1) == boxes_of(project, 2)
    read.clear()
    project.set_keyframe(2, 6, true_box(6))
    track_segments(project, targets=[1], tracker=tracker)
    assert read == []


def test_backward_reading_keeps_a_chunk_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = FrameReader.frame
    monkeypatch.setattr(FrameReader, "frame", lambda self, number: read.append(number) or original(self, number))
    monkeypatch.setattr(random_access, "CHUNK_BYTES", 8 * 3 * WIDTH * HEIGHT)
    id = project.add_target("car")
    project.set_keyframe(id, 19, true_box(19))
    assert track_segments(project, tracker=BrightTracker())
    assert read == [*range(12, 20), *range(4, 12), *range(4)]
    assert boxes_of(project, id) == {frame: true_box(frame) for frame in range(20)}


def test_boxes_are_reported_as_they_are_made_and_the_progress_ends_at_the_total(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 2, true_box(2))
    project.set_keyframe(id, 6, true_box(6))
    reports: list[tuple[list[int], int, int]] = []

    def report(target: int, boxes: Mapping[int, LabeledBox], progress: TrackProgress) -> None:
        assert target == id
        reports.append((list(boxes), progress.done, progress.total))

    assert track_segments(project, tracker=BrightTracker(), on_boxes=report)
    total = 2 * 4 + 2 + 13
    assert {each[2] for each in reports} == {total}
    assert [each[1] for each in reports] == sorted(each[1] for each in reports)
    assert reports[-1][1] == total
    assert [frame for each in reports for frame in each[0]] == [3, 4, 5, *range(7, 20), 3, 4, 5, 1, 0]


def test_each_frame_is_handed_on_before_its_boxes(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 15, true_box(15))
    seen: list[int] = []

    def look(number: int, frame: NDArray[np.uint8]) -> None:
        assert frame[12, int(true_box(number)[0]) + 2].min() == 200  # the object
        seen.append(number)

    def report(target: int, boxes: Mapping[int, LabeledBox], progress: TrackProgress) -> None:
        assert seen[-1] in boxes

    assert track_segments(project, tracker=BrightTracker(), on_boxes=report, on_frame=look)
    assert seen == [*range(15, 20), *range(15, -1, -1)]


def test_what_was_made_stays_when_it_is_stopped(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    calls = iter(range(100))
    assert not track_segments(project, tracker=BrightTracker(), should_stop=lambda: next(calls) == 8)
    assert list(boxes_of(project, id)) == list(range(8))
    assert [segment.first for segment in project.stale_segments(id)] == [1]
    assert track_segments(project, tracker=BrightTracker())
    assert list(boxes_of(project, id)) == list(range(20))


def stop_after(steps: int) -> Callable[[], bool]:
    calls = iter(range(1000))
    return lambda: next(calls) == steps


KEYFRAMES = pytest.mark.parametrize("keyframes", [(0,), (4, 15), (0, 8, 19)])


@KEYFRAMES
@pytest.mark.parametrize("steps", [4, 13])
def test_stopped_tracking_goes_on_as_if_it_had_never_been_stopped(
    project: Project, tmp_path: Path, keyframes: tuple[int, ...], steps: int
) -> None:
    id = project.add_target("car")
    for frame in keyframes:
        project.set_keyframe(id, frame, true_box(frame))
    expected, all_frames = uninterrupted(project, tmp_path)
    frames: list[int] = []
    while True:
        left, before = project.frames_left(id), boxes_of(project, id)
        tracker = MovingTracker()
        finished = track_segments(project, tracker=tracker, should_stop=stop_after(steps + 1))
        frames += tracker.frames
        assert before.keys() <= boxes_of(project, id).keys()
        if finished:
            break
        assert project.frames_left(id) <= left
        assert len(frames) < 100  # it gets on
    assert project.boxes(id) == expected
    assert len(frames) == all_frames  # none twice
    assert project.frames_left(id) == 0


def uninterrupted(project: Project, folder: Path) -> tuple[dict[int, LabeledBox], int]:
    """The boxes of the first target, and the number of steps, when nothing stops it."""
    with Project.create(folder / "other.singletrack", project.source) as other:
        id = other.add_target("car")
        for frame, each in project.keyframes(1).items():
            other.set_keyframe(id, frame, each.box)
        tracker = MovingTracker()
        assert track_segments(other, tracker=tracker)
        return other.boxes(id), len(tracker.frames)


@KEYFRAMES
def test_killed_tracking_goes_on_where_it_was_kept_last(
    project: Project, clip: Path, keyframes: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = project.add_target("car")
    for frame in keyframes:
        project.set_keyframe(id, frame, true_box(frame))
    expected, _ = uninterrupted(project, tmp_path)
    monkeypatch.setattr(propagate, "STORE_SECONDS", 0.0)
    copies = iter(range(100))

    def copy_file() -> bool:  # what the disk holds when the process is killed here
        (tmp_path / f"{next(copies)}.singletrack").write_bytes(project.path.read_bytes())
        return False

    assert track_segments(project, tracker=MovingTracker(), should_stop=copy_file)
    monkeypatch.undo()
    for number in range(2, next(copies), 7):
        with Project.open(tmp_path / f"{number}.singletrack", source=clip) as found:
            assert track_segments(found, tracker=MovingTracker())
            assert found.boxes(id) == expected


def test_an_earlier_stop_removes_no_boxes(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    for tracker, steps in [(MovingTracker(), 12), (BrightTracker(), 5), (MovingTracker(1.0), 3)]:
        assert not track_segments(project, tracker=tracker, should_stop=stop_after(steps))
        assert list(boxes_of(project, id)) == list(range(12))
    assert track_segments(project, tracker=MovingTracker(1.0))
    assert project.boxes(id)[19].box == pytest.approx((19.0, 11.9, 12.0, 10.0))


def test_it_goes_on_beyond_the_part_that_was_asked_for(project: Project, tmp_path: Path) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 8, true_box(8))
    expected, _ = uninterrupted(project, tmp_path)
    first, second = MovingTracker(), MovingTracker()
    assert track_segments(project, tracker=first, first=5, last=12)
    assert project.frames_left(id) == 12
    assert track_segments(project, tracker=MovingTracker(), first=6, last=10)
    assert track_segments(project, tracker=second)
    assert (len(first.frames), len(second.frames)) == (7, 12)
    assert project.boxes(id) == expected


@pytest.mark.parametrize(("seen_after", "last"), [(range(0), 9), (range(10, 20), 19)])
@pytest.mark.parametrize("steps", [10, 11, 13, 15])
def test_a_stop_at_a_cut(tmp_path: Path, seen_after: range, last: int, steps: int) -> None:
    with Project.create(tmp_path / "clip.singletrack", cut_clip(tmp_path / "cut", seen_after)) as project:
        id = project.add_target("car")
        project.set_keyframe(id, 0, true_box(0))
        tracker = StatefulBrightTracker()
        track_segments(project, tracker=tracker, should_stop=stop_after(steps))
        assert track_segments(project, tracker=tracker)
        assert project.cuts() == (10,)
        assert list(boxes_of(project, id)) == list(range(last + 1))
        assert project.stale_segments(id) == []


def test_a_change_of_keyframes_begins_anew_and_undo_goes_on(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    assert not track_segments(project, tracker=MovingTracker(), should_stop=stop_after(12))
    assert project.frames_left(id) == 8
    project.set_keyframe(id, 0, true_box(1))
    assert project.frames_left(id) == 19
    project.undo()
    assert project.frames_left(id) == 8


def test_new_weights_under_the_same_path_begin_anew(project: Project, tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    left = []
    for content in (b"old", b"old", b"newer"):
        if not weights.exists() or weights.read_bytes() != content:
            weights.write_bytes(content)
        tracker = MovingTracker()
        tracker.origin = {"model": "ostrack-tiny", "options": {"weights": str(weights)}}
        assert not track_segments(project, tracker=tracker, should_stop=stop_after(4))
        left.append(project.frames_left(id))
    assert left[1] < left[0] == left[2]


def test_with_other_threads_it_goes_on(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    left = []
    for threads in (None, 1):
        tracker = MovingTracker()
        tracker.origin = {"model": "ostrack-tiny", "options": {"threads": threads}}
        assert not track_segments(project, tracker=tracker, should_stop=stop_after(4))
        left.append(project.frames_left(id))
    assert left[1] < left[0]


def test_a_project_of_before_is_read_and_tracked(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 0, true_box(0))
    with Project.open(project.path, read_only=True) as seen:
        assert seen.frames_left(id) == 19
    assert track_segments(project, tracker=MovingTracker())


def test_a_part_of_the_video(project: Project) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 8, true_box(8))
    assert track_segments(project, tracker=BrightTracker(), first=5, last=12)
    assert list(boxes_of(project, id)) == list(range(5, 13))
    assert len(project.stale_segments(id)) == 2
    with pytest.raises(InputError, match="from 0 to 19, in this order; got 5 and 20"):
        track_segments(project, first=5, last=20)


# --- scene cuts ---


def cut_clip(folder: Path, seen_after: range) -> Path:
    """Twenty frames, a cut at frame 10; the target is in the first ten and in `seen_after`."""
    draw = np.random.default_rng(0)
    scenes: list[Any] = [cv2.resize(draw.integers(0, 120, (6, 8, 3), np.uint8), (WIDTH, HEIGHT)) for _ in range(2)]
    scenes[0][..., 2] //= 4
    scenes[1][..., 0] //= 4
    folder.mkdir()
    for number in range(FRAMES):
        frame = scenes[number // 10].copy()
        if number < 10 or number in seen_after:
            frame[10:20, 2 * number : 2 * number + 12] = 200
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame)
    return folder


@pytest.mark.parametrize(("seen_after", "last"), [(range(0), 9), (range(10, 20), 19), (range(16, 20), 9)])
def test_a_cut_ends_a_run_unless_the_target_is_found_again(tmp_path: Path, seen_after: range, last: int) -> None:
    clip = cut_clip(tmp_path / "cut", seen_after)
    with Project.create(tmp_path / "clip.singletrack", clip) as project:
        id = project.add_target("car")
        project.set_keyframe(id, 0, true_box(0))
        reports: list[int] = []
        assert track_segments(
            project, tracker=BrightTracker(), on_boxes=lambda target, boxes, progress: reports.extend(boxes)
        )
        assert project.cuts() == (10,)
        assert list(boxes_of(project, id)) == list(range(last + 1))
        assert reports == list(range(1, last + 1))
        assert project.stale_segments(id) == []


def test_a_cut_ends_both_runs_of_a_segment(tmp_path: Path) -> None:
    clip = cut_clip(tmp_path / "cut", range(17, 20))
    with Project.create(tmp_path / "clip.singletrack", clip) as project:
        id = project.add_target("car")
        project.set_keyframe(id, 0, true_box(0))
        project.set_keyframe(id, 19, true_box(19))
        assert track_segments(project, tracker=BrightTracker())
        boxes = boxes_of(project, id)
        assert {frame: boxes[frame] for frame in range(10)} == {
            frame: pytest.approx(true_box(frame)) for frame in range(10)
        }
        assert [frame for frame in boxes if frame >= 10] == list(range(10, 20))  # the backward run is lost, not cut


def test_a_damaged_source_is_tracked_as_far_as_it_goes(project: Project, clip: Path) -> None:
    id = project.add_target("car")
    project.set_keyframe(id, 5, true_box(5))
    (clip / "012.png").write_bytes(b"not an image")
    with pytest.raises(VideoError, match=r"012\.png"):
        track_segments(project, tracker=BrightTracker())
    assert list(boxes_of(project, id)) == list(range(12))
    assert [segment.first for segment in project.stale_segments(id)] == [6]
