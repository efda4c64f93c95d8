"""Labels from a tracker's results, frame by frame; written at the end, as most formats are not made of lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from singletrack.errors import VideoError
from singletrack.labeling.formats.registry import write_labels
from singletrack.labeling.labels import PALETTE, LabeledBox, LabeledTarget, LabelSet, VideoInfo
from singletrack.tracking.base import Result
from singletrack.video import VideoReader
from singletrack.video.reader import find_pictures


class LabelRecorder:
    """Keeps results and writes them as labels when it is closed; use it as a context manager.

    What came before an error or Ctrl-C is written too. Without any frame nothing is written.
    """

    def __init__(self, path: Path, format: str | None, source: str, video: VideoReader) -> None:
        """Keep what is needed to describe the video.

        Args:
            path: File or folder to write.
            format: One of ``FORMATS``. [default: by the ending of `path`]
            source: What `video` reads: a file, a folder of frames, or anything else, which has no frame names.
            video: The opened source.
        """
        self._path, self._format, self._video, self._source = path, format, video, source
        self._boxes: dict[int, dict[int, LabeledBox]] = {}

    def add(self, frame: int, results: Mapping[int, Result]) -> None:
        """Keep the results of one frame, by the ids of the targets. The first box of each is the one that was given."""
        for id, result in results.items():
            boxes = self._boxes.setdefault(id, {})
            boxes[frame] = LabeledBox(
                box=result.box,
                score=min(max(result.score, 0.0), 1.0),
                lost=result.lost,
                keyframe=not boxes,
                source="tracker" if boxes else "person",
            )

    def close(self) -> None:
        """Write the file or folder."""
        last = max((max(boxes) for boxes in self._boxes.values()), default=-1)
        if last < 0:
            return
        targets = (
            LabeledTarget(
                id=id,
                name=f"target {id}",
                label="object",
                color=PALETTE[(id - 1) % len(PALETTE)],
                boxes=dict(sorted(boxes.items())),  # tracked backward, they came in the other order
            )
            for id, boxes in self._boxes.items()
        )
        write_labels(LabelSet(video=self._describe(last + 1), targets=tuple(targets)), self._path, format=self._format)

    def _describe(self, frame_count: int) -> VideoInfo:
        width, height = self._video.size_wh
        name = self._source.rstrip("/").rpartition("/")[2] or "video"
        count = max(frame_count, self._video.frame_count or 0)
        return VideoInfo(
            name=name.replace("\\", "_"),
            width=width,
            height=height,
            frame_count=count,
            fps=self._video.fps,
            frame_names=_frame_names(self._source, count),
        )

    def __enter__(self) -> LabelRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _frame_names(source: str, count: int) -> tuple[str, ...] | None:
    """The file names of a folder of frames; None for other sources."""
    try:
        pictures = find_pictures(source)
    except VideoError:  # a camera or a stream
        return None
    return tuple(path.name for path in pictures) if pictures is not None and len(pictures) == count else None
