"""A stand-in for a trained DaSiamRPN: plain normalized correlation behind the same two calls; and scenes for it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

Array = np.ndarray

GAIN, HALF = 20.0, 0.5  # a correlation of one half scores one half
OBJECT = 64  # pixels of a template crop that the target itself covers, if it is square
SHRUNK = 4


class MatchingNetwork:
    """As ``tracking.base.Network``, for square targets of one size.

    Of the features (1, 30, N, 1, 1) only the kernel that speaks for the square anchor is not zero: what the middle of
    the template shows, shrunken, with mean 0 and norm 1. It is linear in its kernels, as the real network is.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.encoded = 0

    def encode(self, template: Array) -> Array:
        self.encoded += 1
        look = _looks(template[0], [32], [32])[0]
        features = np.zeros((1, 30, look.size, 1, 1), np.float32)
        features[0, 7, :, 0, 0] = look
        return features

    def locate(self, features: Array, search: Array) -> dict[str, Array]:
        size = search.shape[1]
        self.sizes.append(size)
        cells = (size - 127) // 8 + 1
        first = (size + 1) // 2 - OBJECT // 2 - 8 * (cells // 2)
        starts = [first + 8 * cell for cell in range(cells)]
        similarity = _looks(search[0], starts, starts) @ features[0, 7, :, 0, 0]
        cls = np.full((1, 10, cells, cells), 0.0, np.float32)
        cls[:, 5:] = -30.0
        cls[0, 7] = GAIN * (similarity.reshape(cells, cells) - HALF)
        return {"cls": cls, "loc": np.zeros((1, 20, cells, cells), np.float32)}


def _looks(crop: Array, rows: list[int], columns: list[int]) -> Array:
    """What squares of 64 pixels of a crop (H, W, 3) show: (rows x columns, N), each with mean 0 and norm 1."""
    shrunken = cv2.blur(crop.astype(np.float32), (SHRUNK, SHRUNK), anchor=(0, 0))[::SHRUNK, ::SHRUNK]
    side = OBJECT // SHRUNK
    windows = np.lib.stride_tricks.sliding_window_view(shrunken, (side, side), axis=(0, 1))
    picked = windows[np.array(rows) // SHRUNK][:, np.array(columns) // SHRUNK].reshape(len(rows) * len(columns), -1)
    centered = picked - picked.mean(1, keepdims=True)
    return np.asarray(centered / (np.linalg.norm(centered, axis=1, keepdims=True) + 1e-3), np.float32)


def texture(seed: int, side: int = 40) -> Array:
    """A soft pattern of strong colors, (side, side, 3) with mean 0 and deviation 1."""
    noise = np.random.default_rng(seed).standard_normal((side, side, 3))
    soft = cv2.GaussianBlur(noise, (0, 0), side / 6)
    soft -= soft.mean((0, 1))
    return np.asarray(soft / soft.std())


def alike(pattern: Array, similarity: float, seed: int) -> Array:
    """Another pattern, whose correlation with this one is about ``similarity``."""
    other = texture(seed, len(pattern))
    other -= pattern * (pattern * other).mean()
    return np.asarray(similarity * pattern + np.sqrt(1 - similarity**2) * other / other.std())


def draw_scene(objects: list[tuple[Array, tuple[float, float]]]) -> Array:
    """A frame of 480 x 360 with patterns at their centers over a quiet background that is always the same."""
    frame = _background().copy()
    for pattern, (x, y) in objects:
        left, top = (round(center - len(pattern) / 2) for center in (x, y))
        shown = frame[max(0, top) : top + len(pattern), max(0, left) : left + len(pattern)]
        first_row, first_column = max(0, -top), max(0, -left)
        shown[:] = 128 + 40 * pattern[first_row:, first_column:][: shown.shape[0], : shown.shape[1]]
    return np.clip(frame, 0, 255).astype(np.uint8)


@lru_cache(1)
def _background() -> Array:
    noise = cv2.GaussianBlur(np.random.default_rng(1).standard_normal((360, 480, 3)), (0, 0), 12)
    return np.asarray(128 + 10 * noise / noise.std())
