"""Reads the frames of a video file by index, for data that comes as videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from singletrack.datasets.base import Image
from singletrack.errors import DamagedVideoError, InputError, VideoError
from singletrack.files import make_folder
from singletrack.opencv import cv2
from singletrack.video.reader import VideoReader, open_video


class VideoFrames:
    """Frames of a video file, see ``base.Frames``. Fast when read forward; going back reads from the start.

    Args:
        count: expected number of frames; None to count them, which reads the complete file.
    """

    def __init__(self, path: Path, count: int | None = None) -> None:
        self.path = path
        self._reader: VideoReader | None = None
        self._coming: Iterator[Image] = iter(())
        self._next = 0
        self._last: tuple[int, Image] | None = None
        self._count = self._counted() if count is None else count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Image:
        """Read a frame; raises VideoError if it is missing or cannot be decoded."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        if self._reader is None or index < self._next:
            self.close()
            self._reader = open_video(self.path)
            self._coming, self._next = iter(self._reader), 0
        while True:
            frame = next(self._coming, None)
            if frame is None:
                raise VideoError(
                    f"expected {self._count} frames in {self.path}, as many as there are boxes; it ends after "
                    f"{self._next}; give a box for each of its frames"
                )
            self._next += 1
            if self._next == index + 1:
                self._last = index, frame
                return frame

    def close(self) -> None:
        """Close the file; the next access opens it again."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._last = None, None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_count": self._count}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._reader, self._coming, self._next, self._last = None, iter(()), 0, None

    def _counted(self) -> int:
        with open_video(self.path) as reader:
            try:
                return sum(1 for _ in reader)
            except DamagedVideoError as error:
                raise InputError(f"expected a whole video; {error}") from error


def unpack_video(frames: VideoFrames, folder: Path, quality: int = 95) -> list[str]:
    """Write every frame as a JPEG, for reading in any order; returns the file names. Existing files are kept.

    Raises:
        VideoError: a frame cannot be read.
    """
    make_folder(folder)
    names = [f"{index:08d}.jpg" for index in range(len(frames))]
    for index, name in enumerate(names):
        if not (folder / name).is_file():
            part = folder / f"{name}.part.jpg"
            cv2.imwrite(str(part), frames[index][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            part.replace(folder / name)
    return names
