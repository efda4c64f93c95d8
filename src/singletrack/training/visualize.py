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
DARK = 0.15  # what is left of a search crop where a map is 0


@torch.no_grad()
def picture(model: nn.Module, stage: Stage, batch: Batch) -> Image:
    """(H, W, 3) RGB, a row for each sample: template, search with the true box green and the predicted red, maps.

    Each of the objective's maps is shown as the search crop in the light of it: bright where the map is 1.
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
    """(..., 3, H, W) -> (H, W, 3); of several, the first."""
    while pixels.dim() > 3:
        pixels = pixels[0]
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def padded(image: Image, side: int) -> Image:
    """The image in the upper left of a black square."""
    out = np.zeros((side, side, 3), np.uint8)
    out[: image.shape[0], : image.shape[1]] = image[:side, :side]
    return out


def with_boxes(image: Image, boxes_xyxy: list[tuple[Tensor, tuple[int, int, int]]]) -> Image:
    """A copy with boxes in their colors."""
    out = image.copy()
    for box, color in boxes_xyxy:
        x0, y0, x1, y1 = (int(value) for value in box.nan_to_num().clamp(-1e4, 1e4))
        cv2.rectangle(out, (x0, y0), (x1, y1), color, 1)
    return out


def lit(image: Image, light: Tensor) -> Image:
    """The image in the light of a map (h, w) in [0, 1], its cells as they are."""
    size_wh = (image.shape[1], image.shape[0])
    share: NDArray[Any] = cv2.resize(light.clamp(0, 1).numpy(), size_wh, interpolation=cv2.INTER_NEAREST)
    return (image * (DARK + (1 - DARK) * share[..., None])).astype(np.uint8)


def titled(image: Image, title: str) -> Image:
    """A copy with its title in the upper left corner."""
    out = image.copy()
    cv2.putText(out, title, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1, cv2.LINE_AA)
    return out
