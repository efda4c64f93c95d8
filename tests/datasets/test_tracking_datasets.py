"""Each reader on a small copy in the exact layout of its benchmark, as a folder and in archives."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.made_copies import HEIGHT, WIDTH, Tree, archive, grays

from singletrack.datasets.registry import open_dataset
from singletrack.datasets.tracking_datasets import BENCHMARKS
from singletrack.errors import InputError

Store = Callable[[Tree], Path]


def boxes(count: int, separator: str = ",", end: str = "\n") -> str:
    """Boxes 10,20,30,40 then 11,20,30,40 and so on."""
    return "".join(separator.join([str(10 + index), "20", "30", "40"]) + end for index in range(count))


def listing(folder: Path, *names: str) -> Path:
    path = folder / "names.txt"
    path.write_text("\n".join(names))
    return path


# --- LaSOT and its extension -------------------------------------------------------------------------------


def make_lasot(tree: Tree, *names: str) -> None:
    for name in names:
        folder = f"{name.rpartition('-')[0]}/{name}"
        tree.frames(f"{folder}/img", range(1, 5))
        tree.text(f"{folder}/groundtruth.txt", boxes(4))
        tree.text(f"{folder}/full_occlusion.txt", "0,1,0,0")
        tree.text(f"{folder}/out_of_view.txt", "0,0,0,1\n")
        tree.text(f"{folder}/nlp.txt", "white airplane\nlanding on ground\n")


def test_lasot_tells_what_is_hidden_and_what_it_is_in_words(tree: Tree, stored: Store, tmp_path: Path) -> None:
    make_lasot(tree, "airplane-1", "airplane-9", "airplane-15")
    tree.text("testing_set.txt", "airplane-9\nairplane-1\n")
    tree.text("training_set.txt", "airplane-15\n")
    root = stored(tree)
    with pytest.raises(InputError, match="280 sequences expected, 2 found"):
        open_dataset("lasot", root)
    test = open_dataset("lasot", root, incomplete=True)
    assert [sequence.name for sequence in test] == ["airplane-9", "airplane-1"]
    assert grays(test[0]) == [1, 2, 3, 4]
    assert test[0].boxes_xywh[1].tolist() == [11, 20, 30, 40]
    assert test[0].visible is not None
    assert test[0].visible.tolist() == [True, False, True, False]
    assert test[0].language == "white airplane landing on ground"
    assert test[0].dataset == "lasot"
    train = open_dataset("lasot", root, split="train", incomplete=True)
    assert [sequence.name for sequence in train] == ["airplane-15"]
    own = open_dataset("lasot", root, split_file=listing(tmp_path, "airplane-15"))
    assert [sequence.name for sequence in own] == ["airplane-15"]


def test_lasot_without_its_lists_asks_for_one(tree: Tree) -> None:
    make_lasot(tree, "airplane-1")
    with pytest.raises(InputError, match=r"testing_set\.txt not found in .*split file"):
        open_dataset("lasot", tree.root)


def test_lasot_in_a_zip_for_each_class_as_handed_out(tree: Tree, tmp_path: Path) -> None:
    make_lasot(tree, "airplane-1", "bird-2")
    root = tmp_path / "handed-out"
    root.mkdir()
    archive(tree.root / "airplane", root / "airplane.zip", inside="airplane")
    archive(tree.root / "bird", root / "bird.zip")  # without the folder bird
    names = listing(tmp_path, "airplane-1", "bird-2")
    for sequence in open_dataset("lasot", root, split_file=names):
        assert grays(pickle.loads(pickle.dumps(sequence))) == [1, 2, 3, 4]
        assert sequence.language


def test_lasot_frames_after_the_last_box_of_monkey_17_do_not_count(tree: Tree, tmp_path: Path) -> None:
    make_lasot(tree, "monkey-17")
    tree.frames("monkey/monkey-17/img", [2261, 2262])
    (sequence,) = open_dataset("lasot", tree.root, split_file=listing(tmp_path, "monkey-17"))
    assert len(sequence) == 4


def test_lasot_flags_must_fit(tree: Tree, tmp_path: Path) -> None:
    make_lasot(tree, "airplane-1")
    tree.text("airplane/airplane-1/full_occlusion.txt", "0,1,0")
    with pytest.raises(InputError, match="equal lengths; got 3 and 4 flags"):
        open_dataset("lasot", tree.root, split_file=listing(tmp_path, "airplane-1"))


def test_lasot_ext(tree: Tree, stored: Store) -> None:
    make_lasot(tree, "atv-10", "atv-2", "wingsuit-1")
    sequences = open_dataset("lasot_ext", stored(tree), incomplete=True)
    assert [sequence.name for sequence in sequences] == ["atv-2", "atv-10", "wingsuit-1"]
    assert sequences[0].visible is not None


# --- VastTrack, TNL2K, DTB70 -------------------------------------------------------------------------------


def test_vasttrack(tree: Tree, stored: Store) -> None:
    for split, name, file in (("test", "Yo-Yo-3", "Groundtruth.txt"), ("train", "Air Hockey-1", "groundtruth.txt")):
        folder = f"{split}/{name.rpartition('-')[0]}/{name}"
        tree.frames(f"{folder}/imgs", range(1, 4), "{:05d}.jpg")
        tree.text(f"{folder}/{file}", "10,20,30,40\n0,0,0,0\n12,20,30,40\n")
    tree.text("test/Yo-Yo/Yo-Yo-3/nlp.txt", "a red yo-yo")
    root = stored(tree)
    (test,) = open_dataset("vasttrack", root, incomplete=True)
    assert (test.name, test.language, grays(test)) == ("Yo-Yo-3", "a red yo-yo", [1, 2, 3])
    assert test.visible is not None
    assert test.visible.tolist() == [True, False, True]
    (train,) = open_dataset("vasttrack", root, split="train", incomplete=True)
    assert (train.name, train.language) == ("Air Hockey-1", "")


def test_tnl2k_with_its_sentence_and_in_parts(tree: Tree, stored: Store) -> None:
    for folder in ("TNL2K_test_subset/CM_manlight_ done", "TNL2K_train_subset/TNL2K_train_subset_p1/Arrow_video"):
        tree.frames(f"{folder}/imgs", [9, 10, 11], "{}.png")
        tree.text(f"{folder}/groundtruth.txt", boxes(3))
        tree.text(f"{folder}/language.txt", "the man with a light\n")
    tree.text("TNL2K_test_subset/CM_manlight_ done/imgs/Thumbs.db", "no picture")
    root = stored(tree)
    (test,) = open_dataset("tnl2k", root, incomplete=True)
    assert (test.name, test.language) == ("CM_manlight_ done", "the man with a light")
    assert grays(test) == [9, 10, 11]
    assert test.visible is None
    (train,) = open_dataset("tnl2k", root, split="train", incomplete=True)
    assert train.name == "Arrow_video"


def test_dtb70(tree: Tree, stored: Store) -> None:
    tree.frames("DTB70/Animal1/img", range(1, 3), "{:05d}.jpg")
    tree.text("DTB70/Animal1/groundtruth_rect.txt", boxes(2))
    (sequence,) = open_dataset("dtb70", stored(tree), incomplete=True)
    assert (sequence.name, grays(sequence)) == ("Animal1", [1, 2])


# --- GOT-10k -----------------------------------------------------------------------------------------------


def make_got10k(tree: Tree, folder: str) -> None:
    tree.frames(folder, range(1, 4))
    tree.text(f"{folder}/groundtruth.txt", "10.5000,20.0000,30.0000,40.0000\n" * 3)
    tree.text(f"{folder}/absence.label", "0\n0\n1\n")
    tree.text(f"{folder}/cover.label", "8\n4\n0\n")
    tree.text(f"{folder}/cut_by_image.label", "0\n0\n0\n")
    tree.text(
        f"{folder}/meta_info.ini",
        "[METAINFO]\nurl: https://youtu.be/x\nbegin: 00:00:01\nanno_fps: 10Hz\nobject_class: otter\n"
        "resolution: (1920, 1080)",
    )


@pytest.mark.parametrize("part", ["val", "full_data/val_data"])
def test_got10k_val_tells_cover_absence_rate_and_size(tree: Tree, stored: Store, part: str) -> None:
    make_got10k(tree, f"{part}/GOT-10k_Val_000001")
    tree.text(f"{part}/list.txt", "GOT-10k_Val_000001\n")
    (sequence,) = open_dataset("got10k", stored(tree), split="val", incomplete=True)
    assert sequence.category == "otter"
    assert sequence.cover is not None
    assert sequence.visible is not None
    assert sequence.cover.tolist() == [1.0, 0.5, 0.0]
    assert sequence.visible.tolist() == [True, True, False]
    assert (sequence.fps, sequence.size_wh) == (10.0, (1920, 1080))
    assert sequence.boxes_xywh[0].tolist() == [10.5, 20, 30, 40]


def test_got10k_test_has_its_first_box_alone(tree: Tree, stored: Store) -> None:
    tree.frames("test/GOT-10k_Test_000001", range(1, 4))
    tree.text("test/GOT-10k_Test_000001/groundtruth.txt", boxes(1))
    tree.text("test/list.txt", "GOT-10k_Test_000001")
    (sequence,) = open_dataset("got10k", stored(tree), incomplete=True)
    assert (len(sequence), sequence.boxes_xywh.shape, sequence.cover) == (3, (1, 4), None)
    assert sequence.size_wh == (WIDTH, HEIGHT)


def test_got10k_splits_from_files(tree: Tree, tmp_path: Path) -> None:
    names = [f"GOT-10k_Train_{number:06d}" for number in range(1, 5)]
    for name in names:
        make_got10k(tree, f"train/{name}")
    tree.text("train/list.txt", "\n".join(names))
    root = tree.root
    with pytest.raises(InputError, match=r"needs a split file; got10k_vot_train_split\.txt"):
        open_dataset("got10k", root, split="vottrain")
    numbers = listing(tmp_path, "0", "3")  # PyTracking's files count from 0
    chosen = open_dataset("got10k", root, split="vottrain", split_file=numbers)
    assert [sequence.name for sequence in chosen] == [names[0], names[3]]
    forbidden = listing(tmp_path, names[1])  # as VOT lists the thousand that it forbids
    with pytest.raises(InputError, match="9335 sequences expected, 4 found"):
        open_dataset("got10k", root, split="train", exclude_file=forbidden)
    allowed = open_dataset("got10k", root, split="train", exclude_file=forbidden, incomplete=True)
    assert [sequence.name for sequence in allowed] == [names[0], names[2], names[3]]
    with pytest.raises(InputError, match="numbers must be below 4"):
        open_dataset("got10k", root, split="votval", split_file=listing(tmp_path, "4"))


def test_got10k_train_as_handed_out_without_its_list(tree: Tree, tmp_path: Path) -> None:
    for part in (1, 2):
        make_got10k(tree, f"split{part}/GOT-10k_Train_{part:06d}")
    root = tmp_path / "got10k" / "train_data"
    root.mkdir(parents=True)
    for part in (1, 2):
        archive(tree.root / f"split{part}", root / f"GOT-10k_Train_split_{part:02d}.zip")
    sequences = open_dataset("got10k", root.parent, split="train", incomplete=True)
    assert [sequence.name for sequence in sequences] == ["GOT-10k_Train_000001", "GOT-10k_Train_000002"]
    assert grays(sequences[1]) == [1, 2, 3]


# --- TrackingNet and COCO ----------------------------------------------------------------------------------


def test_trackingnet(tree: Tree, stored: Store) -> None:
    tree.frames("TEST/frames/-Dz7OIf54b0_0", range(12), "{}.jpg")
    tree.text("TEST/anno/-Dz7OIf54b0_0.txt", "10,20,30,40")
    tree.frames("TRAIN_3/frames/all_time_1", range(2), "{}.jpg")
    tree.text("TRAIN_3/anno/all_time_1.txt", boxes(2))
    root = stored(tree)
    (test,) = open_dataset("trackingnet", root, incomplete=True)
    assert test.name == "-Dz7OIf54b0_0"
    assert grays(test) == list(range(12))  # 2.jpg before 10.jpg
    assert test.boxes_xywh.tolist() == [[10, 20, 30, 40]]
    for split in ("train", "train_3"):
        (train,) = open_dataset("trackingnet", root, split=split, incomplete=True)
        assert (train.name, train.boxes_xywh.shape) == ("all_time_1", (2, 4))


def test_trackingnet_in_a_zip_for_each_sequence_as_handed_out(tree: Tree, tmp_path: Path) -> None:
    tree.frames("loose", range(3), "{}.jpg")
    tree.text("root/TEST/anno/V_0.txt", boxes(1))
    (tree.root / "root/TEST/zips").mkdir()
    archive(tree.root / "loose", tree.root / "root/TEST/zips/V_0.zip")
    (sequence,) = open_dataset("trackingnet", tree.root / "root", incomplete=True)
    assert grays(sequence) == [0, 1, 2]


def test_a_first_box_alone_is_no_training_sequence(tree: Tree) -> None:
    tree.frames("TRAIN_0/frames/V_0", range(3), "{}.jpg")
    tree.text("TRAIN_0/anno/V_0.txt", boxes(1))
    with pytest.raises(InputError, match=r"got 1 boxes in .* and 3 frames"):
        open_dataset("trackingnet", tree.root, split="train_0", names=["V_0"])


def make_coco(tree: Tree) -> None:
    things = [
        {"id": 7, "image_id": 9, "bbox": [1.5, 2, 8, 6], "iscrowd": 0, "category_id": 1},
        {"id": 8, "image_id": 9, "bbox": [0, 0, 4, 4], "iscrowd": 1, "category_id": 1},
        {"id": 3, "image_id": 25, "bbox": [0, 0, 4, 5], "iscrowd": 0, "category_id": 2},
        {"id": 4, "image_id": 25, "bbox": [0, 0, 0, 5], "iscrowd": 0, "category_id": 2},
    ]
    pictures = [
        {"id": number, "file_name": f"{number:012d}.jpg", "width": WIDTH, "height": HEIGHT} for number in (9, 25)
    ]
    text = json.dumps({"images": pictures, "annotations": things, "categories": []})
    tree.text("annotations/instances_train2017.json", text)


@pytest.mark.parametrize("folder", ["train2017", "images/train2017"])
def test_coco_objects_are_sequences_of_one_frame(tree: Tree, stored: Store, folder: str) -> None:
    make_coco(tree)
    tree.frames(folder, [9, 25], "{:012d}.jpg")
    sequences = open_dataset("coco", stored(tree))
    assert [sequence.name for sequence in sequences] == ["000000000009_7", "000000000025_3"]
    assert [grays(sequence) for sequence in sequences] == [[9], [25]]
    assert sequences[0].boxes_xywh.tolist() == [[1.5, 2, 8, 6]]
    assert sequences[0].size_wh == (WIDTH, HEIGHT)


def test_coco_in_its_zips_and_without_a_picture(tree: Tree, tmp_path: Path) -> None:
    make_coco(tree)
    tree.frames("train2017", [9], "{:012d}.jpg")
    root = tmp_path / "zips"
    root.mkdir()
    archive(tree.root / "train2017", root / "train2017.zip", inside="train2017")
    archive(tree.root / "annotations", root / "annotations_trainval2017.zip", inside="annotations")
    (sequence,) = open_dataset("coco", root, incomplete=True)
    assert grays(sequence) == [9]
    with pytest.raises(InputError, match="expected the picture of 000000000025_3"):
        open_dataset("coco", root)


# --- OTB ---------------------------------------------------------------------------------------------------


def test_otb_separators_two_targets_and_boxes_as_written(tree: Tree, stored: Store) -> None:
    for folder, separator in (("Basketball", ","), ("Car4", "\t"), ("Walking", "  ")):
        tree.frames(f"{folder}/img", range(1, 3), "{:04d}.jpg")
        tree.text(f"{folder}/groundtruth_rect.txt", boxes(2, separator, "\r\n"))
    for folder in ("Jogging", "Skating2"):
        tree.frames(f"{folder}/img", range(1, 3), "{:04d}.jpg")
        tree.text(f"{folder}/groundtruth_rect.1.txt", boxes(2))
        tree.text(f"{folder}/groundtruth_rect.2.txt", boxes(2).replace("20", "99"))
    tree.frames("Human4/img", range(1, 3), "{:04d}.jpg")
    tree.text("Human4/groundtruth_rect.1.txt", "")
    tree.text("Human4/groundtruth_rect.2.txt", boxes(2))
    found = {sequence.name: sequence for sequence in open_dataset("otb", stored(tree), incomplete=True)}
    assert list(found) == [
        *("Basketball", "Car4", "Human4_2", "Jogging_1", "Jogging_2", "Skating2_1", "Skating2_2", "Walking"),
    ]
    for sequence in found.values():
        assert grays(sequence) == [1, 2]
        assert sequence.boxes_xywh[0, [0, 2, 3]].tolist() == [10, 30, 40]  # from 1, and left so
        assert sequence.boxes_xywh[0, 1] == (99 if sequence.name in {"Jogging_2", "Skating2_2"} else 20)


def test_otb_stretches(tree: Tree) -> None:
    stretches = {"David": (298, 772, 300, 770), "Football1": (1, 76, 1, 74), "Freeman4": (1, 290, 1, 283)}
    for folder, (first, last, start, end) in stretches.items():
        (tree.root / folder / "img").mkdir(parents=True)
        for number in range(first, last + 1):
            (tree.root / folder / "img" / f"{number:04d}.jpg").touch()
        tree.text(f"{folder}/groundtruth_rect.txt", boxes(end - start + 1, "\t"))
    found = {sequence.name: sequence for sequence in open_dataset("otb", tree.root, incomplete=True)}
    for folder, (_, _, start, end) in stretches.items():
        names = found[folder].frames.names  # type: ignore[attr-defined]
        assert (names[0], names[-1]) == (f"{start:04d}.jpg", f"{end:04d}.jpg")


def test_otb_as_pytracking_begins_tiger1(tree: Tree) -> None:
    tree.frames("Tiger1/img", range(1, 9), "{:04d}.jpg")
    tree.text("Tiger1/groundtruth_rect.txt", boxes(8, "\t"))
    (whole,) = open_dataset("otb", tree.root, limit=1)
    assert len(whole) == 8
    (late,) = open_dataset("otb", tree.root, split="pytracking", limit=1)
    assert grays(late) == [6, 7, 8]
    assert late.boxes_xywh[0].tolist() == [15, 20, 30, 40]


# --- NFS ---------------------------------------------------------------------------------------------------


def vatic(frames: int, lost: int = -1) -> str:
    """Frame k (from 1) has the corners k, 2, k + 30, 42."""
    return "".join(f'0 {k} 2 {k + 30} 42 {k} {int(k == lost)} 0 1 "table ball"\n' for k in range(1, frames + 1))


def test_nfs_at_both_rates(tree: Tree, stored: Store) -> None:
    tree.frames("bee/240/bee", range(1, 18), "{:05d}.jpg")
    tree.frames("bee/30/bee", range(1, 5), "{:05d}.jpg")  # one more than there are boxes
    for rate in ("30", "240"):
        tree.text(f"bee/{rate}/bee.txt", vatic(17, lost=9))
    root = stored(tree)
    (fast,) = open_dataset("nfs", root, split="240", incomplete=True)
    assert (len(fast), fast.fps) == (17, 240.0)
    assert fast.boxes_xywh[16].tolist() == [17, 2, 30, 40]
    (slow,) = open_dataset("nfs", root, incomplete=True)
    assert (slow.fps, grays(slow)) == (30.0, [1, 2, 3])
    assert slow.boxes_xywh.tolist() == [[1, 2, 30, 40], [9, 2, 30, 40], [17, 2, 30, 40]]
    assert slow.visible is not None
    assert slow.visible.tolist() == [True, False, True]


def test_nfs_as_pytracking_packed_it(tree: Tree, stored: Store) -> None:
    tree.frames("sequences/bee", range(1, 4), "{:05d}.jpg")
    tree.text("anno/nfs_bee.txt", boxes(3, "\t"))
    (sequence,) = open_dataset("nfs", stored(tree), incomplete=True)
    assert (sequence.name, grays(sequence), sequence.fps) == ("bee", [1, 2, 3], 30.0)


def test_nfs_lacking_frames(tree: Tree) -> None:
    tree.frames("bee/240/bee", range(1, 4), "{:05d}.jpg")
    tree.text("bee/240/bee.txt", vatic(5))
    with pytest.raises(InputError, match="by at most one; got 5 boxes"):
        open_dataset("nfs", tree.root, split="240", names=["bee"])


# --- UAV123 and UAV20L -------------------------------------------------------------------------------------


def entry(name: str, path: str, first: int, last: int) -> str:
    return rf"struct('name','{name}','path',{path},'startFrame',{first},'endFrame',{last},'nz',6,'ext','jpg')"


BIRD, BIKE = (rf"'..\..\UAV123\data_seq\UAV123\{name}\'" for name in ("bird1", "bike1"))
CONFIG = f"""function seqs=configSeqs
%{entry("old", BIRD, 1, 9)},...
long={{{entry("bird1", BIRD, 1, 6)},...
{entry("bike1", BIKE, 1, 4)}}};
short={{{entry("bird1_1", BIRD, 1, 2)},...
{entry("bird1_2", "[root 'bird1' '/']", 4, 6)},...
{entry("bike1", BIKE, 1, 3)}}};
seqs=short;
"""


def make_uav(tree: Tree) -> None:
    tree.text("configSeqs.m", CONFIG)
    tree.frames("data_seq/UAV123/bird1", range(1, 7), "{:06d}.jpg")
    tree.frames("data_seq/UAV123/bike1", range(1, 5), "{:06d}.jpg")
    tree.text("anno/UAV123/bird1_1.txt", boxes(2))
    tree.text("anno/UAV123/bird1_2.txt", "10,20,30,40\nNaN,NaN,NaN,NaN\n12,20,30,40\n")
    tree.text("anno/UAV123/bike1.txt", boxes(3))
    tree.text("anno/UAV123/att/bird1_2.txt", "1,0,0,1,0,0,0,0,0,0,0,1")
    tree.text("anno/UAV20L/bird1.txt", boxes(6))
    tree.text("anno/UAV20L/bike1.txt", boxes(4))


def test_uav123_frames_come_from_its_own_list(tree: Tree, stored: Store) -> None:
    make_uav(tree)
    first, second, bike = open_dataset("uav123", stored(tree), incomplete=True)
    assert (first.name, grays(first)) == ("bird1_1", [1, 2])
    assert (second.name, grays(second)) == ("bird1_2", [4, 5, 6])
    assert (bike.name, len(bike)) == ("bike1", 3)
    assert np.isnan(second.boxes_xywh).tolist() == [[False] * 4, [True] * 4, [False] * 4]
    assert second.visible is not None
    assert second.visible.tolist() == [True, False, True]
    assert (first.attributes, second.attributes) == ((), ("SV", "FM", "SOB"))


def test_uav20l_is_the_other_list_over_the_same_videos(tree: Tree, stored: Store) -> None:
    make_uav(tree)
    bird, bike = open_dataset("uav20l", stored(tree), incomplete=True)
    assert (bird.name, len(bird)) == ("bird1", 6)
    assert (bike.name, len(bike)) == ("bike1", 4)


def test_uav123_without_its_list_takes_it_from_a_file(tree: Tree, tmp_path: Path) -> None:
    make_uav(tree)
    own = tmp_path / "configSeqs.m"
    (tree.root / "configSeqs.m").rename(own)
    with pytest.raises(InputError, match=r"configSeqs\.m"):
        open_dataset("uav123", tree.root)
    assert len(open_dataset("uav123", tree.root, split_file=own)) == 3


# --- VOT ---------------------------------------------------------------------------------------------------


def test_vot_older_folder_with_polygons_and_tags(tree: Tree, stored: Store) -> None:
    tree.frames("bag", range(1, 4))
    tree.text("bag/groundtruth.txt", "10,20,30,20,30,50,10,50\n" * 2 + "12,20,33.5,22,30,50,9,45\n")
    tree.text("bag/occlusion.tag", "0\n1\n")
    tree.text("bag/camera_motion.label", "0\n0\n0\n")
    tree.frames("unlisted", range(1, 2))
    tree.text("list.txt", "bag\n")
    (sequence,) = open_dataset("vot", stored(tree))
    assert (sequence.name, grays(sequence), sequence.attributes) == ("bag", [1, 2, 3], ("occlusion",))
    assert sequence.boxes_xywh.tolist() == [[10, 20, 20, 30], [10, 20, 20, 30], [9, 20, 24.5, 30]]


def test_vot_workspace_with_masks_objects_and_what_it_tells(tree: Tree, stored: Store) -> None:
    tree.text("config.yaml", "registry: []")
    tree.text("sequences/list.txt", "hand\nzebra\n")
    tree.text("sequences/hand/sequence", "channels.color=color/%08d.jpg\nfps=25\nwidth=16\nheight=12\nname=hand\n")
    tree.frames("sequences/hand/color", range(1, 5))
    # 3 x 2 pixels at 5,6: one outside, two inside, the rest outside; nothing; a box; and one that is not written
    tree.text("sequences/hand/groundtruth.txt", "m5,6,3,2,1,2,3\n0\n1,2,3,4\n")
    for part in ("left", "right"):
        tree.text(f"sequences/zebra/groundtruth_{part}.txt", "nan,nan,nan,nan\n1,2,3,4\n")
    tree.frames("sequences/zebra/color", range(1, 3))
    hand, left, right = open_dataset("vot", stored(tree))
    assert (hand.name, left.name, right.name) == ("hand", "zebra_left", "zebra_right")
    assert hand.boxes_xywh[[0, 2]].tolist() == [[6, 6, 2, 1], [1, 2, 3, 4]]
    assert np.isnan(hand.boxes_xywh[[1, 3]]).all()
    assert (hand.fps, hand.told_size_wh, len(hand)) == (25.0, (16, 12), 4)
    assert left.visible is not None
    assert left.visible.tolist() == [False, True]


# --- a user's own ------------------------------------------------------------------------------------------


def test_folder_of_sequences(tree: Tree, stored: Store) -> None:
    tree.frames("cat", [2, 10, 1], "frame{}.png")
    tree.text("cat/groundtruth.txt", "10,20,30,40\nnan,nan,nan,nan\n0,0,0,0\n")
    tree.frames("dog/img", range(1, 3))
    tree.text("dog/groundtruth_rect.txt", boxes(1))
    tree.text("dog/language.txt", "a dog")
    tree.text("notes/readme.md", "not a sequence")
    cat, dog = open_dataset("folder", stored(tree))
    assert (cat.name, grays(cat)) == ("cat", [1, 2, 10])
    assert cat.visible is not None
    assert cat.visible.tolist() == [True, False, False]
    assert (dog.name, dog.boxes_xywh.shape, dog.visible, dog.language) == ("dog", (1, 4), None, "a dog")


def test_folder_that_is_one_sequence(tree: Tree) -> None:
    tree.frames("", range(1, 3))
    tree.text("groundtruth.txt", boxes(2, " "))
    (sequence,) = open_dataset("folder", tree.root)
    assert (sequence.name, grays(sequence)) == ("copy", [1, 2])


def test_folder_with_frames_but_no_boxes(tree: Tree) -> None:
    tree.frames("cat", range(1, 3))
    with pytest.raises(InputError, match=r"cat: cannot read text file .*groundtruth\.txt"):
        open_dataset("folder", tree.root)


def test_real_sequences_open(shared: Path) -> None:
    sequences = open_dataset("folder", shared / "sequences")
    facts = {fact["name"]: fact for fact in json.loads((shared / "sequences" / "index.json").read_text())}
    assert [sequence.name for sequence in sequences] == sorted(facts)
    for sequence in sequences:
        fact = facts[sequence.name]
        assert (len(sequence), *sequence.size_wh) == (fact["frames"], fact["width"], fact["height"])
        assert sequence.visible is not None
        assert (~sequence.visible).sum() == fact["absent"]


def test_every_name_is_there() -> None:
    assert " ".join(BENCHMARKS) == (
        "lasot lasot_ext trackingnet got10k coco vid det youtubebb nfs uav123 uav20l tnl2k otb vot vasttrack dtb70 "
        "folder coco_export mot cvat"
    )
