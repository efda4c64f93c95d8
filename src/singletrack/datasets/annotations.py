"""Parses the text formats of benchmarks: boxes, polygons, masks, flags and frame ranges.

All functions raise InputError for invalid text. The message describes the problem, and the caller adds the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.base import Array
from singletrack.errors import InputError, show_value

Numbers = NDArray[np.int64]

NO_BOX = (np.nan,) * 4
LARGEST_MASK = 1 << 27  # pixels
MOST_FRAMES = 10_000_000  # per sequence: 92 hours at 30 frames per second
LARGEST_NUMBER = 1e9  # for anything that counts frames, tracks or pixels


def read_table(text: str) -> Array:
    """Parse numbers, (rows, columns), separated by commas, tabs or spaces; empty lines are ignored."""
    rows = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        odd = next(number for number, row in enumerate(rows) if len(row) != len(rows[0]))
        raise InputError(f"expected {len(rows[0])} numbers in every line; line {odd + 1} has {len(rows[odd])}")
    try:
        return np.array(rows, np.float64) if rows else np.zeros((0, 0))
    except (ValueError, OverflowError) as error:
        raise InputError(f"expected numbers; {error}") from error


def whole_numbers(column: Array, what: str, low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER) -> Numbers:
    """Convert numbers (N,) to integers; raises InputError, naming the first line, for fractions or values beyond a
    limit.
    """
    wrong = ~((column >= low) & (column <= high) & (column == np.floor(column)))
    if wrong.any():
        line = int(np.argmax(wrong))
        raise InputError(
            f"expected a whole number of {low:.0f} to {high:.0f} as {what}; line {line + 1} has {column[line]:g}"
        )
    return column.astype(np.int64)


def read_boxes(text: str) -> Array:
    """Parse lines of x,y,width,height: (N, 4). "NaN" means no box."""
    table = read_table(text)
    if table.shape[1] not in {0, 4}:
        raise InputError(f"expected x,y,width,height in every line; got {table.shape[1]} numbers")
    return table.reshape(-1, 4)


def read_values(text: str) -> Array:
    """Parse numbers in one or more lines: (N,)."""
    return read_table(",".join(text.split())).reshape(-1)


def read_regions(text: str) -> Array:
    """Parse regions as written by VOT into axis-aligned bounding boxes, (N, 4) xywh.

    A line is a box, a polygon (x1,y1,x2,y2,x3,y3, ...), a mask (m and x,y,width,height and alternating runs of pixels
    outside and inside, row by row), or one number for a frame without a region, which gives a NaN row.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not any(line.startswith("m") for line in lines) and len({line.count(",") for line in lines}) == 1:
        return _box_round(read_table(text))
    boxes = [_box_in_mask(line) if line.startswith("m") else _box_round(read_table(line))[0] for line in lines]
    return np.array(boxes, np.float64).reshape(-1, 4)


def _box_round(table: Array) -> Array:
    """Compute the bounding boxes of rows of boxes or polygons, (N, 4) or (N, 2 corners) -> (N, 4)."""
    columns = table.shape[1]
    if columns == 4:
        boxes = np.array(table)
    elif columns >= 6 and columns % 2 == 0:
        x, y = table[:, 0::2], table[:, 1::2]
        boxes = np.stack([x.min(1), y.min(1), np.ptp(x, 1), np.ptp(y, 1)], 1)
    elif columns == 1:
        boxes = np.full((len(table), 4), np.nan)
    else:
        raise InputError(f"expected a box (4 numbers), a polygon (6 or more) or a mask (m...); got {columns} numbers")
    boxes[np.isnan(boxes).any(1)] = np.nan
    return boxes


def _box_in_mask(line: str) -> Array:
    """Compute the bounding box of the pixels of a mask; each pixel is 1 wide and high."""
    numbers = read_values(line[1:])
    if len(numbers) < 4 or not (np.abs(numbers) <= LARGEST_NUMBER).all() or (numbers[2:] < 0).any():
        raise InputError(
            f"expected a mask as m and x,y,width,height and runs of 0 or more pixels; got {show_value(line)}"
        )
    left, top, width, height, *runs = (int(number) for number in numbers)
    if width * height > LARGEST_MASK:
        raise InputError(f"expected a mask of at most {LARGEST_MASK} pixels; got one of {width} x {height}")
    if sum(runs) > width * height:
        raise InputError(f"expected a mask of {width} x {height} pixels; its runs add up to {sum(runs)}")
    pixels = np.repeat(np.arange(len(runs)) % 2, runs)
    inside = np.flatnonzero(pixels)
    if not len(inside):
        return np.array(NO_BOX)
    rows, columns = np.divmod(inside, width)
    x, y = columns.min(), rows.min()
    return np.array([left + x, top + y, columns.max() - x + 1, rows.max() - y + 1], np.float64)


def read_vatic(text: str, step: int) -> tuple[Array, NDArray[np.bool_]]:
    """Parse lines of VATIC, used by NFS: (N, 4) xywh and (N,) visibility, for every ``step``-th frame.

    A line is track, xmin, ymin, xmax, ymax, frame (from 1), lost, occluded, generated and a label in quotes. Frames
    without a line are NaN and not visible; N ends with the last frame that has one.
    """
    table = read_table(re.sub(r'".*', "", text, flags=re.MULTILINE))
    if not len(table) or table.shape[1] != 9:
        raise InputError('expected lines such as 0 10 20 50 60 1 0 0 0 "ball": nine numbers and a label')
    frames = whole_numbers(table[:, 5], "frame", low=1, high=MOST_FRAMES) - 1
    chosen = frames % step == 0
    table, frames = table[chosen], frames[chosen] // step
    boxes = np.full((frames.max(initial=-1) + 1, 4), np.nan)
    boxes[frames] = np.concatenate([table[:, 1:3], table[:, 3:5] - table[:, 1:3]], 1)
    in_sight = np.zeros(len(boxes), np.bool_)
    in_sight[frames] = table[:, 6] == 0
    return boxes, in_sight


@dataclass(frozen=True)
class Excerpt:
    """A sequence that is part of a video: its name, the folder of the video, its first and last frame, from 1."""

    name: str
    folder: str
    numbers: tuple[int, int]


def read_config_seqs(text: str) -> list[list[Excerpt]]:
    """Parse the cell arrays of ``configSeqs.m``, the Matlab list of sequences of UAV123, in the order of the file."""
    code = re.sub(r"%.*", "", text)
    entry = re.compile(
        r"'name'\s*,\s*'(?P<name>[^']+)'\s*,\s*'path'\s*,(?P<path>.*?)'startFrame'\s*,\s*(?P<first>\d+)"
        r"\s*,\s*'endFrame'\s*,\s*(?P<last>\d+)",
        re.DOTALL,
    )
    arrays = []
    for array in re.split(r"=\s*\{", code):
        found = [
            Excerpt(match["name"], _last_folder(match["path"]), (int(match["first"]), int(match["last"])))
            for match in entry.finditer(array)
        ]
        if found:
            arrays.append(found)
    if not arrays:
        raise InputError("expected a configSeqs.m with struct('name',...,'path',...,'startFrame',...,'endFrame',...)")
    return arrays


def _last_folder(path: str) -> str:
    r"""'..\data_seq\UAV123\bird1\' or [root '\bird1\'] -> bird1"""
    quoted = "/".join(re.findall(r"'([^']*)'", path))
    return [part for part in re.split(r"[\\/]+", quoted) if part][-1]


def read_list(text: str) -> list[str]:
    """Parse a list of names, one per line; empty lines are ignored."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_properties(text: str) -> dict[str, str]:
    """Parse lines of key = value (or key: value), as in VOT and GOT-10k; others are ignored."""
    pairs = (re.split(r"\s*[=:]\s*", line.strip(), maxsplit=1) for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
