from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.geometry.box_formats import resolve_box, share_inside

SIZE = (640, 360)


@pytest.mark.parametrize(
    ("box", "options", "found"),
    [
        ((120, 80, 64, 48), {}, (120, 80, 64, 48)),
        ((120, 80, 184, 128), {"box_format": "xyxy"}, (120, 80, 64, 48)),
        ((152, 104, 64, 48), {"box_format": "cxcywh"}, (120, 80, 64, 48)),
        ((0.25, 0.5, 0.1, 0.2), {"normalized": True}, (160, 180, 64, 72)),
        ((0.25, 0.5, 0.35, 0.7), {"normalized": True, "box_format": "xyxy"}, (160, 180, 64, 72)),
        (np.array([120, 80, 64, 48]), {}, (120, 80, 64, 48)),
        ([1, 1, 1, 1], {"normalized": False}, (1, 1, 1, 1)),
        ((300, 200, 400, 300), {"box_format": "xywh"}, (300, 200, 400, 300)),
        ((-10, 80, 64, 48), {}, (-10, 80, 64, 48)),
        ((600, 80, 45, 48), {}, (600, 80, 45, 48)),  # a few pixels beyond the edge
        ((0, 0, 640, 360), {}, (0, 0, 640, 360)),
    ],
)
def test_boxes_in_every_form(box: Any, options: dict[str, Any], found: tuple[float, ...]) -> None:
    assert resolve_box(box, SIZE, **options) == pytest.approx(found)


@pytest.mark.parametrize(
    ("box", "options", "said"),
    [
        ((0.35, 0.35, 0.2, 0.23), {}, "looks like shares of the frame; add --normalized"),
        ((300, 200, 400, 300), {}, "looks like two corners; add --box-format xyxy"),
        ((-122.5, 60, 123, 40), {}, r"only 0.4 % of -122.5,60,123,40"),
        ((120, 80, 64, 48), {"normalized": True}, "must overlap the 640 x 360 frame"),
        ((120, 80, 64, 48), {"box_format": "xyxy"}, "must be positive"),
        ((1, 2, 3), {}, r"four numbers; got \(1, 2, 3\)"),
        ("1234", {"box_format": "ltrb"}, "unknown box format 'ltrb'"),
        ((1, 2, 3, None), {}, "four numbers"),
        ((1, 2, 3, 10**400), {}, "four numbers"),
        ((float("nan"), 1, 2, 3), {}, "finite"),
    ],
)
def test_boxes_that_are_questioned(box: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        resolve_box(box, SIZE, **options)


def test_share_inside() -> None:
    assert share_inside((-5, 0, 10, 10), (100, 100)) == 0.5
    assert share_inside((-20, 0, 10, 10), (100, 100)) == 0
