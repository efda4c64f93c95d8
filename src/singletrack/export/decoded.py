"""A network with a center head that reads its own maps: window, peak and box inside the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from singletrack.errors import InputError
from singletrack.geometry.windows import hann_window
from singletrack.models.build import AnyNetwork
from singletrack.models.layers import center_head


class Decoded(nn.Module):
    """The network, with two more outputs of ``locate``, of which a tracker reads nothing else.

    boxes: (B, 2, 4), cxcywh in [0, 1] of the search crop. peaks: (B, 2), the score there, before the window. The first
    of each two is read under the published Hann window, the second where the score itself is highest.
    Raises InputError for a network without a center head.
    """

    window: Tensor

    def __init__(self, network: AnyNetwork) -> None:
        super().__init__()
        if not network.config.center_head:
            raise InputError(
                f"expected a network with a center head, such as ostrack-256, to be decoded in the graph; got "
                f"{type(network).__name__}; export it without"
            )
        self.network, self.config = network, network.config
        cells = network.config.search_size // network.config.cell_size
        self.register_buffer("window", torch.from_numpy(hann_window(cells)), persistent=False)

    def encode(self, template: Tensor) -> Any:
        """As the network's."""
        return self.network.encode(template)

    def locate(self, features: Any, search: Tensor) -> dict[str, Tensor]:
        """As the network's, with ``boxes`` and ``peaks``."""
        maps = self.network.locate(features, search)
        score = maps["score"]
        reads = [center_head.read(maps, response) for response in (score * self.window, score)]
        boxes, peaks = (torch.stack(each, 1) for each in zip(*reads, strict=True))
        return {**maps, "boxes": boxes, "peaks": peaks}

    def forward(self, template: Tensor, search: Tensor) -> dict[str, Tensor]:
        """Both calls in one."""
        return self.locate(self.encode(template), search)


Exportable = AnyNetwork | Decoded
