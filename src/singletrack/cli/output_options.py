"""Options of `track` about the videos that it writes: what is drawn or hidden, a view that follows, codec, pieces."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from singletrack.api import Span
from singletrack.cli.options import group_options
from singletrack.drawing import draw_result, draw_results
from singletrack.effects.cover import KINDS, Cover, Kind
from singletrack.effects.crop import ViewPath, ViewSettings
from singletrack.effects.overlays import HeatMap, Spotlight, Trail
from singletrack.effects.paths import Steps
from singletrack.errors import InputError
from singletrack.outputs import Movie, Segment
from singletrack.steps import Frame, TrackStep
from singletrack.video import VideoReader
from singletrack.video.writer import CODECS, USUAL_QUALITY, Encoding


def parse_aspect(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Parse WIDTH:HEIGHT."""
    if text is None:
        return None
    width, _, height = text.partition(":")
    try:
        return float(width) / float(height)
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"expected WIDTH:HEIGHT, such as 9:16; got {text!r}") from None


def parse_segment(context: click.Context, parameter: click.Parameter, text: str | None) -> Segment | None:
    """Parse a length or a size."""
    try:
        return None if text is None else Segment.parse(text)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class VideoOutputs:
    """The videos that are written.

    Attributes:
        crop: video of the view that follows; None for none.
        view: how it follows.
        cover: how targets are hidden; None for not at all.
        trail: draw where targets came from.
        heatmap: color where they were.
        spotlight: darken everything else.
        boxes: draw boxes; None for yes, unless targets are hidden or in a spotlight.
        encoding: codec and quality.
        segment: when the next file is begun.
    """

    crop: Path | None
    view: ViewSettings
    cover: Kind | None
    trail: bool
    heatmap: bool
    spotlight: bool
    boxes: bool | None
    encoding: Encoding
    segment: Segment | None

    @property
    def twice(self) -> bool:
        """Whether a source that can be read again is read again: the future of the target then counts too."""
        return self.crop is not None or self.cover is not None

    @property
    def changes_video(self) -> bool:
        """Whether an option is given that needs --out."""
        return bool(self.cover or self.trail or self.heatmap or self.spotlight or self.boxes is not None)

    def movies(self, out: Path | None, video: VideoReader, *, many: bool, steps: Steps | None = None) -> list[Movie]:
        """Make the videos, from all results of a source that is read again, or (None) of one that is not."""
        cover = None if self.cover is None else Cover(self.cover, steps)
        hide = functools.partial(_hide, cover)
        movies = []
        if out is not None:
            movies.append(Movie(out, self._picture(hide, many), video, encoding=self.encoding))
        if self.crop is not None:
            path = ViewPath(self.view, video.size_wh, steps)

            def cut(step: TrackStep) -> Frame:
                view = path.view(step.index, step.time, step.results)
                return path.cut(hide(step), view)

            movies.append(Movie(self.crop, cut, video, encoding=self.encoding))
        return movies

    def _picture(self, hide: Callable[[TrackStep], Frame], many: bool) -> Callable[[TrackStep], Frame]:
        overlays: list[Any] = [HeatMap()] if self.heatmap else []
        overlays += [Spotlight()] if self.spotlight else []
        overlays += [Trail()] if self.trail else []
        boxes = self.cover is None and not self.spotlight if self.boxes is None else self.boxes

        def draw(step: TrackStep) -> Frame:
            frame = hide(step)
            for overlay in overlays:
                frame = overlay.draw(frame, step.time, step.results)
            if not boxes:
                return frame
            return draw_results(frame, step.results) if many else draw_result(frame, step.result)

        return draw


def _hide(cover: Cover | None, step: TrackStep) -> Frame:
    if cover is None:
        return step.frame
    return cover.apply(step.frame, cover.areas(step.index, step.time, step.results))


OUTPUTS: Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
    click.option(
        "--crop",
        type=click.Path(path_type=Path),
        metavar="FILE.mp4",
        help="Output video of a view that follows the target, smoothly, and never leaves the frame.",
    ),
    click.option(
        "--aspect",
        callback=parse_aspect,
        metavar="W:H",
        help="Shape of the --crop view, such as 9:16.  [default: frame]",
    ),
    click.option(
        "--margin",
        type=float,
        default=1.5,
        show_default=True,
        help="Size of the --crop view in sizes of the target.",
    ),
    click.option(
        "--smooth",
        type=float,
        default=0.5,
        show_default=True,
        metavar="SECONDS",
        help="Time over which the --crop view is smoothed. It looks ahead in files, and lags behind in live sources.",
    ),
    *[
        click.option(f"--{kind}", is_flag=True, help=text)
        for kind, text in zip(
            KINDS,
            (
                "Blur the target in the videos, with more around it in doubt, and on its way between two sightings.",
                "Pixelate it instead.",
                "Fill it with one color instead.",
            ),
            strict=True,
        )
    ],
    click.option("--trail", is_flag=True, help="Draw the way of the target during the last three seconds."),
    click.option("--heatmap", is_flag=True, help="Color where the target was, by how long."),
    click.option("--spotlight", is_flag=True, help="Darken everything but the target."),
    click.option(
        "--draw-boxes/--no-boxes",
        "draw_boxes",
        default=None,
        help="Draw boxes and scores, or not.  [default: draw, unless the target is hidden or in a spotlight]",
    ),
    click.option(
        "--codec", type=click.Choice(list(CODECS)), default="h264", show_default=True, help="Codec of the videos."
    ),
    click.option(
        "--quality",
        type=click.FloatRange(0, 100),
        default=USUAL_QUALITY,
        show_default=True,
        help="Quality of the videos; more is better and larger.",
    ),
    click.option(
        "--segment",
        callback=parse_segment,
        metavar="LENGTH",
        help="Begin new files after this time or size, such as 10min or 500MB; their names get numbers.",
    ),
]


def _one_of(given: dict[str, Any], names: Sequence[str]) -> str | None:
    """Take flags that exclude each other out of the arguments; gives the name of the one that is set, if any."""
    chosen = [name for name in names if given.pop(name)]
    if len(chosen) > 1:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise click.UsageError(f"{options} cannot be combined; choose one")
    return chosen[0] if chosen else None


def _gather_outputs(given: dict[str, Any]) -> dict[str, Any]:
    take = given.pop
    outputs = VideoOutputs(
        crop=take("crop"),
        view=ViewSettings(aspect=take("aspect"), margin=take("margin"), smooth=take("smooth")),
        cover=cast("Kind | None", _one_of(given, KINDS)),
        trail=take("trail"),
        heatmap=take("heatmap"),
        spotlight=take("spotlight"),
        boxes=take("draw_boxes"),
        encoding=Encoding(codec=take("codec"), quality=take("quality")),
        segment=take("segment"),
    )
    return {"outputs": outputs}


# the command gets ``outputs: VideoOutputs``
output_options = group_options(OUTPUTS, _gather_outputs)


SPAN = [
    click.option("--end", type=click.IntRange(min=0), help="Index of the last frame to track.  [default: the last]"),
    click.option(
        "--stride",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="Track every N-th frame.",
    ),
    click.option(
        "--stop-when",
        type=click.Choice(["lost", "still"]),
        help="Stop when all targets are lost, or have not moved for three seconds.  [default: go on]",
    ),
    click.option("--reverse", is_flag=True, help="Track from the --start frame back to the first one, or --end."),
    click.option("--both-ways", is_flag=True, help="Track from the --start frame in both directions."),
]


def _gather_span(given: dict[str, Any]) -> dict[str, Any]:
    direction = {None: "forward", "reverse": "backward", "both_ways": "both"}[_one_of(given, ("reverse", "both_ways"))]
    return {"span": Span(direction=direction, **{name: given.pop(name) for name in ("end", "stride", "stop_when")})}


# the command gets ``span: Span``
span_options = group_options(SPAN, _gather_span)
