"""Label formats: one module for each, and one table of them all.

labels = read_labels("annotations.xml")
write_labels(labels, "coco.json", format="coco-video")
"""

from __future__ import annotations

from singletrack.labeling.formats.base import LabelFormat, WriteOptions
from singletrack.labeling.formats.convert import convert_labels
from singletrack.labeling.formats.recording import LabelRecorder
from singletrack.labeling.formats.registry import FORMATS, check_output, find_format, read_labels, write_labels

__all__ = [
    "FORMATS",
    "LabelFormat",
    "LabelRecorder",
    "WriteOptions",
    "check_output",
    "convert_labels",
    "find_format",
    "read_labels",
    "write_labels",
]
