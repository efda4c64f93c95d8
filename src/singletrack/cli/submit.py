"""`singletrack submit`: pack a run for a benchmark server."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack.cli.options import ask_to_overwrite, overwrite_option
from singletrack.evaluation.run_store import RunFolder
from singletrack.evaluation.submission import SERVERS, write_submission
from singletrack.files import check_outputs

# where to upload the archive
ADDRESSES = {"got10k": "http://got-10k.aitestunion.com/submit_instructions", "trackingnet": "https://tracking-net.org"}


@click.command(short_help="Pack a run for a benchmark server.")
@click.argument("server", type=click.Choice(list(SERVERS)))
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output archive (.zip).")
@click.option("--integers", is_flag=True, help="Truncate boxes to integer pixels.")
@overwrite_option
def command(server: str, run: Path, out: Path, integers: bool, overwrite: bool) -> None:
    """Pack RUN, a folder of `singletrack evaluate` on the test split, into the archive that SERVER accepts.

    The archive is written only if every sequence is present with a finite box for each frame. The run is not changed.
    """
    folder = RunFolder.open(run)
    check_outputs([out], run.rglob("*"))
    ask_to_overwrite([out], overwrite)
    write_submission(server, folder, out, integers=integers)
    frames = sum(folder.facts.sequences.values())
    click.echo(
        f"wrote {out}: {len(folder.facts.sequences)} sequences, {frames} frames; upload it at {ADDRESSES[server]}"
    )
