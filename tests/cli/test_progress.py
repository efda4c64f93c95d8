from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from singletrack.cli.progress import Progress, ProgressBar
from singletrack.errors import SingletrackError, VideoError
from singletrack.steps import TrackStep
from singletrack.tracking.base import Result


def step(index: int, seconds: float) -> TrackStep:
    result = Result(box=(1.0, 2.0, 3.0, 4.0), score=0.5, lost=False)
    return TrackStep(index=index, time=0.0, frame=np.zeros((2, 2, 3), np.uint8), results={1: result}, seconds=seconds)


@pytest.mark.parametrize("start", [0, 7])
def test_speed_is_that_of_the_updates_after_the_first(start: int, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(4, [Path("a.mp4")]) as progress:
        for index, seconds in enumerate([5.0, 3.0, 0.1, 0.3], start):
            progress.show(step(index, seconds))
    assert progress.frames_per_second == pytest.approx(5)
    assert capsys.readouterr().out == "tracked 4 frames at 5.0 frames/s (tracker alone)\nwrote a.mp4\n"


def test_too_few_frames_for_a_speed(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(2, []) as progress:
        progress.show(step(0, 5.0))
        progress.show(step(1, 3.0))
    assert capsys.readouterr().out == "tracked 2 frames\n"


def follow_scores(progress: Progress, scores: list[float], id: int = 1) -> None:
    """Steps at 10 frames a second, lost below a score of 0.3."""
    for index, score in enumerate(scores):
        result = Result(box=(1.0, 2.0, 3.0, 4.0), score=score, lost=score < 0.3)
        frame = np.zeros((2, 2, 3), np.uint8)
        progress.show(TrackStep(index=index, time=index / 10, frame=frame, results={id: result}, seconds=0.0))


def test_lost_spans_and_worst_moments(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(12, [Path("a.mp4")]) as progress:
        follow_scores(progress, [1, 0.1, 0.1, 0.2, 0.9, 0.45, 0.35, 0.4, 0.9, 0.0, 0.9, 0.4])
    assert capsys.readouterr().out.splitlines() == [
        "tracked 12 frames",
        "lost in 4 of 12 frames: 1-3 (0.1-0.3 s), 9 (0.9 s)",
        "least sure, but not lost, in frame 6 (0.6 s, score 0.35), 11 (1.1 s, score 0.40)",
        "wrote a.mp4",
        "look at these frames in a.mp4; https://singletrack.github.io/singletrack/lost-and-found/ says what helps",
    ]


def test_only_the_longest_spans_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, []) as progress:
        follow_scores(progress, [score for length in (3, 1, 2, 4, 5, 6, 7) for score in [0.9, *[0.1] * length]])
    said = capsys.readouterr().out.splitlines()[1]
    assert said.startswith("lost in 28 of 35 frames: 1-3 (0.1-0.3 s), 10-13 (")
    assert said.endswith(", and 2 shorter")


def test_each_target_has_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(None, []) as progress:
        follow_scores(progress, [1, 0.9], 1)
        follow_scores(progress, [1, 0.1], 2)
    assert capsys.readouterr().out.splitlines()[1:] == ["target 2: lost in 1 of 2 frames: 1 (0.1 s)"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (VideoError("cut short"), True),
        (KeyboardInterrupt(), True),
        (SingletrackError("cannot write a.mp4 (No space left on device)"), False),
    ],
)
def test_a_file_that_failed_is_not_said_to_be_written(
    error: BaseException, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), Progress(2, [Path("a.mp4")]) as progress:  # noqa: PT012
        follow_scores(progress, [1, 1])
        raise error
    assert ("wrote a.mp4" in capsys.readouterr().out) == said


def test_without_a_terminal_there_is_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr("singletrack.cli.progress.time.monotonic", lambda: now[0])
    bar = ProgressBar(60, stream)
    for _ in range(60):
        now[0] += 0.5
        bar.update(1, "LOST 0.10")
    bar.close()
    assert stream.getvalue().splitlines() == [f"frame {count} of 60, 2.0 frames/s, LOST 0.10" for count in (20, 40, 60)]
