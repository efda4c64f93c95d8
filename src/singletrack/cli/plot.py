"""`singletrack plot`: a picture and a table of the targets in a result file."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack.cli.options import ask_to_overwrite, overwrite_option
from singletrack.files import check_file, check_outputs
from singletrack.results import read_results
from singletrack.trajectories import draw_trajectories, trajectories_of

ENDINGS = (".png", ".svg", ".pdf")


@click.command(no_args_is_help=True)
@click.argument("boxes", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Output picture: .png, .svg or .pdf.  [default: BOXES.png]"
)
@click.option("--fps", type=float, help="Frames per second, for .txt files.  [default: the times of the file]")
@click.option("--scale", type=float, help="Meters per pixel.  [default: lengths in pixels]")
@overwrite_option
def command(boxes: Path, out: Path | None, fps: float | None, scale: float | None, overwrite: bool) -> None:
    """Plot way, speed, size, score and lost spans of the targets in BOXES, a .csv, .jsonl or .txt of `track`.

    Prints a table: path length, time seen and times lost of each target.
    """
    out = out or boxes.with_suffix(".png")
    trajectories = trajectories_of(read_results(boxes), fps=fps, scale=scale)
    check_file(out, ENDINGS)
    check_outputs([out], [boxes])
    ask_to_overwrite([out], overwrite)
    unit = "px" if scale is None else "m"
    draw_trajectories(trajectories, out, unit=unit)
    click.echo(f"target  frames  path, {unit:<4}  mean speed, {unit}/s  seen, s  times lost")
    for id, each in sorted(trajectories.items()):
        seconds = each.seconds_seen
        speed = each.path_length / seconds if seconds else 0.0
        digits = 1 if scale is None else 3
        click.echo(
            f"{id:6}  {len(each.times):6}  {each.path_length:10.{digits}f}  {speed:16.{digits}f}  {seconds:7.1f}  "
            f"{len(each.lost_spans):10}"
        )
    click.echo(f"wrote {out}")
