from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.api import follow, plan_targets, track
from singletrack.errors import DamagedVideoError, InputError, SingletrackError, VideoError
from singletrack.loading import LoadOptions
from singletrack.results import read_results
from singletrack.tracking.base import Inputs, Result
from singletrack.video import VideoReader, VideoWriter, open_video

BOX = (10.0, 20.0, 30.0, 16.0)


class StepRight:
    """A tracker that moves its box one pixel to the right in each frame, ever less sure."""

    def __init__(self) -> None:
        self.updates = 0

    def init(self, frame: NDArray[np.uint8], box: Any) -> None:
        if box[2] <= 0:
            raise InputError("expected a box with a width")
        self.box, self.updates = tuple(box), 0

    def update(self, frame: NDArray[np.uint8]) -> Result:
        self.updates += 1
        x, y, width, height = self.box
        score = 1 - 0.1 * self.updates
        return Result(box=(x + self.updates, y, width, height), score=score, lost=score < 0.75)


class Nothing:
    """A network that says nothing, for trackers that ask for nothing."""

    def encode(self, template: Any) -> Any:
        return template

    def locate(self, features: Any, search: Any) -> dict[str, Any]:
        return {"none": search}


class StepRightTogether(StepRight):
    """The same in two halves."""

    network: Any = Nothing()

    def preprocess(self, frame: NDArray[np.uint8]) -> Inputs:
        return Inputs(np.zeros((1, 1)), np.zeros((1, 1)))

    def postprocess(self, maps: Any) -> Result:
        assert maps["none"].shape == (1, 1)
        return self.update(np.zeros((1, 1, 3), np.uint8))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    with VideoWriter(tmp_path / "clip.mp4", fps=10) as writer:
        for _ in range(5):
            writer.write(np.full((48, 64, 3), 128, np.uint8))
    return tmp_path / "clip.mp4"


def endless_frames(until: BaseException) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Three frames, then trouble."""
    for index in range(3):
        yield index / 10, np.full((48, 64, 3), 128, np.uint8)
    raise until


def test_track_gives_the_box_itself_first(clip: Path) -> None:
    results = list(track(clip, BOX, tracker=StepRight()))
    assert results[0] == Result(box=BOX, score=1.0, lost=False)
    assert [result.box[0] for result in results] == [10, 11, 12, 13, 14]
    assert [result.lost for result in results] == [False, False, False, True, True]


def test_track_loads_the_model_that_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, options: LoadOptions) -> StepRight:
        asked.append((name, options))
        return StepRight()

    monkeypatch.setattr("singletrack.loading.load_with", load)
    assert len(list(track(clip, BOX, model="ostrack-256", weights="w.safetensors", engine="torch", threads=2))) == 5
    assert asked == [("ostrack-256", LoadOptions(weights="w.safetensors", engine="torch", threads=2))]


def test_track_can_be_left_early(clip: Path) -> None:
    for result in track(clip, BOX, tracker=StepRight()):
        assert result.score == 1.0
        break


def test_track_without_a_source(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="source not found"):
        next(track(tmp_path / "missing.mp4", BOX, tracker=StepRight()))


# --- many ----------------------------------------------------------------------------------------------------------

OTHER = (30.0, 5.0, 12.0, 9.0)


def test_track_many_gives_results_by_id(clip: Path) -> None:
    results = list(track(clip, boxes=[BOX, OTHER], start=1, tracker=StepRightTogether()))
    assert results[0] == {number: Result(box=box, score=1.0, lost=False) for number, box in ((1, BOX), (2, OTHER))}
    assert [[found[id].box[0] for id in (1, 2)] for found in results] == [[10, 30], [11, 31], [12, 32], [13, 33]]


def test_targets_that_begin_later(clip: Path, tmp_path: Path) -> None:
    with open_video(clip) as video:
        follow(
            video,
            None,
            StepRightTogether(),
            boxes={3: [OTHER], 1: [BOX]},
            video_path=tmp_path / "a.mp4",
            boxes_path=tmp_path / "a.csv",
        )
    records = [(record.frame, record.id, record.box[0]) for record in read_results(tmp_path / "a.csv")]
    assert records == [(1, 1, 10), (2, 1, 11), (3, 1, 12), (3, 2, 30), (4, 1, 13), (4, 2, 31)]
    with open_video(tmp_path / "a.mp4") as video:
        assert len(list(video)) == 4


def test_a_target_after_the_end_is_refused_at_once(clip: Path) -> None:
    results: list[object] = []
    with pytest.raises(InputError, match="must be below the 5 frames of the source; got 5, 9; frames count from 0"):
        results.extend(track(clip, boxes={0: [BOX], 5: [BOX], 9: [OTHER]}, tracker=StepRightTogether()))
    assert results == []


def test_a_target_after_an_end_that_nobody_knew_is_refused_when_all_is_followed() -> None:
    frames = (np.zeros((48, 64, 3), np.uint8) for _ in range(5))
    results: list[object] = []
    with pytest.raises(InputError, match="boxes for frames 5, 9 are beyond the end of the source, which has 5 frames"):
        results.extend(track(frames, boxes={0: [BOX], 5: [BOX], 9: [OTHER]}, tracker=StepRightTogether()))
    assert len(results) == 5


def test_results_know_their_frame_and_time(clip: Path) -> None:
    results = list(track(clip, BOX, start=2, tracker=StepRight()))
    assert [result.index for result in results] == [2, 3, 4]
    assert [result.time for result in results] == pytest.approx([0.2, 0.3, 0.4], abs=1e-3)
    assert [result.frame for result in results] == [None] * 3
    *_, last = track(clip, boxes=[BOX, BOX], tracker=StepRightTogether(), frames=True)
    for result in last.values():
        assert result.index == 4
        assert result.frame is not None
        assert result.frame.shape == (48, 64, 3)


@pytest.mark.parametrize("endless", [False, True])
def test_frames_as_a_source(endless: bool) -> None:
    frames = [np.full((48, 64), value, np.uint8) for value in range(3)]  # gray
    source = iter(frames) if endless else frames
    results = list(track(source, BOX, tracker=StepRight(), frames=True))
    assert [(result.index, result.time) for result in results] == [(0, 0), (1, 1 / 30), (2, 2 / 30)]
    assert [result.frame[0, 0].tolist() for result in results if result.frame is not None] == [
        [n] * 3 for n in (0, 1, 2)
    ]


@pytest.mark.parametrize("source", [[], iter([]), 1.5, None, [np.zeros((2, 3, 5), np.uint8)]])
def test_sources_that_are_none(source: Any) -> None:
    with pytest.raises(VideoError, match=r"the source has no frames|source must be|frames must be"):
        list(track(source, BOX, tracker=StepRight()))


@pytest.mark.parametrize("box", [[10, 20, 30, 16], np.array(BOX), np.array(BOX, np.int64), range(10, 14)])
def test_boxes_of_any_kind(clip: Path, box: Any) -> None:
    x, y, width, height = (float(value) for value in box)
    first, second = itertools.islice(track(clip, box, tracker=StepRight()), 2)
    assert (first.box, second.box) == ((x, y, width, height), (x + 1, y, width, height))
    *_, last = track(clip, boxes=np.array([BOX, OTHER]), tracker=StepRightTogether())
    assert [result.box[0] for result in last.values()] == [14, 34]


def test_box_formats(clip: Path) -> None:
    assert next(track(clip, (10, 20, 40, 36), box_format="xyxy", tracker=StepRight())).box == BOX
    assert next(track(clip, (0.25, 0.5, 0.5, 0.25), normalized=True, tracker=StepRight())).box == (16, 24, 32, 12)
    for box in ((0.25, 0.5, 0.5, 0.25), (40, 30, 60, 40), (-29.5, 20, 30, 16)):
        with pytest.raises(InputError, match="box must"):
            next(track(clip, box, tracker=StepRight()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "either a box or boxes; got both or neither"),
        ({"box": BOX, "boxes": [BOX]}, "either a box or boxes; got both or neither"),
        ({"boxes": []}, "at least one box is needed; got none"),
        ({"boxes": {2: []}}, "at least one box is needed; got none"),
        ({"boxes": {2: [BOX]}, "start": 1}, "boxes by frame index have no start"),
        ({"boxes": {-2: [BOX]}}, "the start frame must be at least 0; got -2"),
    ],
)
def test_boxes_that_cannot_be_meant(clip: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(track(clip, **{"tracker": StepRightTogether(), **given}))


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells no peak memory this way")
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    program = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from singletrack.api import follow
from singletrack.tracking.base import Result
from singletrack.video import open_video

class Still:
    def init(self, frame, box):
        self.box = box
    def update(self, frame):
        return Result(box=self.box, score=0.5, lost=False)

with open_video(sys.argv[1]) as video:
    follow(video, (4.0, 5.0, 20.0, 16.0), Still(), boxes_path=Path(sys.argv[1]).with_suffix(".csv"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # kilobytes, on Linux
"""
    peaks = []
    for count in (15, 150):  # of 0.7 MB each
        path = tmp_path / f"{count}.mp4"
        with VideoWriter(path, fps=30) as writer:
            for index in range(count):
                writer.write(np.full((360, 640, 3), index % 256, np.uint8))
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] - peaks[0] < 20


def test_follow_writes_video_and_boxes(clip: Path, tmp_path: Path) -> None:
    steps: list[Any] = []
    with open_video(clip) as video:
        follow(
            video,
            BOX,
            StepRight(),
            video_path=tmp_path / "followed.mp4",
            boxes_path=tmp_path / "boxes.csv",
            on_step=steps.append,
        )
    records = read_results(tmp_path / "boxes.csv")
    assert [(record.frame, record.time, record.box[0]) for record in records] == [
        (0, 0.0, 10.0),
        (1, 0.1, 11.0),
        (2, 0.2, 12.0),
        (3, 0.3, 13.0),
        (4, 0.4, 14.0),
    ]
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    with open_video(tmp_path / "followed.mp4") as video:
        timed = list(video.timed_frames())
    assert [seconds for seconds, _ in timed] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    red, green, _ = timed[1][1][36, 20].astype(int)  # the lower side of the box: green while followed
    assert green > red + 50
    red, green, _ = timed[4][1][36, 15:40].astype(int).mean(axis=0)  # red and dashed once lost
    assert red > green


def test_track_from_a_later_frame(clip: Path) -> None:
    results = list(track(clip, BOX, start=3, tracker=StepRight()))
    assert [(result.box[0], result.score) for result in results] == [(10, 1.0), (11, 0.9)]


@pytest.mark.parametrize("start", [5, 70])
def test_a_start_that_the_source_does_not_reach(clip: Path, tmp_path: Path, start: int) -> None:
    with open_video(clip) as video, pytest.raises(InputError, match=f"below the 5 frames of the source; got {start};"):
        follow(video, BOX, StepRight(), start=start, video_path=tmp_path / "a.mp4", boxes_path=tmp_path / "a.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]
    with pytest.raises(InputError, match="the start frame must be at least 0; got -1"):
        list(track(clip, BOX, start=-1, tracker=StepRight()))


def test_files_of_a_later_start_keep_numbers_and_times(clip: Path, tmp_path: Path) -> None:
    with open_video(clip) as video:
        follow(video, BOX, StepRight(), start=2, video_path=tmp_path / "a.mp4", boxes_path=tmp_path / "a.csv")
    records = read_results(tmp_path / "a.csv")
    assert [(record.frame, record.time, record.box[0]) for record in records] == [
        (2, 0.2, 10),
        (3, 0.3, 11),
        (4, 0.4, 12),
    ]
    with av.open(str(tmp_path / "a.mp4")) as container:  # no pause before its first frame
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([0, 0.1, 0.2], abs=1e-3)


def test_follow_draws_the_true_box(clip: Path, tmp_path: Path) -> None:
    with open_video(clip) as video:
        follow(video, BOX, StepRight(), video_path=tmp_path / "a.mp4", true_boxes=[(40.0, 20.0, 20.0, 20.0)] * 5)
    with open_video(tmp_path / "a.mp4") as video:
        red, _, blue = next(iter(video))[20:40, 60].astype(int).mean(axis=0)
    assert blue > red + 20


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), DamagedVideoError("cut short"), RuntimeError()])
def test_whatever_ends_it_the_files_are_whole(tmp_path: Path, trouble: BaseException) -> None:
    video = VideoReader(endless_frames(until=trouble), fps=10, size_wh=(64, 48))
    with pytest.raises(type(trouble)):
        follow(video, BOX, StepRight(), video_path=tmp_path / "a.mp4", boxes_path=tmp_path / "a.jsonl")
    assert len(read_results(tmp_path / "a.jsonl")) == 3
    with open_video(tmp_path / "a.mp4") as written:
        assert len(list(written)) == 3


def test_refused_box_leaves_older_files_untouched(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("older")
    with open_video(clip) as video, pytest.raises(InputError, match="width"):
        follow(video, (1, 2, 0, 4), StepRight(), video_path=tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_text() == "older"


@pytest.mark.parametrize(
    ("video", "boxes"),
    [("a.mp4", "a.json"), ("a.mp4", "nowhere/a.txt"), ("a.avi", "a.txt"), ("nowhere/a.mp4", "a.txt")],
)
def test_refused_path_leaves_both_older_files_untouched(clip: Path, tmp_path: Path, video: str, boxes: str) -> None:
    for name in ("a.mp4", "a.txt"):
        (tmp_path / name).write_text("older")
    with (
        open_video(clip) as source,
        pytest.raises(SingletrackError, match=r"must end in|result file|cannot write"),
    ):
        follow(source, BOX, StepRight(), video_path=tmp_path / video, boxes_path=tmp_path / boxes)
    assert [(tmp_path / name).read_text() for name in ("a.mp4", "a.txt")] == ["older"] * 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mp4", "a.txt", "clip.mp4"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk at hand")
@pytest.mark.parametrize("name", ["a.mp4", "a.csv", "a.txt"])
def test_full_disk(clip: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    path = tmp_path / name
    video_path, boxes_path = (path, None) if path.suffix == ".mp4" else (None, path)
    with open_video(clip) as video, pytest.raises(SingletrackError, match=f"cannot write .*{name}.*No space left"):
        follow(video, BOX, StepRight(), video_path=video_path, boxes_path=boxes_path)


def test_source_is_never_overwritten(clip: Path) -> None:
    before = clip.read_bytes()
    with open_video(clip) as video, pytest.raises(InputError, match="is to be read as well"):
        follow(video, BOX, StepRight(), video_path=clip.parent / "." / clip.name)
    assert clip.read_bytes() == before


@pytest.mark.parametrize(
    "boxes",
    [
        np.array([[10, 20, 30, 40], [1, 2, 3, 4]]),
        {0: np.array([[10, 20, 30, 40], [1, 2, 3, 4]])},
        {np.int64(0): [np.array([10, 20, 30, 40]), (1, 2, 3, 4)]},
        [np.array([10.0, 20, 30, 40]), [1, 2, 3, 4]],
    ],
)
def test_boxes_as_arrays(boxes: Any) -> None:  # C27
    assert plan_targets(None, boxes, 0) == {0: [(10, 20, 30, 40), (1, 2, 3, 4)]}


@pytest.mark.parametrize("box", ["1234", b"1234", (value for value in (1, 2, 3, 4)), {1, 2, 3, 4}, (1, 2, 3)])
def test_boxes_that_are_none(box: Any) -> None:  # C27
    for arguments in ((box, None), (None, [box]), (None, {0: [box]})):
        with pytest.raises(InputError, match="box must have four numbers"):
            plan_targets(arguments[0], arguments[1], 0)


@pytest.mark.parametrize("boxes", ["1234", {"first": [(1, 2, 3, 4)]}, {0.5: [(1, 2, 3, 4)]}, {(1, 2, 3, 4)}, iter([])])
def test_lists_of_boxes_that_are_none(boxes: Any) -> None:
    with pytest.raises(InputError, match="boxes must be"):
        plan_targets(None, boxes, 0)


def write_sizes(folder: Path) -> Path:
    """Three frames of 320 x 180, then three of 160 x 60, as pictures."""
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((180, 320, 3) if index < 3 else (60, 160, 3), np.uint8))
    return folder


def test_frames_of_another_size_give_boxes_in_their_own_pixels(tmp_path: Path) -> None:
    seen = []

    class Sizes(StepRight):
        def update(self, frame: NDArray[np.uint8]) -> Result:
            seen.append(frame.shape[:2])
            return super().update(frame)

    results = list(track(write_sizes(tmp_path / "frames"), (10, 30, 30, 18), tracker=Sizes()))
    assert seen == [(180, 320)] * 5
    assert [result.box for result in results[1:3]] == [(11, 30, 30, 18), (12, 30, 30, 18)]
    assert [result.box for result in results[3:]] == [(x / 2, 10, 15, 6) for x in (13, 14, 15)]


def test_a_later_target_is_given_in_pixels_of_its_own_frame(tmp_path: Path) -> None:
    boxes = {0: [(10, 30, 30, 18)], 4: [(20, 10, 15, 6)]}
    *_, before, last = track(write_sizes(tmp_path / "frames"), boxes=boxes, tracker=StepRightTogether())
    assert before[2].box == (20, 10, 15, 6)
    assert last[2].box == (20.5, 10, 15, 6)


def test_the_video_keeps_its_size_and_the_shape_of_pixels(tmp_path: Path) -> None:
    with open_video(write_sizes(tmp_path / "frames")) as video:
        video.sample_aspect = Fraction(4, 3)
        follow(video, (10, 30, 30, 18), StepRight(), video_path=tmp_path / "a.mp4")
    with open_video(tmp_path / "a.mp4") as video:
        assert video.sample_aspect == Fraction(4, 3)
        assert [frame.shape for frame in video] == [(180, 320, 3)] * 6
