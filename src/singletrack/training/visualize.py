"""Images of training: pairs, true and predicted boxes, and attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from singletrack.opencv import cv2
from singletrack.training.base import Batch, Stage
from singletrack.training.losses import clamped_xyxy

Image = NDArray[np.uint8]
TRUE, PREDICTED = (0, 255, 0), (255, 0, 0)
DARK = 0.15  # brightness of a search crop where a map is 0


@torch.no_grad()
def picture(model: nn.Module, stage: Stage, batch: Batch) -> Image:
    """Draw one row per sample, (H, W, 3) RGB: template, search crop with true (green) and predicted (red) box, maps.

    Each map of the task is shown as the brightness of the search crop.
    """
    boxes = stage.task.boxes(model, batch).cpu() * stage.search_size
    truth = clamped_xyxy(batch["box"]).cpu() * stage.search_size
    looks = {name: maps.float().cpu() for name, maps in stage.task.looks(model, batch).items()}
    rows = []
    for index in range(len(truth)):
        search = as_image(batch["search"][index])
        templates = batch["template"][index].reshape(-1, *batch["template"].shape[-3:])
        tiles = [padded(as_image(each), stage.search_size) for each in templates]
        tiles.append(
            with_boxes(search, [(truth[index], TRUE)] * bool(batch["present"][index]) + [(boxes[index], PREDICTED)])
        )
        tiles += [titled(lit(search, maps[index]), name) for name, maps in looks.items()]
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def as_image(pixels: Tensor) -> Image:
    """Convert (..., 3, H, W) to (H, W, 3); of several, the first."""
    while pixels.dim() > 3:
        pixels = pixels[0]
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def padded(image: Image, side: int) -> Image:
    """Pad an image to a black square, at the upper left."""
    out = np.zeros((side, side, 3), np.uint8)
    out[: image.shape[0], : image.shape[1]] = image[:side, :side]
    return out


def with_boxes(image: Image, boxes_xyxy: list[tuple[Tensor, tuple[int, int, int]]]) -> Image:
    """Draw colored boxes on a copy."""
    out = image.copy()
    for box, color in boxes_xyxy:
        x0, y0, x1, y1 = (int(value) for value in box.nan_to_num().clamp(-1e4, 1e4))
        cv2.rectangle(out, (x0, y0), (x1, y1), color, 1)
    return out


def lit(image: Image, light: Tensor) -> Image:
    """Modulate the brightness of an image by a map (h, w) in [0, 1], without interpolation."""
    size_wh = (image.shape[1], image.shape[0])
    share: NDArray[Any] = cv2.resize(light.clamp(0, 1).numpy(), size_wh, interpolation=cv2.INTER_NEAREST)
    return (image * (DARK + (1 - DARK) * share[..., None])).astype(np.uint8)


def titled(image: Image, title: str) -> Image:
    """Draw a title at the upper left of a copy."""
    out = image.copy()
    cv2.putText(out, title, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1, cv2.LINE_AA)
    return out
