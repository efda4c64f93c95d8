"""Starts a track with a detector, and starts it again where the target is lost.

    python examples/detector.py clip.mp4 --detector yolo.onnx --label 0

The detector is any function that gives boxes and scores for a frame. Here it is a YOLO of Ultralytics as an ONNX file
(v8 and later, 80 classes or your own), run with ONNX Runtime: pip install onnxruntime. The tracker follows in between,
which is faster than to detect in each frame, and keeps the same target where several look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
import numpy as np
from numpy.typing import NDArray

import singletrack
from singletrack.opencv import cv2

Frame = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # x, y, width, height in pixels
Detector = Callable[[Frame], list[tuple[Box, float]]]  # boxes with scores, the best first

LEAST_SCORE = 0.4
DETECT_EVERY = 10  # frames between two calls of the detector while there is no target


def load_yolo(path: str, label: int) -> Detector:
    """A detector from an ONNX file whose output is (1, 4 + classes, N): center and size, then scores."""
    import onnxruntime

    network = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name, side = network.get_inputs()[0].name, int(network.get_inputs()[0].shape[2])

    def detect(frame: Frame) -> list[tuple[Box, float]]:
        scale = side / max(frame.shape[:2])
        small = cv2.resize(frame, None, fx=scale, fy=scale)
        padded = np.full((side, side, 3), 114, np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        pixels = padded.transpose(2, 0, 1)[None].astype(np.float32) / 255
        rows = network.run(None, {name: pixels})[0][0].T
        scores = rows[:, 4 + label]
        best = [place for place in np.argsort(-scores) if scores[place] >= LEAST_SCORE]
        return [(to_box(rows[place, :4] / scale), float(scores[place])) for place in best]

    return detect


def to_box(center_and_size: NDArray[np.float32]) -> Box:
    """Center and size -> corner and size."""
    x, y, width, height = map(float, center_and_size)
    return x - width / 2, y - height / 2, width, height


def follow(
    frames: Iterator[Frame], detect: Detector, tracker: singletrack.Tracker
) -> Iterator[tuple[int, Box | None, float]]:
    """Yield index, box and score of each frame; the box is None while there is no target."""
    following, waited = False, DETECT_EVERY
    for index, frame in enumerate(frames):
        if following:
            result = tracker.update(frame)
            if not result.lost:
                yield index, result.box, result.score
                continue
        waited += 1
        found = detect(frame) if waited >= DETECT_EVERY else []
        if found:
            box, score = found[0]
            tracker.init(frame, box)
            following, waited = True, DETECT_EVERY
            yield index, box, score
        else:
            waited = 0 if waited >= DETECT_EVERY else waited
            yield index, None, 0.0


@click.command()
@click.argument("source")
@click.option("--detector", required=True, help="ONNX file of the detector.")
@click.option("--label", default=0, show_default=True, help="Number of the class to follow.")
def main(source: str, detector: str, label: int) -> None:
    """Print a line for each frame of SOURCE."""
    with singletrack.open_video(source) as video:
        tracker = singletrack.load("ostrack-tiny")
        for index, box, score in follow(iter(video), load_yolo(detector, label), tracker):
            click.echo(
                f"{index} " + ("no target" if box is None else f"{','.join(f'{v:.1f}' for v in box)} {score:.2f}")
            )


if __name__ == "__main__":
    main()
