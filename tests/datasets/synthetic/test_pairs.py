"""Pairs: the same seed draws the same pair, and boxes are as tracking meets them."""

from __future__ import annotations

import numpy as np
import pytest

from singletrack.datasets.photos import Found, Procedural
from singletrack.datasets.synthetic import cut_paste
from singletrack.datasets.synthetic.cut_paste import composed_scene, paste_into_template, paste_newest
from singletrack.datasets.synthetic.cutouts import Piece, outline_of, paste
from singletrack.datasets.synthetic.pairs import draw_pair
from singletrack.datasets.synthetic.same_photo import in_place_scene
from singletrack.datasets.synthetic.scenes import Fit, Newest, PairSettings
from singletrack.errors import InputError
from singletrack.geometry.crops import MARK


@pytest.mark.parametrize("in_place", [0.0, 1.0])
def test_the_same_seed_draws_the_same_pair(in_place: float) -> None:
    settings = PairSettings(in_place=in_place)
    one, two = (draw_pair(np.random.default_rng(3), Procedural(), 64, 128, settings) for _ in range(2))
    assert np.array_equal(one.template, two.template)
    assert np.array_equal(one.search, two.search)
    assert np.array_equal(one.box, two.box)
    assert one.template.shape == (64, 64, 3)
    assert one.search.shape == (128, 128, 3)
    assert one.search.dtype == np.uint8


def test_boxes_have_the_size_and_place_that_tracking_meets() -> None:
    pairs = [draw_pair(np.random.default_rng(s), Procedural(), 64, 128, PairSettings()) for s in range(60)]
    for pair in pairs:
        assert (pair.box[2:] >= 1).all()
        center = pair.box[:2] + pair.box[2:] / 2
        assert ((center > -16) & (center < 144)).all()
    sides = [np.sqrt(p.box[2] * p.box[3]) for p in pairs if p.present]
    assert 25 < np.median(sides) < 38
    assert any(
        not p.present
        for p in [
            draw_pair(np.random.default_rng(s), Procedural(), 64, 128, PairSettings(absent=0.9, in_place=0))
            for s in range(5)
        ]
    )


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"fit": -0.1}])
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="tries must be at least 1"):
        PairSettings(**wrong)


def test_a_fit_by_hand() -> None:
    fit = Fit(np.array([0.1, 0.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(fit.box(np.array([10.0, 20.0, 40.0, 10.0])), [14.0, 15.0, 40.0, 20.0])


def test_in_the_template_the_box_is_in_the_middle_and_not_the_thing() -> None:
    white = np.full((40, 80), 255, np.uint8)
    piece = Piece(np.full((40, 80, 3), 255, np.uint8), white, outline_of(white))
    fit = Fit(np.array([0.2, -0.1]), np.array([0.8, 1.5]))
    for seed in range(20):
        template = np.zeros((112, 112, 3), np.uint8)
        random = np.random.default_rng(seed)
        aspect = paste_into_template(random, Procedural(), template, piece, [], 0.0, 56.0, fit)
        assert aspect == pytest.approx(2 * 0.8 / 1.5)
        rows, columns = (np.flatnonzero((template == 255).all(2).any(1 - axis)) for axis in (0, 1))
        thing = np.array([columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1], float)
        wh = 56 * np.array([aspect**0.5, aspect**-0.5])
        np.testing.assert_allclose(fit.box(thing), [*(56 - wh / 2), *wh], atol=2.5)


@pytest.mark.parametrize("in_place", [0.0, 1.0])
def test_a_marked_box_is_drawn_into_the_template_alone(in_place: float) -> None:
    one, two = (
        draw_pair(
            np.random.default_rng(5), Procedural(), 112, 224, PairSettings(in_place=in_place, mark_template=marked)
        )
        for marked in (False, True)
    )
    assert np.array_equal(one.search, two.search)
    assert not (one.template == MARK).all(2).any()
    assert (two.template == MARK).all(2).sum() > 150


@pytest.mark.parametrize("in_place", [0.0, 1.0])
def test_the_newest_look_stands_beside_the_first(in_place: float) -> None:
    settings = PairSettings(in_place=in_place, mark_template=True, num_templates=2)
    seen = [draw_pair(np.random.default_rng(s), Procedural(), 112, 224, settings) for s in range(12)]
    for pair in seen:
        assert pair.template.shape == (2, 112, 112, 3)
        assert all((look == MARK).all(2).sum() > 150 for look in pair.template)
    assert sum(np.array_equal(*pair.template) for pair in seen) < 6


def newest(shift: tuple[float, float], growth: tuple[float, float]) -> Newest:
    return Newest(older=False, elsewhere=False, shift=np.array(shift), growth=np.array(growth))


def white_box(crop: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero((crop == 255).all(2).any(1 - axis)) for axis in (0, 1))
    return np.array([columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1], float)


def followed(thing: np.ndarray, now: Newest) -> list[float]:
    wh = thing[2:] * now.growth
    return [*(thing[:2] + thing[2:] * (0.5 + now.shift) - wh / 2), *wh]


def test_the_newest_look_is_cut_round_the_box_that_was_followed() -> None:
    white = np.full((40, 80), 255, np.uint8)
    piece = Piece(np.full((40, 80, 3), 255, np.uint8), white, outline_of(white))
    now, exact = newest((0.1, -0.2), (0.8, 1.3)), Fit(np.zeros(2), np.ones(2))
    settings = PairSettings(occluded=0.0, num_templates=2)
    for seed in range(10):
        crop = np.zeros((112, 112, 3), np.uint8)
        random = np.random.default_rng(seed)
        aspect = paste_newest(random, Procedural(), crop, piece, [], np.eye(2), exact, now, settings)
        wh = 56 * np.array([aspect**0.5, aspect**-0.5])
        np.testing.assert_allclose(followed(white_box(crop), now), [*(56 - wh / 2), *wh], atol=2.5)


class OneObject(Procedural):
    """A photo with a white thing in it, before dark ones."""

    def draw(self, random: np.random.Generator) -> np.ndarray:
        return np.full((240, 240, 3), 40, np.uint8)

    def draw_object(self, random: np.random.Generator, beside: Found | None = None) -> Found:
        picture = np.zeros((300, 400, 3), np.uint8)
        picture[120:160, 150:230] = 255
        return Found(picture, picture[..., 0].copy())


@pytest.mark.parametrize("living", [0.0, 1.0])
def test_so_it_is_of_a_photo_and_boxes_fit_what_is_seen(living: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = newest((0.1, -0.2), (0.8, 1.3))
    monkeypatch.setattr(Newest, "draw", lambda random: now)
    settings = PairSettings(fit=0.0, occluded=0.0, whole=1.0, num_templates=2, living=living, scale=0.2, anywhere=0.0)
    for seed in range(12):
        scene = in_place_scene(np.random.default_rng(seed), OneObject(), 112, 224, settings)
        thing = np.where(scene.search > 150, 255, 0).astype(np.uint8)
        np.testing.assert_allclose(white_box(thing), scene.box_xywh, atol=2.5)
        assert scene.newest is not None
        thing = np.where(scene.newest > 150, 255, 0).astype(np.uint8)
        wh = 56 * np.array([scene.newest_aspect**0.5, scene.newest_aspect**-0.5])
        # a bend of up to 0.08 of its size comes on top
        np.testing.assert_allclose(followed(white_box(thing), now), [*(56 - wh / 2), *wh], atol=2.5 + 7 * living)


def test_what_is_beside_the_target_in_a_template_is_often_in_the_search_crop_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pasted: list[Piece] = []
    monkeypatch.setattr(
        cut_paste, "paste", lambda canvas, piece, mapping: pasted.append(piece) or paste(canvas, piece, mapping)
    )
    again = 0
    for seed in range(60):
        pasted.clear()
        composed_scene(np.random.default_rng(seed), Procedural(96), 48, 96, PairSettings(occluded=0.0, absent=0.0))
        again += len({id(piece) for piece in pasted}) < len(pasted)
    assert 5 < again < 30
