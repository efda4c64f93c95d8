"""XML text of an element tree, after a check that it can be read again."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from singletrack.errors import InputError
from singletrack.labeling.formats.checks import CONTROL


def to_bytes(root: Element, path: Path) -> bytes:
    """The document in UTF-8. Raises InputError for a text with characters that XML has no place for."""
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if CONTROL.search(text):
                raise InputError(
                    f"{path}: names and labels in XML must be without control characters; got {text!r}; rename it"
                )
    content: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"
