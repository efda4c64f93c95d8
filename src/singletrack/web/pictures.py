"""Frames as JPEG for the page: each is encoded once and kept in a bounded cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.opencv import cv2
from singletrack.video import open_frames

CACHE_BYTES = 96_000_000  # about 400 frames of 1080p
CHUNK = 12  # frames that are decoded at a time while stepping backward
QUALITY = 88
SCALES = (1, 2, 4)  # a frame is served with its sides divided by one of these


class Pictures:
    """The frames of one source. Threads may share it.

    Args:
        source: A video file, a folder of frames or a glob.
        cache_bytes: Memory for encoded frames.
    """

    def __init__(self, source: str | Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._frames = open_frames(source)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._free_bytes = cache_bytes
        self._last = -1
        self._decoded: tuple[int, NDArray[np.uint8] | None] = -1, None

    def offer(self, number: int, frame: NDArray[np.uint8]) -> None:
        """Hand over a frame that is decoded already: ``jpeg`` does not decode it again."""
        self._decoded = number, frame

    def take_back(self) -> None:
        """Free the memory of the frame that was offered last."""
        self._decoded = -1, None

    def jpeg(self, number: int, scale: int = 1) -> bytes:
        """Frame `number` as JPEG, its sides divided by `scale`. Raises as ``FrameReader.frame`` does."""
        with self._lock:
            found = self._cache.get((number, scale))
            if found is not None:
                self._cache.move_to_end((number, scale))
                self._last = number
                return found
            offered, frame = self._decoded
            if frame is not None and offered == number:
                encoded = _encode(frame, scale)
                self._keep((number, scale), encoded)
                self._last = number
                return encoded
            # Backward, those before it will be wanted too, and decoding goes forward.
            first = max(0, number - CHUNK + 1) if number == self._last - 1 else number
            for each in range(first, number + 1):
                self._keep((each, scale), _encode(self._frames.frame(each), scale))
            self._last = number
            return self._cache[number, scale]

    def close(self) -> None:
        """Close the source."""
        with self._lock:
            self._frames.close()
            self._cache.clear()

    def _keep(self, key: tuple[int, int], encoded: bytes) -> None:
        replaced = self._cache.pop(key, b"")
        self._cache[key] = encoded
        self._free_bytes += len(replaced) - len(encoded)
        while self._free_bytes < 0 and len(self._cache) > 1:
            self._free_bytes += len(self._cache.popitem(last=False)[1])


def _encode(frame: NDArray[np.uint8], scale: int) -> bytes:
    if scale > 1:
        height, width = frame.shape[:2]
        size = (max(1, width // scale), max(1, height // scale))
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes()
