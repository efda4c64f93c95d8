"""`singletrack demo`: track an object in a generated clip with the bundled model, and print the accuracy."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from singletrack import loading
from singletrack.api import follow
from singletrack.cli.options import ask_to_overwrite, overwrite_option
from singletrack.cli.progress import Progress
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.files import make_folder
from singletrack.geometry.boxes import Box, iou
from singletrack.steps import TrackStep
from singletrack.video import VideoReader, VideoWriter

FRAMES = 150
SIZE_WH = (640, 360)
FPS = 30.0


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder for demo.mp4, demo.csv and demo-clip.mp4; created if needed.  [default: current folder]",
)
@overwrite_option
def command(out: Path, overwrite: bool) -> None:
    """Track an object in a generated clip with known boxes.

    Nothing is downloaded: the clip is generated and the model is bundled. demo.mp4 shows the predicted box with its
    score and the true box (dashed). demo.csv has the predicted boxes. demo-clip.mp4 is the clip itself, to try
    `singletrack label` on.
    """
    files, plain_file = [out / "demo.mp4", out / "demo.csv"], out / "demo-clip.mp4"
    ask_to_overwrite([*files, plain_file], overwrite)
    make_folder(out)
    clip = list(generate_clip(frames=FRAMES, size_wh=SIZE_WH))
    with VideoWriter(plain_file, FPS) as plain:
        for frame, _ in clip:
            plain.write(frame)
    true_boxes: list[Box] = [box for _, box in clip]
    found_boxes: list[Box] = []
    timed_frames = ((index / FPS, frame) for index, (frame, _) in enumerate(clip))
    video = VideoReader(timed_frames, fps=FPS, size_wh=SIZE_WH, frame_count=FRAMES)
    tracker = loading.load("ostrack-tiny")
    with Progress(FRAMES, files) as progress:

        def note(step: TrackStep) -> None:
            found_boxes.append(step.result.box)
            progress.show(step)

        follow(
            video,
            true_boxes[0],
            tracker,
            video_path=files[0],
            boxes_path=files[1],
            true_boxes=true_boxes,
            on_step=note,
        )
    overlap = iou(np.array(found_boxes[1:]), np.array(true_boxes[1:])).mean()
    click.echo(f"mean overlap with the true boxes: {overlap:.3f}")
