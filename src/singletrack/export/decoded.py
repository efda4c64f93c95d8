"""Adds the decoding of the maps (window, peak and box) to the graph of a network with a center head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from singletrack.errors import InputError
from singletrack.geometry.windows import hann_window
from singletrack.models.build import AnyNetwork
from singletrack.models.layers import center_head


class Decoded(nn.Module):
    """A network with two additional outputs of ``locate``, which a tracker then uses instead of the maps.

    ``boxes`` (B, 2, 4) are cxcywh as fractions of the search crop, and ``peaks`` (B, 2) are the scores there, before
    the window. The first of each pair is decoded under the published Hann window, the second at the highest score.

    Raises:
        InputError: the network has no center head.
    """

    window: Tensor

    def __init__(self, network: AnyNetwork) -> None:
        super().__init__()
        if not network.config.center_head:
            raise InputError(
                f"decoding in the graph needs a network with a center head, such as ostrack-256; got "
                f"{type(network).__name__}; export it without decoding"
            )
        self.network, self.config = network, network.config
        cells = network.config.search_size // network.config.cell_size
        self.register_buffer("window", torch.tensor(hann_window(cells)), persistent=False)

    def encode(self, template: Tensor) -> Any:
        """Run ``encode`` of the network."""
        return self.network.encode(template)

    def locate(self, features: Any, search: Tensor) -> dict[str, Tensor]:
        """Run ``locate`` of the network and add ``boxes`` and ``peaks``."""
        maps = self.network.locate(features, search)
        score = maps["score"]
        reads = [center_head.read(maps, response) for response in (score * self.window, score)]
        boxes, peaks = (torch.stack(each, 1) for each in zip(*reads, strict=True))
        return {**maps, "boxes": boxes, "peaks": peaks}

    def forward(self, template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Run both calls."""
        return self.locate(self.encode(template), search)


Exportable = AnyNetwork | Decoded
