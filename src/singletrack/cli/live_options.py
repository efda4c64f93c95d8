"""Options of `track` and `live` about cameras and streams, and about other programs that hear what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from singletrack.cli.options import group_options, is_given
from singletrack.events import EventDetector
from singletrack.geometry.boxes import Box
from singletrack.publish import MqttPublisher, Webhook
from singletrack.results import pack_result
from singletrack.steps import TrackStep
from singletrack.video import LiveOptions
from singletrack.video.cameras import camera_number
from singletrack.video.streams import hide_password


def parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Parse WIDTHxHEIGHT."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"expected WIDTHxHEIGHT in pixels, such as 1280x720; got {text!r}")
    return int(width), int(height)


def parse_zones(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> dict[str, Box]:
    """Parse repeated NAME=X,Y,W,H values."""
    zones: dict[str, Box] = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        try:
            x, y, width, height = (float(number) for number in numbers.split(","))
        except ValueError:
            raise click.BadParameter(
                f"expected NAME=X,Y,W,H in pixels, such as door=0,40,80,200; got {text!r}"
            ) from None
        zones[name] = (x, y, width, height)
    return zones


LIVE = {
    "every_frame": click.option(
        "--every-frame",
        is_flag=True,
        help="Track every frame of a camera or stream, however late, instead of the newest one.",
    ),
    "timeout": click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="A camera or stream without a frame for this long counts as stalled, and is opened again.",
    ),
    "reconnect": click.option(
        "--reconnect",
        type=click.FloatRange(min=0),
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to try a camera or stream again that broke; 0: not at all.",
    ),
    "transport": click.option(
        "--transport",
        type=click.Choice(["tcp", "udp"]),
        default="tcp",
        show_default=True,
        help="How RTSP streams come. udp: less delay on a good network, damaged frames on a bad one.",
    ),
    "size_wh": click.option(
        "--size",
        "size_wh",
        callback=parse_size,
        metavar="WxH",
        help="Picture size to request from a camera.  [default: the camera's]",
    ),
    "fps": click.option(
        "--fps",
        type=click.FloatRange(min=0, min_open=True),
        help="Frames per second to request from a camera.  [default: the camera's]",
    ),
    "pixel_format": click.option(
        "--pixel-format",
        metavar="FOURCC",
        help="Pixel format to request from a camera; MJPG often allows larger pictures.  [default: the camera's]",
    ),
}


# of cameras and streams; the command gets ``live: LiveOptions``
live_options = group_options(
    LIVE.values(), lambda given: {"live": LiveOptions(**{name: given.pop(name) for name in LIVE})}
)


CAMERA_ONLY = ("size_wh", "fps", "pixel_format")


def is_camera(source: str) -> bool:
    """Check whether a source is a camera: its number, which is not the name of a file, or its address."""
    return (not Path(source).exists() and source.isdecimal()) or camera_number(source) is not None


def warn_of_unused(source: str) -> None:
    """Say on stderr which of these options were given, and do nothing for this kind of source."""
    camera = is_camera(source)
    used = {"every_frame", "timeout", "reconnect"} if camera or "://" in source else set()
    used |= set(CAMERA_ONLY) if camera else set()
    used |= {"transport"} if source.lower().startswith("rtsp") else set()
    unused = [name for name in LIVE if name not in used and is_given(name)]
    if unused:
        names = ", ".join(f"--{name.removesuffix('_wh').replace('_', '-')}" for name in unused)
        click.echo(f"{names}: without effect on {hide_password(source)}", err=True)


@dataclass(frozen=True, kw_only=True)
class Receivers:
    """The programs that hear what happens.

    Attributes:
        webhook: address that gets events; None for nobody.
        mqtt: MQTT address that gets events and results; None for nobody.
        zones: name -> x, y, width, height in pixels.
    """

    webhook: str | None = None
    mqtt: str | None = None
    zones: dict[str, Box]

    @contextmanager
    def open(self, *, many: bool, pan_tilt: bool = False) -> Iterator[Callable[[TrackStep], None]]:
        """Connect, and give what each step is handed to."""
        with ExitStack() as stack:
            detector = EventDetector(self.zones)
            webhook = stack.enter_context(Webhook(self.webhook)) if self.webhook else None
            broker = stack.enter_context(MqttPublisher(self.mqtt)) if self.mqtt else None

            def tell(step: TrackStep) -> None:
                size_wh = (step.frame.shape[1], step.frame.shape[0])
                for event in detector.update(step.index, step.time, step.results, size_wh):
                    for send in [each for each in (webhook and webhook.send, broker and broker.send_event) if each]:
                        send(event.pack())
                for id, result in step.results.items() if broker else ():
                    assert broker
                    given = id if many else None
                    wh = size_wh if pan_tilt else None
                    broker.send_result(pack_result(step.index, step.time, result, id=given, size_wh=wh))

            yield tell if webhook or broker else (lambda step: None)


RECEIVERS = {
    "webhook": click.option(
        "--webhook",
        metavar="URL",
        help="Post events as JSON to this address: found, lost, found_again, left_frame, entered_zone, left_zone.",
    ),
    "mqtt": click.option(
        "--mqtt",
        metavar="URL",
        help="Publish events and results to an MQTT broker: mqtt://user:password@host:1883/topic gives topic/events "
        "and topic/results.",
    ),
    "zones": click.option(
        "--zone",
        "zones",
        multiple=True,
        callback=parse_zones,
        metavar="NAME=X,Y,W,H",
        help="A part of the frame, in pixels, of which events say that a target entered or left it. Repeatable.",
    ),
}


def _gather_receivers(given: dict[str, Any]) -> dict[str, Any]:
    receivers = Receivers(**{name: given.pop(name) for name in RECEIVERS})
    if receivers.zones and not (receivers.webhook or receivers.mqtt):
        raise click.UsageError("--zone goes with --webhook or --mqtt, which get its events; add one, or leave it out")
    return {"receivers": receivers}


# the command gets ``receivers: Receivers``
receiver_options = group_options(RECEIVERS.values(), _gather_receivers)
