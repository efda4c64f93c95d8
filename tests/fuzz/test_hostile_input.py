"""Fuzzing: changed files, boxes and pickles end in a right answer or a SingletrackError, never in anything else.

`make test` runs a fixed minute of it; `make fuzz EXAMPLES=100000` as much as asked, from a new seed each time. The
seeds are small files of each kind in ``seeds``; `benchmarks/attack.py` counts outcomes over many more.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from singletrack.datasets.registry import open_dataset
from singletrack.datasets.storage import _opened
from singletrack.engines import open_network
from singletrack.errors import LONGEST_MESSAGE, SingletrackError
from singletrack.geometry.boxes import check_box
from singletrack.geometry.crops import check_frame
from singletrack.models.checkpoints import LEGACY_MAGIC, read_weights
from singletrack.results import read_results
from singletrack.video import open_video

SEEDS = Path(__file__).parent / "seeds"
EXAMPLES = int(os.environ.get("SINGLETRACK_FUZZ_EXAMPLES", "0"))
fuzz = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.slow

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "cut", "drop", "insert"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=16),
    ),
    min_size=1,
    max_size=4,
)
# Steps of a pickle: what makes things, what puts them together, and names of things that would do harm.
STEPS = st.lists(
    st.sampled_from(
        [
            b"}",
            b"]",
            b")",
            b"(",
            b"N",
            b"K\x05",
            b"2",
            b"0",
            b"\x85",
            b"\x86",
            b"\x87",
            b"t",
            b"l",
            b"d",
            b"s",
            b"u",
            b"a",
            b"e",
            b"R",
            b"b",
            b"Q",
            b"\x81",
            b"\x8f",
            b"\x90",
            b"\x91",
            b"\x94",
            b"q\x00",
            b"h\x00",
            b"2\x86" * 30,
            b"ccollections\nOrderedDict\n",
            b"cos\nsystem\n",
            b"ctorch\nFloatStorage\n",
            b"J\xff\xff\xff\x7f",
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"X\x07\x00\x00\x00storage",
            b"r\x00\x00\x00\x7f",
        ]
    ),
    max_size=60,
)


def edited(name: str, edits: list[tuple[str, float, bytes]]) -> bytes:
    data = bytearray((SEEDS / name).read_bytes())
    for kind, share, content in edits:
        place = int(share * len(data))
        if kind == "set":
            data[place : place + len(content)] = content
        elif kind == "flip" and data:
            data[place] ^= 1 << content[0] % 8
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + 8 * content[0]]
        else:
            data[place:place] = content
    return bytes(data)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Let pass what is raised on purpose, if its message is short."""
    try:
        yield
    except SingletrackError as error:
        message = str(error)
    else:
        return
    assert 20 < len(message) <= LONGEST_MESSAGE


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.parametrize("name", ["h264.mp4", "fragments.mp4", "hevc.mkv", "vp9.webm"])
@fuzz
@given(edits=EDITS)
def test_videos(name: str, folder: Path, edits: list) -> None:
    (folder / name).write_bytes(edited(name, edits))
    with clear_errors(), open_video(folder / name) as video:
        for frame in video:
            assert frame.dtype == np.uint8
            assert frame.shape[2] == 3


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "own.safetensors"])
@fuzz
@given(edits=EDITS)
def test_checkpoints(name: str, folder: Path, edits: list) -> None:
    (folder / name).write_bytes(edited(name, edits))
    with clear_errors():
        assert all(tensor.numel() <= 1000 for tensor in read_weights(folder / name).values())


@pytest.mark.parametrize("legacy", [False, True])
@fuzz
@given(steps=STEPS)
def test_pickles(legacy: bool, folder: Path, steps: list[bytes]) -> None:
    pickled, path = b"\x80\x02" + b"".join(steps) + b".", folder / "file.pth"
    if legacy:
        header: list[Any] = [LEGACY_MAGIC, 1001, {}]
        start = b"".join(pickle.dumps(each, 2) for each in header)
        path.write_bytes(start + pickled + pickle.dumps([], 2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
    with clear_errors():
        read_weights(path)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
@settings(fuzz, max_examples=EXAMPLES or 25)
@given(edits=EDITS)
def test_exports(engine: str, folder: Path, edits: list, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "file.onnx").write_bytes(edited("toy.onnx", edits))
    with clear_errors():
        open_network(engine, folder / "file.onnx", "cpu", threads=1)


@pytest.mark.parametrize(
    ("name", "place", "dataset"),
    [
        ("stored.zip", "stored.zip", "folder"),
        ("packed.zip", "packed.zip", "folder"),
        ("a.tar", "a.tar", "folder"),
        ("gt.txt", "walk/gt/gt.txt", "mot"),
        ("groundtruth.txt", "walk/groundtruth.txt", "folder"),
        ("coco.json", "coco.json", "coco_export"),
        ("annotations.xml", "annotations.xml", "cvat"),
    ],
)
@fuzz
@given(edits=EDITS)
def test_archives_and_annotations(name: str, place: str, dataset: str, folder: Path, edits: list) -> None:
    _opened.cache_clear()
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    for pictures in ("walk/img1", "images"):
        (root / pictures).mkdir(parents=True)
        for number in (1, 2, 3):
            shutil.copy(SEEDS / "picture.png", root / pictures / f"{number}.png")
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_bytes(edited(name, edits))
    with clear_errors():
        for sequence in open_dataset(dataset, root / place if place.endswith((".zip", ".tar")) else root):
            assert len(sequence.boxes_xywh) in (1, len(sequence.frames))
            assert sequence.frames[0].shape[2] == 3


@pytest.mark.parametrize("ending", [".txt", ".csv", ".jsonl"])
@fuzz
@given(text=st.text(st.sampled_from('0123456789.,-eE \t\n"{}[]:framelostbxidNaN'), max_size=200))
def test_results(ending: str, folder: Path, text: str) -> None:
    (folder / f"a{ending}").write_text(text)
    with clear_errors():
        for record in read_results(folder / f"a{ending}"):
            assert len(record.box) == 4


NUMBERS: Any = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.complex_numbers(),
    st.binary(max_size=2),
)


@fuzz
@given(
    box=st.one_of(
        st.lists(NUMBERS, max_size=6),
        st.lists(NUMBERS, min_size=4, max_size=4).map(tuple),
        st.dictionaries(NUMBERS, NUMBERS, max_size=4),
        arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(max_dims=2)),
        NUMBERS,
    )
)
def test_boxes(box: Any) -> None:
    with clear_errors(), np.errstate(all="ignore"):
        x, y, width, height = check_box(box, (320, 240))
        assert x < 320
        assert y < 240
        assert 0 < width <= 3200
        assert 0 < height <= 2400


@fuzz
@given(
    frame=st.one_of(
        arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=1, max_dims=4, max_side=5)),
        arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=3, max_side=5)),
        NUMBERS,
        st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=3),
    )
)
def test_frames(frame: Any) -> None:
    with clear_errors():
        checked = check_frame(frame)
        assert type(checked) is np.ndarray
        assert checked.dtype == np.uint8
        assert checked.shape[2] == 3
    with suppress(SingletrackError):
        check_frame(np.ma.array(frame) if isinstance(frame, np.ndarray) else frame)
