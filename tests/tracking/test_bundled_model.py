"""The bundled model where there is nothing left to follow: the box stays sane, and once lost it stays in place."""

from __future__ import annotations

import math

import numpy as np
import pytest

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.openvino_engine import OpenVINONetwork
from singletrack.loading import bundled_file
from singletrack.registry import MODELS
from singletrack.tracking.ostrack import OSTrackTracker

SIZE_WH = (320, 180)
FRAMES = 300


@pytest.fixture(scope="module")
def tracker() -> OSTrackTracker:
    path = bundled_file("ostrack-tiny", ".onnx")
    return OSTrackTracker(OpenVINONetwork(path, device="cpu", threads=1), MODELS["ostrack-tiny"].tracker_settings)


def blind_frame(kind: str, random: np.random.Generator) -> np.ndarray:
    shape = (SIZE_WH[1], SIZE_WH[0], 3)
    if kind == "noise":
        return random.integers(0, 256, shape, dtype=np.uint8)
    return np.full(shape, (0, 0, 0) if kind == "black" else (200, 120, 40), np.uint8)


@pytest.mark.parametrize("kind", ["noise", "black", "one color"])
def test_without_a_target_the_box_stays_sane(kind: str, tracker: OSTrackTracker) -> None:
    settings, random = tracker.settings, np.random.default_rng(0)
    frame, last_confident_box = next(generate_clip(frames=1, size_wh=SIZE_WH))
    tracker.init(frame, last_confident_box)
    lost = 0
    for _ in range(FRAMES):
        result = tracker.update(blind_frame(kind, random))
        x, y, width, height = result.box
        assert all(map(math.isfinite, (*result.box, result.score)))
        assert 0 <= x < x + width <= SIZE_WH[0]
        assert 0 <= y < y + height <= SIZE_WH[1]
        if result.lost:
            lost += 1
            assert result.box == last_confident_box
        elif result.score >= settings.lost_below:
            last_confident_box = result.box
    if kind != "noise":  # which a network may take for something now and then
        assert lost == FRAMES - settings.lost_after + 1
