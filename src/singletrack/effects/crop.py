"""A view that follows the target, as a camera operator would: smooth, of a fixed shape, never beyond the frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from singletrack.effects.paths import Follower, Steps, fill_gaps, smooth, tracks_of, union
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.opencv import cv2
from singletrack.tracking.base import Result

Frame = NDArray[np.uint8]
SIZE_SLOWER = 3.0  # the view zooms over this many times the time over which it pans: zooming is more unpleasant
LIVE_ROOM = 1.5  # of a live view, whose later sizes are unknown: its pictures are this many times the first view


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """How a view follows the target.

    Attributes:
        aspect: width divided by height of the view; None for that of the frame.
        margin: size of the view relative to the target, at least 1.
        smooth: seconds over which the movement is smoothed; 0 follows every frame.

    Raises:
        InputError: an invalid value.
    """

    aspect: float | None = None
    margin: float = 1.5
    smooth: float = 0.5

    def __post_init__(self) -> None:
        if self.aspect is not None and not 0.1 <= self.aspect <= 10:
            raise InputError(f"aspect must be 1:10 to 10:1; got {self.aspect:g}; give it as width:height, such as 9:16")
        if not 1 <= self.margin <= 100:
            raise InputError(
                f"margin must be 1 to 100 times the target; got {self.margin:g}; 1.5 shows some of its sides"
            )
        if not 0 <= self.smooth <= 60:
            raise InputError(f"smooth must be 0 to 60 seconds; got {self.smooth:g}")


class View(NamedTuple):
    """What a view shows: its center and its height, in pixels of the frame."""

    x: float
    y: float
    height: float


class ViewPath:
    """Views by frame, and the size of the pictures that are made of them.

    Attributes:
        size_wh: width and height of the pictures, even.
    """

    def __init__(self, settings: ViewSettings, frame_wh: tuple[int, int], steps: Steps | None = None) -> None:
        """Plan the views.

        Args:
            settings: how the view follows.
            frame_wh: width and height of the frames.
            steps: all results, for a source that can be read again; None for a live one, whose views are chosen one by
                one as it goes.
        """
        self._settings, self._frame_wh = settings, frame_wh
        self._aspect = settings.aspect or frame_wh[0] / frame_wh[1]
        self._views: dict[int, View] = {}
        self._middle, self._zoom = Follower(settings.smooth), Follower(SIZE_SLOWER * settings.smooth)
        self._last: Box | None = None
        self.size_wh = (0, 0)
        if steps is not None:
            self._plan(steps)

    def view(self, frame: int, seconds: float, results: Mapping[int, Result]) -> View:
        """The view of a frame: as planned, or where there is no plan, from the results up to now."""
        if self._views:
            return self._views[frame]
        seen = [result.box for result in results.values() if not result.lost]
        self._last = union(seen) if seen else self._last or union([result.box for result in results.values()])
        wanted = self._around(self._last)
        x, y = self._middle.add(seconds, wanted[:2])
        (height,) = self._zoom.add(seconds, [np.log(wanted.height)])
        view = self._inside(View(float(x), float(y), float(np.exp(height))))
        if self.size_wh == (0, 0):
            self._fix_size(min(LIVE_ROOM * view.height, self._largest()))
        return view

    def cut(self, frame: Frame, view: View) -> Frame:
        """Cut a view out of a frame, (H, W, 3) uint8, and scale it to ``size_wh``."""
        scale = view.height / self.size_wh[1]
        left, top = view.x - scale * self.size_wh[0] / 2, view.y - view.height / 2
        # pixel centers: (i + 0.5) of the picture is (i + 0.5) * scale + left of the frame
        matrix = np.array([[scale, 0, left + scale / 2 - 0.5], [0, scale, top + scale / 2 - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if scale > 1.5:  # it shrinks: average first, or it would flicker
            frame = np.asarray(cv2.blur(frame, (round(scale), round(scale))), np.uint8)
        picture = cv2.warpAffine(frame, matrix, self.size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(picture, np.uint8)

    def _plan(self, steps: Steps) -> None:
        frames = sorted(steps)
        times = np.array([steps[frame][0] for frame in frames])
        filled = {id: (track, fill_gaps(track)) for id, track in tracks_of(steps).items()}
        boxes: dict[int, list[NDArray[np.float64]]] = {}
        for track, path in filled.values():
            for frame, box in zip(track.frames.tolist(), path, strict=True):
                boxes.setdefault(frame, []).append(box)
        wanted = np.array([self._around(union(np.array(boxes[frame]))) for frame in frames])
        middles = smooth(times, wanted[:, :2], self._settings.smooth)
        heights = np.exp(smooth(times, np.log(wanted[:, 2:]), SIZE_SLOWER * self._settings.smooth))[:, 0]
        for frame, (x, y), height in zip(frames, middles.tolist(), heights.tolist(), strict=True):
            self._views[frame] = self._inside(View(x, y, height))
        self._fix_size(max(view.height for view in self._views.values()))

    def _fix_size(self, height: float) -> None:
        self.size_wh = (max(2, 2 * round(height * self._aspect / 2)), max(2, 2 * round(height / 2)))

    def _largest(self) -> float:
        """Height of the largest view that fits into the frame."""
        return min(float(self._frame_wh[1]), self._frame_wh[0] / self._aspect)

    def _around(self, box: Box) -> View:
        x, y, width, height = box
        needed = self._settings.margin * max(height, width / self._aspect)
        return View(x + width / 2, y + height / 2, min(max(needed, 8.0), self._largest()))

    def _inside(self, view: View) -> View:
        height = min(view.height, self._largest())
        half_width, half_height = height * self._aspect / 2, height / 2
        x = min(max(view.x, half_width), self._frame_wh[0] - half_width)
        y = min(max(view.y, half_height), self._frame_wh[1] - half_height)
        return View(x, y, height)
