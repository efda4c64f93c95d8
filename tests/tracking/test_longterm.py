"""The search for a lost target, over made frames: bright squares on a dark floor, and a network that sees them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import pytest

from singletrack.errors import InputError
from singletrack.geometry.boxes import Box, iou
from singletrack.tracking.base import BatchTracker, Result
from singletrack.tracking.longterm import LongTermTracker, cover
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.tracking.shots import Shot, is_cut, shot_of

CELLS = 16
SIZE_WH = (400, 300)
BOX = (60.0, 60.0, 20.0, 20.0)
SETTINGS = OSTrackSettings(
    hold_when_lost=True,
    lost_after=3,
    long_term=True,
    search_after=4,
    confirm_share=0.65,
    confirm_looks=3,
)


class BrightSquares:
    """Sees the brightest thing in a crop, as large as it is, with its brightness (0.2 to 1) as the score."""

    def encode(self, template: np.ndarray) -> np.ndarray:
        return np.zeros((len(template), 1), np.float32)

    def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
        each = [self._see(crop[..., 0] / np.float32(255)) for crop in search]
        return {name: np.stack([maps[name] for maps in each]) for name in each[0]}

    def _see(self, crop: np.ndarray) -> dict[str, np.ndarray]:
        maps = {
            "score": np.full((CELLS, CELLS), 0.01, np.float32),
            "size": np.full((2, CELLS, CELLS), 0.25, np.float32),
            "offset": np.zeros((2, CELLS, CELLS), np.float32),
        }
        brightest = crop.max()
        if brightest > 0.2:
            rows, columns = np.nonzero(crop > brightest - 0.05)
            low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
            center = (low + high) / 2 / crop.shape[0] * CELLS
            x, y = center.astype(int)
            maps["score"][y, x] = brightest
            maps["size"][:, y, x] = (high - low) / crop.shape[0]
            maps["offset"][:, y, x] = center - (x, y)
        return maps


def frame(*things: tuple[Box, float]) -> np.ndarray:
    """A dark floor with squares of some brightness on it, 0 to 1."""
    picture = np.full((SIZE_WH[1], SIZE_WH[0], 3), 20, np.uint8)
    picture[::7, ::5] = 25
    for (x, y, width, height), brightness in things:
        picture[int(y) : int(y + height), int(x) : int(x + width)] = round(255 * brightness)
    return picture


def walk(index: int) -> Box:
    return (60.0 + index, 60.0, 20.0, 20.0)


def leaves_and_returns(index: int) -> np.ndarray:
    """There for 10 frames, away for 30, then back at the far corner."""
    if index < 10:
        return frame((walk(index), 0.9))
    return frame() if index < 40 else frame(((340.0, 250.0, 20.0, 20.0), 0.9))


def follow(make: Callable[[int], np.ndarray], frames: int, settings: OSTrackSettings = SETTINGS) -> list[Result]:
    tracker = LongTermTracker(OSTrackTracker(BrightSquares(), settings))
    tracker.init(make(0), BOX)
    return [tracker.update(make(index)) for index in range(1, frames)]


def test_a_target_that_returns_elsewhere_is_found_again_only_by_the_search() -> None:
    returned = (340.0, 250.0, 20.0, 20.0)
    results = follow(leaves_and_returns, 80)
    lost = [result.lost for result in results]
    assert lost.index(True) == 9 + SETTINGS.lost_after - 1
    assert all(lost[11:39])
    found = lost.index(False, 12)
    tiles = len(cover(SIZE_WH, BOX, SETTINGS.tile_step))
    assert found <= 39 + tiles / SETTINGS.tiles_per_frame + SETTINGS.confirm_looks
    assert not any(lost[found:])
    assert all(iou(result.box, returned) > 0.9 for result in results[found + 1 :])
    alone = OSTrackTracker(BrightSquares(), SETTINGS)
    alone.init(leaves_and_returns(0), BOX)
    assert all([alone.update(leaves_and_returns(index)).lost for index in range(10, 80)][2:])


def test_a_best_guess_is_followed_while_the_frame_is_searched() -> None:
    def make(index: int) -> np.ndarray:
        return frame((walk(2 * index), 0.9 if index < 10 else 0.4))  # too dark to be found again

    settings = dataclasses.replace(SETTINGS, lost_below=0.5, found_above=0.6)
    last = (walk(2 * 39), walk(2 * 9))  # where it is, and where it was last seen well
    for hold_below, expected in ((0.3, last[0]), (0.45, last[1]), (None, last[1])):
        results = follow(make, 40, dataclasses.replace(settings, hold_below=hold_below))
        assert [result.lost for result in results] == [index >= 10 + SETTINGS.lost_after - 1 for index in range(1, 40)]
        assert iou(results[-1].box, expected) > 0.6


def test_a_target_that_is_there_all_along_gives_the_trackers_own_results() -> None:
    random = np.random.default_rng(0)
    brightness = np.where(random.random(60) < 0.3, 0.22, 0.9)  # seen badly now and then, lost not once

    def make(index: int) -> np.ndarray:
        return frame((walk(index), float(brightness[index])), ((300.0, 200.0, 20.0, 20.0), 0.5))

    settings = OSTrackSettings(**{**vars(SETTINGS), "lost_after": 6})
    alone = OSTrackTracker(BrightSquares(), settings)
    alone.init(make(0), BOX)
    assert follow(make, 60, settings) == [alone.update(make(index)) for index in range(1, 60)]


def test_a_short_loss_is_left_to_the_tracker() -> None:
    gone = range(10, 9 + SETTINGS.lost_after + SETTINGS.search_after)

    def make(index: int) -> np.ndarray:
        return frame() if index in gone else frame((walk(index), 0.9), ((350.0, 250.0, 20.0, 20.0), 0.95))

    alone = OSTrackTracker(BrightSquares(), SETTINGS)
    alone.init(make(0), BOX)
    results = follow(make, 40)
    assert results == [alone.update(make(index)) for index in range(1, 40)]
    assert any(result.lost for result in results)
    assert not results[-1].lost


def test_what_is_seen_elsewhere_only_for_a_moment_or_dimly_is_not_taken() -> None:
    def flashes(index: int) -> np.ndarray:
        elsewhere = ((340.0, 250.0, 20.0, 20.0), 0.9)
        dim = ((340.0, 40.0, 20.0, 20.0), 0.5)
        return leaves_and_returns(index) if index < 10 else frame(dim, *[elsewhere] * (index % 3 == 0))

    results = follow(flashes, 120)
    assert all(result.lost for result in results[12:])
    assert all(result.box == results[-1].box for result in results[12:])


def test_a_double_in_other_colors_is_not_taken() -> None:
    def painted(index: int, *things: tuple[Box, tuple[float, float, float]]) -> np.ndarray:
        picture = frame()
        for (x, y, width, height), color in things:
            picture[int(y) : int(y + height), int(x) : int(x + width)] = np.array(color) * 255
        return picture

    red, yellow = (0.9, 0.1, 0.1), (0.9, 0.9, 0.1)
    double, returned = (200.0, 200.0, 20.0, 20.0), (340.0, 40.0, 20.0, 20.0)

    def make(index: int) -> np.ndarray:
        if index < 10:
            return painted(index, (walk(index), red))
        return painted(index, (double, yellow), *([(returned, red)] if index > 60 else []))

    results = follow(make, 120)
    assert all(result.lost for result in results[12:60])
    assert not results[-1].lost
    assert iou(results[-1].box, returned) > 0.9
    fooled = follow(make, 60, dataclasses.replace(SETTINGS, confirm_likeness=0.0))
    assert not fooled[-1].lost
    assert iou(fooled[-1].box, double) > 0.9


@pytest.mark.parametrize("color", [(0.9, 0.9, 0.1), (0.9, 0.4, 0.4)])
def test_what_enters_at_the_last_place_of_the_target_is_not_taken(color: tuple[float, float, float]) -> None:
    """A14: somebody else stands where the target was last seen."""
    last = walk(9)

    def make(index: int) -> np.ndarray:
        picture = frame()
        (x, y, width, height), shown = (walk(index), (0.9, 0.1, 0.1)) if index < 10 else (last, color)
        if not 10 <= index < 30:
            picture[int(y) : int(y + height), int(x) : int(x + width)] = np.array(shown) * 255
        return picture

    results = follow(make, 80)
    assert all(result.lost for result in results[12:])
    assert iou(results[-1].box, last) > 0.9
    fooled = follow(make, 80, dataclasses.replace(SETTINGS, confirm_likeness=0.0))
    assert not fooled[-1].lost


def test_what_jumps_about_is_not_taken() -> None:
    random = np.random.default_rng(1)

    def jumps(index: int) -> np.ndarray:
        if index < 10:
            return leaves_and_returns(index)
        x, y = random.uniform([150, 150], [380, 280])
        return frame(((float(x), float(y), 20.0, 20.0), 0.9))

    results = follow(jumps, 120)
    assert sum(not result.lost for result in results[12:]) == 0


def test_a_frame_asks_for_a_few_tiles_and_no_more() -> None:
    asked: list[int] = [0]

    class Counting(BrightSquares):
        def locate(self, features: np.ndarray, search: np.ndarray) -> Mapping[str, np.ndarray]:
            asked[-1] += len(search)
            return super().locate(features, search)

    tracker = LongTermTracker(OSTrackTracker(Counting(), SETTINGS))
    tracker.init(leaves_and_returns(0), BOX)
    for index in range(1, 39):
        asked.append(0)
        tracker.update(leaves_and_returns(index))
    alone = 9 + SETTINGS.lost_after + SETTINGS.search_after
    assert asked[1:] == [1] * alone + [1 + SETTINGS.tiles_per_frame] * (38 - alone)


def test_without_the_option_nothing_is_searched() -> None:
    settings = OSTrackSettings(**{**vars(SETTINGS), "long_term": False})
    assert all(result.lost for result in follow(leaves_and_returns, 80, settings)[12:])


def test_init_starts_anew() -> None:
    tracker = LongTermTracker(OSTrackTracker(BrightSquares(), SETTINGS))
    tracker.init(leaves_and_returns(0), BOX)
    lost = [tracker.update(leaves_and_returns(index)) for index in range(1, 42)]
    assert lost[-1].lost
    again = frame(((200.0, 100.0, 30.0, 30.0), 0.8))
    tracker.init(again, (200.0, 100.0, 30.0, 30.0))
    result = tracker.update(again)
    assert not result.lost
    assert iou(result.box, (200.0, 100.0, 30.0, 30.0)) > 0.9


def test_several_targets_share_a_network_and_are_searched_for_one_by_one() -> None:
    def make(index: int) -> np.ndarray:
        stays = ((60.0, 220.0, 20.0, 20.0), 0.7)
        if index < 10:
            return frame((walk(index), 0.9), stays)
        return frame(stays) if index < 40 else frame(((340.0, 40.0, 20.0, 20.0), 0.9), stays)

    settings = OSTrackSettings(**{**vars(SETTINGS), "confirm_share": 0.95})
    tracker = LongTermTracker(OSTrackTracker(BrightSquares(), settings))
    targets = MultiTracker(tracker)
    walker, stayer = targets.add(make(0), BOX), targets.add(make(0), (60.0, 220.0, 20.0, 20.0))
    results = [targets.update(make(index)) for index in range(1, 90)]
    assert not any(result[stayer].lost for result in results)
    assert all(result[walker].lost for result in results[12:39])
    assert not results[-1][walker].lost
    assert iou(results[-1][walker].box, (340.0, 40.0, 20.0, 20.0)) > 0.9


def test_update_is_its_two_halves_and_a_copy_follows_another_target() -> None:
    tracker = LongTermTracker(OSTrackTracker(BrightSquares(), SETTINGS))
    halves = copy.copy(tracker)
    assert isinstance(halves, BatchTracker)
    assert halves.network is tracker.network
    for each in (tracker, halves):
        each.init(leaves_and_returns(0), BOX)
    network = BrightSquares()
    for index in range(1, 70):
        inputs = halves.preprocess(leaves_and_returns(index))
        maps = None if inputs is None else network.locate(network.encode(inputs.template), inputs.search)
        assert halves.postprocess(maps) == tracker.update(leaves_and_returns(index))


def test_tiles_cover_the_frame_from_the_nearest_on() -> None:
    tiles = cover((400, 300), (350.0, 250.0, 20.0, 20.0), 4.0)
    assert len(tiles) == 5 * 4
    centers = np.array([(x + width / 2, y + height / 2) for x, y, width, height in tiles])
    assert centers[0].tolist() == [360.0, 262.5]
    assert centers[-1].tolist() == [40.0, 37.5]
    for point in np.random.default_rng(0).uniform(0, SIZE_WH, (100, 2)):
        assert (np.abs(centers - point).max(1) <= 40).any()


@pytest.mark.parametrize(
    ("size_wh", "box", "count"),
    [
        ((1280, 720), (0.45, 0.4, 0.1, 0.2), 43 * 24),  # C16: squares of 10 pixels, 30 apart
        ((1920, 1080), (0.45, 0.4, 0.02, 0.05), 64 * 36),
        ((3840, 2160), (5.0, 5.0, 1.0, 1.0), 128 * 72),
        ((40000, 40000), (5.0, 5.0, 1e-300, 1e-300), 128 * 128),
    ],
)
def test_a_tiny_target_has_few_tiles(size_wh: tuple[int, int], box: tuple[float, ...], count: int) -> None:
    assert len(cover(size_wh, box, 3.0)) == count


@pytest.mark.parametrize("size_wh", [(10, 10), (4000, 3)])
def test_odd_frames_have_tiles_too(size_wh: tuple[int, int]) -> None:
    assert len(cover(size_wh, (0.0, 0.0, 100.0, 100.0), 4.0)) == max(1, size_wh[0] // 400)


def test_a_frame_of_one_color_scores_nothing_and_the_search_goes_on() -> None:
    def make(index: int) -> np.ndarray:
        return np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8) if 10 <= index < 40 else leaves_and_returns(index)

    results = follow(make, 90)
    assert {result.score for result in results[9:39]} == {0.0}
    assert not results[-1].lost


def test_wrong_use_is_told() -> None:
    tracker = LongTermTracker(OSTrackTracker(BrightSquares(), SETTINGS))
    with pytest.raises(InputError, match=r"call init\(frame, box\) before update"):
        tracker.update(frame())
    with pytest.raises(InputError, match=r"long-term search needs a tracking\.base\.SearchingTracker"):
        LongTermTracker(BrightSquares())  # type: ignore[arg-type]
    tracker.init(frame((BOX, 0.9)), BOX)
    with pytest.raises(InputError, match="frame must be 400 x 300 pixels, as the first frame"):
        tracker.update(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"search_after": -1},
        {"confirm_looks": 0},
        {"tiles_per_frame": 0},
        {"tile_scale": 0.0},
        {"tile_step": -1.0},
        # C30
        {"tiles_per_frame": 1.5},
        {"tiles_per_frame": True},
        {"tiles_per_frame": 10**9},
        {"tile_step": 1e-300},
        {"tile_step": float("nan")},
        {"tile_step": "3"},
        {"search_factor": 1e300},
        {"lost_below": float("nan")},
        {"lost_after": 10**400},
        {"update_interval": 2.5, "num_templates": 2},
        {"exact_squares": 1},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="must be"):
        OSTrackSettings(**wrong)


@pytest.mark.parametrize("box", [(value for value in BOX), "1234", (0, 0, 1e18, 1e18), (1j, 2, 3, 4)])
def test_a_refused_box_changes_nothing(box: object) -> None:  # C27: the tracker inside had changed
    tracker, other = (LongTermTracker(OSTrackTracker(BrightSquares(), SETTINGS)) for _ in range(2))
    for each in (tracker, other):
        each.init(leaves_and_returns(0), BOX)
    with pytest.raises(InputError):
        tracker.init(frame(), box)  # type: ignore[arg-type]
    for index in range(1, 5):
        assert tracker.update(leaves_and_returns(index)) == other.update(leaves_and_returns(index))


def other_scene(index: int) -> np.ndarray:
    """The same target in the same place, before a floor of other colors."""
    picture = frame((walk(index), 0.9))
    floor = (picture < 100).all(2)
    picture[floor] = (10, 150, 60)
    return picture


def test_a_cut_to_another_scene_is_lost_at_once() -> None:  # C28: after 30 frames, or never
    assert not any(result.lost for result in follow(lambda index: frame((walk(index), 0.9)), 12))
    results = follow(lambda index: frame((walk(index), 0.9)) if index < 12 else other_scene(index), 12 + 30)
    lost = [result.lost for result in results]
    assert not any(lost[:11])
    assert all(lost[11 : 11 + SETTINGS.confirm_looks - 1])  # what looks like the target there must be confirmed


def test_a_cut_after_the_first_frame_gives_a_box_within_the_frame() -> None:
    first, then = other_scene(0), frame(((300.0, 200.0, 20.0, 20.0), 0.9))
    height, width = first.shape[:2]
    tracker = LongTermTracker(OSTrackTracker(BrightSquares(), SETTINGS))
    tracker.init(first, (10, 10, width, height))
    for _ in range(2):
        result = tracker.update(then)
        assert result.lost
        assert result.box[0] + result.box[2] <= width
        assert result.box[1] + result.box[3] <= height


def test_cuts_are_told_from_motion() -> None:
    def shot(pixels: np.ndarray) -> Shot:
        return shot_of(np.ascontiguousarray(pixels))

    random = np.random.default_rng(0)
    scene = cv2.resize(random.integers(0, 120, (9, 16, 3), np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)
    other = 255 - cv2.resize(random.integers(0, 120, (9, 16, 3), np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)
    assert is_cut(shot(scene), shot(other))
    assert is_cut(shot(other), shot(scene))
    assert not is_cut(shot(scene), shot(scene))
    assert not is_cut(shot(scene[:, :-40]), shot(scene[:, 40:]))  # the camera turns
    assert not is_cut(shot(scene), shot(np.clip(scene * 1.2, 0, 255).astype(np.uint8)))  # a light goes on
    assert not is_cut(shot(scene[:2, :3]), shot(scene[:2, :3]))
