"""`singletrack live`: the page in which targets of a camera or stream are drawn and followed."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path

import click

from singletrack import cache, loading, opencv
from singletrack.cli.live_options import is_camera, live_options, warn_of_unused
from singletrack.cli.options import WEB_EXTRA, model_options, page_options
from singletrack.engines import require_packages
from singletrack.files import make_folder
from singletrack.interrupts import quit_on_interrupt
from singletrack.loading import LoadOptions
from singletrack.video import LiveOptions, open_video
from singletrack.video.reader import find_pictures
from singletrack.video.streams import hide_password


@click.command()
@click.argument("source")
@model_options
@live_options
@click.option(
    "--record-to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="FOLDER",
    help="Where recordings go.  [default: the current folder]",
)
@page_options
def command(
    source: str,
    model: str,
    options: LoadOptions,
    live: LiveOptions,
    record_to: Path,
    browser: bool,
    host: str,
    port: int | None,
    allow_remote: bool,
) -> None:
    """Follow targets of a camera or stream in the browser: draw on the live picture, remove, draw anew, record.

    SOURCE is a camera number (0), the address of a stream (rtsp://..., http://...), or a video file, which plays at its
    own pace. Everything stays on this machine. Ctrl-C ends it.
    """
    require_packages("the live page", *WEB_EXTRA)
    opencv.require()
    from singletrack.web.live import LiveSession, build_live_app
    from singletrack.web.server import load_token, serve_app

    warn_of_unused(source)
    if "://" not in source and not is_camera(source):
        find_pictures(source, live=True)  # reports a missing file before the model is loaded
    make_folder(record_to)
    with quit_on_interrupt():
        tracker = loading.load_with(model, options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a recording is finished
    video = open_video(source, live=live)
    session = LiveSession(video, tracker, name=hide_password(source), folder=record_to)
    token = load_token(cache.cache_folder() / "label-token")

    def show(address: str) -> None:
        click.echo(f"live page: {address}")
        click.echo("Ctrl-C ends it, and finishes a recording")
        if browser:
            webbrowser.open(address)

    try:
        serve_app(
            lambda remote: build_live_app(session, token=token, remote=remote),
            token,
            host=host,
            port=port,
            allow_remote=allow_remote,
            on_start=show,
        )
    finally:
        session.close()
        for path in session.recorded:
            click.echo(f"wrote {path}")
