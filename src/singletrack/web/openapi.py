"""The operations of the server as a table, and their description as OpenAPI."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer", "minimum": 0}
BOX: dict[str, Any] = {
    "type": ["array", "null"],
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
    "description": "x, y, width, height in pixels of the source, top-left corner first; null: the target is absent",
}
TARGET: dict[str, dict[str, Any]] = {
    "name": TEXT,
    "label": TEXT,
    "color": {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"},
    "attributes": {"type": "object", "additionalProperties": TEXT},
}
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "clip": TEXT,
    "frame": {**INTEGER, "description": "counted from 0, as the decoder gives the frames"},
    "target": {"type": "integer", "minimum": 1},
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation.

    Attributes:
        handler: Name of the method of ``app.Handlers``, and the operation's id.
        query: Schema of each parameter of the query.
        body: Schema of each property of the JSON body; None where there is no such body.
        upload: Whether the body is a file.
        answer: Media type of the answer.
    """

    method: str
    path: str
    handler: str
    summary: str
    query: dict[str, dict[str, Any]] = field(default_factory=dict)
    body: dict[str, dict[str, Any]] | None = None
    upload: bool = False
    answer: str = "application/json"


CLIP = "/api/clips/{clip}"
OPERATIONS = (
    Operation(method="GET", path="/api/clips", handler="list_clips", summary="List the clips."),
    Operation(
        method="POST",
        path="/api/clips",
        handler="upload_clip",
        summary="Send a clip; the body is the file. At the end it stays only if it has targets.",
        query={"name": TEXT},
        upload=True,
    ),
    Operation(method="GET", path=CLIP, handler="get_clip", summary="Open the project of a clip, or create it."),
    Operation(
        method="GET",
        path=CLIP + "/frames/{frame}",
        handler="get_frame",
        summary="One frame as JPEG.",
        query={"scale": {"enum": [1, 2, 4], "description": "the sides are divided by it"}},
        answer="image/jpeg",
    ),
    Operation(
        method="POST",
        path=CLIP + "/targets",
        handler="add_target",
        summary="Add a target, with its first keyframe if a frame and a box are given.",
        body={**TARGET, "frame": INTEGER, "box": BOX},
    ),
    Operation(
        method="PATCH",
        path=CLIP + "/targets/{target}",
        handler="change_target",
        summary="Change what is given of a target.",
        body=TARGET,
    ),
    Operation(
        method="DELETE",
        path=CLIP + "/targets/{target}",
        handler="remove_target",
        summary="Remove a target with its keyframes.",
    ),
    Operation(
        method="PUT",
        path=CLIP + "/targets/{target}/keyframes/{frame}",
        handler="set_keyframe",
        summary="Say where a target is in one frame, or that it is absent.",
        body={"box": BOX},
    ),
    Operation(
        method="DELETE",
        path=CLIP + "/targets/{target}/keyframes/{frame}",
        handler="remove_keyframe",
        summary="Remove a keyframe.",
    ),
    Operation(
        method="GET",
        path=CLIP + "/boxes",
        handler="get_boxes",
        summary=(
            "Boxes by target: rows of frame, x, y, width, height (null where absent), score, flags (1: keyframe, "
            "2: lost, 4: outdated, tracked before the keyframes changed) and source."
        ),
        query={"target": {"type": "array", "items": INTEGER}, "first": INTEGER, "last": INTEGER},
    ),
    Operation(
        method="GET",
        path=CLIP + "/suggestions",
        handler="get_suggestions",
        summary="The frames that a person should look at next, the most doubtful first.",
    ),
    Operation(method="POST", path=CLIP + "/undo", handler="undo", summary="Take back the last edit."),
    Operation(method="POST", path=CLIP + "/redo", handler="redo", summary="Do the last undone edit again."),
    Operation(
        method="POST",
        path=CLIP + "/track",
        handler="track",
        summary="Track what changed since it was tracked; boxes come over the WebSocket.",
        body={"targets": {"type": "array", "items": INTEGER}, "first": INTEGER, "last": INTEGER},
    ),
    Operation(method="POST", path=CLIP + "/stop", handler="stop", summary="Stop tracking; what was made stays."),
    Operation(method="GET", path="/api/formats", handler="list_formats", summary="List the label formats."),
    Operation(
        method="GET",
        path=CLIP + "/export",
        handler="export_labels",
        summary="All labels in one format: a file, or a zip of the folder.",
        query={
            "format": TEXT,
            "tolerance": {
                "type": "number",
                "description": "pixels, for formats with few keyframes; without it 1, or 2 % of the target's size",
            },
            "pictures": {"type": "boolean", "description": "write the labeled frames too"},
        },
        answer="application/octet-stream",
    ),
    Operation(
        method="POST",
        path=CLIP + "/import",
        handler="import_labels",
        summary="Add the targets of a file of labels; the body is the file, or a zip of the folder.",
        query={"format": TEXT, "name": TEXT},
        upload=True,
    ),
    Operation(
        method="WEBSOCKET",
        path=CLIP + "/events",
        handler="events",
        summary=(
            "WebSocket with lists of messages: boxes as they are tracked, how tracking ended, and that another page "
            "changed the project."
        ),
    ),
)


def describe_api() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for each in OPERATIONS:
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
            for name in re.findall(r"{(\w+)}", each.path)
        ]
        parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in each.query.items()]
        operation: dict[str, Any] = {"operationId": each.handler, "summary": each.summary, "parameters": parameters}
        if each.body is not None:
            schema = {"type": "object", "properties": each.body}
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        elif each.upload:
            operation["requestBody"] = {"content": {"application/octet-stream": {}}}
        if each.method == "WEBSOCKET":
            operation["responses"] = {"101": {"description": "the connection becomes a WebSocket"}}
        else:
            operation["responses"] = {
                "200": {"description": "done", "content": {each.answer: {}}},
                "default": {
                    "description": "what was wrong",
                    "content": {"application/json": {"schema": {"type": "object", "properties": {"error": TEXT}}}},
                },
            }
        paths.setdefault(each.path, {})["get" if each.method == "WEBSOCKET" else each.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "singletrack label",
            "version": "1",
            "description": (
                "What the page does, for programs. Send the token of the printed address as "
                "`Authorization: Bearer TOKEN`."
            ),
        },
        "security": [{"token": []}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": paths,
    }
