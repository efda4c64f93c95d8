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
Target = tuple[Any, Mapping[str, Any]]  # region and properties, as the toolkit gives them
Answer = tuple[Box, dict[str, float]]  # xywh in pixels, and what the toolkit's long-term measures read

# the package that speaks TraX, and the command that installs it
VOT_EXTRA = (("trax",), install_command("vot"))
# Seconds that the toolkit waits for a process of its own: its 30 count the loading too. Over TraX they do not.
IN_PROCESS_TIMEOUT = 120
SETTINGS_EXAMPLE = '{"update_interval": 10}'


class VOTTracker:
    """What the toolkit calls in its protocol `python`; ``serve`` speaks TraX for the same object.

    Follows any number of targets, with one network. The model is loaded and has seen a frame before this returns, so
    that the first frame of a sequence takes no longer than any other.
    """

    multiobject = True  # which the toolkit reads

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
        """Forget all targets and take new ones from this frame; as ``update``."""
        self._trackers = []
        return self.update(frame, new)

    def update(self, frame: Picture, new: Sequence[Target] = ()) -> list[Answer]:
        """Find the targets in the next frame, and take those that are new in it.

        frame: path of the picture; or, of several channels, their pixels by name, of which "color" is used.
        new: x, y, width, height in pixels and the properties, which are not used, of each new target.

        Gives, for each target in the order of coming, its box and {"confidence": score}, 1 for a new one. Raises
        InputError for a region that is no box, and for what the tracker does not take.
        """
        pixels = read_picture(Path(frame)) if isinstance(frame, str) else frame["color"]
        results = [tracker.update(pixels) for tracker in self._trackers]
        answers: list[Answer] = [(result.box, {"confidence": result.score}) for result in results]
        for region, _ in new:
            box = _box_of(region)
            tracker = copy.copy(self._loaded)  # which shares its network; the target is its own
            tracker.init(pixels, box)
            self._trackers.append(tracker)
            answers.append((box, {"confidence": 1.0}))
        return answers


def _box_of(region: Any) -> Box:
    """x, y, width, height of a rectangle, which is four numbers; or of a mask, which comes as its corner pixels.

    The latter is what toolkit 0.9.0 makes of a mask under `convert = rectangle`.
    """
    if isinstance(region, tuple) and len(region) == 4:
        x, y, width, height = (float(value) for value in region)
        return x, y, width, height
    if isinstance(region, list) and region and all(isinstance(point, tuple) for point in region):
        columns, rows = zip(*region, strict=True)
        left, top = float(min(columns)), float(min(rows))
        return left, top, float(max(columns)) - left + 1, float(max(rows)) - top + 1
    raise InputError(
        f"expected a region of x, y, width, height; got {region!r:.100}; put `convert = rectangle` into this "
        "tracker's entry in trackers.ini"
    )


def _read_settings(text: str) -> dict[str, Any]:
    """Settings from JSON; raises InputError where it is none."""
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise InputError(f"expected settings as JSON; got {text!r} ({error}); write {SETTINGS_EXAMPLE}") from error
    if not isinstance(settings, dict):
        raise InputError(f"expected settings by their names; got {text!r}; write {SETTINGS_EXAMPLE}")
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
    """A setting as `--set` takes it."""
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value).lower()


def serve(tracker: VOTTracker) -> None:
    """Speak TraX on standard input and output, as the toolkit started this process, until it says goodbye.

    Raises MissingDependencyError without the package `trax`, trax.TraxException where nobody speaks TraX.
    """
    require_packages("speaking TraX", *VOT_EXTRA)
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
    """Add an entry to a trackers.ini, which is made if it is not there; what stands in it stays as it is.

    Raises InputError for a file that is none or has this name already, SingletrackError if it cannot be written.
    """
    held = configparser.ConfigParser()
    try:
        held.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"expected a trackers.ini; cannot read {path} ({error}); repair it first") from error
    if held.has_section(name):
        raise InputError(
            f"expected a name that is new to {path}; got {name!r}, which is there; remove that section, or "
            "give another --name"
        )
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(f"\n{entry}")
