"""`singletrack submit`: the archive that a benchmark's server takes."""

from __future__ import annotations

from pathlib import Path

import click

from singletrack.evaluation.run_store import RunFolder
from singletrack.evaluation.submission import SERVERS, write_submission

# where the archive goes
ADDRESSES = {"got10k": "http://got-10k.aitestunion.com/submit_instructions", "trackingnet": "https://tracking-net.org"}


@click.command(short_help="Pack a run for a benchmark's server.")
@click.argument("server", type=click.Choice(list(SERVERS)))
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Archive to write (.zip).")
@click.option("--integers", is_flag=True, help="Boxes in whole pixels, cut towards zero, instead of floats.")
def command(server: str, run: Path, out: Path, integers: bool) -> None:
    """Pack RUN, a folder of `singletrack evaluate` on the test split, as the SERVER of that benchmark takes it.

    Nothing is written unless every sequence is there, with a box of finite numbers for each frame. The run stays as it
    is.
    """
    folder = RunFolder.open(run)
    write_submission(server, folder, out, integers=integers)
    frames = sum(folder.facts.sequences.values())
    click.echo(f"wrote {out}: {len(folder.facts.sequences)} sequences, {frames} frames; send it to {ADDRESSES[server]}")
