"""Regions of the VOT toolkit: its text and binary files, and overlaps that are counted in pixels as it counts them.

Both regions of an overlap are drawn into the frame, and pixels are counted: also for boxes, whose numbers are rounded
first. The rules at edges and for empty regions are the toolkit's.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.errors import InputError, show_value

Window = tuple[int, int, int, int]  # first and last column and row: left, top, right, bottom
INITIALIZATION, FAILURE = 1, 2  # codes of frames without a region
MOST_PIXELS = 1 << 28


@dataclass(frozen=True, eq=False)
class Region:
    """A box, polygon or mask; or none, with a code.

    Attributes:
        code: why there is no region; None if there is one.
        points: corners of a polygon (N, 2), or x, y, width, height (4,) of a box; None for a mask.
        mask: pixels of a mask (H, W); None for others.
        corner: column and row of the first pixel of the mask.
    """

    code: int | None = None
    points: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    corner: tuple[int, int] = (0, 0)

    @property
    def window(self) -> Window:
        """The pixels that it reaches; 0, 0, 0, 0 for none."""
        if self.mask is not None:
            rows, columns = np.nonzero(self.mask)
            x, y = self.corner
            if not len(rows):
                return x, y, x, y
            return x + int(columns.min()), y + int(rows.min()), x + int(columns.max()), y + int(rows.max())
        if self.points is None:
            return 0, 0, 0, 0
        if self.points.ndim == 1:
            left, top, width, height = (int(value) for value in self.points)
            return left, top, left + width - 1, top + height - 1
        (left, top), (right, bottom) = self.points.min(0), self.points.max(0)
        return int(left), int(top), int(right), int(bottom)

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be found there."""
        left, top, right, bottom = self.window
        if self.mask is not None:
            return right == self.corner[0] or bottom == self.corner[1]
        if self.points is None:
            return True
        return bool((self.points[2:] <= 0).any()) if self.points.ndim == 1 else left == right or top == bottom

    def draw(self, window: Window) -> NDArray[np.bool_]:
        """Draw the part within a window."""
        left, top, right, bottom = window
        drawn = np.zeros((bottom - top + 1, right - left + 1), bool)
        if self.points is not None and self.points.ndim == 2:
            _draw_polygon(self.points - np.array([left, top]), drawn)
        elif self.points is not None or self.mask is not None:
            whole = self.window if self.mask is None else _reach(self.mask, self.corner)
            x, y, last_x, last_y = (
                max(whole[0], left),
                max(whole[1], top),
                min(whole[2], right),
                min(whole[3], bottom),
            )
            if x <= last_x and y <= last_y:
                rows, columns = slice(y - whole[1], last_y + 1 - whole[1]), slice(x - whole[0], last_x + 1 - whole[0])
                part = True if self.mask is None else self.mask[rows, columns]
                drawn[y - top : last_y + 1 - top, x - left : last_x + 1 - left] = part
        return drawn


def overlap(one: Region, other: Region, size_wh: tuple[int, int]) -> float:
    """Count the pixels of both regions within the frame, and divide those in both by those in any.

    1 where both together are less than two pixels wide or high, which includes two frames without a region.
    """
    first, second = one.window, other.window
    left, top = min(first[0], second[0]), min(first[1], second[1])
    right, bottom = max(first[2], second[2]), max(first[3], second[3])
    if left >= right or top >= bottom:
        return 1.0
    window = max(0, left), max(0, top), min(size_wh[0] - 1, right), min(size_wh[1] - 1, bottom)
    if window[0] >= window[2] or window[1] >= window[3]:
        return 0.0
    a, b = one.draw(window), other.draw(window)
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def _reach(mask: NDArray[np.bool_], corner: tuple[int, int]) -> Window:
    return corner[0], corner[1], corner[0] + mask.shape[1] - 1, corner[1] + mask.shape[0] - 1


def _draw_polygon(points: NDArray[np.float64], drawn: NDArray[np.bool_]) -> None:
    """Fill each row between the columns, rounded toward 0, in which it meets the edges, ends of edges included."""
    height, width = drawn.shape
    edges = list(zip(points.tolist(), np.roll(points, 1, axis=0).tolist(), strict=True))
    for row in range(height):
        met = []
        for (x, y), (before_x, before_y) in edges:
            if min(y, before_y) <= row <= max(y, before_y):
                met.append(int(x if y == before_y else x + (row - y) / (before_y - y) * (before_x - x)))
        met.sort()
        place = 0
        while place < len(met) - 1 and met[place] < width:
            first, last = met[place], met[place + 1]
            if first == last and place < len(met) - 2:  # two edges meet here, which is no inside
                place += 1
                continue
            if last >= 0:
                drawn[row, max(0, first) : last + 1] = True
            place += 2


# --- files -----------------------------------------------------------------------------------------------------------


def read_regions(path: Path) -> list[Region]:
    """Read a file of regions, .txt or .bin.

    Raises:
        InputError: it cannot be read, or is invalid.
    """
    try:
        if path.suffix == ".bin":
            return _read_binary(path.read_bytes())
        return [_read_line(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, struct.error, InputError) as error:
        raise InputError(f"cannot read regions of the VOT toolkit in {path} ({error}); write the file again") from error


def _read_line(line: str) -> Region:
    line = line.strip()
    if line.startswith("m"):
        left, top, width, height, *runs = (int(value) for value in line[1:].split(","))
        return _masked(left, top, width, height, runs)
    values = [float(value) for value in line.replace("\t", ",").split(",")]
    if len(values) == 1:
        return Region(code=int(values[0]))
    if len(values) < 4 or len(values) % 2:
        raise InputError(f"expected 1, 4, 6 or more numbers; got {show_value(line)}")
    return _shaped(values)


def _shaped(values: list[float]) -> Region:
    if any(map(math.isnan, values)):
        return Region(code=0)
    rounded = np.round(np.array(values, np.float32)).astype(np.float32)
    if not (np.abs(rounded) < 1e6).all():
        raise InputError(f"expected numbers of pixels; got {show_value(values)}")
    return Region(points=rounded if len(values) == 4 else rounded.reshape(-1, 2))


def _masked(left: int, top: int, width: int, height: int, runs: list[int]) -> Region:
    if min(width, height, *runs, 0) < 0 or width * height > MOST_PIXELS or sum(runs) > width * height:
        raise InputError(f"expected a mask of {width} x {height} pixels; its runs add up to {sum(runs)}")
    pixels = np.zeros(width * height, bool)
    pixels[: sum(runs)] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Region(mask=pixels.reshape(height, width), corner=(left, top))


def _read_binary(content: bytes) -> list[Region]:
    at = 0

    def read(layout: str) -> tuple[int | float, ...]:
        nonlocal at
        values = struct.unpack_from(f"<{layout}", content, at)
        at += struct.calcsize(f"<{layout}")
        return values

    version, count = read("hI")
    if version != 1 or count > len(content):
        raise InputError(f"expected version 1 and a number of regions; got {version} and {count}")
    found = []
    for _ in range(int(count)):
        kind = read("B")[0]
        if kind == 0:
            found.append(Region(code=int(read("I")[0])))
        elif kind == 1:
            found.append(_shaped([float(value) for value in read("ffff")]))
        elif kind == 2:
            found.append(_shaped([float(value) for value in read(f"{2 * int(read('H')[0])}f")]))
        elif kind == 3:
            left, top, width, height, runs = (int(value) for value in read("hhHHH"))
            found.append(_masked(left, top, width, height, [int(value) for value in read(f"{runs}H")]))
        else:
            raise InputError(f"expected a kind of region from 0 to 3; got {kind}")
    return found
