"""How often a cut is seen between two frames of one video, and between frames of different videos.

    python benchmarks/cuts.py ../shared/footage [--most 200]

The frames of each video follow each other, so that every cut seen there is a false alarm or a real cut of the video:
look at those that are printed. First and last frames of different videos, scaled to one size, stand for real cuts.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

from singletrack.opencv import cv2
from singletrack.tracking.shots import Shot, shot_of
from singletrack.video import open_video

CHANGES = (10.0, 15.0, 20.0, 25.0, 30.0)
SHARES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)


def measure(before: Shot, now: Shot) -> tuple[float, float]:
    """Mean difference of the cells (0 to 255) and share of common colors (0 to 1), as in ``is_cut``."""
    return float(np.abs(now.cells - before.cells).mean()), float(np.minimum(now.colors, before.colors).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of videos (.mp4)")
    parser.add_argument("--most", type=int, default=200, help="frames of each video")
    options = parser.parse_args()
    following: list[tuple[float, float, str]] = []
    ends: list[list[Shot]] = []
    for path in sorted(options.folder.glob("*.mp4")):
        shots: list[Shot] = []
        with open_video(path) as video:
            for index, frame in enumerate(itertools.islice(video, options.most)):
                shots.append(shot_of(cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA)))
                if index:
                    following.append((*measure(shots[-2], shots[-1]), f"{path.name} frame {index}"))
        ends.append([shots[0], shots[-1]])
    cuts = [measure(a, b) for one, two in itertools.combinations(ends, 2) for a in one for b in two]
    print(f"{len(ends)} videos, {len(following)} pairs of consecutive frames, {len(cuts)} pairs of different videos")
    print("| least change | most in common | consecutive frames called cuts | different videos called cuts |")
    print("|---|---|---|---|")
    for change, share in itertools.product(CHANGES, SHARES):
        alarms = sum(one > change and two < share for one, two, _ in following)
        found = sum(one > change and two < share for one, two in cuts) / len(cuts)
        print(f"| {change:.0f} | {share:.2f} | {alarms} | {found:.3f} |")
    for one, two, name in sorted(following, key=lambda each: each[1] - each[0] / 100)[:12]:
        print(f"{name}: change {one:.1f}, in common {two:.2f}")


if __name__ == "__main__":
    main()
