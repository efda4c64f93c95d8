"""Small whole-looking copies of the data sets that trackers are trained on: a bright square that walks."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, SIDE = 120, 90, 24
FRAMES = 22


def picture(x: float, y: float, shade: int) -> np.ndarray:
    """A frame, BGR, with the target at this corner."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([rows + shade, columns, rows + columns], 2).astype(np.uint8) // 2
    image[round(y) : round(y) + SIDE, round(x) : round(x) + SIDE] = (40, 220, 255 - shade)
    return image


def walk(number: int) -> np.ndarray:
    """(FRAMES, 4) xywh of a target that goes right and down."""
    steps = np.arange(FRAMES)[:, None] * np.array([[2.0, 1.0]])
    corner = np.array([[8.0 + number, 6.0 + number]]) + steps
    return np.concatenate([corner, np.full((FRAMES, 2), float(SIDE))], 1)


def lines(values: np.ndarray) -> str:
    return "\n".join(",".join(f"{value:g}" for value in np.atleast_1d(row)) for row in values) + "\n"


def write_frames(folder: Path, boxes: np.ndarray, shade: int, pattern: str, first: int = 1) -> None:
    folder.mkdir(parents=True)
    for index, (x, y, *_) in enumerate(boxes):
        cv2.imwrite(str(folder / pattern.format(index + first)), picture(x, y, shade))


def make_lasot(root: Path, sequences: int = 2) -> Path:
    for number in range(1, sequences + 1):
        folder, boxes = root / "cat" / f"cat-{number}", walk(number)
        write_frames(folder / "img", boxes, 30 * number, "{:08d}.jpg")
        (folder / "groundtruth.txt").write_text(lines(boxes))
        hidden = np.zeros(FRAMES, int)
        hidden[5] = 1
        for name in ("full_occlusion", "out_of_view"):
            (folder / f"{name}.txt").write_text(",".join(map(str, hidden)))
    (root / "training_set.txt").write_text("\n".join(f"cat-{number}" for number in range(1, sequences + 1)))
    return root


def make_got10k(root: Path, sequences: int = 3) -> Path:
    """Its splits train and val; of train the first sequences are vottrain and the last is votval."""
    for split in ("train", "val"):
        names = [f"GOT-10k_{split.title()}_{number:06d}" for number in range(1, sequences + 1)]
        for number, name in enumerate(names):
            folder, boxes = root / split / name, walk(number)
            write_frames(folder, boxes, 40 * number, "{:08d}.jpg")
            (folder / "groundtruth.txt").write_text(lines(boxes))
            (folder / "absence.label").write_text(lines(np.zeros(FRAMES, int)))
            (folder / "cover.label").write_text(lines(np.full(FRAMES, 8)))
        (root / split / "list.txt").write_text("\n".join(names))
    (root / "got10k_vot_train_split.txt").write_text(lines(np.arange(sequences - 1)))
    (root / "got10k_vot_val_split.txt").write_text(f"{sequences - 1}\n")
    return root


def make_got10k_test(root: Path, sequences: int = 180) -> None:
    """All of its test split, in pictures so few and small that they take no time."""
    names = [f"GOT-10k_Test_{number:06d}" for number in range(1, sequences + 1)]
    for number, name in enumerate(names):
        boxes = walk(number % 20)[:2]
        write_frames(root / "test" / name, boxes, number, "{:08d}.jpg")
        (root / "test" / name / "groundtruth.txt").write_text(lines(boxes[:1]))
    (root / "test" / "list.txt").write_text("\n".join(names))


def make_coco(root: Path, pictures: int = 3) -> Path:
    images, things = [], []
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(1, pictures + 1):
        name = f"{number:012d}.jpg"
        cv2.imwrite(str(root / "train2017" / name), picture(20 + number, 30, 20 * number))
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        box = [20.0 + number, 30.0, float(SIDE), float(SIDE)]
        things.append({"id": 10 + number, "image_id": number, "bbox": box, "iscrowd": 0})
        things.append({"id": 20 + number, "image_id": number, "bbox": box, "iscrowd": 1})
    content = json.dumps({"images": images, "annotations": things})
    (root / "annotations" / "instances_train2017.json").write_text(content)
    return root


def make_trackingnet(root: Path, sequences: int = 2) -> Path:
    for number in range(sequences):
        boxes = walk(number + 3)
        write_frames(root / f"TRAIN_{number}" / "frames" / f"video_{number}", boxes, 50 * number, "{}.jpg", 0)
        (root / f"TRAIN_{number}" / "anno").mkdir()
        (root / f"TRAIN_{number}" / "anno" / f"video_{number}.txt").write_text(lines(boxes))
    return root


def make_all(root: Path) -> dict[str, Path]:
    """Data set -> its folder, as ``DataPaths`` takes them."""
    return {
        "lasot": make_lasot(root / "lasot"),
        "got10k": make_got10k(root / "got10k"),
        "coco": make_coco(root / "coco"),
        "trackingnet": make_trackingnet(root / "trackingnet"),
    }


# --- the data sets of Siamese trackers, with a cat and a dog in each ---

SYNSETS = {"cat": "n02121808", "dog": "n02084071"}


def ilsvrc(synset: str, box: np.ndarray, track: int | None) -> str:
    """An annotation of one object, as in VID with a track and in DET without."""
    x, y, width, height = box
    told = "" if track is None else f"<trackid>{track}</trackid>"
    corners = f"<xmax>{x + width}</xmax><xmin>{x}</xmin><ymax>{y + height}</ymax><ymin>{y}</ymin>"
    thing = f"<object>{told}<name>{synset}</name><bndbox>{corners}</bndbox></object>"
    return f"<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>{thing}</annotation>"


def make_vid(root: Path) -> Path:
    for split, start in (("train/ILSVRC2015_VID_train_0000", "ILSVRC2015_train"), ("val", "ILSVRC2015_val")):
        for number, synset in enumerate(SYNSETS.values()):
            video, boxes = f"VID/{split}/{start}_0000000{number}", walk(number)
            write_frames(root / "Data" / video, boxes, 10 * number, "{:06d}.JPEG", 0)
            (root / "Annotations" / video).mkdir(parents=True)
            for frame, box in enumerate(boxes):
                (root / "Annotations" / video / f"{frame:06d}.xml").write_text(ilsvrc(synset, box, 0))
    return root


def make_det(root: Path) -> Path:
    for number, synset in enumerate(SYNSETS.values()):
        folder, box = f"DET/train/ILSVRC2013_train/{synset}", walk(number)[:1]
        write_frames(root / "Data" / folder, box, 20 * number, f"{synset}_{{}}.JPEG")
        (root / "Annotations" / folder).mkdir(parents=True)
        (root / "Annotations" / folder / f"{synset}_1.xml").write_text(ilsvrc(synset, box[0], None))
    return root


def make_youtubebb(root: Path) -> Path:
    rows = []
    for class_id, (name, _) in enumerate(SYNSETS.items(), start=7):
        boxes, video = walk(class_id), f"video-{name}"
        pattern = f"{video}_{{}}000_{class_id}_0.jpg"
        write_frames(root / "yt_bb_detection_train" / str(class_id), boxes, class_id, pattern)
        for second, (x, y, width, height) in enumerate(boxes, start=1):
            sides = (x / WIDTH, (x + width) / WIDTH, y / HEIGHT, (y + height) / HEIGHT)
            rows.append(f"{video},{second}000,{class_id},{name},0,present,{','.join(map(str, sides))}")
    (root / "yt_bb_detection_train.csv").write_text("\n".join(rows) + "\n")
    return root


def make_coco_with_categories(root: Path, cats: int = 1) -> Path:
    """COCO whose first pictures show a cat, and the others a dog."""
    make_coco(root)
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": 17, "name": "Cat"}, {"id": 18, "name": "Dog"}]
    for thing in content["annotations"]:
        thing["category_id"] = 17 if thing["image_id"] <= cats else 18
    file.write_text(json.dumps(content))
    return root


def make_siamese(root: Path) -> dict[str, Path]:
    """Data set -> its folder: VID, YouTube-BB, DET and COCO."""
    return {
        "vid": make_vid(root / "vid"),
        "youtubebb": make_youtubebb(root / "youtubebb"),
        "det": make_det(root / "det"),
        "coco": make_coco_with_categories(root / "coco"),
    }
