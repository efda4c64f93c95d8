"""Weights and frames that follow from names and numbers alone, as the recorded runs used them.

A recorded run had no trained weights. Each tensor is a pure function of its published name and its shape, so that
nothing large needs to be stored: a checksum in each record shows that the weights made here are the recorded ones.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from singletrack.models.build import build_network
from singletrack.models.checkpoint_keys import official_keys
from singletrack.registry import MODELS

Weights = dict[str, Tensor]
Array = np.ndarray

# what OSTrack's published checkpoints carry along without using it
UNUSED_SHAPES: dict[str, tuple[int, ...]] = {"backbone.cls_token": (1, 1, 768), "backbone.pos_embed": (1, 197, 768)}
FIRST_CONVOLUTIONS = ("backbone.conv1.weight", "backbone.features.0.weight", "backbone.layer0.0.weight")
INIT = (100.0, 80.0, 48.0, 40.0)  # the target in frame 0 of the synthetic sequence: x, y, width, height


def make_array(name: str, shape: Iterable[int]) -> Array:
    """The values of one tensor: normal noise seeded by the name, scaled by what kind of tensor the name says it is."""
    shape = tuple(shape)
    part = name.rpartition(".")[2]
    if part == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    noise = np.asarray(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32))
    if part == "running_var":
        return np.float32(1) + np.float32(0.1) * np.abs(noise)
    if part == "running_mean":
        return np.float32(0.1) * noise
    if "pos_embed" not in name:
        if part == "weight" and noise.ndim == 1:
            return np.float32(1) + np.float32(0.1) * noise
        if part in ("weight", "in_proj_weight"):
            return noise * np.float32(1 / math.sqrt(noise[0].size))
    return np.float32(0.02) * noise


def make_tensor(name: str, shape: Iterable[int]) -> Tensor:
    shape = tuple(shape)
    return torch.from_numpy(np.ascontiguousarray(make_array(name, shape))).reshape(shape)


def make_weights(shapes: Mapping[str, Iterable[int]]) -> Weights:
    return {name: make_tensor(name, shapes[name]) for name in sorted(shapes)}


def published_shapes(model: str) -> dict[str, tuple[int, ...]]:
    """Published name -> shape, for every tensor of a model's official checkpoint."""
    with torch.device("meta"):
        ours = build_network(MODELS[model].network).state_dict()
    return {
        theirs: UNUSED_SHAPES[theirs] if name is None else tuple(ours[name].shape)
        for theirs, name in official_keys(MODELS[model].network).items()
    }


def published_weights(model: str) -> Weights:
    """The recorded weights of a model under the published names."""
    return make_weights(published_shapes(model))


def to_our_names(weights: Mapping[str, Tensor], model: str) -> Weights:
    return {ours: weights[theirs] for theirs, ours in official_keys(MODELS[model].network).items() if ours is not None}


def checksum(weights: Mapping[str, Tensor]) -> int:
    """CRC-32 over names and bytes, in the order of the names."""
    crc = 0
    for name in sorted(weights):
        crc = zlib.crc32(weights[name].detach().numpy().tobytes(), zlib.crc32(name.encode(), crc))
    return crc


# --- changes that keep the boxes of random weights from running away ---


def for_ostrack_loop(weights: Mapping[str, Tensor], search_factor: float) -> Weights:
    """Sizes near 1 / search_factor of the region, and offsets that do not drift."""
    share = 1 / search_factor
    return {
        **weights,
        "box_head.conv5_size.weight": weights["box_head.conv5_size.weight"] * 0.2,
        "box_head.conv5_size.bias": weights["box_head.conv5_size.bias"] + float(np.log(share / (1 - share))),
        "box_head.conv5_offset.bias": weights["box_head.conv5_offset.bias"] + 0.5,
    }


def for_stark_loop(weights: Mapping[str, Tensor], score_bias: float = 0.0) -> Weights:
    """Sharper corners; a score_bias of 1 lifts the score above the threshold for updating the template."""
    changed = {
        **weights,
        "box_head.conv5_tl.weight": weights["box_head.conv5_tl.weight"] * 8.0,
        "box_head.conv5_br.weight": weights["box_head.conv5_br.weight"] * 3.0,
    }
    last = "cls_head.layers.2.bias"
    if last in weights:
        changed[last] = weights[last] + score_bias
    return changed


def for_siamrpnpp(weights: Mapping[str, Tensor]) -> Weights:
    """Smaller first and last layers: pixels go in as 0 to 255."""
    scales = {name: 0.01 for name in FIRST_CONVOLUTIONS if name in weights}
    scales |= {name: 0.4 for name in weights if name.endswith("cls.head.3.weight")}
    scales |= {name: 0.05 for name in weights if name.endswith("loc.head.3.weight")}
    return {name: tensor * scales[name] if name in scales else tensor for name, tensor in weights.items()}


def for_dasiamrpn(weights: Mapping[str, Tensor]) -> Weights:
    scales = {"featureExtract.0.weight": 0.01, "conv_cls1.weight": 0.02, "conv_r1.weight": 0.005}
    return {**weights, **{name: weights[name] * scale for name, scale in scales.items()}}


# --- frames ---


def synthetic_frame(index: int) -> Array:
    """(240, 320, 3) uint8 RGB: random blocks on a background of random blocks, moving 3 right and 2 down a frame."""

    def blocks(rows: int, columns: int) -> Array:
        return np.kron(random.integers(0, 256, (rows, columns, 3)), np.ones((8, 8, 1), np.int64))

    random = np.random.default_rng(7)
    picture, target = blocks(30, 40), blocks(5, 6)
    top, left = 80 + 2 * index, 100 + 3 * index
    picture[top : top + 40, left : left + 48] = target
    noise = np.random.default_rng(1000 + index).integers(-8, 9, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
