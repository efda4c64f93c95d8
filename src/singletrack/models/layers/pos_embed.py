"""Learned position embeddings: initialization, and resizing to other crop sizes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from singletrack.models.configs import FixedRows


def centered_positions(grid: int, width: int) -> Tensor:
    """Compute fixed sine and cosine position embeddings (1, grid * grid, width), centered on the grid; the first half
    of the channels is x.

    One step is one token, relative to the center of the grid, so that template and search region of the same scale have
    the same embeddings.
    """
    line = torch.arange(grid, dtype=torch.float32) - (grid - 1) / 2
    waves = line[:, None] / 100 ** (torch.arange(width // 4) / (width // 4))
    axis = torch.cat([waves.sin(), waves.cos()], 1)
    y, x = axis[:, None].expand(grid, grid, -1), axis[None].expand(grid, grid, -1)
    return torch.cat([x, y], 2).reshape(1, grid * grid, width)


def resize_positions(position: Tensor, grid: int) -> Tensor:
    """Resize position embeddings (1, n * n, C) -> (1, grid * grid, C): bicubic, corners not aligned, no
    antialiasing.
    """
    before = math.isqrt(position.shape[1])
    image = position.transpose(1, 2).reshape(1, -1, before, before)
    resized = F.interpolate(image, size=(grid, grid), mode="bicubic", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


def grid_steps(template_grid: int, search_grid: int) -> tuple[Tensor, int]:
    """Index the relative position between each pair of tokens.

    Steps within the template, within the search region, and between the two in either direction are distinct.

    Returns:
        (N, N) indices, and the number of distinct steps.
    """
    parts: list[list[Tensor]] = []
    number = 0
    for rows in (template_grid, search_grid):
        parts.append([])
        for columns in (template_grid, search_grid):
            span = rows + columns - 1
            apart = torch.arange(rows)[:, None] - torch.arange(columns) + columns - 1  # 0 to span - 1
            both = apart[:, None, :, None] * span + apart[None, :, None, :]  # (y, x) to (y, x)
            parts[-1].append(number + both.reshape(rows**2, columns**2))
            number += span**2
    return torch.cat([torch.cat(part, 1) for part in parts]), number


def template_rows(grid: int, rows: FixedRows) -> Tensor:
    """Return the flat indices of the template tokens that rank the search tokens (CE_TEMPLATE_RANGE).

    An even grid has no center: "point" is then the token up-left of it, as in the published code (27 of the 8 x 8 grid,
    from 0). The paper's formula (arXiv 2203.11991, Section 3.2: row H / 2, column W / 2, rounded down) gives the token
    down-right of it (36), which is "center". For an odd grid, all three are the center. For the tokens in the target's
    box, which are different for each target, see ``tokens_in_boxes``.
    """
    if rows == "all":
        return torch.arange(grid * grid)
    low, high = (grid - 1) // 2, grid // 2
    spans = {"point": (low, low), "center": (high, high), "rectangle": (low, high)}
    first, last = spans[rows]
    lines = torch.arange(first, last + 1)
    return (lines[:, None] * grid + lines[None, :]).flatten()


def tokens_in_boxes(inside: Tensor, patch: int) -> Tensor:
    """Return which template tokens lie in the target's box (CE_TEMPLATE_RANGE of GT_BOX).

    As in the published code, a token does if one of the four pixels in its middle lies in the box: the bilinear value
    of the mask there is not 0. Where none does, as for a target of a few pixels in height, those count that the box
    touches at all.

    Args:
        inside: (B, T, T), above 0 inside the box, see ``geometry.crops.fill_boxes``.
        patch: side of a token in pixels.

    Returns:
        (B, N) 1 or 0, in the type of ``inside``.
    """
    grid, middle = inside.shape[-1] // patch, patch // 2
    cells = inside.reshape(-1, grid, patch, grid, patch)
    sampled = cells[:, :, middle - 1 : middle + 1, :, middle - 1 : middle + 1].amax((2, 4)).flatten(1)
    touched = cells.amax((2, 4)).flatten(1)
    return (torch.where(sampled.amax(1, keepdim=True) > 0, sampled, touched) > 0).to(inside.dtype)
