from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import singletrack
from singletrack.errors import InputError
from singletrack.loading import restore
from singletrack.registry import MODELS, change_settings, make_tracker
from singletrack.tracking.base import Result
from singletrack.tracking.state import from_bytes, rebuild, to_bytes

SIZE_WH, BOX = (160, 120), (60.0, 40.0, 30.0, 24.0)


class NoisyNetwork:
    """As ``tracking.base.Network``: maps that depend on every bit of template and search crop, and on nothing else."""

    def __init__(self, family: str) -> None:
        self.family = family

    def encode(self, template: NDArray[Any]) -> NDArray[np.float32]:
        draw = np.random.default_rng(zlib.crc32(template.tobytes()))
        return draw.random((1, 30, 2, 4, 4), np.float32)

    def locate(self, features: NDArray[np.float32], search: NDArray[Any]) -> Mapping[str, NDArray[np.float32]]:
        draw = np.random.default_rng([zlib.crc32(features.tobytes()), zlib.crc32(search.tobytes())])
        if self.family == "OSTrackTracker":
            size = 0.2 + 0.1 * draw.random((1, 2, 8, 8), np.float32)
            offset = draw.random((1, 2, 8, 8), np.float32)
            return {"score": draw.random((1, 8, 8), np.float32), "size": size, "offset": offset}
        if self.family == "STARKTracker":
            return {"corners": draw.random((1, 2, 8, 8), np.float32), "score": draw.random(1, np.float32)}
        cells = 17
        return {
            "cls": draw.standard_normal((1, 10, cells, cells), np.float32),
            "loc": 0.1 * draw.standard_normal((1, 20, cells, cells), np.float32),
        }


def frames(count: int) -> list[NDArray[np.uint8]]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 255, (SIZE_WH[1], SIZE_WH[0], 3), np.uint8) for _ in range(count)]


def bits(result: Result) -> tuple[object, ...]:
    return (*(float(value).hex() for value in result.box), float(result.score).hex(), result.lost)


@pytest.mark.parametrize("long_term", [False, True])
@pytest.mark.parametrize("name", list(MODELS))
def test_a_restored_tracker_goes_on_to_the_bit(name: str, long_term: bool) -> None:
    settings = change_settings(name, {"long_term": long_term})
    network = NoisyNetwork(MODELS[name].tracker.__name__)
    try:
        tracker, other = make_tracker(network, settings), make_tracker(network, settings)
    except InputError as error:
        pytest.skip(str(error))
    clip = frames(24)
    tracker.init(clip[0], BOX)
    for frame in clip[1:12]:
        tracker.update(frame)
    state = tracker.state()
    expected = [bits(tracker.update(frame)) for frame in clip[12:]]
    restored = restore(state, other)
    assert restored is not other
    assert [bits(restored.update(frame)) for frame in clip[12:]] == expected
    assert restore(state, other).state() == state
    with pytest.raises(InputError, match="init"):
        other.update(clip[0])  # it still has no target


def test_the_bundled_model_goes_on_to_the_bit() -> None:
    clip = frames(1) * 8
    tracker = singletrack.load()
    tracker.init(clip[0], BOX)
    for frame in clip[1:5]:
        tracker.update(frame)
    state = tracker.state()
    assert len(state) < 300_000
    expected = [bits(tracker.update(np.roll(frame, 3, 1))) for frame in clip[5:]]
    for restored in (singletrack.restore(state), singletrack.restore(state, singletrack.load())):
        assert [bits(restored.update(np.roll(frame, 3, 1))) for frame in clip[5:]] == expected


def started(name: str = "ostrack-tiny") -> Any:
    tracker = make_tracker(NoisyNetwork(MODELS[name].tracker.__name__), change_settings(name, {}))
    tracker.init(frames(1)[0], BOX)
    return tracker


def test_states_of_other_trackers_are_refused() -> None:
    state = started().state()
    with pytest.raises(InputError, match="does not name its model"):
        restore(state)
    with pytest.raises(InputError, match="this is the state of a LongTermTracker; got a STARKTracker"):
        restore(state, started("stark-s50"))
    with pytest.raises(InputError, match="template_size 128; got one with 192"):
        restore(started("ostrack-256").state(), started("ostrack-384"))
    with pytest.raises(InputError, match="init"):
        make_tracker(NoisyNetwork("OSTrackTracker"), change_settings("ostrack-256", {})).state()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04N.", b"x" * 100])
def test_bytes_that_are_no_state(data: bytes) -> None:
    with pytest.raises(InputError, match="expected the bytes that a tracker's state"):
        restore(data, started())


def test_pickled_objects_and_bombs_are_refused() -> None:
    file = io.BytesIO()
    np.savez(file, content=np.array([object()], object))
    with pytest.raises(InputError, match="expected the bytes"):
        from_bytes(file.getvalue())
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content.npy", b"\0" * 300_000_000)
    with pytest.raises(InputError, match="too large"):
        from_bytes(bomb.getvalue())


def test_content_that_does_not_fit_is_refused() -> None:
    content = from_bytes(started("ostrack-256").state())
    content["target"]["box"] = [1.0, 2.0]
    with pytest.raises(InputError, match="of another tracker or version"):
        restore(to_bytes({key: value for key, value in content.items() if key != "format"}), started("ostrack-256"))
    with pytest.raises(InputError, match="expected float, got str"):
        rebuild(tuple[float, ...], ["1"])
