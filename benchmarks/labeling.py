"""How many boxes does a person have to draw to label a clip?

    python benchmarks/labeling.py ../shared/sequences --runs runs
    python benchmarks/labeling.py ../shared/footage --runs runs

A person is played by the true boxes of a folder of sequences (frames and a groundtruth.txt each), or of labeled clips
(an index.json, see ``singletrack.datasets.labeled_clips``). It draws the first box, then one box after the other, until
95 % of the frames overlap the true ones by 0.7, or by 0.5. Four ways:

    linear      linear interpolation between keyframes, as most labeling tools do; the worst frame is drawn next
    forward     the tracker, forward from each keyframe; the worst frame is drawn next
    both        both directions joined (singletrack.labeling); the worst frame is drawn next
    suggested   the same, but the frame that ``Project.suggestions`` gives first is drawn next

Constants of the join and of the doubt are chosen on the clips of ../shared/footage; ../shared/sequences only says how
good they are. Of the clips, those whose license class is "free" are left out, because the tracker was trained on them;
of each other one the first two objects that are labeled without a gap for 30 frames or more from their first box on.

Prints a Markdown table, and how good the doubt is that suggestions go by. Runs of the tracker are kept in the folder of
--runs, so that the second time is fast.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack.datasets.labeled_clips import read_labeled_clips
from singletrack.engines.cpu import processor_name
from singletrack.geometry.boxes import Box, iou
from singletrack.labeling.join import Run, doubt_of_run, join_runs
from singletrack.labeling.project import segments_between
from singletrack.labeling.suggest import Suggestion, pick_suggestions
from singletrack.video import open_frames

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

Seen = tuple[Array, Array, NDArray[np.bool_]]  # (N, 4) boxes, (N,) scores, (N,) lost; NaN where the tracker was not

SHARE = 0.95  # of the frames
OVERLAPS = (0.7, 0.5)
LEAST_FRAMES, OBJECTS = 30, 2  # of a labeled clip


@dataclass
class Clip:
    """The first frames of an object.

    Attributes:
        name: Of the sequence or object. source: A folder of frames or a video. first: Its frame that is number 0 here.
        truth: (N, 4) true boxes.
        runs: Of the tracker, by first frame and direction.
    """

    name: str
    source: Path
    first: int
    truth: Array
    runs: dict[tuple[int, int], Seen] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)

    def read(self) -> list[Image]:
        """All frames, decoded once."""
        if not self.images:
            with open_frames(self.source) as frames:
                self.images = [frames.frame(self.first + number) for number in range(len(self.truth))]
        return self.images

    def run(self, start: int, direction: int, tracker: singletrack.Tracker) -> Seen:
        """The tracker from the true box of a frame to the end of the clip."""
        if (start, direction) not in self.runs:
            count, frames = len(self.truth), self.read()
            boxes, scores, lost = np.full((count, 4), np.nan), np.zeros(count), np.zeros(count, bool)
            boxes[start], scores[start] = self.truth[start], 1.0
            tracker.init(frames[start], self.box(start))
            for number in range(start + direction, count if direction > 0 else -1, direction):
                result = tracker.update(frames[number])
                boxes[number], scores[number], lost[number] = result.box, result.score, result.lost
            self.runs[start, direction] = boxes, scores, lost
        return self.runs[start, direction]

    def box(self, frame: int) -> Box:
        """The true box of a frame."""
        x, y, width, height = self.truth[frame].tolist()
        return x, y, width, height


Labeler = Callable[[Clip, Sequence[int], singletrack.Tracker], tuple[Array, list[Suggestion]]]


def interpolate(clip: Clip, keyframes: Sequence[int], tracker: singletrack.Tracker) -> tuple[Array, list[Suggestion]]:
    """Linear interpolation; the last box stays."""
    frames = np.arange(len(clip.truth))
    return np.stack([np.interp(frames, keyframes, clip.truth[keyframes, i]) for i in range(4)], 1), []


def follow(clip: Clip, keyframes: Sequence[int], tracker: singletrack.Tracker) -> tuple[Array, list[Suggestion]]:
    """The tracker, forward from each keyframe."""
    boxes = clip.truth.copy()
    for start, end in zip(keyframes, [*keyframes[1:], len(boxes)], strict=True):
        boxes[start:end] = clip.run(start, 1, tracker)[0][start:end]
    return boxes, []


def join(clip: Clip, keyframes: Sequence[int], tracker: singletrack.Tracker) -> tuple[Array, list[Suggestion]]:
    """Both directions, as ``singletrack.labeling.track_segments`` makes them; and the doubt of each frame."""
    boxes = clip.truth.copy()
    doubtful: list[Suggestion] = []
    for segment in segments_between(1, {frame: clip.box(frame) for frame in keyframes}, len(boxes)):
        if segment.left is not None and segment.right is not None:
            part = slice(segment.left, segment.right + 1)
            ahead, back = clip.run(segment.left, 1, tracker), clip.run(segment.right, -1, tracker)
            joined = join_runs(Run(ahead[0][part], ahead[1][part]), Run(back[0][part], back[1][part]))
            boxes[part], doubts, reasons = joined.boxes, joined.doubts, joined.reasons
            frames = range(segment.left, segment.right + 1)
        else:
            start, direction = (segment.right, -1) if segment.left is None else (segment.left, 1)
            assert start is not None
            found, scores, lost = (
                values[segment.first : segment.last + 1] for values in clip.run(start, direction, tracker)
            )
            frames = range(segment.first, segment.last + 1)
            boxes[segment.first : segment.last + 1] = found
            doubts, reasons = doubt_of_run(found, scores, lost, np.abs(np.array(frames, np.float64) - start))
        doubtful += [
            Suggestion(target=1, frame=frame, doubt=float(doubt), reason=reason)
            for frame, doubt, reason in zip(frames, doubts, reasons, strict=True)
            if doubt > 0.0
        ]
    return boxes, doubtful


def count_boxes(
    clip: Clip,
    labeler: Labeler,
    tracker: singletrack.Tracker,
    overlap: float,
    suggested: bool = False,
    seen: list[tuple[float, bool]] | None = None,
) -> int:
    """How many boxes are drawn until enough frames are right. seen: takes each doubt, and whether the box was wrong."""
    keyframes = [0]
    while True:
        boxes, doubtful = labeler(clip, sorted(keyframes), tracker)
        overlaps = iou(boxes, clip.truth)
        if seen is not None:
            seen += [(each.doubt, bool(overlaps[each.frame] < overlap)) for each in doubtful]
        suggestions = pick_suggestions(doubtful, keyframes) if suggested else []
        if (overlaps >= overlap).mean() >= SHARE:
            return len(keyframes)
        overlaps[keyframes] = np.inf
        if suggestions:
            keyframes.append(suggestions[0].frame)
        else:  # also where nothing is suggested any more: a person who looks at it all finds the worst frame
            keyframes.append(int(overlaps.argmin()))


def describe_doubt(seen: Sequence[tuple[float, bool]]) -> str:
    """How well doubt tells wrong boxes from right ones, and how near it is to the share of wrong ones."""
    doubts, wrong = (np.array(values) for values in zip(*seen, strict=True))
    ranks = doubts.argsort().argsort() + 1.0
    count = int(wrong.sum())
    area = (ranks[wrong].sum() - count * (count + 1) / 2) / (count * (len(wrong) - count))
    bins = np.clip((doubts * 10).astype(int), 0, 9)
    error = sum(abs(float((doubts - wrong)[bins == each].sum())) for each in set(bins.tolist())) / len(wrong)
    return (
        f"doubt, over {len(wrong)} boxes seen on the way, {count} of them wrong: area under the curve {area:.3f}, "
        f"expected calibration error {error:.3f}"
    )


def read_clips(folder: Path, frames: int) -> list[Clip]:
    """The sequences whose target is never absent, in the order of their names, or objects of labeled clips."""
    clips = []
    for file in sorted(folder.glob("*/groundtruth.txt")):
        truth = np.array([[float(value) for value in line.split(",")] for line in file.read_text().split()])
        if np.isfinite(truth).all() and (truth[:, 2:] > 0).all():
            clips.append(Clip(file.parent.name, file.parent, 0, truth[:frames]))
    if clips:
        return clips
    for labeled in read_labeled_clips(folder, lambda name: name != "free"):
        found = 0
        for track in labeled.tracks:
            first = int(track.present.argmax())
            count = int(np.append(~track.present[first : first + frames], True).argmax())
            if count >= LEAST_FRAMES and found < OBJECTS:
                truth = np.asarray(track.boxes_xywh[first : first + count], np.float64)
                clips.append(Clip(track.name, labeled.video, first, truth))
                found += 1
    return clips


@click.command()
@click.argument("sequences", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--frames", default=80, show_default=True, help="Frames of each object, from its first box on.")
@click.option("--model", default="ostrack-tiny", show_default=True)
@click.option("--ways", default="linear,forward,both,suggested", show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), help="Folder that keeps the runs of the tracker.")
def main(sequences: Path, frames: int, model: str, ways: str, runs: Path | None) -> None:
    """Count the boxes that a person has to draw to label each object of the folder SEQUENCES."""
    tracker = singletrack.load(model)
    labelers: dict[str, tuple[Labeler, bool]] = {
        "linear": (interpolate, False),
        "forward": (follow, False),
        "both": (join, False),
        "suggested": (join, True),
    }
    columns = [(way, overlap) for overlap in OVERLAPS for way in ways.split(",")]
    totals: dict[Any, int] = dict.fromkeys(columns, 0)
    watched = "suggested", OVERLAPS[0]
    seen: list[tuple[float, bool]] = []
    clips = read_clips(sequences, frames)
    print(f"{len(clips)} clips, {sum(len(clip.truth) for clip in clips)} frames; {model}; {processor_name()}\n")
    print("| clip | " + " | ".join(f"{way} {overlap}" for way, overlap in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for clip in clips:
        kept = None if runs is None else runs / f"{clip.name}.pickle"
        if kept is not None and kept.is_file():
            clip.runs = pickle.loads(kept.read_bytes())
        counts = [
            count_boxes(
                clip, labelers[way][0], tracker, overlap, labelers[way][1], seen if (way, overlap) == watched else None
            )
            for way, overlap in columns
        ]
        for column, count in zip(columns, counts, strict=True):
            totals[column] += count
        print(f"| {clip.name} | " + " | ".join(map(str, counts)) + " |", flush=True)
        clip.images = []
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(pickle.dumps(clip.runs))
    print("| boxes | " + " | ".join(str(totals[column]) for column in columns) + " |")
    every = sum(len(clip.truth) for clip in clips) / 100
    print("| for 100 frames | " + " | ".join(f"{totals[column] / every:.1f}" for column in columns) + " |")
    if seen:
        print(f"\n{describe_doubt(seen)}")


if __name__ == "__main__":
    main()
