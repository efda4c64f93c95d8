"""`singletrack track`: follow one object or many, write the video and the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from singletrack import loading
from singletrack.api import Step, follow
from singletrack.cli.options import model_options
from singletrack.cli.progress import Progress
from singletrack.errors import InputError
from singletrack.geometry.boxes import Box
from singletrack.labeling.formats import FORMATS, LabelRecorder
from singletrack.loading import LoadOptions
from singletrack.results import FORMATS as RESULT_FORMATS
from singletrack.video import open_video


def parse_boxes(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[Box]:
    """Texts of four numbers with commas between them: x,y,width,height."""
    try:
        return [parse_box(text) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_box(text: str) -> Box:
    """Four numbers with commas between them; raises ValueError for anything else."""
    try:
        x, y, width, height = (float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(f"expected four numbers x,y,width,height in pixels, as 120,80,64,48; got {text!r}") from None
    return x, y, width, height


def read_targets(path: Path, start: int) -> dict[int, list[Box]]:
    """The boxes of a file of targets, by the numbers of the frames they are in; `start` where a line tells none."""
    targets: dict[int, list[Box]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected a file of boxes; cannot read {path} ({error}); check the path") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values = line.split(",")
        try:
            frame = int(values.pop()) if len(values) == 5 else start
            targets.setdefault(frame, []).append(parse_box(",".join(values)))
        except ValueError:
            raise InputError(
                f"expected x,y,width,height or x,y,width,height,frame a line; line {number} of {path} is {line!r}; "
                "mend or remove it"
            ) from None
    return targets


@click.command(no_args_is_help=True)
@click.argument("source")
@click.option(
    "--box",
    "boxes_given",
    multiple=True,
    callback=parse_boxes,
    metavar="X,Y,W,H",
    help="The object in the first frame, or that of --start: left, top, width and height in pixels. Given several "
    "times, all of them are followed together.",
)
@click.option(
    "--targets",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Many objects, instead of --box: a file with x,y,w,h a line; a fifth number is the frame that the box is in, "
    "from 0, where that is another than the first.",
)
@click.option(
    "--start",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="First frame to follow from, the one that the box is in; those before it are passed over.",
)
@model_options
@click.option("--out", type=click.Path(path_type=Path), help="Video to write (.mp4), with the box drawn on each frame.")
@click.option(
    "--save-boxes",
    type=click.Path(path_type=Path),
    help="Boxes to write: .txt has x,y,w,h a line; .csv and .jsonl add frame, time, score and lost. Of many objects, "
    "each line tells the id too, and .txt is that of MOTChallenge. .xml (CVAT), .parquet and --format write labels.",
)
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    metavar="NAME",
    help="Write --save-boxes as labels in this format of `singletrack labels`, at the end.  [default: by its ending]",
)
def command(
    source: str,
    boxes_given: list[Box],
    targets: Path | None,
    start: int,
    model: str,
    options: LoadOptions,
    out: Path | None,
    save_boxes: Path | None,
    format: str | None,
) -> None:
    """Follow one object or many through SOURCE, from their boxes in the first frame, or that of --start.

    SOURCE is a video file, a folder of frames, a quoted glob ("frames/*.png"), the number of a camera (0), or
    the address of a stream (rtsp://..., http://...). With neither --out nor --save-boxes, followed.mp4 is written.

    Ctrl-C ends it; what was written until then is kept and plays.
    """
    if bool(boxes_given) == (targets is not None):
        raise click.UsageError(
            "Missing option '--box': expected --box X,Y,W,H once or more, or --targets FILE "
            "(--save-boxes names a file to write)"
            if targets is None
            else "expected --box or --targets; got both; put all boxes into the file"
        )
    if format and not save_boxes:
        raise click.UsageError("expected --save-boxes PATH with --format; got none; say where the labels go")
    as_labels = format is not None or (save_boxes is not None and save_boxes.suffix.lower() not in RESULT_FORMATS)
    first_boxes = read_targets(targets, start) if targets else {start: boxes_given}
    single = targets is None and len(boxes_given) == 1
    first_frame = min(first_boxes, default=0)
    if out is None and save_boxes is None:
        out = Path("followed.mp4")
    with open_video(source) as video:
        tracker = loading.load_with(model, options)
        remaining = None if video.frame_count is None else max(0, video.frame_count - first_frame)
        with ExitStack() as stack:
            progress = stack.enter_context(Progress(remaining, [path for path in (out, save_boxes) if path]))
            labels = None
            if save_boxes is not None and as_labels:
                labels = stack.enter_context(LabelRecorder(save_boxes, format, source, video))

            def note(step: Step) -> None:
                if labels:
                    labels.add(step.index, step.results)
                progress.show(step)

            follow(
                video,
                boxes_given[0] if single else None,
                tracker,
                boxes=None if single else first_boxes,
                start=start if single else 0,
                video_path=out,
                boxes_path=None if labels else save_boxes,
                on_step=note,
            )
