"""`singletrack track`: track one or more objects, and write the video and the boxes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from singletrack import loading
from singletrack.api import Span, check_outputs, follow, resolve_targets
from singletrack.cli.first_frame import Window, need_window, select_box, why_no_window, write_grid
from singletrack.cli.live_options import Receivers, live_options, receiver_options, warn_of_unused
from singletrack.cli.options import ask_to_overwrite, is_given, model_options, overwrite_option
from singletrack.cli.output_options import VideoOutputs, output_options, span_options
from singletrack.cli.progress import Progress, ProgressBar
from singletrack.effects.crop import ViewSettings
from singletrack.effects.paths import Steps
from singletrack.errors import InputError, reason_of
from singletrack.files import STDOUT, is_stdout
from singletrack.files import check_outputs as compare_outputs
from singletrack.geometry.box_formats import BOX_FORMATS, BoxFormat
from singletrack.geometry.boxes import Box
from singletrack.interrupts import quit_on_interrupt, terminate_as_interrupt
from singletrack.labeling.formats import FORMATS, LabelRecorder, check_output
from singletrack.loading import LoadOptions
from singletrack.outputs import Movie, numbered_files
from singletrack.references import find_target, read_reference
from singletrack.results import format_of
from singletrack.steps import Frame, TrackStep
from singletrack.tracking.base import Tracker
from singletrack.video import LiveOptions, VideoReader, open_video

LABEL_ENDINGS = (".xml", ".parquet", ".json")  # of --save-boxes, that no result file has; .json asks for --format


def parse_boxes(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[Box]:
    """Parse repeated boxes of four comma-separated numbers."""
    try:
        return [parse_box(text) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_box(text: str) -> Box:
    """Parse four comma-separated numbers; raises ValueError for anything else."""
    try:
        a, b, c, d = (float(number) for number in text.split(","))
    except ValueError:
        raise ValueError(
            f"expected four numbers x,y,width,height in pixels, such as 120,80,64,48; got {text!r}"
        ) from None
    return a, b, c, d


def read_targets(path: Path, start: int) -> dict[int, list[Box]]:
    """Read a file of targets: boxes by frame index; ``start`` for lines without one."""
    targets: dict[int, list[Box]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read targets file {path} ({reason_of(error)}); check the path") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        values = line.split(",")
        try:
            frame = int(values.pop()) if len(values) == 5 else start
            targets.setdefault(frame, []).append(parse_box(",".join(values)))
        except ValueError:
            raise InputError(
                f"each line must be x,y,width,height or x,y,width,height,frame; line {number} of {path} is {line!r}; "
                "fix or remove it"
            ) from None
    return targets


def unused(path: Path) -> Path:
    """The path, or where it is taken the first of NAME-2, NAME-3, ... that is not."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], names) if not name.exists())


@click.command(no_args_is_help=True)
@click.argument("source")
@click.option(
    "--box",
    "boxes_given",
    multiple=True,
    callback=parse_boxes,
    metavar="X,Y,W,H",
    help="Box of the object in the first frame (or the --start frame): left, top, width, height in pixels. Repeat it "
    "to track several objects.",
)
@click.option(
    "--targets",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the boxes of many objects, instead of --box: x,y,w,h per line, and optionally the index of the "
    "frame in which the object starts, from 0.",
)
@click.option(
    "--from-image",
    "images",
    multiple=True,
    metavar="PICTURE",
    help="Start where the thing of this picture is found, instead of --box. Cut it out closely. Repeat it for more "
    "pictures of the same thing.",
)
@click.option("--select", is_flag=True, help="Draw the box with the mouse, instead of --box.")
@click.option(
    "--show",
    is_flag=True,
    help="Show the picture while it is tracked. Space pauses, S draws the box anew, Q ends it.",
)
@click.option(
    "--start",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Index of the first frame to track, to which the box belongs. Earlier frames are skipped.",
)
@click.option(
    "--box-format",
    type=click.Choice(BOX_FORMATS),
    help="Order of the numbers of a box. xywh: left, top, width, height; xyxy: left, top, right, bottom; cxcywh: "
    "center and size.  [default: xywh; boxes that look like two corners are refused]",
)
@click.option(
    "--normalized/--pixels",
    default=None,
    help="Unit of boxes: fractions of the frame, or pixels.  [default: pixels; boxes like fractions are refused]",
)
@model_options
@click.option("--out", type=click.Path(path_type=Path), help="Output video (.mp4) with the boxes drawn.")
@click.option(
    "--save-boxes",
    type=click.Path(path_type=Path),
    help="Output file for the boxes. .txt: x,y,w,h per line; .csv and .jsonl: also frame, time, score and lost. With "
    "several objects, lines have ids, and .txt is in the MOTChallenge format, without lost targets. -: JSON lines on "
    "standard output. .xml (CVAT), .parquet and --format write labels.",
)
@click.option("--stdout", is_flag=True, help="Short for --save-boxes -.")
@click.option(
    "--format",
    type=click.Choice(list(FORMATS)),
    metavar="NAME",
    help="Label format of --save-boxes, see `singletrack labels`.  [default: by its ending]",
)
@click.option(
    "--pan-tilt",
    is_flag=True,
    help="Add pan and tilt to JSON lines, -1 to 1: how far right of the center of the frame the target is, and above.",
)
@span_options
@output_options
@live_options
@receiver_options
@overwrite_option
def command(
    source: str,
    boxes_given: list[Box],
    targets: Path | None,
    images: tuple[str, ...],
    select: bool,
    show: bool,
    start: int,
    box_format: BoxFormat | None,
    normalized: bool | None,
    model: str,
    options: LoadOptions,
    out: Path | None,
    save_boxes: Path | None,
    stdout: bool,
    format: str | None,
    pan_tilt: bool,
    span: Span,
    outputs: VideoOutputs,
    live: LiveOptions,
    receivers: Receivers,
    overwrite: bool,
) -> None:
    """Track one or more objects through SOURCE, from their boxes in the first frame or the --start frame.

    SOURCE is a video file, a folder of frames, a quoted glob ("frames/*.png"), a camera number (0), or the address of a
    stream (rtsp://..., http://...). Without --out and --save-boxes, followed.mp4 is written. Of cameras and streams,
    the newest frame is tracked at each step, and the others are counted as dropped.

    Ctrl-C stops tracking; the output so far is kept and playable.
    """
    ways = [bool(boxes_given), targets is not None, bool(images), select]
    if sum(ways) > 1:
        raise click.UsageError(
            "--box and --targets cannot be combined, nor with --from-image or --select; put all boxes into the file"
        )
    if (select or images) and (is_given("box_format") or is_given("normalized")):
        raise click.UsageError("--box-format and --normalized go with --box or --targets; leave them out")
    if stdout and save_boxes not in (None, STDOUT):
        raise click.UsageError(f"--stdout is short for --save-boxes -; got --save-boxes {save_boxes} too; choose one")
    save_boxes = STDOUT if stdout else save_boxes
    warn_of_unused(source)
    for option, wanted in (("--select", select), ("--show", show)):
        if wanted:
            need_window(option, source)
    if not any(ways):
        with open_video(source, live=live) as video:
            _pass_over(video, start)
            frame = next(iter(video))
            if not why_no_window():
                boxes_given, box_format, normalized = [select_box(frame)], "xywh", False
            else:
                path = unused(Path("first-frame.png"))
                raise click.UsageError(write_grid(frame, path, source))
    if format and not save_boxes:
        raise click.UsageError("expected --save-boxes PATH with --format; got none; say where the labels go")
    label_path = save_boxes if format or (save_boxes and save_boxes.suffix.lower() in LABEL_ENDINGS) else None
    if select:
        with open_video(source, live=live) as video:
            _pass_over(video, start)
            boxes_given, box_format, normalized = [select_box(next(iter(video)))], "xywh", False
    pictures = [read_reference(image) for image in images]
    first_boxes = read_targets(targets, start) if targets else {start: boxes_given}
    single = targets is None and (len(boxes_given) == 1 or bool(pictures))
    if out is None and (outputs.changes_video or (save_boxes is None and outputs.crop is None)):
        out = unused(Path("followed.mp4"))
    _check_combinations(span, outputs, out, save_boxes, label_path, pan_tilt, receivers)
    files = [path for path in (out, outputs.crop, save_boxes) if path]
    weights = Path(options.weights) if options.weights else None
    inputs = [path for path in (targets, weights, Path(source), *map(Path, images)) if path]
    check_outputs(inputs, out, None if label_path else save_boxes)
    if outputs.crop:
        check_outputs(inputs, outputs.crop, None)
        compare_outputs([out, save_boxes, outputs.crop], [])
    if label_path:
        check_output(label_path, format, inputs)
    pieces_there = [piece for path in files for piece in numbered_files(path)] if outputs.segment else []
    ask_to_overwrite(pieces_there or files, overwrite)
    tracker: Tracker | None = None
    if pictures:
        with quit_on_interrupt():
            tracker = loading.load_with(model, options)
        start, box = _find(source, live, pictures, tracker, start)
        first_boxes, box_format, normalized = {start: [box]}, "xywh", False
    with open_video(source, live=live) as video:
        # boxes are checked before the model is loaded
        resolved = resolve_targets(first_boxes, video, box_format=box_format, normalized=normalized)
        if span.direction != "forward" and video.live is not None:
            raise InputError("only files and folders can be tracked backward; record the source first, with --out")
        with quit_on_interrupt():
            tracker = tracker or loading.load_with(model, options)
        boxes_on_stdout = save_boxes is not None and is_stdout(save_boxes)
        twice = (outputs.twice and video.live is None) or span.direction != "forward"
        wanted = out is not None or outputs.crop is not None
        written = [path for path in files if not (boxes_on_stdout and path == save_boxes)]
        with ExitStack() as stack:
            stack.enter_context(terminate_as_interrupt())
            count = _count_frames(video, min(first_boxes, default=0), span)
            shown = [] if outputs.segment else written  # pieces are listed at the end
            progress = stack.enter_context(Progress(count, shown, to_stderr=boxes_on_stdout))
            tell = stack.enter_context(receivers.open(many=not single, pan_tilt=pan_tilt))
            redrawn: list[Box] = []
            window = stack.enter_context(Window(redrawn.append)) if show else None
            labels = None
            if label_path:
                labels = stack.enter_context(LabelRecorder(label_path, format, source, video))

            def note(step: TrackStep) -> None:
                if labels:
                    labels.add(step.index, step.results)
                tell(step)
                progress.show(step)
                if window:
                    window.show(step)

            def make_again(again: VideoReader, steps: Steps) -> list[Movie]:
                progress.read_again(len(steps))
                return outputs.movies(out, again, many=not single, steps=steps)

            follow(
                video,
                resolved[start][0] if single else None,
                tracker,
                boxes=None if single else resolved,
                start=start if single else 0,
                box_format="xywh",
                normalized=False,
                span=span,
                movies=[] if twice else outputs.movies(out, video, many=not single),
                movies_after=(source, make_again) if twice and wanted else None,
                boxes_path=None if labels else save_boxes,
                segment=outputs.segment,
                pan_tilt=pan_tilt,
                restart=lambda: redrawn.pop() if redrawn else None,
                on_step=note,
                on_rendered=progress.show_rendered,
                on_file=progress.add_file if outputs.segment else lambda path: None,
            )


def _pass_over(video: VideoReader, start: int) -> None:
    """Skip to the start frame; raises InputError where the source has no such frame."""
    if video.skip(start) < start or (video.frame_count is not None and start >= video.frame_count):
        raise InputError(f"start frame {start} is beyond the end of the source; give a lower one")


def _find(source: str, live: LiveOptions, pictures: Sequence[Frame], tracker: Tracker, start: int) -> tuple[int, Box]:
    """Search a source for the thing of some pictures; gives the index of the frame, and the box in it."""
    with open_video(source, live=live) as video:
        _pass_over(video, start)
        bar = ProgressBar(None)
        try:
            sighting = find_target(video, pictures, tracker, on_frame=lambda: bar.update(1, "searching"))
        finally:
            bar.close()
        found = start + sighting.frame
        box = ",".join(f"{value:.0f}" for value in sighting.box)
        click.echo(f"found in frame {found}: box {box}, score {sighting.score:.2f}", err=True)
        return (0 if video.live else found), sighting.box


def _check_combinations(
    span: Span,
    outputs: VideoOutputs,
    out: Path | None,
    save_boxes: Path | None,
    label_path: Path | None,
    pan_tilt: bool,
    receivers: Receivers,
) -> None:
    """Refuse options that do not go together, before anything is opened."""
    if label_path == STDOUT:
        raise click.UsageError("standard output gets JSON lines; give --save-boxes a file, or leave --format out")
    if label_path is not None and outputs.segment is not None:
        raise click.UsageError("--segment goes with .txt, .csv and .jsonl; label files are written at the end")
    if span.direction != "forward" and outputs.segment is not None:
        raise click.UsageError("--segment goes with tracking forward; leave it, or --reverse or --both-ways, out")
    if outputs.crop is None and outputs.view != ViewSettings():
        raise click.UsageError("--aspect, --margin and --smooth go with --crop FILE.mp4; add it, or leave them out")
    if out is None and outputs.crop is None:
        if is_given("codec") or is_given("quality"):
            raise click.UsageError("--codec and --quality go with --out or --crop; add one, or leave them out")
        if outputs.segment is not None and save_boxes is not None and is_stdout(save_boxes):
            raise click.UsageError("--segment goes with files; give --out, --crop or a file to --save-boxes")
    lines = save_boxes is not None and label_path is None and format_of(save_boxes) == ".jsonl"
    if pan_tilt and not lines and not (receivers.mqtt and save_boxes is None):
        raise click.UsageError("--pan-tilt goes with JSON lines; give --save-boxes -, a .jsonl file, or --mqtt")


def _count_frames(video: VideoReader, first: int, span: Span) -> int | None:
    """Number of frames that will be tracked; None if unknown."""
    if video.frame_count is None:
        return None
    last = video.frame_count - 1 if span.end is None else min(span.end, video.frame_count - 1)
    if span.direction == "backward":
        first, last = span.end or 0, first
    elif span.direction == "both":
        first = 0
    return max(0, last - first + 1) // span.stride
