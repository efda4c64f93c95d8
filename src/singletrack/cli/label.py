"""`singletrack label`: the page in which boxes are drawn, tracked, corrected and exported."""

from __future__ import annotations

import signal
import threading
import webbrowser
from pathlib import Path

import click

from singletrack import cache, opencv
from singletrack.cli.options import WEB_EXTRA, page_options
from singletrack.engines import require_packages
from singletrack.errors import InputError
from singletrack.loading import DEFAULT_MODEL


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option(
    "--project",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Project file, created if needed.  [default: next to SOURCE, with the ending .singletrack]",
)
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="Model to track with, see `singletrack models`."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file.  [default: bundled]")
@page_options
@click.option(
    "--upload-limit",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    metavar="MB",
    help="Largest total size of clips that are dropped into the page.",
)
@click.option(
    "--uploads",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("singletrack-clips"),
    show_default=True,
    metavar="FOLDER",
    help="Folder for clips that are dropped into the page, with their projects. Those without targets are deleted at "
    "the end.",
)
def command(
    sources: tuple[str, ...],
    project: Path | None,
    model: str,
    weights: Path | None,
    browser: bool,
    host: str,
    port: int | None,
    allow_remote: bool,
    upload_limit: int,
    uploads: Path,
) -> None:
    """Label video in the browser: draw a box, track it, correct it, export the boxes.

    SOURCE is a video file, a folder of frames, a quoted glob ("frames/*.png") or a folder of videos; several may be
    given. A project (clip.singletrack) opens its clip. Without SOURCE, drop a clip into the page: it is copied
    into the folder of --uploads. Everything stays on this machine and is saved as you work. Ctrl-C ends it.
    """
    require_packages("the label page", *WEB_EXTRA)
    opencv.require()
    from singletrack.labeling import Project
    from singletrack.labeling.formats.registry import PROJECT_ENDING
    from singletrack.video.reader import find_pictures
    from singletrack.web.server import load_token, serve
    from singletrack.web.workspace import Workspace, find_clips

    clips: list[tuple[str | Path, Path | None]] = []  # each with its project
    for source in sources:
        if Path(source).suffix == PROJECT_ENDING and Path(source).is_file():
            if project is not None:
                raise InputError(
                    f"expected a clip as SOURCE with --project; got the project {source}; leave --project out"
                )
            with Project.open(source, read_only=True) as opened:
                clips.append((opened.source, Path(source)))
        else:
            clips += [(clip, project) for clip in find_clips(source)]
    if project is not None and len(clips) != 1:
        raise InputError(f"expected one SOURCE with --project; got {len(clips)}; leave --project out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what follows is tidied up
    workspace = Workspace(
        secret=load_token(cache.cache_folder() / "label-token"),
        model=model,
        weights=weights,
        upload_folder=uploads,
        upload_bytes=upload_limit * 1_000_000,
    )
    try:
        if weights is not None or model != DEFAULT_MODEL:  # an unknown or unreadable one is reported here
            workspace.tracker()
        for clip, path in clips:
            workspace.add(clip, path)
        if len(clips) == 1:  # what cannot be opened is reported here, not only in the page
            next(iter(workspace.clips.values())).open()
        for clip, _ in clips:  # of several, what is missing
            find_pictures(clip)

        def show(address: str) -> None:
            click.echo(f"label page: {address}")
            click.echo("Ctrl-C ends it; the labels are saved as you work")
            threading.Thread(target=workspace.load_tracker, daemon=True).start()
            if browser:
                webbrowser.open(address)

        serve(workspace, host=host, port=port, allow_remote=allow_remote, on_start=show)
        click.echo("ended; the labels are saved")
    finally:
        workspace.close()
        for kept, labels in workspace.finish_uploads():
            click.echo(f"kept: {kept} and its labels, {labels.name}")
