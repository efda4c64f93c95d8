"""Which frames stand together in STARK's samples, and that padding goes where its crop goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.datasets.augmentations import Augmentation, Jitter, Roll, ViewRoll
from singletrack.datasets.frame_index import FrameIndex
from singletrack.datasets.frame_pairs import PairDrawing, view_of
from singletrack.datasets.frame_tuples import (
    FrameTuples,
    Look,
    TupleRules,
    draw_frame_tuple,
    draw_trident,
    middle,
    padding_of,
)
from singletrack.datasets.sampling import FramePairs, FrameRules
from singletrack.errors import InputError

GRAY = 120


class Made(FrameIndex):
    """Footage of gray frames of 100 x 80, all boxes alike, of which it matters where targets are visible."""

    def picture(self, sequence: int, frame: int, shrunk: int = 1) -> Any:
        return np.full((80, 100, 3), GRAY, np.uint8)


def footage(*visible: list[bool], box: tuple[float, ...] = (5.0, 20.0, 30.0, 30.0)) -> FrameIndex:
    starts = np.cumsum([0, *map(len, visible)])
    flags = np.array([flag for each in visible for flag in each])
    boxes = np.tile(np.array(box, np.float32), (len(flags), 1))
    rest: dict[str, Any] = dict.fromkeys(("names", "categories", "places", "files"), np.zeros(len(visible)))
    return Made(
        folder=Path(),
        dataset="made",
        split="train",
        fingerprint="",
        where=(),
        starts=starts,
        visible=flags,
        boxes=boxes,
        **rest,
    )


def sets(part: FrameIndex, **rules: Any) -> FrameTuples:
    return FrameTuples(FramePairs([part], [1], FrameRules()), TupleRules(**rules))


def test_the_second_template_lies_on_the_first_ones_side_of_the_search_frame() -> None:
    visible = np.ones(1000, np.bool_)
    visible[400:600] = False
    random = np.random.default_rng(0)
    drawn = np.array([draw_trident(random, visible, 200) for _ in range(4000)])
    first, second, search = drawn.T
    assert visible[first].all()
    assert visible[search].all()
    assert not visible[second].all()  # it may be hidden
    early = first < search
    assert ((second[early] >= search[early] - 200) & (second[early] < search[early])).all()
    assert ((second[~early] >= search[~early]) & (second[~early] < search[~early] + 200)).all()
    assert second.min() >= 0
    assert second.max() < 1000
    assert abs(early.mean() - 0.5) < 0.03


def test_templates_by_mode() -> None:
    part, random = footage([True] * 30), np.random.default_rng(1)
    causal, trident = sets(part).draw(random), sets(part, mode="trident").draw(random)
    assert len(causal.templates) == 1
    assert causal.templates[0].frame < causal.search.frame
    assert len(trident.templates) == 2
    pictures = sets(footage([True], [True]), mode="trident").draw(random)
    assert {look.frame for look in (*pictures.templates, pictures.search)} == {0}
    assert len({look.sequence for look in (*pictures.templates, pictures.search)}) == 1


def test_half_of_the_search_frames_do_not_show_the_target() -> None:
    hidden = [True] * 20 + [False] * 3
    frames = sets(footage(hidden, [True] * 25), mode="trident", negatives=0.5)
    random = np.random.default_rng(2)
    drawn = [frames.draw(random) for _ in range(2000)]
    absent = [each for each in drawn if not each.present]
    assert abs(len(absent) / 2000 - 0.5) < 0.04
    for each in absent:
        if each.templates[0].sequence == 0:  # which has frames without its target
            assert each.search.absent
            assert each.search.sequence == 0
            assert each.search.frame >= 20
        else:
            assert not each.search.absent
    assert not any(each.search.absent for each in drawn if each.present)
    assert {each.search.sequence for each in absent if each.templates[0].sequence == 1} == {0, 1}


def test_a_sample_is_whole_and_always_the_same() -> None:
    frames = sets(footage([True] * 20 + [False] * 3), mode="trident", negatives=0.5)
    drawing = PairDrawing(template_size=32, search_size=64, augmentation=Augmentation(search_factor=5.0))
    samples = [draw_frame_tuple(frames, drawing, [7], index) for index in range(12)]
    for sample in samples:
        assert sample.templates.shape == (2, 32, 32, 3)
        assert sample.search.shape == (64, 64, 3)
        assert sample.template_padding.shape == (2, 32, 32)
        assert sample.search_padding.any() or not sample.present  # five times the target is more than the frame
        inside = sample.search[~sample.search_padding]
        assert len(np.unique(inside)) == 1  # one gray, brightened: no black of what lies beyond it
        assert inside.min() >= 0.79 * GRAY
    assert {sample.present for sample in samples} == {True, False}
    again = draw_frame_tuple(frames, drawing, [7], 3)
    np.testing.assert_array_equal(again.search, samples[3].search)
    np.testing.assert_array_equal(again.box, samples[3].box)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("flip_one", [False, True])
def test_padding_is_mirrored_with_its_crop(flip: bool, flip_one: bool) -> None:
    image: NDArray[Any] = np.full((80, 100, 3), GRAY, np.uint8)
    box = np.array([2.0, 20.0, 30.0, 30.0], np.float32)
    roll = Roll(gray=False, flip=flip)
    view = ViewRoll(np.zeros(2, np.float32), np.full(2, 0.5, np.float32), 1.0, flip_one)
    done = view_of(image, box, Augmentation(), roll, view, Jitter(), factor=2.0, size=60)
    assert done is not None
    crop = done[0][:, ::-1] if flip_one else done[0]
    padding = padding_of((100, 80), box, roll, view, Jitter(), 0.0, factor=2.0, size=60)
    assert padding.any()
    assert padding[:, 0 if flip == flip_one else -1].all()
    np.testing.assert_array_equal(crop[..., 0] < GRAY, padding)


def test_where_there_is_no_target_the_middle_is_shown() -> None:
    np.testing.assert_array_equal(middle((160, 80)), [70.0, 35.0, 20.0, 10.0])
    assert Look(0, 0, 3) == Look(0, 0, 3, absent=False)


def test_boxes_that_show_nothing_are_refused() -> None:
    frames = sets(footage([True] * 20, box=(5.0, 5.0, 0.0, 10.0)))
    drawing = PairDrawing(template_size=32, search_size=64, augmentation=Augmentation())
    with pytest.raises(InputError, match=r"200 samples in a row.*singletrack datasets check"):
        draw_frame_tuple(frames, drawing, [0], 0)
