from __future__ import annotations

import pytest

from singletrack.errors import InputError
from singletrack.events import Event, EventDetector
from singletrack.geometry.boxes import Box
from singletrack.tracking.base import Result

SIZE = (100, 60)


def run(detector: EventDetector, *steps: tuple[Box, bool]) -> list[list[tuple[str, str | None]]]:
    """Types and zones of the events of each frame of one target."""
    found = []
    for frame, (box, lost) in enumerate(steps):
        events = detector.update(frame, frame / 10, {1: Result(box=box, score=0.5, lost=lost)}, SIZE)
        found.append([(event.type, event.zone) for event in events])
    return found


def test_found_lost_and_found_again() -> None:
    middle: Box = (40, 20, 10, 10)
    events = run(EventDetector(), (middle, False), (middle, True), (middle, True), (middle, False))
    assert events == [[("found", None)], [("lost", None)], [], [("found_again", None)]]


@pytest.mark.parametrize(("box", "kind"), [((89, 20, 10, 10), "left_frame"), ((80, 20, 10, 10), "lost")])
def test_lost_at_the_edge_has_left_the_frame(box: Box, kind: str) -> None:
    assert run(EventDetector(), (box, False), ((40, 20, 10, 10), True))[1] == [(kind, None)]


def test_zones_are_crossed_by_the_center_after_three_frames() -> None:
    outside, inside = ((0, 0, 10, 10), False), ((46, 0, 10, 10), False)
    detector = EventDetector({"door": (50, 0, 30, 30)})
    events = run(detector, outside, inside, inside, outside, inside, inside, inside, outside, outside, outside)
    assert events == [
        [("found", None)],
        *[[]] * 5,
        [("entered_zone", "door")],
        *[[]] * 2,
        [("left_zone", "door")],
    ]


def test_a_target_that_starts_in_a_zone_enters_at_once_and_leaves_none_while_lost() -> None:
    inside: Box = (46, 20, 10, 10)
    detector = EventDetector({"door": (50, 0, 30, 30)})
    events = run(detector, (inside, False), *[((20, 20, 10, 10), True)] * 5)
    assert events == [[("found", None), ("entered_zone", "door")], [("lost", None)], [], [], [], []]


def test_targets_have_their_own_state() -> None:
    detector = EventDetector()
    first, second = (Result(box=(40, 20, 9, 9), score=0.9, lost=lost) for lost in (False, True))
    detector.update(0, 0.0, {1: first, 2: first}, SIZE)
    (event,) = detector.update(1, 0.1, {1: first, 2: second}, SIZE)
    assert event == Event(type="lost", id=2, frame=1, time=0.1, box=(40, 20, 9, 9), score=0.9)
    detector.forget(2)
    (event,) = detector.update(2, 0.2, {1: first, 2: first}, SIZE)
    assert event.type == "found"


def test_packed() -> None:
    event = Event(type="entered_zone", id=3, frame=7, time=0.23333, box=(1, 2, 3, 4.005), score=0.75, zone="door")
    assert event.pack() == {
        "event": "entered_zone",
        "id": 3,
        "frame": 7,
        "time": 0.2333,
        "box": [1, 2, 3, 4.0],
        "score": 0.75,
        "zone": "door",
    }


def test_a_zone_without_area() -> None:
    with pytest.raises(InputError, match="zone door must have a width and a height; got 0 x 5"):
        EventDetector({"door": (1, 1, 0, 5)})


def test_zones_are_those_of_the_first_frame_where_the_size_changes() -> None:
    detector = EventDetector({"door": (40, 20, 20, 20)})

    def update(frame: int, box: Box, size_wh: tuple[int, int]) -> list[Event]:
        return detector.update(frame, frame / 10, {1: Result(box=box, score=0.5, lost=False)}, size_wh)

    assert [event.type for event in update(0, (0, 0, 10, 10), SIZE)] == ["found"]
    events = [update(frame, (90, 50, 20, 20), (200, 120)) for frame in range(1, 5)]
    assert [[(event.type, event.box) for event in each] for each in events] == [
        [],
        [],
        [("entered_zone", (90, 50, 20, 20))],
        [],
    ]
