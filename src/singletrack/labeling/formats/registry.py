"""The table of label formats, and reading and writing by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singletrack.errors import InputError
from singletrack.files import check_file
from singletrack.labeling.formats import coco, cvat, datumaro, label_studio, mot, sequences, tables, voc, yolo
from singletrack.labeling.formats.archive import ZIP_ENDING, unpacked
from singletrack.labeling.formats.base import LabelFormat, WriteOptions
from singletrack.labeling.formats.checks import Place, read_json, read_text, read_xml, words
from singletrack.labeling.formats.reduction import SMALLEST_TOLERANCE
from singletrack.labeling.labels import LabelSet, VideoInfo
from singletrack.video.images import PICTURE_ENDINGS, VIDEO_SUFFIXES

FORMATS: dict[str, LabelFormat] = {
    "mot": LabelFormat(
        about="MOTChallenge: gt/gt.txt and seqinfo.ini, or one .txt file",
        read=mot.read,
        write=mot.write,
        pictures=True,
    ),
    "coco": LabelFormat(
        about="COCO detection JSON; an image for each labeled frame",
        read=coco.read,
        write=coco.write_detection,
        suffix=".json",
        pictures=True,
    ),
    "coco-video": LabelFormat(
        about="COCO JSON with videos and tracks (TAO, MMTracking)",
        read=coco.read,
        write=coco.write_video,
        suffix=".json",
        pictures=True,
    ),
    "yolo": LabelFormat(
        about="YOLO detection (Ultralytics); without ids",
        read=yolo.read,
        write=yolo.write,
        ids=False,
        pictures=True,
    ),
    "cvat": LabelFormat(
        about="CVAT for video 1.1 XML, few keyframes",
        read=cvat.read,
        write=cvat.write,
        suffix=".xml",
        keyframes=True,
    ),
    "label-studio": LabelFormat(
        about="Label Studio JSON with VideoRectangle, few keyframes",
        read=label_studio.read,
        write=label_studio.write,
        suffix=".json",
        keyframes=True,
    ),
    "datumaro": LabelFormat(
        about="Datumaro JSON",
        read=datumaro.read,
        write=datumaro.write,
        pictures=True,
    ),
    "voc": LabelFormat(
        about="Pascal VOC XML, a file for each labeled frame",
        read=voc.read,
        write=voc.write,
        pictures=True,
    ),
    "got10k": LabelFormat(
        about="GOT-10k, a sequence for each target (singletrack evaluate, finetune)",
        read=sequences.read_got10k,
        write=sequences.write_got10k,
        pictures=True,
    ),
    "lasot": LabelFormat(
        about="LaSOT, likewise",
        read=sequences.read_lasot,
        write=sequences.write_lasot,
        pictures=True,
    ),
    "otb": LabelFormat(
        about="OTB, likewise",
        read=sequences.read_otb,
        write=sequences.write_otb,
        pictures=True,
    ),
    "csv": LabelFormat(
        about="CSV table, a row for each frame and target", read=tables.read_csv, write=tables.write_csv, suffix=".csv"
    ),
    "jsonl": LabelFormat(
        about="JSON Lines, likewise", read=tables.read_jsonl, write=tables.write_jsonl, suffix=".jsonl"
    ),
    "parquet": LabelFormat(
        about="Parquet, likewise; needs the extra [labels]",
        read=tables.read_parquet,
        write=tables.write_parquet,
        suffix=".parquet",
        package="pyarrow",
    ),
}

PROJECT_ENDING = ".singletrack"
ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".xml": "cvat", ".txt": "mot"}


def read_labels(path: str | Path, *, format: str | None = None, video: VideoInfo | None = None) -> LabelSet:
    """Read labels of one video.

    Args:
        path: A file, or a folder for formats of many files, also as a .zip.
        format: One of ``FORMATS``. [default: found from the ending and the content]
        video: The labeled video. Needed for csv, jsonl, one .txt file and whatever else does not say its size and
            length. Labels that are of a video of another size or number of frames are refused; the name may differ.

    Raises:
        InputError: For a file that is not of the format. The message names the place.
        MissingDependencyError: If a package that the format needs is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: expected a file or folder of labels; got nothing of this name; check the path")
    if path.suffix.lower() == ZIP_ENDING and path.is_file():
        with unpacked(path) as inside:
            return _read(inside, format, video)
    return _read(path, format, video)


def _read(path: Path, format: str | None, video: VideoInfo | None) -> LabelSet:
    row = _get(format if format is not None else find_format(path))
    try:
        return row.read(path, video)
    except InputError as error:  # those of labels themselves, such as a box after the last frame, name no file
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: expected readable files; got {error.strerror}; check the path") from error


def write_labels(
    labels: LabelSet,
    path: str | Path,
    *,
    format: str | None = None,
    tolerance: float | None = None,
    frames: str | Path | None = None,
) -> None:
    """Write labels of one video. A file is replaced; a folder must be new or empty.

    Args:
        labels: What to write.
        path: A file, or a folder for formats of many files.
        format: One of ``FORMATS``. [default: by the ending: .csv, .jsonl, .parquet, .xml (cvat) or .txt (mot)]
        tolerance: For cvat and label-studio: largest error in pixels of each side of an interpolated box, 0.01 or
            more. [default: 1, or 2 % of the target's size if that is more]
        frames: The video or folder of frames, to write its labeled frames as pictures. [default: no pictures]

    Raises:
        InputError: For an unknown format or tolerance, a folder that is not empty, or `frames` of another size.
        MissingDependencyError: If a package that the format needs is not installed.
        SingletrackError: If the path cannot be written.
        VideoError: If `frames` cannot be read.
    """
    path = Path(path)
    format = _choose_format(path, format)
    row = _get(format)
    if tolerance is not None and not tolerance >= SMALLEST_TOLERANCE:
        raise InputError(
            f"tolerance must be {SMALLEST_TOLERANCE} pixels or more; got {tolerance}; leave it out for the usual one"
        )
    if tolerance is not None and not row.keyframes:
        names = " and ".join(name for name, other in FORMATS.items() if other.keyframes)
        raise InputError(f"tolerance is for {names}, which hold few keyframes; got {format}; leave it out")
    if frames is not None and not row.pictures:
        names = ", ".join(name for name, other in FORMATS.items() if other.pictures)
        raise InputError(f"pictures are written with {names}; got {format}; leave them out")
    row.write(labels, path, WriteOptions(tolerance=tolerance, frames=None if frames is None else Path(frames)))


def check_output(path: Path, format: str | None, inputs: Sequence[Path] = ()) -> None:
    """See that labels can be written, without leaving anything there.

    Args:
        path, format: As for ``write_labels``.
        inputs: Files that must not be replaced.

    Raises:
        InputError: For an unknown format or ending, a folder that is not empty, or an input.
        SingletrackError: If the path cannot be written.
    """
    row = _get(_choose_format(path, format))
    if row.folder and path.suffix.lower() != ".txt":
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path} must be a new or empty folder; it exists; give another path or remove it")
    else:
        check_file(path, {path.suffix.lower()})
        if path.is_file() and any(each.exists() and path.samefile(each) for each in inputs):
            raise InputError(f"expected a file to write that is not read; got {path}; rename it")


def _choose_format(path: Path, format: str | None) -> str:
    found = ENDINGS.get(path.suffix.lower()) if format is None else format
    if found is None:
        raise InputError(
            f"expected a file that ends in {', '.join(ENDINGS)}, or a format; got {path}; give the format with "
            f"--format, in Python format=: one of {', '.join(FORMATS)}"
        )
    return found


def _get(name: str) -> LabelFormat:
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}; got {name!r}")
    return FORMATS[name]


def find_format(path: Path) -> str:
    """Name of the format of a file or folder, from its ending and content; raises InputError where none fits."""
    if path.is_dir():
        return _find_folder_format(path)
    ending = path.suffix.lower()
    if ending == ".json":
        return _find_json_format(path)
    if ending in {".yaml", ".yml"}:
        return "yolo"
    if ending == ".xml":
        return "voc" if read_xml(path).tag == "annotation" else "cvat"
    if ending == ".txt":
        line = read_text(path).lstrip().partition("\n")[0]
        return "got10k" if len(line.replace(",", " ").split()) == 4 else "mot"
    if ending in ENDINGS:
        return ENDINGS[ending]
    got = "a video" if ending in VIDEO_SUFFIXES else "a picture" if ending in PICTURE_ENDINGS else ""
    raise Place(path).error("labels", words(got or f"a file whose ending is {ending or 'none'}"), _advise(path, got))


def _advise(path: Path, got: str) -> str:
    """What to give instead of a file or folder that shows no sign of labels."""
    project = path.with_name(f"{path.name if path.is_dir() else path.stem}{PROJECT_ENDING}")
    if project.is_file():
        return f"give its project, {project}"
    if got:
        return "give the file or folder of its labels"
    return f"choose another one, or say its format (--from NAME, in Python format=): {', '.join(FORMATS)}"


def _find_folder_format(path: Path) -> str:
    signs = {
        "gt/gt.txt": "mot",
        "data.yaml": "yolo",
        "annotations.xml": "cvat",
        "Annotations": "voc",
    }
    for sign, name in signs.items():
        if (path / sign).exists():
            return name
    if files := sorted((path / "annotations").glob("*.json")):
        return _find_json_format(files[0])
    for folder in (path, *path.iterdir()):
        if (folder / "groundtruth_rect.txt").is_file():
            return "otb"
        if (folder / "groundtruth.txt").is_file():
            return "lasot" if (folder / "out_of_view.txt").is_file() else "got10k"
    if files := sorted(path.glob("*.json")):  # with the folder of its pictures beside it
        return _find_json_format(files[0])
    raise Place(path).error(
        "labels",
        words("a folder or zip without a file that is typical of them"),
        _advise(path, ""),
    )


def _find_json_format(path: Path) -> str:
    content: Any = read_json(path)
    keys = content.keys() if isinstance(content, dict) else set[str]()
    if {"images", "annotations"} <= keys:
        return "coco-video" if "tracks" in keys else "coco"
    if {"items", "categories"} <= keys:
        return "datumaro"
    if isinstance(content, list) or keys & {"annotations", "predictions", "data"}:
        return "label-studio"
    raise Place(path).error(
        "COCO, Datumaro or Label Studio JSON", words(", ".join(map(str, list(keys)[:5])) or "another")
    )
