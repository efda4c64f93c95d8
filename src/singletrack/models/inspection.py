"""What a network sees: attention, eliminated tokens, activations and maps of one pair of crops, as arrays.

Hooks read the intermediate values, so that the network computes exactly what it computes while tracking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from singletrack.errors import InputError, show_value
from singletrack.models.layers.encoder_decoder import Decoder, Encoder
from singletrack.models.layers.pos_embed import template_rows
from singletrack.models.layers.vit import Block
from singletrack.models.ostrack import OSTrack, Trace, restore
from singletrack.models.stark import STARK
from singletrack.models.two_stream import Aligned

Array = NDArray[np.float32]


@dataclass
class Inspection:
    """What a network computed for one pair of crops. Grids are (h, w) over the search region, row by row.

    Attributes:
        attention: by layer, such as "block 3", attention of the chosen template tokens to the search region, averaged
            over the tokens, then heads; sums to 1 over the remaining tokens, 0 where a token was eliminated before.
        decoder: by layer of a decoder with one query, its attention to the search region, which sums to 1.
        eliminated: number of the elimination that dropped a token, from 1; 0 for those kept to the end; None without
            elimination.
        activation: by layer, the length of each token's features, or of each cell's channels.
        maps: the outputs of the network by name, (h, w) or (channels, h, w).
    """

    attention: dict[str, Array] = field(default_factory=dict)
    decoder: dict[str, Array] = field(default_factory=dict)
    eliminated: NDArray[np.int64] | None = None
    activation: dict[str, Array] = field(default_factory=dict)
    maps: dict[str, Array] = field(default_factory=dict)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything by name, as for ``numpy.savez``: "attention/block 3", "eliminated", "maps/score" ..."""
        parts = [("attention", self.attention), ("decoder", self.decoder)]
        parts += [("activation", self.activation), ("maps", self.maps)]
        named: dict[str, NDArray[Any]] = {f"{part}/{name}": value for part, has in parts for name, value in has.items()}
        return named if self.eliminated is None else {**named, "eliminated": self.eliminated}


def chosen_tokens(grid: int, token: tuple[int, int] | None, rows: Any) -> list[int]:
    """Return flat indices of template tokens: that at (row, column), or without one those of ``template_rows``.

    rows: one of ``configs.FixedRows``.

    Raises:
        InputError: the token lies outside of the grid.
    """
    if token is None:
        return [int(place) for place in template_rows(grid, rows)]
    row, column = token
    if not (0 <= row < grid and 0 <= column < grid):
        raise InputError(f"token must be a row and a column from 0 to {grid - 1}; got {row},{column}; choose another")
    return [row * grid + column]


@torch.inference_mode()
def inspect_pair(
    network: nn.Module,
    see: Callable[[Tensor], Tensor],
    template: NDArray[Any],
    search: NDArray[Any],
    token: tuple[int, int] | None = None,
) -> Inspection:
    """Run a network on one pair of crops and return what it computed on the way.

    Args:
        network: OSTrack, STARK or an aligned two-stream network, in evaluation mode.
        see: turns crops into network input, such as ``TorchNetwork.see``.
        template: input of ``encode`` with a batch of 1, as ``tracking.base.Inputs.template``.
        search: input of ``locate`` with a batch of 1.
        token: row and column of the template token whose attention is shown; None for those that rank the search
            tokens in OSTrack, and for the tokens around the center in other networks.

    Raises:
        InputError: another network, or a token outside of the template.
    """
    inspectors: dict[type, Any] = {OSTrack: _inspect_ostrack, STARK: _inspect_stark, Aligned: _inspect_aligned}
    if type(network) not in inspectors:
        raise InputError(
            f"expected OSTrack, STARK or an aligned network, which have attention; got {show_value(network)[:40]}; "
            "choose such a model"
        )
    device = next(network.parameters()).device
    crops = [see(torch.from_numpy(np.ascontiguousarray(crop)).to(device)) for crop in (template, search)]
    found: Inspection = inspectors[type(network)](network, *crops, token)
    return found


def _as_grid(values: Tensor) -> Array:
    """Turn (N,) values into a square grid."""
    side = math.isqrt(values.numel())
    return values.reshape(side, side).float().cpu().numpy()


def _shares(attention: Tensor) -> Tensor:
    """Scale (..., N) attention to sum 1."""
    shares: Tensor = attention / attention.sum(-1, keepdim=True)
    return shares


def _maps(maps: dict[str, Tensor]) -> dict[str, Array]:
    """Return the maps with a height and a width, without the batch; single numbers are left out."""
    return {name: value[0].float().cpu().numpy() for name, value in maps.items() if value.dim() > 2}


def _lengths(tokens: Tensor) -> Tensor:
    """Compute the length of the features of tokens (N, C): -> (N,)."""
    lengths: Tensor = tokens.float().norm(dim=-1)
    return lengths


def _inspect_ostrack(network: OSTrack, template: Tensor, search: Tensor, token: tuple[int, int] | None) -> Inspection:
    config, trace = network.config, Trace()
    features = network.encode(template)
    if config.box_channel and token is None:
        rows = network.backbone.split_box(features)[1]
    else:
        rows = torch.tensor(chosen_tokens(config.template_grid, token, config.template_rows), device=search.device)
    seen: list[Tensor] = []

    def listen(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        # forward is called directly, so that this hook is not called again
        attention = module.forward(inputs[0], rows, 0, *inputs[3:4])[1]
        seen.append(attention[:, config.template_grid**2 :])

    with ExitStack() as hooks:
        for block in network.backbone.blocks:
            assert isinstance(block, Block)
            hooks.callback(block.attn.register_forward_pre_hook(listen).remove)
        maps = network.locate(features, search, trace=trace)
    found, places = Inspection(maps=_maps(maps)), config.search_grid**2
    kept = torch.arange(places, device=search.device).expand(1, places)
    for index, attention in enumerate(seen):
        shares = restore(_shares(attention).unsqueeze(2), kept, places)
        found.attention[f"block {index}"] = _as_grid(shares)
        kept = trace.kept.get(index, kept)
        tokens = trace.blocks[index][:, config.template_grid**2 :]
        found.activation[f"block {index}"] = _as_grid(restore(_lengths(tokens).unsqueeze(2), kept, places))
    if trace.removed:
        dropped = torch.zeros(places, dtype=torch.int64)
        for number, removed in enumerate(trace.removed.values(), start=1):
            dropped[removed[0].cpu()] = number
        found.eliminated = dropped.reshape(config.search_grid, config.search_grid).numpy()
    return found


def _listen_to_relation(
    encoder: nn.Module, decoder: nn.Module, rows: Tensor, asked: int, found: Inspection, hooks: ExitStack
) -> None:
    """Note the attention of an encoder's template tokens, and of a decoder's query, to the tokens after ``asked``."""

    def note(kind: dict[str, Array], name: str, queries: Tensor | None) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def listen(module: Any, inputs: tuple[Any, ...]) -> None:
            query, key = inputs[0], inputs[1]
            bias = inputs[3] if len(inputs) > 3 else None
            if queries is not None:
                query = query[:, queries]
                bias = bias[:, :, queries] if bias is not None and bias.shape[2] > 1 else bias
            kind[name] = _as_grid(_shares(module.attention(query, key, bias)[:, asked:]))

        return listen

    if isinstance(encoder, Encoder) and isinstance(decoder, Decoder):
        for index, layer in enumerate(encoder.layers):
            listener = note(found.attention, f"encoder {index}", rows)
            hooks.callback(layer.self_attn.register_forward_pre_hook(listener).remove)  # type: ignore[union-attr]
        for index, layer in enumerate(decoder.layers):
            listener = note(found.decoder, f"decoder {index}", None)
            hooks.callback(layer.cross_attn.register_forward_pre_hook(listener).remove)  # type: ignore[union-attr]
        return
    assert isinstance(encoder, nn.ModuleList)
    for index, layer in enumerate(encoder):
        listener = note(found.attention, f"encoder {index}", rows)
        hooks.callback(layer.attn.register_forward_pre_hook(listener).remove)  # type: ignore[union-attr]


def _inspect_stark(network: STARK, template: Tensor, search: Tensor, token: tuple[int, int] | None) -> Inspection:
    found, config = Inspection(), network.config
    grid = math.isqrt(config.template_tokens // config.num_templates)
    rows = torch.tensor(chosen_tokens(grid, token, "rectangle"), device=search.device)  # of the first template
    features = network.encode(template)

    def note(name: str) -> Callable[..., None]:
        def listen(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found.activation[name] = output[0].float().norm(dim=0).cpu().numpy()

        return listen

    with ExitStack() as hooks:
        _listen_to_relation(network.encoder, network.decoder, rows, config.template_tokens, found, hooks)
        for name in ("layer1", "layer2", "layer3"):
            stage = getattr(network.backbone, name)
            hooks.callback(stage.register_forward_hook(note(name)).remove)
        found.maps = _maps(network.locate(features, search))
    return found


def _inspect_aligned(network: Aligned, template: Tensor, search: Tensor, token: tuple[int, int] | None) -> Inspection:
    found, config = Inspection(), network.config
    rows = torch.tensor(chosen_tokens(config.template_grid, token, "rectangle"), device=search.device)
    features = network.encode(template)
    states: list[Tensor] = []

    def listen(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        states.append(inputs[0])  # what the block before left

    relation: Any = network.relation
    with ExitStack() as hooks:
        _listen_to_relation(relation.encoder, relation.decoder, rows, config.template_grid**2, found, hooks)
        norms: Sequence[Any] = [*(block.norm1 for block in network.backbone.blocks), network.backbone.norm]
        for norm in norms:
            hooks.callback(norm.register_forward_pre_hook(listen).remove)
        found.maps = _maps(network.locate(features, search))
    for index, tokens in enumerate(states[1:]):
        found.activation[f"block {index}"] = _as_grid(_lengths(tokens[0]))
    return found
