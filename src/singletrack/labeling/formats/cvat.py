"""CVAT's XML: "CVAT for video 1.1" with few keyframes; "CVAT for images 1.1" is read too.

A track has boxes with `keyframe="1"`; CVAT goes in straight lines between them. `outside="1"` marks where a target is
absent or lost, and frames without a label. The name of a target is its attribute "target name".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from singletrack.geometry.boxes import Box
from singletrack.labeling.formats.base import WriteOptions, format_number, visible_boxes
from singletrack.labeling.formats.checks import MAX_FRAMES, Place, read_xml, words
from singletrack.labeling.formats.collect import Collector, Detections, beyond_video, check_video, choose_video
from singletrack.labeling.formats.output import write_bytes
from singletrack.labeling.formats.reduction import reduce_keyframes
from singletrack.labeling.formats.runs import set_by_person, split_runs
from singletrack.labeling.formats.safe_xml import to_bytes
from singletrack.labeling.labels import BoxSource, LabeledBox, LabeledTarget, LabelSet, VideoInfo

MAX_ID = 2**53
NAME = "target name"
SIDES = ("xtl", "ytl", "xbr", "ybr")
SHAPES = {"box", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"}


def read(path: Path, video: VideoInfo | None) -> LabelSet:
    """Read an .xml file, or `annotations.xml` of a folder."""
    file = path / "annotations.xml" if path.is_dir() else path
    root, place = read_xml(file), Place(file)
    if root.tag != "annotations":
        raise place.error("the element <annotations>", words(f"<{root.tag}>"), "export as CVAT for video 1.1")
    images = root.findall("image")
    tracks = root.findall("track")
    video = choose_video(video, _read_video(root, images, place, video), place)
    if images and not tracks:
        return _read_images(images, video, place)
    collector = Collector(place)
    for number, track in enumerate(tracks):
        where = place.at(f"track {track.get('id', number)}")
        _read_track(track, number, video, collector, where)
    return collector.label_set(video)


def _read_video(root: Element, images: list[Element], place: Place, video: VideoInfo | None) -> VideoInfo | None:
    """The video as `meta` describes it; of single images, their size and number, unless the video is given."""
    size = root.find(".//meta//original_size")
    if size is not None:
        width, height = (
            place.at("original_size").integer(size.findtext(side, ""), side, 1) for side in ("width", "height")
        )
        last = root.findtext(".//meta//stop_frame")
        frames = 0 if last is None else place.integer(last, "stop_frame") + 1
        count = max(frames, place.integer(root.findtext(".//meta//size", "0"), "size"))
    elif images:
        where = place.at("the first image")
        width, height = (where.integer(images[0].get(side, ""), side, 1) for side in ("width", "height"))
        if video is not None:  # the images that are labeled need not be all frames
            check_video(video, where, size_wh=(width, height))
            return None
        count = max(place.integer(image.get("id", ""), "the id of an image") for image in images) + 1
    else:
        return None
    source = root.findtext(".//meta//source") or root.findtext(".//meta/task/name") or place.path.stem
    return VideoInfo(
        name=place.at("source").file_name(source.replace("/", "_").replace("\\", "_"), "the name of the video"),
        width=width,
        height=height,
        frame_count=place.integer(count, "the number of frames", 1, MAX_FRAMES),
    )


def _read_track(track: Element, number: int, video: VideoInfo, collector: Collector, place: Place) -> None:
    id = place.integer(track.get("id", str(number)), "id", 0, MAX_ID)
    draft = collector.draft(id)
    if draft.boxes:
        raise place.error("an id of its own for each track", id)
    draft.label = place.text(track.get("label"), "label")
    keyframes: dict[int, LabeledBox] = {}
    for shape in track:
        if shape.tag not in SHAPES:
            continue
        where = place.at(f"frame {shape.get('frame')}")
        box = _read_box(shape, where)
        frame = where.integer(shape.get("frame", ""), "frame")
        if frame >= video.frame_count:
            raise beyond_video(frame, video, where)
        if frame in keyframes:
            raise where.error("one box for each frame", words("two"))
        set_by_person = shape.get("keyframe", "1") == "1"
        outside = shape.get("outside", "0") == "1"
        source: BoxSource = "import" if set_by_person else "interpolation"
        keyframes[frame] = LabeledBox(box=None if outside else box, keyframe=set_by_person, source=source)
        for key, value in _read_attributes(shape, where):
            if key == NAME:
                draft.name = value
            else:
                draft.attributes = {**draft.attributes, key: value}
    if not keyframes:
        raise place.error("boxes", words("a track without any"))
    collector.add_line(id, keyframes, video.frame_count, place)


def _read_attributes(shape: Element, place: Place) -> Iterator[tuple[str, str]]:
    for attribute in shape.findall("attribute"):
        name = place.text(attribute.get("name"), "the name of an attribute")
        yield name, place.text(attribute.text or "", name, empty=True)


def _read_box(shape: Element, place: Place) -> Box:
    if shape.tag != "box":
        raise place.error("boxes", words(f"<{shape.tag}>"), "export rectangles only")
    if place.number(shape.get("rotation", "0"), "rotation") != 0:
        raise place.error("upright boxes", words(f"rotation {shape.get('rotation')}"), "use upright rectangles")
    left, top, right, bottom = (place.number(shape.get(side, ""), side) for side in SIDES)
    return place.box((left, top, right - left, bottom - top))


def _read_images(images: list[Element], video: VideoInfo, place: Place) -> LabelSet:
    boxes = Detections(place)
    names = {name: frame for frame, name in enumerate(video.frame_names or ())}
    for image in images:
        where = place.at(f"image {image.get('id')}")
        name = where.file_name(image.get("name"), "name", folders=True)
        frame = names.get(Path(name).name, where.integer(image.get("id", ""), "id"))
        for shape in image:
            if shape.tag in SHAPES:
                label = where.text(shape.get("label"), "label")
                boxes.add(frame, label, LabeledBox(box=_read_box(shape, where), source="import"), where)
    return boxes.label_set(video)


# --- writing -----------------------------------------------------------------------------------------------


def write(labels: LabelSet, path: Path, options: WriteOptions) -> None:
    """Write an .xml file; of a folder, `annotations.xml`."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    _add_meta(root, labels)
    for target in labels.targets:
        track = SubElement(root, "track", id=str(target.id), label=target.label, source="manual")
        for frame, box, outside in find_keyframes(target, labels.video.frame_count, options.tolerance):
            x, y, width, height = box
            sides = dict(zip(SIDES, map(format_number, (x, y, x + width, y + height)), strict=True))
            flags = {"keyframe": "1", "outside": str(int(outside)), "occluded": "0"}
            shape = SubElement(track, "box", {"frame": str(frame), **flags, **sides, "z_order": "0"})
            for name, value in {**target.attributes, NAME: target.name}.items():
                SubElement(shape, "attribute", name=name).text = value
    indent(ElementTree(root))
    file = path if path.suffix.lower() == ".xml" else path / "annotations.xml"
    write_bytes(file, to_bytes(root, file))


def find_keyframes(target: LabeledTarget, frame_count: int, tolerance: float | None) -> Iterator[tuple[int, Box, bool]]:
    """The keyframes that CVAT needs for a target: frame, box and whether the target is outside from there on."""
    for run in split_runs(visible_boxes(target.boxes.items())):
        box = (0.0, 0.0, 0.0, 0.0)
        for frame, box in reduce_keyframes(run, tolerance, exact=set_by_person(target)).items():
            yield frame, box, False
        if max(run) + 1 < frame_count:
            yield max(run) + 1, box, True


def _add_meta(root: Element, labels: LabelSet) -> None:
    video = labels.video
    task = SubElement(SubElement(root, "meta"), "task")
    facts = {
        "name": Path(video.name).stem,
        "size": video.frame_count,
        "mode": "interpolation",
        "overlap": 0,
        "start_frame": 0,
        "stop_frame": video.frame_count - 1,
        "frame_filter": "",
        "z_order": "False",
    }
    for name, value in facts.items():
        SubElement(task, name).text = str(value)
    parent = SubElement(task, "labels")
    for label in sorted({target.label for target in labels.targets}):
        of_label = [target for target in labels.targets if target.label == label]
        entry = SubElement(parent, "label")
        SubElement(entry, "name").text = label
        SubElement(entry, "color").text = of_label[0].color
        SubElement(entry, "type").text = "rectangle"
        attributes = SubElement(entry, "attributes")
        for name in sorted({NAME, *(name for target in of_label for name in target.attributes)}):
            attribute = SubElement(attributes, "attribute")
            values = {"name": name, "mutable": "False", "input_type": "text", "default_value": "", "values": ""}
            for key, value in values.items():
                SubElement(attribute, key).text = value
    size = SubElement(task, "original_size")
    SubElement(size, "width").text = str(video.width)
    SubElement(size, "height").text = str(video.height)
    SubElement(task, "source").text = video.name
