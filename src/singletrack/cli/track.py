"""`singletrack track`: follow one object, write the video and the boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from singletrack import zoo
from singletrack.cli.progress import Progress
from singletrack.cli.settings import settings_option
from singletrack.following import follow
from singletrack.geometry.boxes import Box
from singletrack.runtimes import ENGINES
from singletrack.video import open_video


def parse_box(context: click.Context, parameter: click.Parameter, text: str) -> Box:
    """Four numbers with commas between them: x,y,width,height."""
    try:
        x, y, width, height = (float(number) for number in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"expected four numbers x,y,width,height in pixels, as 120,80,64,48; got {text!r}"
        ) from None
    return x, y, width, height


@click.command(no_args_is_help=True)
@click.argument("source")
@click.option(
    "--box",
    required=True,
    callback=parse_box,
    metavar="X,Y,W,H",
    help="The object in the first frame, or that of --start: left, top, width and height in pixels.",
)
@click.option(
    "--start",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="First frame to follow from, the one that the box is in; those before it are passed over.",
)
@click.option(
    "--model", default="ostrack-tiny", show_default=True, help="One of those that `singletrack models` lists."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights to use instead of the model's own.")
@click.option(
    "--engine",
    type=click.Choice(["auto", *ENGINES]),
    default="auto",
    show_default=True,
    help="What runs the network.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Where it runs, as the engine calls it: cpu for all; GPU for openvino; cuda for torch.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the processor to compute with.  [default: the engine's]"
)
@click.option(
    "--long-term/--short-term",
    default=None,
    help="Search the whole frame for a lost target, or only round its last box.  [default: as the model has it]",
)
@settings_option
@click.option("--out", type=click.Path(path_type=Path), help="Video to write (.mp4), with the box drawn on each frame.")
@click.option(
    "--boxes",
    type=click.Path(path_type=Path),
    help="Boxes to write: .txt has x,y,w,h a line; .csv and .jsonl add frame, time, score and lost.",
)
def command(
    source: str,
    box: Box,
    start: int,
    model: str,
    weights: Path | None,
    engine: str,
    device: str,
    threads: int | None,
    long_term: bool | None,
    settings: dict[str, Any],
    out: Path | None,
    boxes: Path | None,
) -> None:
    """Follow one object through SOURCE, from its box in the first frame, or that of --start.

    SOURCE is a video file, a folder of frames, a quoted glob ("frames/*.png"), the number of a camera (0), or
    the address of a stream (rtsp://..., http://...). With neither --out nor --boxes, followed.mp4 is written.

    Ctrl-C ends it; what was written until then is kept and plays.
    """
    if out is None and boxes is None:
        out = Path("followed.mp4")
    with open_video(source) as video:
        tracker = zoo.load(
            model,
            weights=weights,
            engine=engine,
            device=device,
            threads=threads,
            long_term=long_term,
            settings=settings,
        )
        remaining = None if video.frame_count is None else max(0, video.frame_count - start)
        with Progress(remaining, [path for path in (out, boxes) if path]) as progress:
            follow(video, box, tracker, start=start, video_path=out, boxes_path=boxes, on_step=progress.show)
