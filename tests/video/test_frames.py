"""What a frame is: 16-bit values, TIFF, opacity and changing sizes, from files, folders and arrays."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from singletrack.datasets.storage import Storage
from singletrack.errors import VideoError
from singletrack.video import open_video
from singletrack.video.frames import FrameConverter, ValueRange


def thermal_frame(shift: int = 0) -> NDArray[np.uint16]:
    """Columns of values 7000 to 7255, one of each, and 16 rows; as thermal cameras give them."""
    return np.tile(np.arange(7000 + shift, 7256 + shift, dtype=np.uint16), (16, 1))


def write_ffv1(path: Path, frames: list[NDArray[np.uint16]]) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=30)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "gray16le"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray16le")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(params=["folder of png", "folder of tiff", "ffv1", "tiff of many pages"])
def thermal_source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    frames = [thermal_frame(), thermal_frame(), thermal_frame(100)]
    if request.param == "ffv1":
        return write_ffv1(tmp_path / "a.mkv", frames)
    if request.param == "tiff of many pages":
        cv2.imwritemulti(str(tmp_path / "a.tiff"), frames)
        return tmp_path / "a.tiff"
    ending = request.param.removeprefix("folder of ")
    for index, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{index}.{ending}"), frame)
    return tmp_path


def test_16_bits_are_stretched_alike_in_all_frames(thermal_source: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_video(thermal_source) as video:
        frames = list(video)
    assert [frame.shape for frame in frames] == [(16, 256, 3)] * 3
    assert all(frame.dtype == np.uint8 for frame in frames)
    for frame in frames[:2]:
        np.testing.assert_allclose(frame[0, :, 1], np.arange(256), atol=1)
    # the third reaches to 7355, so its range is wider; 7100, its first value, is 100 / 355 of it
    assert abs(int(frames[2][0, 0, 0]) - round(100 / 355 * 255)) <= 1
    assert frames[2][0, 255, 0] == 255
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "uint16 values are stretched to 8 bits, 7000" in said[0]


def test_8_bit_tiff(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = np.zeros((4, 6, 3), np.uint8)
    frame[..., 0] = 200  # blue, as OpenCV has it
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.tif"), frame)
    with open_video(tmp_path) as video:
        assert [image[0, 0].tolist() for image in video] == [[0, 0, 200], [0, 0, 200]]
    assert caplog.records == []


def test_16_bit_colors_keep_their_brightness(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = np.zeros((4, 6, 3), np.uint16)
    frame[:] = [257 * 10, 257 * 20, 257 * 30]
    cv2.imwrite(str(tmp_path / "0.png"), frame)
    with open_video(tmp_path) as video:
        assert next(iter(video))[0, 0].tolist() == [30, 20, 10]
    assert caplog.records == []


def test_opacity_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((4, 6, 4), 9, np.uint8))
    with open_video(tmp_path) as video:
        assert next(iter(video)).shape == (4, 6, 3)
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}: the alpha channel is dropped"]
    assert caplog.records[0].levelno == logging.WARNING


def test_sizes_that_change_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(4):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((18, 32, 3) if index < 2 else (12, 21, 3), np.uint8))
    with open_video(tmp_path) as video:
        assert [frame.shape[:2] for frame in video] == [(18, 32), (18, 32), (12, 21), (12, 21)]
    assert len(caplog.records) == 1
    assert "frames change size, from 32 x 18 to 21 x 12" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    ("values", "pixel"),
    [
        (np.full((2, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 1), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 2), 7, np.uint8), [7, 7, 7]),
        (np.array([[[1, 2, 3, 4]]], np.uint8), [1, 2, 3]),
        (np.ones((2, 3), bool), [255, 255, 255]),
        (np.full((2, 3), 7000, np.uint16), [0, 0, 0]),  # one value alone has no range
        (np.full((2, 3), np.nan, np.float32), [0, 0, 0]),
    ],
)
def test_arrays_become_rgb(values: NDArray[Any], pixel: list[int]) -> None:
    frame = FrameConverter("array")(values)
    assert (frame.dtype, frame.shape[2], frame[0, 0].tolist()) == (np.uint8, 3, pixel)


@pytest.mark.parametrize("values", [np.zeros((2, 3, 5)), np.zeros(4), np.zeros((0, 3, 3)), np.array([["a"]])])
def test_arrays_that_are_no_pictures(values: NDArray[Any]) -> None:
    with pytest.raises(VideoError, match=r"frames must be \(H, W, 3\) RGB arrays; got .* from array"):
        FrameConverter("array")(values)


def test_range_leaves_out_a_hot_pixel() -> None:
    values = np.tile(np.linspace(7000, 7255, 100), (100, 1))
    values[0, 0] = 65535
    found = ValueRange.of(values)
    assert found is not None
    assert (round(found.low), round(found.high)) == (7000, 7255)


def test_datasets_stretch_by_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / "a" / f"{index}.png"), thermal_frame(50 * index)[:, : 256 - 50 * index])
    frames = Storage(tmp_path).frames("a", ["0.png", "1.png"])
    second = frames[1]  # asked for first
    np.testing.assert_allclose(second[0, :, 0], np.arange(50, 256), atol=1)
