"""Pascal VOC: an XML file for each frame in `Annotations`, `ImageSets/Main/default.txt`, `JPEGImages`, `labelmap.txt`.

Boxes are xmin, ymin, xmax, ymax in pixels from 0 with decimals, as CVAT and Datumaro write them; the attribute
`track_id` says which boxes belong together.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from singletrack.labeling.formats.base import WriteOptions, format_number, visible_boxes
from singletrack.labeling.formats.checks import Place, list_files, read_xml, words
from singletrack.labeling.formats.collect import Detections, check_video
from singletrack.labeling.formats.output import (
    copy_frames,
    frame_name,
    frame_number,
    new_folder,
    write_bytes,
    write_text,
)
from singletrack.labeling.formats.safe_xml import to_bytes
from singletrack.labeling.labels import LabeledBox, LabelSet, VideoInfo

SIDES = ("xmin", "ymin", "xmax", "ymax")
MAX_ID = 2**53


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read a folder with `Annotations`, or the folder of the XML files itself."""
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = list_files(folder, (".xml",))
    if not files:
        raise Place(folder).error("XML files", words("none"), "give the folder that holds Annotations")
    stems = {Path(name).stem: frame for frame, name in enumerate(video.frame_names or ())} if video else {}
    boxes = Detections(Place(folder))
    sizes: set[tuple[int, int]] = set()
    count = 0
    for file in files:
        place = Place(file)
        root = read_xml(file)
        if root.tag != "annotation":
            raise place.error("the element <annotation>", words(f"<{root.tag}>"))
        frame = stems.get(file.stem, frame_number(file.name))
        if frame is None:
            raise place.error("a file name that ends in the number of its frame", file.name, "rename it")
        count = max(count, frame + 1)
        width, height = (place.integer(root.findtext(f"size/{side}", ""), side, 1) for side in ("width", "height"))
        sizes.add((width, height))
        if video is not None:
            check_video(video, place, size_wh=(width, height))
        for number, thing in enumerate(root.findall("object"), start=1):
            _read_object(thing, frame, boxes, place.at(f"object {number}"))
    if video is None:
        if len(sizes) != 1:
            raise Place(folder).error(
                "frames of one size", words(f"{len(sizes)} sizes"), "give the video: --video CLIP"
            )
        ((width, height),) = sizes
        source = read_xml(files[0]).findtext("source/image") or path.resolve().name
        name = Place(files[0]).file_name(source, "source/image")
        video = VideoInfo(name=name, width=width, height=height, frame_count=count)
    return boxes.label_set(video)


def _read_object(thing: Element, frame: int, boxes: Detections, place: Place) -> None:
    label = place.text(thing.findtext("name"), "name")
    left, top, right, bottom = (place.number(thing.findtext(f"bndbox/{side}", ""), side) for side in SIDES)
    id = None
    for attribute in thing.findall("attributes/attribute"):
        if attribute.findtext("name") == "track_id":
            id = place.integer(attribute.findtext("value", ""), "track_id", 0, MAX_ID)
    entry = LabeledBox(box=place.box((left, top, right - left, bottom - top)), source="import")
    boxes.add(frame, label, entry, place, id)


def write(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write a folder with a file for each frame that has a label."""
    video = labels.video
    frames = sorted({frame for target in labels.targets for frame in target.boxes})
    visible = [(target, visible_boxes(target.boxes.items())) for target in labels.targets]
    new_folder(path)
    stems = {frame: Path(frame_name(video, frame)).stem for frame in frames}
    for frame in frames:
        root = Element("annotation")
        SubElement(root, "folder").text = "JPEGImages"
        SubElement(root, "filename").text = frame_name(video, frame)
        source = SubElement(root, "source")
        for name, value in {"database": "singletrack", "annotation": "singletrack", "image": video.name}.items():
            SubElement(source, name).text = value
        size = SubElement(root, "size")
        for name, number in {"width": video.width, "height": video.height, "depth": 3}.items():
            SubElement(size, name).text = str(number)
        SubElement(root, "segmented").text = "0"
        for target, boxes in visible:
            if frame in boxes:
                x, y, width, height = boxes[frame]
                thing = SubElement(root, "object")
                for name, value in {"name": target.label, "difficult": "0", "truncated": "0", "occluded": "0"}.items():
                    SubElement(thing, name).text = value
                corners = SubElement(thing, "bndbox")
                for side, value in zip(SIDES, map(format_number, (x, y, x + width, y + height)), strict=True):
                    SubElement(corners, side).text = value
                attributes = SubElement(thing, "attributes")
                for name, value in {**target.attributes, "track_id": str(target.id)}.items():
                    attribute = SubElement(attributes, "attribute")
                    SubElement(attribute, "name").text = name
                    SubElement(attribute, "value").text = value
        indent(ElementTree(root))
        file = path / "Annotations" / f"{stems[frame]}.xml"
        write_bytes(file, to_bytes(root, file))
    write_text(path / "ImageSets" / "Main" / "default.txt", "".join(f"{stem}\n" for stem in stems.values()))
    names = ["background", *sorted({target.label for target in labels.targets})]
    header = "# label:color_rgb:parts:actions\n"
    write_text(path / "labelmap.txt", header + "".join(f"{' '.join(name.split())}:::\n" for name in names))
    if options.frames:
        pictures = {frame: [path / "JPEGImages" / frame_name(video, frame)] for frame in frames}
        copy_frames(options.frames, pictures, video)
