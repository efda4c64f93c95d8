"""Training pairs from labeled clips of real motion.

Crops are cut as in tracking (``geometry.crops``). The added light, blur and noise are those of synthetic pairs. Bare
numbers are probabilities and spreads chosen by eye.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.labeled_clips import LabeledClip, LabeledTrack, frame_name
from singletrack.datasets.photos import Array, Image, Random
from singletrack.datasets.synthetic.degradations import Light, blacken_outside, coarser, degrade, shadowed
from singletrack.datasets.synthetic.pairs import Pair, mirrored
from singletrack.datasets.synthetic.scenes import FARTHEST, Fit, Newest, PairSettings, search_place
from singletrack.errors import InputError
from singletrack.geometry.crops import Square, mark_box, square_crop
from singletrack.video.images import read_picture

# Share of dynamic templates that are still the first one, and of views with a shadow, as in synthetic pairs.
STILL_FIRST = 0.08
SHADOWED = 0.1
# A box at the frame's edge of less than this share of the object's usual area is a sliver.
SLIVER = 0.35
# Slivers are never templates, and this share of them are dropped as search targets.
SLIVERS_DROPPED = 0.75
# Objects are targets from this many pixels of a box's shorter side on.
LEAST_SIDE = 4.0
DRAWN_AT_MOST = 200


@dataclass(frozen=True, kw_only=True)
class ClipPairSettings:
    """How pairs are drawn from clips. Shares are probabilities.

    Attributes:
        pairs: crop factors, spread of positions and sizes, looseness of boxes and templates, as for synthetic pairs.
        near: share of pairs whose frames are at most ``near_gap`` apart; the others are anywhere in the clip.
        absent: share of pairs whose search crop does not show the target: a frame without it, or another place.
        beside: share of pairs with another nearby object in the middle of the search crop.
        newest_age: dynamic templates are 1 to this many labeled frames nearer to the template frame than the search
            frame; those that ``Newest`` calls older are from anywhere in between.
        misled: share of dynamic templates that show another object of the clip, if there is one, so that the first
            template must decide.
        lit: share of pairs with changed light, blur or noise, as in synthetic pairs; the others are unchanged.
        fair: weight of objects with labels of fair quality, against 1.
    """

    pairs: PairSettings
    near: float = 0.5
    near_gap: int = 15
    absent: float = 0.08
    beside: float = 0.2
    newest_age: int = 10
    misled: float = 0.12
    lit: float = 0.6
    fair: float = 0.4

    def __post_init__(self) -> None:
        if min(self.near_gap, self.newest_age) < 1 or self.fair < 0:
            raise InputError(
                f"expected near_gap and newest_age of 1 or more and fair of 0 or more; got {self.near_gap}, "
                f"{self.newest_age} and {self.fair}"
            )


@dataclass(frozen=True)
class View:
    """A crop before light and noise.

    Attributes:
        corner: left and top of the square in the frame.
        scale: crop pixels per frame pixel.
        visible_xyxy: part of the crop inside the frame; the rest is black.
    """

    pixels: Image
    corner: Array
    scale: float
    visible_xyxy: Array

    def box(self, box_xywh: Array) -> Array:
        """Map a box from the frame to the crop, xywh."""
        return np.concatenate([box_xywh[:2] - self.corner, box_xywh[2:]]) * self.scale


def cut_view(frame: Image, center: Array, extent: float, size: int) -> View:
    """Crop a square of ``extent`` frame pixels around a point, (size, size, 3), at integer pixels as in tracking."""
    around = [center[0] - extent / 2, center[1] - extent / 2, extent, extent]
    pixels, scale = square_crop(frame, around, factor=1.0, size=size)
    square = Square.around(around, 1.0)
    rows, columns = square.inside((frame.shape[1], frame.shape[0]))
    shown = np.array([columns.start, rows.start, columns.stop, rows.stop])
    corner = np.array([square.left, square.top], float)
    return View(pixels, corner, scale, (shown - np.tile(corner, 2)) * scale)


class ClipPairs:
    """Draws pairs from clips whose frames are unpacked in folders."""

    def __init__(self, clips: Sequence[LabeledClip], folders: Sequence[Path], settings: ClipPairSettings) -> None:
        """Raise InputError if no object of the clips is visible in two frames."""
        self.clips, self.folders, self.settings = list(clips), list(folders), settings
        self.places: list[tuple[int, int]] = []
        weights = []
        self.usable: list[NDArray[np.intp]] = []
        for index, clip in enumerate(self.clips):
            for place, track in enumerate(clip.tracks):
                usable = np.flatnonzero(track.present & ~slivers(track, clip.size_wh))
                if len(usable) > 1:
                    self.places.append((index, place))
                    self.usable.append(usable)
                    weights.append(settings.fair if track.quality == "fair" else 1.0)
        if not self.places or not sum(weights):
            raise InputError(
                f"expected objects that are visible in two frames or more; got none in {len(self.clips)} clips; "
                "give other clips"
            )
        self.edges = np.cumsum(weights) / np.sum(weights)

    def draw(self, random: Random, template_size: int, search_size: int) -> Pair:
        """Draw a pair of crops with its exact box."""
        for _ in range(DRAWN_AT_MOST):
            pair = self._draw(random, template_size, search_size)
            if pair is not None:
                return mirrored(pair) if random.random() < 0.5 else pair
        raise InputError(
            f"expected clips whose objects can be cut out; got {DRAWN_AT_MOST} pairs in a row that cannot be used; "
            "check their labels"
        )

    def frame(self, clip: int, index: int) -> Image:
        return read_picture(self.folders[clip] / frame_name(index))

    def _draw(self, random: Random, template_size: int, search_size: int) -> Pair | None:
        settings = self.settings
        chosen = min(int(np.searchsorted(self.edges, random.random(), side="right")), len(self.places) - 1)
        (clip_index, place), usable = self.places[chosen], self.usable[chosen]
        clip = self.clips[clip_index]
        track = clip.tracks[place]
        first = int(usable[random.integers(len(usable))])
        absent = random.random() < settings.absent
        gone = np.flatnonzero(track.absent)
        if absent and len(gone) and random.random() < 0.5:
            second = int(gone[random.integers(len(gone))])
        else:
            second = draw_partner(random, np.flatnonzero(track.present), first, settings)
            sliver = not np.isin(second, usable)
            if second == first or (sliver and random.random() < SLIVERS_DROPPED):
                return None
        frames = {index: self.frame(clip_index, index) for index in {first, second}}
        fit = Fit.draw(random, settings.pairs)
        template_box = fit.box(track.boxes_xywh[first])
        template = cut_template(frames[first], template_box, template_size, settings.pairs)
        if absent:
            spot = empty_spot(random, clip, track, second, settings.pairs)
            if spot is None:
                return None
            center, extent = spot
            search_box = np.array([center[0], center[1], 1.0, 1.0])
        else:
            search_box = fit.box(track.boxes_xywh[second])
            if min(search_box[2:]) < LEAST_SIDE:
                return None
            center, extent = self._search_square(random, clip, track, second, search_box, search_size)
        search = cut_view(frames[second], center, extent, search_size)
        newest = None
        if settings.pairs.num_templates > 1:
            newest = self._newest(random, clip_index, track, first, second, fit, template_size, frames)
        return self._finished(random, template, template_box, search, search_box, not absent, newest)

    def _search_square(
        self, random: Random, clip: LabeledClip, track: LabeledTrack, frame: int, box_xywh: Array, size: int
    ) -> tuple[Array, float]:
        """Draw center and extent, in frame pixels, of the search square for a target with this box."""
        spot, side = search_place(random, size, self.settings.pairs)
        scale = side / math.sqrt(box_xywh[2] * box_xywh[3])
        middle = box_xywh[:2] + box_xywh[2:] / 2
        if random.random() < self.settings.beside:
            others = [other.boxes_xywh[frame] for other in clip.tracks if other is not track and other.present[frame]]
            near = [other[:2] + other[2:] / 2 for other in others]
            near = [other for other in near if np.abs(other - middle).max() * scale < FARTHEST * size]
            if near:
                return near[random.integers(len(near))], size / scale
        return middle - (spot - size / 2) / scale, size / scale

    def _newest(
        self,
        random: Random,
        clip: int,
        track: LabeledTrack,
        first: int,
        second: int,
        fit: Fit,
        size: int,
        frames: dict[int, Image],
    ) -> tuple[View, Array] | None:
        """Draw a dynamic template from between the two frames, mostly near the second; None for the first template."""
        if random.random() < STILL_FIRST:
            return None
        between = np.flatnonzero(track.present)
        low, high = min(first, second), max(first, second)
        between = between[(between >= low) & (between <= high) & (between != second)]
        if not len(between):
            return None
        now = Newest.draw(random)
        if second > first:
            between = between[::-1]  # nearest to the second frame first
        newest = len(between) if now.older else min(self.settings.newest_age, len(between))
        index = int(between[random.integers(newest)])
        frame = frames[index] if index in frames else self.frame(clip, index)
        shown = track.boxes_xywh[index]
        others = [each for each in self.clips[clip].tracks if each is not track and each.present[index]]
        if others and random.random() < self.settings.misled:
            shown = others[random.integers(len(others))].boxes_xywh[index]
        true = fit.box(shown)
        wh = true[2:] * now.growth
        middle = true[:2] + true[2:] * (0.5 + now.shift)
        if now.elsewhere:
            middle = random.uniform(0.1, 0.9, 2) * [frame.shape[1], frame.shape[0]]
        box = np.concatenate([middle - wh / 2, wh])
        return cut_template(frame, box, size, self.settings.pairs), box

    def _finished(
        self,
        random: Random,
        template: View,
        template_box: Array,
        search: View,
        search_box: Array,
        present: bool,
        newest: tuple[View, Array] | None,
    ) -> Pair:
        """Apply light, and draw the box into the templates."""
        settings = self.settings
        crops = [template.pixels.copy(), search.pixels.copy()]
        views = [template, search]
        if newest is not None:
            crops.append(newest[0].pixels.copy())
            views.append(newest[0])
        if random.random() < settings.lit:
            light = Light.draw(random)
            lights = [light, light.varied(random)]
            if random.random() < 0.5:
                lights.reverse()
            lights.append(lights[0].towards(lights[1], 1 - random.random() ** 2))
            coarse, factor = random.random() < settings.pairs.coarse, math.exp(random.uniform(0.2, 1.0))
            for index, (crop, view) in enumerate(zip(crops, views, strict=True)):
                crop = lights[index].shine(crop)
                if random.random() < SHADOWED:
                    crop = shadowed(random, crop)
                if coarse:
                    crop = coarser(crop, factor)
                crop = degrade(random, crop)
                blacken_outside(crop, view.visible_xyxy)  # the light brightened the black padding
                crops[index] = crop
        if settings.pairs.mark_template:
            mark_box(crops[0], template.box(template_box))
            if newest is not None:
                mark_box(crops[2], newest[0].box(newest[1]))
        stacked = crops[0]
        if settings.pairs.num_templates > 1:
            stacked = np.stack([crops[0], crops[2] if newest is not None else crops[0]])
        return Pair(stacked, crops[1], search.box(search_box), present, template.box(template_box))


def cut_template(frame: Image, box_xywh: Array, size: int, settings: PairSettings) -> View:
    """Crop the template around a box."""
    extent = settings.template_factor * math.sqrt(box_xywh[2] * box_xywh[3])
    return cut_view(frame, box_xywh[:2] + box_xywh[2:] / 2, extent, size)


def slivers(track: LabeledTrack, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (N,) bool: too little of the object is left at the frame edge, or its box is too small, for training."""
    boxes = np.nan_to_num(track.boxes_xywh)
    areas = boxes[:, 2] * boxes[:, 3]
    usual = float(np.median(areas[track.present])) if track.present.any() else 0.0
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    at_edge = (low <= 1).any(1) | (high >= np.array(size_wh) - 1).any(1)
    small = boxes[:, 2:].min(1) < LEAST_SIDE
    return np.asarray(track.present & ((at_edge & (areas < SLIVER * usual)) | small))


def draw_partner(random: Random, places: NDArray[np.intp], first: int, settings: ClipPairSettings) -> int:
    """Draw a search frame among ``places``, before or after ``first``: mostly near, else anywhere. ``first`` if
    alone.
    """
    others = places[places != first]
    if random.random() < settings.near:
        near = others[np.abs(others - first) <= settings.near_gap]
        others = near if len(near) else others
    return int(others[random.integers(len(others))]) if len(others) else first


def empty_spot(
    random: Random, clip: LabeledClip, track: LabeledTrack, frame: int, settings: PairSettings
) -> tuple[Array, float] | None:
    """Draw center and extent of a square without the target: at its last position, on another object, or anywhere.

    None if a few tries find none, or if the frame is not labeled.
    """
    if not track.labeled[frame]:
        return None
    present = np.flatnonzero(track.present)
    nearest = track.boxes_xywh[present[np.abs(present - frame).argmin()]]
    extent = settings.search_factor * math.sqrt(nearest[2] * nearest[3])
    extent *= math.exp(random.uniform(-settings.scale, settings.scale))
    spots = [other.boxes_xywh[frame] for other in clip.tracks if other is not track and other.present[frame]]
    spots += [nearest] if track.absent[frame] else []
    for _ in range(6):
        if spots and random.random() < 0.7:
            box = spots[random.integers(len(spots))]
            center = box[:2] + box[2:] / 2 + random.normal(0, 0.15, 2) * box[2:]
        else:
            center = random.uniform(0, 1, 2) * clip.size_wh
        target = track.boxes_xywh[frame]
        if track.absent[frame] or (np.abs(target[:2] + target[2:] / 2 - center) > (extent + target[2:]) / 2).any():
            return center, extent
    return None
