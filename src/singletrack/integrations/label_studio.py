"""Label Studio: an ML backend that tracks its video rectangles.

    python -m singletrack.integrations.label_studio --port 9090

Connect the project to http://127.0.0.1:9090 (Settings, Model, interactive preannotations). A rectangle that is drawn
is tracked to the end of the video; keyframes that are there already are kept, and the boxes between them are tracked
from both sides.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from singletrack import loading
from singletrack.engines import require_packages
from singletrack.labeling import Project
from singletrack.labeling.formats.checks import Place, parse_xml
from singletrack.labeling.formats.label_studio import REGION, read_keyframes, to_region
from singletrack.labeling.labels import LabeledTarget
from singletrack.labeling.propagate import track_segments
from singletrack.tracking.base import Tracker

# label-studio-ml imports rq without asking for it
PACKAGES = (("label_studio_ml", "rq"), "pip install label-studio-ml rq")
Region = Mapping[str, Any]


def track_regions(
    video: str | Path, regions: Sequence[Region], tracker: Tracker, *, tolerance: float | None = None
) -> tuple[list[dict[str, Any]], float]:
    """Track video rectangles of Label Studio through a video.

    Args:
        video: The video file.
        regions: Regions as in `result` of an annotation; those that are no `videorectangle` are left out.
        tracker: A loaded tracker.
        tolerance: Largest error in pixels of a side between the keyframes of the regions that come out. [default: 1,
            or 2 % of the target's size if that is more]

    Returns:
        Regions with the same ids, labels and tags, with keyframes up to the end of the video; and the mean score of
        the tracked boxes, 0 to 1.

    Raises:
        InputError: For a region that is not of Label Studio's form, or a frame after the end of the video.
        VideoError: If the video cannot be read.
    """
    regions = [region for region in regions if region.get("type") == REGION]
    if not regions:
        return [], 0.0
    with TemporaryDirectory() as folder, Project.create(Path(folder) / "regions.singletrack", video) as project:
        ids, firsts = [], []
        for number, region in enumerate(regions, start=1):
            place = Place(Path(video), f"region {number}")
            value = place.mapping(place.field(region, "value"), "value")
            keyframes = read_keyframes(value, project.video, place)
            if not keyframes:
                raise place.error("a keyframe", keyframes, "draw a rectangle")
            ids.append(project.add_target(f"region {number}"))
            firsts.append(min(keyframes))
            for frame, entry in keyframes.items():
                project.set_keyframe(ids[-1], frame, entry.box)
        track_segments(project, first=min(firsts), tracker=tracker)
        targets = {target.id: target for target in project.labels().targets}
        size = project.video
    found, scores = [], []
    for region, id, first in zip(regions, ids, firsts, strict=True):
        boxes = {frame: entry for frame, entry in targets[id].boxes.items() if frame >= first}
        scores += [entry.score for entry in boxes.values() if not entry.keyframe and entry.box is not None]
        tracked = to_region(LabeledTarget(id=id, name="", label="object", boxes=boxes), size, tolerance)
        changed = {key: tracked["value"][key] for key in ("framesCount", "duration", "sequence")}
        found.append({**region, "value": {**region["value"], **changed}})
    return found, sum(scores) / len(scores) if scores else 1.0


def make_backend(model: str = "ostrack-tiny", *, tolerance: float | None = None, **options: Any) -> type:
    """A class for ``label_studio_ml.api.init_app``.

    Args:
        model: As for ``singletrack.load``.
        tolerance: As for ``track_regions``.
        options: Further arguments of ``singletrack.load``.

    Raises:
        MissingDependencyError: If label-studio-ml is not installed.
    """
    require_packages("Label Studio's ML backend", *PACKAGES)
    base = import_module("label_studio_ml.model").LabelStudioMLBase
    tracker = loading.load(model, **options)
    lock = threading.Lock()  # the server has several threads, the tracker is one

    def predict(
        self: Any, tasks: Sequence[Mapping[str, Any]], context: Mapping[str, Any] | None = None, **_: Any
    ) -> list[dict[str, Any]]:
        """A prediction for each task: the rectangles of `context`, or of its last annotation, tracked."""
        predictions = []
        for task in tasks:
            regions = _find_regions(task, context)
            url = task["data"][_video_key(self.label_config)]
            with lock:
                path = self.get_local_path(url) if regions else url
                result, score = track_regions(path, regions, tracker, tolerance=tolerance)
            predictions.append({"result": result, "score": score, "model_version": f"singletrack {model}"})
        return predictions

    return type("SingletrackBackend", (base,), {"predict": predict})


def _find_regions(task: Mapping[str, Any], context: Mapping[str, Any] | None) -> list[Region]:
    """What was drawn: in the page as it is now, else in the last draft or annotation."""
    if context and context.get("result"):
        return list(context["result"])
    for kind in ("drafts", "annotations"):
        entries = task.get(kind) or []
        if entries:
            return list(entries[-1].get("result") or [])
    return []


def _video_key(config: str | None) -> str:
    """The field of a task's data that the tag <Video> shows."""
    if config:
        tag = parse_xml(config.encode(), Place(Path("labeling configuration"))).find(".//Video")
        if tag is not None:
            return tag.get("value", "$video").removeprefix("$")
    return "video"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="ostrack-tiny", show_default=True, help="As for `singletrack track`.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. There is no password.")
@click.option("--port", default=9090, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--tolerance",
    type=float,
    help="Error in pixels between keyframes.  [default: 1, or 2 % of the target's size if that is more]",
)
def main(model: str, host: str, port: int, tolerance: float | None) -> None:
    """Serve a model to Label Studio."""
    backend = make_backend(model, tolerance=tolerance)
    app = import_module("label_studio_ml.api").init_app(model_class=backend)
    app.run(host=host, port=port)


if __name__ == "__main__":
    main()
