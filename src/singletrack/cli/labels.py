"""`singletrack labels`: convert labels from one format to another."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack.cli.options import ask_to_overwrite, overwrite_option
from singletrack.files import check_outputs
from singletrack.labeling.formats import FORMATS, convert_labels


class _Formats(click.Command):
    """A command whose help ends with the table of formats."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Formats"):
            formatter.write_dl([(name, row.about) for name, row in FORMATS.items()])


@click.command(cls=_Formats, no_args_is_help=True)
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output file or folder.")
@click.option(
    "--format", type=click.Choice(list(FORMATS)), metavar="NAME", help="Format of --out.  [default: by its ending]"
)
@click.option(
    "--from",
    "source_format",
    type=click.Choice(list(FORMATS)),
    metavar="NAME",
    help="Format of INPUT.  [default: by its content]",
)
@click.option(
    "--video",
    type=click.Path(path_type=Path),
    help="The labeled video or folder of frames; needed if INPUT does not state its size and length.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="PIXELS",
    help="For cvat and label-studio: largest error of an interpolated box side.  [default: 1, or 2 % of the target's "
    "size if that is more]",
)
@click.option("--save-frames", is_flag=True, help="Also write the labeled frames as images.")
@overwrite_option
def command(
    source: Path,
    out: Path,
    format: str | None,
    source_format: str | None,
    video: Path | None,
    tolerance: float | None,
    save_frames: bool,
    overwrite: bool,
) -> None:
    """Convert labels of one video from one format to another.

    INPUT is a project of `singletrack label` (clip.singletrack), or labels in any of the formats below.
    """
    check_outputs([out], [source, video])
    ask_to_overwrite([out], overwrite)
    labels = convert_labels(
        source,
        out,
        format=format,
        source_format=source_format,
        video=video,
        tolerance=tolerance,
        save_frames=save_frames,
    )
    count = sum(len(target.boxes) for target in labels.targets)
    click.echo(f"{out}: {len(labels.targets)} targets, {count} labeled boxes and absences")
