"""The examples of docs/live.md, as a user runs them."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.tracking.base import Result
from singletrack.video import VideoWriter

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def line(index: int, pan: float, tilt: float, lost: bool = False) -> str:
    return json.dumps({"frame": index, "time": index / 10, "lost": lost, "pan": pan, "tilt": tilt})


def test_a_camera_turns_to_its_target() -> None:
    lines = [line(0, 0.5, 0.02), line(1, 0.4, 0.02), line(2, 1.0, -1.0), line(3, 0.9, 0.9, lost=True)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "pan_tilt.py")],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    speeds = [tuple(map(float, each.split())) for each in done.stdout.splitlines()]
    assert speeds[0] == pytest.approx((0.4, 0))
    assert speeds[1] == pytest.approx((0.8 * 0.4 - 0.15 * 1, 0))  # it comes nearer: the brake
    assert speeds[2] == (1, -1)
    assert speeds[3] == (0, 0)


def test_the_loop_is_stable() -> None:
    """A camera that turns at these speeds, a frame late, brings its target to the center and keeps it there."""
    axis = runpy.run_path(str(EXAMPLES / "pan_tilt.py"))["Axis"]()
    error, waiting = 0.9, [0.0, 0.0]
    for _ in range(100):
        waiting.append(axis.speed(error, 0.1))
        error -= 0.1 * waiting.pop(0) * 1.5
    assert abs(error) < 0.06


class Fades:
    """Is lost from its third update on."""

    def init(self, frame: Any, box: Any) -> None:
        self.box, self.count = box, 0

    def update(self, frame: Any) -> Result:
        self.count += 1
        return Result(box=self.box, score=0.9, lost=self.count >= 3)


def test_a_detector_starts_a_track_and_starts_it_again() -> None:
    example = runpy.run_path(str(EXAMPLES / "detector.py"))
    asked: list[int] = []

    def detect(frame: np.ndarray) -> list[Any]:
        asked.append(int(frame[0, 0, 0]))
        return [((1.0, 2.0, 8.0, 9.0), 0.7)] if frame[0, 0, 0] >= 10 else []

    frames = (np.full((20, 20, 3), index, np.uint8) for index in range(30))
    found = [box is not None for _, box, _ in example["follow"](frames, detect, Fades())]
    assert asked == [0, 10, 13, 16, 19, 22, 25, 28]  # every tenth frame without a target; at once where it is lost
    assert found == [False] * 10 + [True] * 20


def test_a_yolo_in_onnx(tmp_path: Path) -> None:
    """A stand-in with the inputs and outputs of a YOLO: it finds one box of class 1 of 2."""
    onnx = pytest.importorskip("onnx", reason="needs ONNX: pip install 'singletrack[onnx]'")
    pytest.importorskip("onnxruntime", reason="needs ONNX: pip install 'singletrack[onnx]'")
    rows = np.zeros((1, 6, 3), np.float32)
    rows[0, :, 1] = [32, 24, 10, 8, 0.1, 0.8]  # of a side of 64: half the frame
    helper = onnx.helper
    constant = helper.make_node("Constant", [], ["rows"], value=onnx.numpy_helper.from_array(rows))
    zero = helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0)
    nothing = helper.make_node("Mul", ["sum", "none"], ["zero"])
    added = helper.make_node("Add", ["rows", "zero"], ["output"])
    graph = helper.make_graph(
        [constant, zero, nothing, added],
        "yolo",
        [helper.make_tensor_value_info("images", 1, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", 1, [1, 6, 3])],
        [onnx.numpy_helper.from_array(np.zeros((), np.float32), "none")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "y.onnx")
    load = runpy.run_path(str(EXAMPLES / "detector.py"))["load_yolo"]
    frame = np.zeros((96, 128, 3), np.uint8)
    ((box, score),) = load(str(tmp_path / "y.onnx"), 1)(frame)
    assert box == pytest.approx((54, 40, 20, 16))
    assert score == pytest.approx(0.8)
    assert load(str(tmp_path / "y.onnx"), 0)(frame) == []
    clip = tmp_path / "clip.mp4"
    with VideoWriter(clip, 10) as writer:
        for image, _ in generate_clip(frames=3, size_wh=(128, 96)):
            writer.write(image)
    command = [sys.executable, str(EXAMPLES / "detector.py"), str(clip), "--detector", str(tmp_path / "y.onnx")]
    done = subprocess.run([*command, "--label", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "0 54.0,40.0,20.0,16.0 0.80"
    assert len(done.stdout.splitlines()) == 3
