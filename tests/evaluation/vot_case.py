"""A workspace of the VOT toolkit with made results: boxes, polygons and masks, failures, and both kinds of files.

Without singletrack, so that the toolkit's own environment can make the same one. To record its numbers again:
    python vot_case.py FOLDER, and in FOLDER/vot2018 and FOLDER/vot2020: `vot analysis made --format json`
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

SIZE_WH = (80, 60)
LENGTHS = {"box": 150, "turned": 130, "mask": 170}
STACK_2018 = """title: made
experiments:
  baseline:
    type: supervised
    repetitions: 15
    skip_initialize: 5
    analyses:
      - type: supervised_average_ar
        sensitivity: 30
      - type: supervised_eao_score
        low: 100
        high: 356
"""
STACK_2020 = """title: made
experiments:
  baseline:
    type: multistart
    analyses:
      - type: multistart_eao_score
        low: 115
        high: 755
      - type: multistart_average_ar
"""


def truth_of(name: str) -> list[str]:
    """A region for each frame, as the toolkit writes it; some frames of `box` have none."""
    chance = np.random.default_rng(len(name))
    lines = []
    for index in range(LENGTHS[name]):
        x, y = 20 + 25 * np.sin(index / 20), 15 + 12 * np.cos(index / 15)
        width, height = 20 + chance.normal(), 16 + chance.normal()
        if name == "box":
            lines.append("0" if index in (60, 61) else f"{x:.3f},{y:.3f},{width:.3f},{height:.3f}")
        elif name == "turned":
            angle = index / 30
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2] @ turn.T + [
                x + 10,
                y + 8,
            ]
            lines.append(",".join(f"{value:.3f}" for value in corners.ravel()))
        else:
            lines.append(_mask(round(x), round(y), round(width), round(height)))
    return lines


def _mask(left: int, top: int, width: int, height: int) -> str:
    """An ellipse as runs of 0 and 1."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - width / 2 + 0.5) / width) ** 2 + ((rows - height / 2 + 0.5) / height) ** 2 <= 0.25
    changes = np.flatnonzero(np.diff(np.concatenate([[False], inside.ravel()]).astype(int)))
    runs = np.diff(np.concatenate([[0], changes, [inside.size]]))
    return f"m{left},{top},{width},{height}," + ",".join(map(str, runs))


def answer(name: str, index: int, chance: np.random.Generator, off: float) -> list[float]:
    """The box of the tracker in a frame."""
    x, y = 20 + 25 * np.sin(index / 20), 15 + 12 * np.cos(index / 15)
    return [x + off + 3 * chance.normal(), y + off / 2 + chance.normal(), 19 + chance.normal(), 17 + chance.normal()]


def write(path: Path, regions: list[list[float]], *, binary: bool) -> None:
    """Write a trajectory: lists of one number are codes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not binary:
        lines = (
            ",".join(f"{value:.4f}" if len(region) > 1 else f"{value:.0f}" for value in region) for region in regions
        )
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n")
        return
    content = struct.pack("<hI", 1, len(regions))
    for region in regions:
        if len(region) == 1:
            content += struct.pack("<BI", 0, int(region[0]))
        else:
            content += struct.pack("<Bffff", 1, *region)
    path.with_suffix(".bin").write_bytes(content)


def make_sequences(root: Path) -> None:
    """Write the sequences of a workspace."""
    for name in LENGTHS:
        folder = root / "sequences" / name
        folder.mkdir(parents=True)
        (folder / "groundtruth.txt").write_text("\n".join(truth_of(name)) + "\n")
        facts = {"name": name, "width": SIZE_WH[0], "height": SIZE_WH[1], "fps": 30, "channels.color": "color/%08d.jpg"}
        facts |= {"channel.default": "color", "length": LENGTHS[name]}
        (folder / "sequence").write_text("".join(f"{key}={value}\n" for key, value in facts.items()))
        anchors = np.zeros(LENGTHS[name], int)
        anchors[[0, 40]], anchors[[100, LENGTHS[name] - 1]] = 1, -1
        (folder / "anchor.value").write_text("\n".join(map(str, anchors)) + "\n")
    (root / "sequences" / "list.txt").write_text("\n".join(LENGTHS) + "\n")


def make_2018(root: Path) -> None:
    """Results with failures and new starts, two repetitions of each sequence."""
    make_sequences(root)
    for place, (name, length) in enumerate(LENGTHS.items()):
        for repetition in (1, 2):
            chance = np.random.default_rng([place, repetition])
            regions: list[list[float]] = [[0.0] for _ in range(length)]
            index, fails = 0, (30 + 20 * repetition, 95) if name != "mask" else ()
            while index < length:
                regions[index] = [1.0]
                index += 1
                while index < length and index not in fails:
                    regions[index] = answer(name, index, chance, 2.0)
                    index += 1
                if index < length:
                    regions[index] = [2.0]
                    index += 5
            path = root / "results" / "made" / "baseline" / name / f"{name}_{repetition:03d}"
            write(path, regions, binary=repetition == 2)


def make_2020(root: Path) -> None:
    """Results from each anchor; from one of them the target is lost for good."""
    make_sequences(root)
    for place, (name, length) in enumerate(LENGTHS.items()):
        for anchor in (0, 40, 100, length - 1):
            frames = list(range(anchor, length)) if anchor < 100 else list(range(anchor, -1, -1))
            chance = np.random.default_rng([place, anchor])
            regions: list[list[float]] = [[1.0]]
            for step, index in enumerate(frames[1:], start=1):
                lost = (anchor == 40 and step > 25 + 10 * place) or 8 < step < 15
                regions.append(answer(name, index, chance, 60.0 if lost else 2.0))
            path = root / "results" / "made" / "baseline" / name / f"{name}_{anchor:08d}"
            write(path, regions, binary=anchor == 100)


if __name__ == "__main__":
    for year, make, stack in (("vot2018", make_2018, STACK_2018), ("vot2020", make_2020, STACK_2020)):
        workspace = Path(sys.argv[1]) / year
        make(workspace)
        (workspace / "stack.yaml").write_text(stack)
        (workspace / "config.yaml").write_text("stack: stack.yaml\nregistry:\n- ./trackers.ini\n")
        (workspace / "trackers.ini").write_text("[made]\nlabel = made\nprotocol = trax\ncommand = true\n")
        for name, length in LENGTHS.items():  # the toolkit counts pictures
            color = workspace / "sequences" / name / "color"
            color.mkdir()
            from PIL import Image

            for index in range(length):
                Image.new("RGB", SIZE_WH).save(color / f"{index + 1:08d}.jpg")
