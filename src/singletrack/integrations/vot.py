"""Trackers for the VOT toolkit, over TraX and in a Python process of the toolkit.

The toolkit itself is never imported; the package ``trax`` is imported only to serve a tracker.
"""

from __future__ import annotations

import configparser
import copy
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singletrack import loading, registry
from singletrack.engines import require_packages
from singletrack.errors import InputError
from singletrack.files import writing
from singletrack.geometry.boxes import Box
from singletrack.install import install_command
from singletrack.loading import DEFAULT_MODEL, LoadArguments, make_options
from singletrack.tracking.base import Tracker
from singletrack.video.images import read_picture

if TYPE_CHECKING:
    from typing_extensions import Unpack

Picture = str | Mapping[str, NDArray[np.uint8]]
Target = tuple[Any, Mapping[str, Any]]  # region and properties from the toolkit
Answer = tuple[Box, dict[str, float]]  # xywh in pixels, and values for the long-term measures of the toolkit

# the package for TraX, and the command that installs it
VOT_EXTRA = (("trax",), install_command("vot"))
# Timeout in seconds for the protocol `python`: the default of 30 includes loading, unlike over TraX.
IN_PROCESS_TIMEOUT = 120
SETTINGS_EXAMPLE = '{"update_interval": 10}'


class VOTTracker:
    """The object that the toolkit calls in its protocol `python`; ``serve`` provides the same over TraX.

    Tracks any number of targets with one network. The model is loaded and run on one frame at construction, so that the
    first frame of a sequence is as fast as the others.
    """

    multiobject = True  # read by the toolkit

    def __init__(self, model: str = DEFAULT_MODEL, **options: Any) -> None:
        """Load the model.

        Args:
            model: as for ``loading.load``.
            **options: those of ``loading.LoadOptions``; also as text, since a trackers.ini holds text.

        Raises:
            InputError: and the other errors of ``loading.load``.
        """
        values = {name: _from_text(name, value) for name, value in options.items()}
        self._loaded = loading.load_with(model, make_options(values))
        self._trackers: list[Tracker] = []
        noise = {"color": np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)}
        self.init(noise, [((32.0, 32.0, 32.0, 32.0), {})])
        self.update(noise)

    def init(self, frame: Picture, new: Sequence[Target]) -> list[Answer]:
        """Remove all targets and add new ones from this frame; see ``update``."""
        self._trackers = []
        return self.update(frame, new)

    def update(self, frame: Picture, new: Sequence[Target] = ()) -> list[Answer]:
        """Find the targets in the next frame, and add new ones.

        Args:
            frame: path of the image; for several channels, their paths by name, of which "color" is used.
            new: x, y, width, height in pixels and unused properties of each new target.

        Returns:
            For each target, in the order in which they were added, its box and {"confidence": score}, 1 for a new one.

        Raises:
            InputError: a region that is not a box, or invalid for the tracker.
        """
        pixels = read_picture(Path(frame)) if isinstance(frame, str) else frame["color"]
        results = [tracker.update(pixels) for tracker in self._trackers]
        answers: list[Answer] = [(result.box, {"confidence": result.score}) for result in results]
        for region, _ in new:
            box = _box_of(region)
            tracker = copy.copy(self._loaded)  # shares the network, but has a separate target
            tracker.init(pixels, box)
            self._trackers.append(tracker)
            answers.append((box, {"confidence": 1.0}))
        return answers


def _box_of(region: Any) -> Box:
    """Convert a region to x, y, width, height: a rectangle of four numbers, or the corner pixels of a mask.

    Toolkit 0.9.0 converts a mask to the latter under `convert = rectangle`.
    """
    if isinstance(region, tuple) and len(region) == 4:
        x, y, width, height = (float(value) for value in region)
        return x, y, width, height
    if isinstance(region, list) and region and all(isinstance(point, tuple) for point in region):
        columns, rows = zip(*region, strict=True)
        left, top = float(min(columns)), float(min(rows))
        return left, top, float(max(columns)) - left + 1, float(max(rows)) - top + 1
    raise InputError(
        f"region must be x, y, width, height; got {region!r:.100}; add `convert = rectangle` to the entry of this "
        "tracker in trackers.ini"
    )


def _read_settings(text: str) -> dict[str, Any]:
    """Parse settings from JSON; raises InputError if invalid."""
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise InputError(f"settings must be JSON; got {text!r} ({error}); example: {SETTINGS_EXAMPLE}") from error
    if not isinstance(settings, dict):
        raise InputError(f"settings must be a JSON object; got {text!r}; example: {SETTINGS_EXAMPLE}")
    return settings


def _from_text(name: str, value: Any) -> Any:
    """Convert an option that a trackers.ini holds as text."""
    if not isinstance(value, str):
        return value
    if name == "settings":
        return _read_settings(value)
    try:
        if name == "threads":
            return int(value)
        if name == "long_term":
            return {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError):
        raise InputError(f"invalid {name} in the trackers.ini: {value!r}; register the tracker again") from None
    return value  # LoadOptions checks the others


def _as_word(value: Any) -> str:
    """Format a setting for `--set`."""
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value).lower()


def serve(tracker: VOTTracker) -> None:
    """Serve TraX on standard input and output until the toolkit closes the connection.

    Raises:
        MissingDependencyError: the package `trax` is not installed.
        trax.TraxException: the other side does not use TraX.
    """
    require_packages("using TraX", *VOT_EXTRA)
    trax = import_module("trax")
    with trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH], multiobject=True) as server:
        while (request := server.wait()).type != trax.TraxStatus.QUIT:
            handle = tracker.init if request.type == trax.TraxStatus.INITIALIZE else tracker.update
            new = [(region.bounds(), properties) for region, properties in request.objects or ()]
            answers = handle(request.image["color"].path(), new)
            server.status([(trax.Rectangle.create(*box), notes) for box, notes in answers])


def make_entry(
    name: str, *, model: str = DEFAULT_MODEL, in_process: bool = False, **arguments: Unpack[LoadArguments]
) -> str:
    """Return a tracker's section in the toolkit's trackers.ini.

    Args:
        name: letters, digits, - and _.
        model, arguments: as for ``loading.load``.
        in_process: run in a process of the toolkit's own interpreter, which must then have singletrack; else the
            toolkit starts this interpreter, and may itself be installed elsewhere.

    Raises:
        InputError: for a name that the toolkit would ignore.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"name may have letters, digits, - and _; got {name!r}; give another with --name")
    options = make_options(arguments)
    # paths are made absolute, because the toolkit starts trackers in folders of its own
    chosen: dict[str, str] = {"model": model if model in registry.MODELS else str(Path(model).resolve())}
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name != "settings" and value != field.default:
            chosen[field.name] = str(Path(value).resolve()) if field.name == "weights" else _as_word(value)
    settings = options.settings or {}
    if in_process:
        entry = {"protocol": "python", "command": f"{__name__}:{VOTTracker.__name__}", "convert": "rectangle"}
        entry |= {f"arg_{key}": value for key, value in chosen.items()}
        if settings:
            entry["arg_settings"] = json.dumps(dict(settings))
        entry["timeout"] = str(IN_PROCESS_TIMEOUT)
    else:
        words = [sys.executable, "-m", "singletrack", "vot", "serve"]
        if "long_term" in chosen:
            words.append("--long-term" if chosen.pop("long_term") == "true" else "--short-term")
        words += [word for key, value in chosen.items() for word in (f"--{key.replace('_', '-')}", value)]
        words += [word for key, value in settings.items() for word in ("--set", f"{key}={_as_word(value)}")]
        join = subprocess.list2cmdline if sys.platform == "win32" else shlex.join
        entry = {"protocol": "trax", "command": join(words)}
    ini = configparser.ConfigParser()
    ini[name] = {key: value.replace("%", "%%") for key, value in {"label": name, **entry}.items()}
    text = io.StringIO()
    ini.write(text)
    return text.getvalue()


def add_entry(path: Path, name: str, entry: str) -> None:
    """Add an entry to a trackers.ini, which is created if needed; existing entries are kept.

    Raises:
        InputError: the file is invalid or already has this name.
        SingletrackError: the file cannot be written.
    """
    held = configparser.ConfigParser()
    try:
        held.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); fix the file first") from error
    if held.has_section(name):
        raise InputError(f"{path} already has a tracker {name!r}; remove that section, or give another --name")
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(f"\n{entry}")
