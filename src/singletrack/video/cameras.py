"""Cameras of this machine, as OpenCV reads them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from singletrack.errors import VideoError, show_value
from singletrack.opencv import cv2
from singletrack.video.containers import ASSUMED_FPS
from singletrack.video.frames import Frame, FrameConverter
from singletrack.video.live import LiveOptions, Picture

log = logging.getLogger(__name__)


def camera_number(source: str | Path) -> int | None:
    """The number of a camera that is given by its device, such as /dev/video0; None for any other path."""
    match = re.fullmatch(r"/dev/video(\d{1,6})", str(source))
    return int(match[1]) if match else None


class CameraConnection:
    """An open camera, as ``live.Connection``.

    Args:
        index: its number.
        options: what is requested from it. Where it gives something else, that is said.
        convert: converter of its frames.

    Raises:
        VideoError: there is no such camera, or it gives no frame.
    """

    def __init__(self, index: int, *, options: LiveOptions, convert: FrameConverter) -> None:
        if index < 0:  # OpenCV would end the process
            raise VideoError(f"no camera {show_value(index)}; camera numbers are 0 or more; give another one")
        self._index, self._convert = index, convert
        self.sample_aspect, self.skipped = Fraction(1), 0
        refusal = (
            f"no camera {index}, and no file or folder of that name; try another number, close other programs that use "
            "the camera, or check the path"
        )
        try:
            self._camera = cv2.VideoCapture(index)
            self._request(options)
            there, self._first = self._camera.read()
        except (cv2.error, OverflowError) as error:  # a number out of range, or a driver error
            raise VideoError(refusal) from error
        if not there:
            self._camera.release()
            raise VideoError(refusal)
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        self.fps = self._camera.get(cv2.CAP_PROP_FPS) or ASSUMED_FPS
        wanted = options.size_wh
        if wanted is not None and wanted != self.size_wh:
            log.warning(
                "camera %d gives %d x %d instead of %d x %d; its driver has no such size at this pixel format",
                index,
                *self.size_wh,
                *wanted,
            )
        if options.fps is not None and abs(self.fps - options.fps) > 0.5:
            log.warning("camera %d announces %g frames/s instead of %g", index, self.fps, options.fps)

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        """Yield each picture as it comes; see ``live.Connection``."""
        there, picture = True, self._first
        while there:
            yield None, self._picture(picture)
            there, picture = self._camera.read()
        raise VideoError(f"camera {self._index} stopped delivering frames")

    def close(self) -> None:
        """Release the camera."""
        self._camera.release()

    def _request(self, options: LiveOptions) -> None:
        """Set what is requested: the pixel format first, for sizes and rates depend on it."""
        if options.pixel_format is not None:
            self._camera.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.pixel_format))
        if options.size_wh is not None:
            self._camera.set(cv2.CAP_PROP_FRAME_WIDTH, options.size_wh[0])
            self._camera.set(cv2.CAP_PROP_FRAME_HEIGHT, options.size_wh[1])
        if options.fps is not None:
            self._camera.set(cv2.CAP_PROP_FPS, options.fps)

    def _picture(self, picture: Any) -> Picture:
        def convert() -> Frame:
            values = np.asarray(picture)
            return self._convert(values[..., ::-1] if values.ndim == 3 else values)

        return convert
