from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.datasets.made_copies import Tree, archive

from singletrack.datasets.storage import Storage
from singletrack.errors import InputError, VideoError
from singletrack.video.images import natural_key


def test_names_come_in_natural_order() -> None:
    assert sorted(["img10.jpg", "img2.jpg", "a", "Img1.jpg"], key=natural_key) == [
        "a",
        "Img1.jpg",
        "img2.jpg",
        "img10.jpg",
    ]


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_archives_are_seen_as_unpacked_where_they_lie(tree: Tree, tmp_path: Path, ending: str) -> None:
    """Files at the top go into a folder of the archive's name, folders stand beside it."""
    tree.frames("loose", [1, 2])
    tree.frames("pair/a", [3])
    tree.frames("pair/b", [4])
    root = tmp_path / "root"
    (root / "c").mkdir(parents=True)
    archive(tree.root / "loose", root / f"flat{ending}")
    archive(tree.root / "pair", root / f"pair{ending}")
    archive(tree.root / "pair", root / f"twin{ending}", inside="twin")
    storage = Storage(root)
    assert storage.folders("") == ["a", "b", "c", "flat", "twin"]
    assert storage.pictures("flat") == ["00000001.jpg", "00000002.jpg"]
    assert storage.pictures("a") == ["00000003.jpg"]
    assert storage.pictures("pair/b") == ["00000004.jpg"]  # asked for by the archive's name
    assert storage.folders("twin") == ["a", "b"]
    assert storage.has("twin/a/00000003.jpg")
    assert not storage.has("twin/a/00000004.jpg")
    assert not storage.has("nowhere/at/all.txt")
    assert storage.pictures("nowhere") == []


def test_a_folder_hides_an_archive_of_its_name(tree: Tree) -> None:
    tree.frames("cat", [1])
    tree.frames("other", [2, 3])
    archive(tree.root / "other", tree.root / "cat.zip", inside="cat")
    assert Storage(tree.root).pictures("cat") == ["00000001.jpg"]


def test_hidden_files_and_those_of_macs_are_no_frames(tree: Tree, tmp_path: Path) -> None:
    tree.text("list.txt", "cat")
    tree.frames("cat", [1])
    tree.frames("__MACOSX/cat", [1], "._{:08d}.jpg")
    (tree.root / "cat" / ".DS_Store").touch()
    (tree.root / "cat" / "._00000001.jpg").touch()
    for root in (tree.root, archive(tree.root, tmp_path / "packed.zip")):
        assert Storage(root).pictures("cat") == ["00000001.jpg"]


def test_root_must_be_there_and_readable_from_its_middle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist or is another kind of file; check the path"):
        Storage(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"DTB70\.tar\.gz, which cannot be read from its middle; unpack it"):
        Storage(tmp_path / "DTB70.tar.gz")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="expected a complete archive"):
        Storage(broken)


def test_frames_are_rgb_and_as_imread_reads_them(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "1.jpg"), noise)
    cv2.imwrite(str(tmp_path / "2.png"), noise)
    frames = Storage(tmp_path).frames("", ["1.jpg", "2.png"])
    assert np.array_equal(frames[0], cv2.imread(str(tmp_path / "1.jpg"))[..., ::-1])
    assert np.array_equal(frames[1], noise[..., ::-1])
    assert np.array_equal(frames[-1], frames[1])
    assert len(list(frames)) == len(frames) == 2
    with pytest.raises(IndexError):
        frames[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("ending", ["", ".zip", ".tar"])
def test_frames_are_read_in_another_process_too(tree: Tree, tmp_path: Path, ending: str) -> None:
    """A forked process must not share the place in the file with its parent."""
    tree.frames("cat", range(1, 40))
    root = archive(tree.root, tmp_path / f"packed{ending}") if ending else tree.root
    storage = Storage(root)
    frames = storage.frames("cat" if not ending else "", storage.pictures("cat" if not ending else ""))
    assert int(frames[3][0, 0, 0]) == 4
    child = os.fork()
    expected = list(range(1, 40))
    if child == 0:
        os._exit(0 if [int(frame[0, 0, 0]) for frame in pickle.loads(pickle.dumps(frames))] == expected else 1)
    assert [int(frame[0, 0, 0]) for frame in map(frames.__getitem__, range(len(frames)))] == expected
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_no_picture(tree: Tree) -> None:
    tree.text("cat/1.jpg", "no picture")
    tree.text("cat/2.jpg", "")
    frames = Storage(tree.root).frames("cat", ["1.jpg", "2.jpg", "3.jpg"])
    for index, why in enumerate(
        ["cannot decode image .*10 bytes", "cannot decode image .*0 bytes", "cannot read image"]
    ):
        with pytest.raises(VideoError, match=why):
            frames[index]


def test_a_jpeg_that_is_cut_short_is_read_as_imread_does(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    for name, end in (("whole", len(data)), ("no_end", -2), ("half", len(data) // 2)):
        (tmp_path / f"{name}.jpg").write_bytes(data[:end])
    frames = Storage(tmp_path).frames("", ["whole.jpg", "no_end.jpg", "half.jpg"])
    assert [frames.is_cut_short(index) for index in range(3)] == [False, True, True]
    for frame, name in zip(frames, frames.names, strict=True):
        assert np.array_equal(frame, cv2.imread(str(tmp_path / name))[..., ::-1])
    assert np.array_equal(frames[1], frames[0])
    assert not np.array_equal(frames[2], frames[0])
    assert "JPEG" in capfd.readouterr().err  # libjpeg's own warning


def test_a_damaged_archive_is_told_when_its_frame_is_read(tree: Tree, tmp_path: Path) -> None:
    tree.frames("cat", [1, 2])
    for ending in (".zip", ".tar"):
        packed = archive(tree.root, tmp_path / f"packed{ending}")
        storage = Storage(packed)
        frames = storage.frames("", storage.pictures(""))
        data = bytearray(packed.read_bytes())
        at = data.index(b"\xff\xda") if ending == ".tar" else 60
        damaged = data[:at] if ending == ".tar" else data[:at] + bytes(200) + data[at + 200 :]
        packed.write_bytes(damaged)
        with pytest.raises(VideoError):
            frames[0]


def test_texts_may_begin_with_a_mark(tree: Tree) -> None:
    (tree.root / "list.txt").write_bytes("\ufeffcat\n".encode())
    storage = Storage(tree.root)
    assert storage.text("list.txt") == "cat\n"
    with pytest.raises(InputError, match=r"cannot read text file .*dog\.txt .No such file"):
        storage.text("dog.txt")
