"""Converts any decoded frame to (H, W, 3) uint8 RGB, and logs what was changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import VideoError

Frame = NDArray[np.uint8]
Values = NDArray[Any]

log = logging.getLogger(__name__)

PERCENTILES = (0.1, 99.9)  # of the values of a frame, so that a few dead or hot pixels do not affect the contrast
SAMPLES = 100_000  # pixels used for the percentiles


@dataclass(frozen=True)
class ValueRange:
    """The values that map to 0 and 255 when a frame of more than 8 bits is converted to 8 bits."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Values) -> ValueRange | None:
        """Compute the range of a frame from percentiles; None if all its values are equal."""
        step = max(1, int((values.shape[0] * values.shape[1] / SAMPLES) ** 0.5))
        sample = values[::step, ::step].astype(np.float64)
        finite = sample[np.isfinite(sample)]
        if finite.size == 0:
            return None
        low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
        return cls(low, high) if high > low else None

    def join(self, other: ValueRange | None) -> ValueRange:
        """Return the range that contains both."""
        return self if other is None else ValueRange(min(self.low, other.low), max(self.high, other.high))

    def to_8_bits(self, values: Values) -> Frame:
        """Scale the values to 0 ... 255; values outside the range are clipped, NaN becomes 0."""
        scaled = (values.astype(np.float32) - np.float32(self.low)) * np.float32(255 / (self.high - self.low))
        frame: Frame = np.nan_to_num(np.clip(scaled, 0, 255), nan=0.0).round().astype(np.uint8)
        return frame


class FrameConverter:
    """Converts decoded images of one source to frames, and warns once about each kind of change.

    Gray values of more than 8 bits (thermal cameras, microscopes) usually fill a small part of their range, so they are
    stretched: by the percentiles of the first frame, widened if another frame exceeds them, so that an object looks the
    same in all frames. 16-bit colors keep their upper 8 bits.

    Args:
        name: name of the source, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._range: ValueRange | None = None
        self._stretched: bool | None = None
        self._size_wh: tuple[int, int] | None = None
        self._said: set[str] = set()

    def __call__(self, values: Values) -> Frame:
        """Convert an array (H, W), (H, W, 1 or 3), or with alpha last (H, W, 2 or 4); RGB, any numeric type.

        Raises:
            VideoError: the array is not an image.
        """
        values = np.asarray(values)
        if values.ndim == 2:
            values = values[..., None]
        if values.ndim != 3 or values.size == 0 or values.shape[2] > 4 or values.dtype.kind not in "buif":
            raise VideoError(
                f"frames must be (H, W, 3) RGB arrays; got {values.shape} {values.dtype} from {self._name}; "
                "put the channels last: 3 for RGB, 1 for gray"
            )
        if values.shape[2] in (2, 4):
            self.say_opacity()
            values = values[..., :-1]
        frame = self._to_8_bits(values)
        if frame.shape[2] == 1:
            frame = np.repeat(frame, 3, axis=2)
        size_wh = (frame.shape[1], frame.shape[0])
        if self._size_wh is None:
            self._size_wh = size_wh
        elif size_wh != self._size_wh:
            self.say(
                "size",
                f"frames change size, from {self._size_wh[0]} x {self._size_wh[1]} to {size_wh[0]} x {size_wh[1]}; "
                "they are scaled to the first size for tracking, and boxes are in pixels of each frame",
            )
        return np.ascontiguousarray(frame)

    def say(self, kind: str, change: str) -> None:
        """Warn about a change, once per kind."""
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s: %s", self._name, change)

    def say_opacity(self) -> None:
        """Warn that the alpha channel of the source is dropped."""
        self.say("opacity", "the alpha channel is dropped")

    def _to_8_bits(self, values: Values) -> Frame:
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind == "b":
            return values.astype(np.uint8) * np.uint8(255)
        if self._stretched is None:
            colored = values.shape[2] == 3 and bool((values[..., :1] != values[..., 1:]).any())
            self._stretched = values.dtype.kind != "u" or not colored
        if not self._stretched:
            return ValueRange(0, float(np.iinfo(values.dtype).max)).to_8_bits(values)
        own = ValueRange.of(values)
        if self._range is None:
            self._range = own
        if self._range is None:  # only one value so far
            return np.zeros(values.shape, np.uint8)
        used = self._range.join(own)
        self.say("depth", f"{values.dtype} values are stretched to 8 bits, {used.low:g} to 0 and {used.high:g} to 255")
        return used.to_8_bits(values)
