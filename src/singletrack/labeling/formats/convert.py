"""Converting labels: a project or any format in, any format out."""

from __future__ import annotations

from pathlib import Path

from singletrack.errors import InputError
from singletrack.files import check_outputs
from singletrack.labeling.formats.registry import PROJECT_ENDING, read_labels, write_labels
from singletrack.labeling.labels import LabelSet


def convert_labels(
    source: str | Path,
    out: str | Path,
    *,
    format: str | None = None,
    source_format: str | None = None,
    video: str | Path | None = None,
    tolerance: float | None = None,
    save_frames: bool = False,
) -> LabelSet:
    """Read labels and write them in another format.

    Args:
        source: A project (.singletrack) or labels of any format.
        out: File or folder to write.
        format: One of ``FORMATS``. [default: by the ending of `out`]
        source_format: That of `source`. [default: found from its ending and content]
        video: The labeled video or folder of frames. Needed for formats that do not say its size and length, and for
            pictures; a project knows where it is.
        tolerance, save_frames: As for ``write_labels``; with `save_frames` the labeled frames are written as pictures.

    Returns:
        The labels that were written.

    Raises:
        InputError: As ``read_labels`` and ``write_labels``; if `out` is `source` or `video`; if pictures are to be
            written and there is no video.
    """
    # importing these reads PyAV and SQLite, which reading labels alone does not need
    from singletrack.labeling.project import Project, describe_source

    source, out = Path(source), Path(out)
    check_outputs([out], [source, video])
    if source.suffix.lower() == PROJECT_ENDING and source_format is None:
        with Project.open(source, source=video, read_only=True) as project:
            labels, video = project.labels(), project.source
            check_outputs([out], [video])
    else:
        described = None if video is None else describe_source(Path(video))
        labels = read_labels(source, format=source_format, video=described)
    if save_frames and video is None:
        raise InputError(f"pictures need the video of {source}; got none; give it: --video CLIP, in Python video=")
    write_labels(labels, out, format=format, tolerance=tolerance, frames=video if save_frames else None)
    return labels
