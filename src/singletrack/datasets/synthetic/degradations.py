"""Simulates a camera: viewpoint, frame edges, light, blur, noise and compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singletrack.datasets.photos import Array, Image, Random
from singletrack.opencv import cv2

# Share of pairs with one view much dimmer than the other.
DIMMED = 0.15
# A dimmed view keeps this share of its brightness.
DARKEST = 0.06

EVERYWHERE = np.array([-np.inf, -np.inf, np.inf, np.inf])  # xyxy of an unbounded frame


def view(picture: Image, center: Array, scale: float, size: int, matrix: Array | None = None) -> Image:
    """Render a (size, size) view of ``picture`` around ``center``, enlarged by ``scale``, with mirrored edges."""
    if scale < 0.6:
        shrink = max(scale, 0.1)
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA).astype(np.uint8)
        center, scale = center * shrink, scale / shrink
    linear = (np.eye(2) if matrix is None else matrix) * scale
    mapping = np.column_stack([linear, np.array([size / 2, size / 2]) - linear @ center])
    mapping[:, 2] += linear @ np.array([0.5, 0.5]) - 0.5
    seen = cv2.warpAffine(picture, mapping, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return seen.astype(np.uint8)


def frame_in_view(picture: Image, mapping: Array, size_wh: tuple[int, int]) -> Array:
    """Compute the edges of the image in a view of this size, xyxy, for small rotations. ``mapping``: 2x3, from image
    to view.
    """
    half = np.array(size_wh) / 2
    middle = np.linalg.solve(mapping[:, :2], half - mapping[:, 2])
    scale = math.sqrt(abs(float(np.linalg.det(mapping[:, :2]))))
    ends: Array = np.concatenate([-middle, np.array(picture.shape[1::-1]) - middle]) * scale + np.tile(half, 2)
    return ends


def with_box(frame: Array, box_xywh: Array, margin: float = 0.1) -> Array:
    """Extend the frame (x0, y0, x1, y1) to contain a box with a relative margin."""
    x, y, w, h = box_xywh
    edge = margin * math.sqrt(w * h)
    low, high = np.minimum(frame[:2], [x - edge, y - edge]), np.maximum(frame[2:], [x + w + edge, y + h + edge])
    return np.concatenate([low, high])


def surrounded(look: Image, frame: Array, other: Image) -> Image:
    """Replace everything outside ``frame`` (x0, y0, x1, y1) by another view."""
    x0, y0, x1, y1 = np.round(np.clip(frame, 0, np.tile(look.shape[1::-1], 2))).astype(int)
    whole = other.copy()
    whole[y0:y1, x0:x1] = look[y0:y1, x0:x1]
    return whole


def near_edge(random: Random, size: int, box: Array, frame: Array) -> Array:
    """Move one side of the frame (x0, y0, x1, y1 in the crop) so that it cuts at most a third off ``box``."""
    axis, far = random.integers(2), random.integers(2)
    start, extent = box[axis], box[2 + axis]
    frame = frame.copy()
    if far:
        line = random.uniform(max(start + 0.67 * extent, 0.3 * size), max(size, start + extent))
        frame[2 + axis] = min(frame[2 + axis], round(line))
    else:
        line = random.uniform(min(0, start), min(start + 0.33 * extent, 0.7 * size))
        frame[axis] = max(frame[axis], round(line))
    return frame


def blacken_outside(crop: Image, frame: Array) -> None:
    """Blacken everything outside ``frame`` (x0, y0, x1, y1), in place."""
    x0, y0, x1, y1 = np.round(np.clip(frame, 0, crop.shape[0])).astype(int)
    crop[:y0], crop[y1:], crop[:, :x0], crop[:, x1:] = 0, 0, 0, 0


@dataclass(frozen=True)
class Light:
    """The light of a view: gain and offset by channel, gamma, saturation."""

    gain: Array
    offset: Array
    gamma: float
    saturation: float

    @staticmethod
    def draw(random: Random) -> Light:
        """Draw a light: mostly daylight; sometimes gray, dark or of low contrast."""
        kind = random.random(3)
        gain = np.exp(random.normal(0, 0.12)) * np.exp(random.normal(0, 0.06, 3))
        offset = np.full(3, random.normal(0, 10.0))
        saturation = float(np.clip(random.normal(1, 0.25), 0, 2))
        if kind[0] < 0.22:
            saturation, gain, offset = 0.0, np.full(3, gain.mean()), np.full(3, offset.mean())
        if kind[1] < 0.15:
            gain, offset = gain * math.exp(random.uniform(math.log(0.08), math.log(0.6))), 0.3 * offset
        if kind[2] < 0.12:
            contrast = random.uniform(0.15, 0.6)
            gain, offset = gain * contrast, offset + (1 - contrast) * random.uniform(30, 200)
        return Light(gain, offset, float(np.exp(random.normal(0, 0.18))), saturation)

    def varied(self, random: Random) -> Light:
        """Vary the light for the other view of a pair: mostly slightly, sometimes clearly, or much dimmer."""
        much = 3.5 if random.random() < 0.2 else 1.0
        dimmed = math.exp(-random.uniform(0.3, 2.2)) if random.random() < DIMMED else 1.0
        return Light(
            self.gain
            * max(dimmed, min(1.0, DARKEST / self.gain.mean()))
            * np.exp(random.normal(0, 0.08 * much))
            * (np.exp(random.normal(0, 0.02, 3)) if self.saturation else 1),
            self.offset + random.normal(0, 4 * much),
            self.gamma * float(np.exp(random.normal(0, 0.06 * much))),
            self.saturation * float(np.exp(random.normal(0, 0.1))),
        )

    def towards(self, other: Light, share: float) -> Light:
        """Interpolate to another light by ``share``."""
        return Light(
            self.gain ** (1 - share) * other.gain**share,
            self.offset + share * (other.offset - self.offset),
            self.gamma + share * (other.gamma - self.gamma),
            self.saturation + share * (other.saturation - self.saturation),
        )

    def shine(self, pixels: Image) -> Image:
        """Apply the light to pixels (H, W, 3)."""
        if abs(self.saturation - 1) > 0.02:
            gray = np.array([0.299, 0.587, 0.114])
            mix = self.saturation * np.eye(3) + (1 - self.saturation) * np.tile(gray, (3, 1))
            pixels = cv2.transform(pixels, mix).astype(np.uint8)
        steps = (np.arange(256) / 255.0) ** self.gamma * 255
        table = np.clip(steps[:, None] * self.gain + self.offset, 0, 255).astype(np.uint8)[None]
        return cv2.LUT(pixels, table).astype(np.uint8)


def shadowed(random: Random, pixels: Image) -> Image:
    """Shade one side of a line, with a hard or soft edge."""
    size = pixels.shape[0]
    angle, middle = random.uniform(0, 2 * math.pi), random.uniform(0.2, 0.8, 2) * size
    away = (np.arange(size)[:, None] - middle[1]) * math.sin(angle) + (np.arange(size) - middle[0]) * math.cos(angle)
    depth, width = random.uniform(0.2, 0.75), random.uniform(0.01, 0.3) * size
    light = 1 - depth * np.clip(away / width + 0.5, 0, 1)
    shaded: Image = (pixels * light[..., None].astype(np.float32)).astype(np.uint8)
    return shaded


def motion_kernel(random: Random, length: float) -> NDArray[np.float32]:
    """Create the kernel, with sum 1, of a straight motion over ``length`` pixels in a random direction."""
    angle = random.uniform(0, math.pi)
    taps = int(length) | 1
    kernel = np.zeros((taps, taps), np.float32)
    middle = taps // 2
    reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    ends = [tuple(int(v) for v in np.round((middle + sign * reach) * 16)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, shift=4)
    kernel[middle, middle] = max(kernel[middle, middle], 1e-3)
    weights: NDArray[np.float32] = kernel / kernel.sum()
    return weights


def coarser(pixels: Image, factor: float) -> Image:
    """Reduce the resolution by ``factor`` per side, and enlarge again."""
    size = pixels.shape[0]
    small = max(16, int(size / factor))
    pixels = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def degrade(random: Random, pixels: Image) -> Image:
    """Apply motion blur, low resolution, noise and JPEG compression, each to some of the images."""
    chance = random.random(4)
    size = pixels.shape[0]
    if chance[0] < 0.25:
        pixels = cv2.filter2D(pixels, -1, motion_kernel(random, random.uniform(2, 0.06 * size + 2))).astype(np.uint8)
    if chance[1] < 0.2:
        pixels = coarser(pixels, random.uniform(1.3, 3.0))
    if chance[2] < 0.3:
        # noise is equal in all channels of a gray image, and nearly so in many others
        channels = 1 if random.random() < 0.6 else 3
        noise = np.empty((*pixels.shape[:2], channels), np.int16)
        cv2.setRNGSeed(int(random.integers(1 << 31)))
        cv2.randn(noise, np.zeros(channels), np.full(channels, random.uniform(1, 12)))
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    if chance[3] < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(15, 70))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
        assert decoded is not None
        pixels = decoded.astype(np.uint8)
    return pixels
