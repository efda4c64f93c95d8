"""COCO's JSON, entry by entry: what is wrong with one is said with the file and the entry's place."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from singletrack.datasets.annotations import LARGEST_NUMBER
from singletrack.datasets.storage import Storage
from singletrack.errors import InputError, show_value
from singletrack.geometry.boxes import Box

Pictures = dict[Hashable, tuple[str, tuple[int, int]]]  # by id: name of the file, and width and height


@dataclass(frozen=True, kw_only=True)
class CocoObject:
    """One annotated object: the id of its picture, its own, its category ("" if unknown), and x, y, width, height in
    pixels.
    """

    image: Hashable
    name: str
    category: str
    box_xywh: Box


def read_json(storage: Storage, path: str) -> Any:
    """The content of a JSON file. Raises InputError where it is not JSON."""
    return parse_json(storage.text(path), path)


def parse_json(text: str, path: str) -> Any:
    """The content of a JSON text. Raises InputError, which names the file, where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError) as error:  # also for numbers of 5,000 digits and endless nesting
        raise InputError(f"expected JSON in {path}; {type(error).__name__}: {error}; export it again") from error


def coco_pictures(content: Mapping[str, Any], path: str) -> Pictures:
    """The pictures that a file names. Raises InputError for an entry without id, file name and size."""
    pictures: Pictures = {}
    for index, picture in enumerate(_list(content, "images", path)):
        place = f"images[{index}] of {path}"
        number, name = _id(picture, "id", place), picture.get("file_name")
        if not isinstance(name, str):
            raise InputError(f"expected file_name as text in {place}; got {show_value(name)}; export it again")
        pictures[number] = (name, (int(_number(picture, "width", place)), int(_number(picture, "height", place))))
    return pictures


def coco_objects(content: Mapping[str, Any], path: str, pictures: Pictures) -> Iterator[CocoObject]:
    """The objects with a box of some size; crowds are left out. Raises InputError for a broken entry."""
    categories = _categories(content)
    for index, thing in enumerate(_list(content, "annotations", path)):
        place = f"annotations[{index}] of {path}"
        if thing.get("iscrowd"):
            continue
        image, number, box = _id(thing, "image_id", place), _id(thing, "id", place), thing.get("bbox")
        if image not in pictures:
            raise InputError(f"expected the id of a picture in {place}; got {show_value(image)}; export it again")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise InputError(
                f"expected bbox as [x, y, width, height] in {place}; got {show_value(box)}; export it again"
            )
        if min(box[2:]) > 0:
            x, y, width, height = map(float, box)
            category = categories.get(str(thing.get("category_id")), "")
            yield CocoObject(image=image, name=str(number), category=category, box_xywh=(x, y, width, height))


def _categories(content: Mapping[str, Any]) -> dict[str, str]:
    """Category names in lowercase by id, as text. Others need no categories, so that broken ones are left out."""
    entries = content.get("categories")
    kinds = [kind for kind in entries if isinstance(kind, dict)] if isinstance(entries, list) else []
    return {str(kind.get("id")): kind["name"].lower() for kind in kinds if isinstance(kind.get("name"), str)}


def _list(content: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"expected a list of {key} in {path}; got {show_value(entries)}; export it again")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(
                f"expected {key}[{index}] of {path} with keys and values; got {show_value(entry)}; export it again"
            )
    return entries


def _id(entry: Mapping[str, Any], key: str, place: str) -> Hashable:
    value = entry.get(key)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise InputError(f"expected {key} as a number or text in {place}; got {show_value(value)}; export it again")
    return value


def _number(entry: Mapping[str, Any], key: str, place: str) -> float:
    value: Any = entry.get(key)
    if not _is_number(value) or not 0 <= float(value) <= LARGEST_NUMBER:
        raise InputError(f"expected {key} as a number in {place}; got {show_value(value)}; export it again")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
