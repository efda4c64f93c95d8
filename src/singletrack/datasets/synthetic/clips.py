"""Generates clips with exact boxes, for testing trackers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from singletrack.datasets.photos import Array, Image, Pictures, Procedural, Random
from singletrack.datasets.synthetic.articulated import Figure, cut_figure, pose
from singletrack.datasets.synthetic.cutouts import box_of, cut_object, paste, place, recolor, roll, tip, turn
from singletrack.datasets.synthetic.degradations import Light, frame_in_view, surrounded, with_box
from singletrack.datasets.synthetic.warped_photo import Bend, Living, map_to
from singletrack.errors import InputError
from singletrack.opencv import cv2

TRIES = 60  # photos to try for an object


def generate_clip(
    frames: int = 150,
    size_wh: tuple[int, int] = (640, 360),
    seed: int = 0,
    pictures: Pictures | None = None,
    distractors: int = 3,
    double: bool = True,
    absent: Sequence[range] = (),
    outings: Sequence[range] = (),
    posts: int = 0,
    turning: float = 0.0,
) -> Iterator[tuple[Image, tuple[float, float, float, float]]]:
    """Generate a clip of a figure that moves, turns and swings its limbs over a drifting background.

    The path is smooth and stays inside the frame except for ``outings``. Some clips have coarse resolution, noise, or
    changing light. Without ``pictures``, everything is procedural.

    Args:
        distractors: number of other objects. The first one is a double of the target in other colors, unless ``double``
            is False.
        double: whether the first distractor is a double of the target.
        absent: ranges of frames in which the target is not drawn; its box is NaN.
        outings: ranges of frames in which the target is outside the frame. It leaves over the nearest edge and returns
            over another one; its box is then the visible part.
        posts: largest number of posts in front of the objects. They are as high as the frame and drift with the
            background; boxes include the hidden part. None hides the target in the first frame.
        turning: largest out-of-plane rotation in radians; half of the objects are then complete ones, if available.

    Yields:
        Frames (H, W, 3) uint8 RGB, and the exact boxes, xywh.
    """
    random = np.random.default_rng(seed)
    pictures = pictures or Procedural()
    width, height = size_wh
    photo = pictures.draw(random)
    enlarge = 1.35 * max(width / photo.shape[1], height / photo.shape[0])
    world = cv2.resize(photo, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    slack = np.array([world.shape[1] - width, world.shape[0] - height])
    sculptor = np.random.default_rng([seed, 4])
    cast = [cut_figure(random, pictures.draw(random), pictures) for _ in range(distractors + 1)]
    if turning:
        cast = [(sculptor.random() < 0.5 and _object(sculptor, pictures)) or figure for figure in cast]
    if distractors and double:
        cast[1] = recolored(random, cast[0])
    scale = min(size_wh) / 360
    sizes = random.uniform(45, 80, len(cast)) * scale
    waves = [random.uniform(0, 2 * np.pi, 6) for _ in range(len(cast) + 1)]
    paces = [random.uniform(0.012, 0.04, 4) for _ in range(len(cast) + 1)]
    film = _Film.draw(np.random.default_rng([seed, 1]))
    gone = {index for span in (*absent, *outings) for index in span}
    door = np.random.default_rng([seed, 2])
    builder = np.random.default_rng([seed, 3])
    standing = [_post(builder, pictures, world.shape[1], height) for _ in range(posts)]

    def size_and_center(actor: int, index: int) -> tuple[float, Array]:
        wave, pace = waves[actor], paces[actor]
        side = sizes[actor] * math.exp(0.25 * math.sin(wave[4] + 0.8 * pace[2] * index))
        reach = np.array([width, height]) / 2 - 1.1 * side
        center = np.array([width, height]) / 2 + reach * np.sin(wave[:2] + pace[:2] * index)
        return side, center + 0.08 * reach * np.sin(wave[2:4] + 3.1 * pace[:2] * index)

    walks = [
        walk
        for outing in outings
        for walk in _walks(door, outing, size_wh, lambda index: size_and_center(0, index), frames)
    ]
    for index in range(frames):
        drift = 0.5 + 0.5 * np.sin(waves[-1][:2] + paces[-1][:2] * 0.6 * index)
        corner = np.round(drift * slack).astype(int)
        frame = world[corner[1] : corner[1] + height, corner[0] : corner[0] + width].copy()
        box = np.full(4, np.nan)
        for actor in reversed(range(len(cast))):
            if actor == 0 and index in gone:
                continue
            figure, wave, pace = cast[actor], waves[actor], paces[actor]
            limbs = np.arange(len(figure.limbs))
            piece = pose(figure, 0.6 * np.sin(wave[5] + 2 * limbs + 5 * pace[3] * index))
            if turning:
                piece = roll(piece, turning * (math.sin(wave[5] + 2 * pace[2] * index) - math.sin(wave[5])))
                piece = tip(piece, 0.3 * turning * (math.sin(wave[4] + 1.5 * pace[3] * index) - math.sin(wave[4])))
            side, center = size_and_center(actor, index)
            if actor == 0:
                center = next((walk[index] for walk in walks if index in walk), center)
            form = turn(
                0.3 * math.sin(wave[5] + pace[3] * index),
                math.exp(0.12 * math.sin(wave[4] + pace[3] * index)),
            )
            drawn = paste(frame, piece, place(form, piece, center, side))
            if actor == 0:
                box = drawn if not outings else _visible(drawn, size_wh)
        if index == 0:
            standing = [post for post in standing if not _hides(post, box, int(corner[0]))]
        for left, pixels in standing:
            first, last = (max(0, left - int(corner[0]) + edge) for edge in (0, pixels.shape[1]))
            frame[:, first:last] = pixels[:, max(0, int(corner[0]) - left) :][:, : frame[:, first:last].shape[1]]
        yield film.shot(frame, index), (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def living_clip(
    frames: int, size_wh: tuple[int, int], seed: int, pictures: Pictures
) -> Iterator[tuple[Image, tuple[float, float, float, float]]]:
    """Generate a clip from a photo in which the object moves under a drifting camera.

    The object moves, grows, turns and bends against its background without a seam, see ``warped_photo``. This tests
    boxes of objects with natural edges.

    Yields:
        Frames (H, W, 3) uint8 RGB, and the exact boxes, xywh.

    Raises:
        InputError: no image has an object.
    """
    random = np.random.default_rng(seed)
    film = _Film.draw(np.random.default_rng([seed, 1]))
    for _ in range(TRIES):
        found = pictures.draw_object(random)
        if found.mask is not None:
            break
    else:
        raise InputError(f"no object found in {TRIES} photos; give other photos")
    living = Living.of_mask(found.picture, found.mask)
    box = box_of(living.outline)
    middle, extent = box[:2] + box[2:] / 2, math.sqrt(box[2] * box[3])
    side, half = min(size_wh) * random.uniform(0.2, 0.4), np.array(size_wh) / 2
    beyond = cv2.resize(pictures.draw(random), size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    waves, paces = random.uniform(0, 2 * np.pi, 12), random.uniform(0.02, 0.07, 12)
    bends = [Bend.draw(random, box, 0.07) for _ in range(2)]
    reach = extent * random.uniform(0.5, 1.0)
    for index in range(frames):
        swing = np.sin(waves + paces * index)
        scale = side / extent * math.exp(0.3 * swing[0])
        form = scale * turn(0.15 * swing[1], math.exp(0.15 * swing[2]), 0.1 * swing[3])
        place_xy = half + (half - 0.75 * side) * swing[4:6]
        thing = map_to(form, middle, place_xy)
        ground = map_to(form * math.exp(0.2 * swing[6]), middle, place_xy + 0.15 * side * swing[7:9])
        bend = replace(bends[0], field=bends[0].field * swing[9] + bends[1].field * swing[10])
        frame, outline = living.seen(size_wh, thing, ground, bend, reach)
        seen = box_of(outline)
        frame = surrounded(frame, with_box(frame_in_view(living.picture, ground, size_wh), seen), beyond)
        x, y, w, h = seen.tolist()
        yield film.shot(frame, index), (x, y, w, h)


@dataclass(frozen=True)
class _Film:
    """The appearance of a clip: changing light, resolution and noise."""

    light: Light
    dimming: float
    coarse: float
    grain: float
    random: Random

    @staticmethod
    def draw(random: Random) -> _Film:
        light = Light.draw(random)
        dimming, coarse = random.uniform(0, 0.5), math.exp(random.uniform(-1, 0.9))
        return _Film(light, dimming, coarse, random.uniform(-8, 8), random)

    def shot(self, frame: Image, index: int) -> Image:
        """Render the next frame (H, W, 3)."""
        height, width = frame.shape[:2]
        gain = self.light.gain * (1 - self.dimming * math.sin(0.05 * index) ** 2)
        frame = replace(self.light, gain=gain).shine(frame)
        if self.coarse > 1:
            small = round(width / self.coarse), round(height / self.coarse)
            small_frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
            frame = cv2.resize(small_frame, (width, height)).astype(np.uint8)
        if self.grain > 0:
            frame = np.clip(frame + self.random.normal(0, self.grain, (height, width, 1)), 0, 255).astype(np.uint8)
        return frame


def _object(random: Random, pictures: Pictures) -> Figure | None:
    """Cut out the object of an image; None if no complete object is found."""
    found = pictures.draw_object(random)
    return None if found.mask is None else Figure(cut_object(found.picture, found.mask), ())


def _post(random: Random, pictures: Pictures, world: int, height: int) -> tuple[int, Image]:
    """Create an upright post in a world of this width: its left edge, and its pixels (height, width, 3)."""
    width = round(height * random.uniform(0.05, 0.2))
    pixels = cv2.resize(pictures.draw(random), (width, height), interpolation=cv2.INTER_AREA)
    return int(random.uniform(0, world - width)), (pixels * random.uniform(0.3, 1)).astype(np.uint8)


def _hides(post: tuple[int, Image], box: Array, corner: int) -> bool:
    """Check whether a post hides part of a box, xywh in the frame with its left edge at ``corner``."""
    left = post[0] - corner
    return bool(left < box[0] + box[2] + 3 and box[0] - 3 < left + post[1].shape[1])


def _walks(
    random: Random,
    outing: range,
    size_wh: tuple[int, int],
    size_and_center: Callable[[int], tuple[float, Array]],
    frames: int,
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Compute the path out before an outing and in after it: the target center by frame index.

    Out over the nearest edge, in over any other; at a fifth of the target side per frame, or as the clip allows.
    """
    size = np.array(size_wh, np.float64)
    edges = [(axis, end) for axis in (0, 1) for end in (0, 1)]

    def beyond(edge: tuple[int, int], center: Array, side: float) -> Array:
        axis, end = edge
        outside = center.copy()
        outside[axis] = size[axis] + 1.1 * side if end else -1.1 * side  # half of the longest piece
        return outside

    def steps(way: float, side: float, limit: int) -> int:
        return max(1, min(limit, round(way / (0.2 * side))))

    side, center = size_and_center(outing.start)
    out = min(edges, key=lambda edge: float(np.abs(beyond(edge, center, side) - center).sum()))
    goal = beyond(out, center, side)
    count = steps(float(np.linalg.norm(goal - center)), side, outing.start - 1)
    first = outing.start - count
    start = size_and_center(first)[1]
    way_out = {first + step: start + (goal - start) * step / count for step in range(count)}

    entry = edges[random.choice([index for index, edge in enumerate(edges) if edge != out])]
    side, center = size_and_center(outing.stop)
    middle = np.where(np.arange(2) == entry[0], center, size * random.uniform(0.25, 0.75, 2))
    origin = beyond(entry, middle, side)
    count = steps(float(np.linalg.norm(origin - center)), side, max(1, frames - outing.stop))
    end = size_and_center(outing.stop + count)[1]
    return way_out, {outing.stop + step: origin + (end - origin) * (step + 1) / count for step in range(count)}


def _visible(box_xywh: Array, size_wh: tuple[int, int]) -> Array:
    """Clip a box to the frame; NaN if nothing is left."""
    low = box_xywh[:2].clip(0, size_wh)
    high = (box_xywh[:2] + box_xywh[2:]).clip(0, size_wh)
    seen: Array = np.concatenate([low, high - low])
    return seen if (high > low).all() else np.full(4, np.nan)


def recolored(random: Random, figure: Figure) -> Figure:
    """Recolor a figure."""
    return replace(figure, body=replace(figure.body, pixels=recolor(random, figure.body.pixels)))
