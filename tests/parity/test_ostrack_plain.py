"""OSTrack written a second time, as plainly as possible: one sample, official names, no modules, loops over heads.

It is held against the recorded numbers of OSTrack-256 first, and then stands in for the records that do not exist:
OSTrack-384, and both sizes without elimination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.parity.records import Recorded
from torch import Tensor

from singletrack.models.ostrack import OSTrack, Trace, build_ostrack
from singletrack.registry import MODELS

Weights = Mapping[str, Tensor]
Plain = tuple[dict[str, Tensor], list[list[int]]]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def patches(image: Tensor, weights: Weights) -> Tensor:
    """(3, S, S) -> (S / 16 squared, 768), row by row."""
    grid = image.shape[1] // 16
    cut = image.reshape(3, grid, 16, grid, 16).permute(1, 3, 0, 2, 4).reshape(grid * grid, -1)
    kernel = weights["backbone.patch_embed.proj.weight"].reshape(768, -1)
    return cut @ kernel.T + weights["backbone.patch_embed.proj.bias"]


def plain_ostrack(weights: Weights, template: Tensor, search: Tensor, ratios: Mapping[int, float]) -> Plain:
    """Maps (channels, grid, grid) and, by eliminating block, the places removed in the order of their scores."""
    z = patches(template, weights) + weights["backbone.pos_embed_z"][0]
    x = patches(search, weights) + weights["backbone.pos_embed_x"][0]
    grid, template_grid = math.isqrt(len(x)), math.isqrt(len(z))
    up_left_of_center = (template_grid // 2 - 1) * template_grid + template_grid // 2 - 1
    places, removed = list(range(len(x))), []
    for block in range(12):
        name = f"backbone.blocks.{block}"
        joint = torch.cat([z, x])
        q, k, v = linear(layer_norm(joint, weights, f"{name}.norm1"), weights, f"{name}.attn.qkv").chunk(3, 1)
        heads, seen = [], []
        for head in range(12):
            part = slice(64 * head, 64 * (head + 1))
            attention = torch.softmax(q[:, part] @ k[:, part].T / 8, dim=1)
            heads.append(attention @ v[:, part])
            seen.append(attention[up_left_of_center, len(z) :])
        joint = joint + linear(torch.cat(heads, 1), weights, f"{name}.attn.proj")
        z, x = joint[: len(z)], joint[len(z) :]
        keep = math.ceil(ratios.get(block, 1.0) * len(x))
        if keep < len(x):
            order = np.argsort(-torch.stack(seen).mean(0).numpy(), kind="stable").tolist()
            removed.append([places[index] for index in order[keep:]])
            places, x = [places[index] for index in order[:keep]], x[order[:keep]]
        joint = torch.cat([z, x])
        hidden = linear(layer_norm(joint, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        joint = joint + linear(hidden, weights, f"{name}.mlp.fc2")
        z, x = joint[: len(z)], joint[len(z) :]
    image = torch.zeros(grid * grid, 768)
    image[places] = layer_norm(x, weights, "backbone.norm")
    image = image.T.reshape(1, 768, grid, grid)
    maps = {kind: tower(image, weights, kind)[0] for kind in ("ctr", "size", "offset")}
    return {
        "score": maps["ctr"][0].sigmoid().clamp(1e-4, 1 - 1e-4),
        "size": maps["size"].sigmoid().clamp(1e-4, 1 - 1e-4),
        "offset": maps["offset"],
    }, removed


def tower(x: Tensor, weights: Weights, kind: str) -> Tensor:
    for stage in range(1, 5):
        conv, norm = f"box_head.conv{stage}_{kind}.0", f"box_head.conv{stage}_{kind}.1"
        x = F.conv2d(x, weights[f"{conv}.weight"], weights[f"{conv}.bias"], padding=1)
        mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        scale = weights[f"{norm}.weight"] / (var + 1e-5).sqrt()
        x = x * scale[:, None, None] + (weights[f"{norm}.bias"] - mean * scale)[:, None, None]
        x = x.clamp(min=0)
    return F.conv2d(x, weights[f"box_head.conv5_{kind}.weight"], weights[f"box_head.conv5_{kind}.bias"])


def test_the_plain_network_agrees_with_the_record(
    recorded: Recorded, weights_256: Weights, inputs_256: tuple[Tensor, Tensor]
) -> None:
    record = recorded("ostrack_forward_vitb_256_mae_ce_32x4_ep300")
    template, search = inputs_256
    maps, removed = plain_ostrack(weights_256, template[0], search[0], dict.fromkeys((3, 6, 9), 0.7))
    for name in ("score", "size", "offset"):
        expected = record[f"rand_{name}_map"][0].reshape(maps[name].shape)
        np.testing.assert_allclose(maps[name], expected, rtol=0, atol=1e-5)
    assert removed == [record[f"rand_ce{block}_removed"][0].tolist() for block in (3, 6, 9)]


@pytest.mark.parametrize("ratio", [0.7, 1.0])
def test_384_with_and_without_elimination(ratio: float, weights_384: Weights, model_384: OSTrack) -> None:
    rng = np.random.default_rng(384)
    template = torch.from_numpy(rng.standard_normal((1, 3, 192, 192), dtype=np.float32))
    search = torch.from_numpy(rng.standard_normal((1, 3, 384, 384), dtype=np.float32))
    expected, removed = plain_ostrack(weights_384, template[0], search[0], dict.fromkeys((3, 6, 9), ratio))
    trace = Trace()
    with torch.inference_mode():
        maps = model_384(template, search, [ratio] * 3, trace)
    counts = [172, 121, 84] if ratio < 1 else []
    assert [len(places) for places in removed] == counts
    assert [tokens.shape[1] for tokens in trace.kept.values()] == ([404, 283, 199] if ratio < 1 else [])
    assert [places[0].tolist() for places in trace.removed.values()] == removed
    assert [block.shape[1] for block in trace.blocks] == (
        [720] * 3 + [548] * 3 + [427] * 3 + [343] * 3 if ratio < 1 else [720] * 12
    )
    assert trace.tokens is not None
    assert trace.tokens.shape == (1, 720, 768)
    for name, tensor in expected.items():
        np.testing.assert_allclose(maps[name][0], tensor, rtol=0, atol=1e-5 * max(1.0, float(tensor.abs().max())))


def test_elimination_off_means_the_same_weights_and_no_token_lost(
    recorded: Recorded, model_256: OSTrack, inputs_256: tuple[Tensor, Tensor]
) -> None:
    plain = build_ostrack(MODELS["ostrack-256"].network, keep_ratio=1.0)
    assert plain.config.keep_ratio == 1.0
    plain.load_state_dict(model_256.state_dict())
    trace = Trace()
    with torch.inference_mode():
        maps = plain.eval()(*(tensor[:1] for tensor in inputs_256), trace=trace)
    record = recorded("ostrack_forward_vitb_256_mae_ce_32x4_ep300")
    np.testing.assert_allclose(maps["score"], record["rate100_score_map"][:1, 0], rtol=0, atol=1e-5)
    assert not trace.kept
    assert {block.shape[1] for block in trace.blocks} == {320}


def test_a_later_layer_that_keeps_all_does_no_harm(
    model_256: OSTrack, weights_256: Weights, inputs_256: tuple[Tensor, Tensor]
) -> None:
    """The published code stops with an error here: it joins what the first layer removed with nothing."""
    template, search = (tensor[:1] for tensor in inputs_256)
    expected, removed = plain_ostrack(weights_256, template[0], search[0], {3: 0.7, 6: 1.0, 9: 0.999})
    trace = Trace()
    with torch.inference_mode():
        maps = model_256(template, search, [0.7, 1.0, 0.999], trace)
    assert [places[0].tolist() for places in trace.removed.values()] == removed
    assert list(trace.removed) == [3]
    np.testing.assert_allclose(maps["score"][0], expected["score"], rtol=0, atol=1e-5)


def test_parameters_are_as_many_as_published(model_256: OSTrack, model_384: OSTrack) -> None:
    unused = 768 + 197 * 768  # cls_token and pos_embed, which the published network carries along
    assert sum(p.numel() for p in model_256.parameters()) + unused == 92_518_533
    assert sum(p.numel() for p in model_384.parameters()) + unused == 92_825_733
