"""Weights of MAE, DeiT and AugReg in the backbone: made files in their formats, at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from singletrack.errors import CheckpointError
from singletrack.models.configs import OSTrackConfig
from singletrack.models.layers.pos_embed import resize_positions
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.models.pretrained import is_vision_transformer, load_pretrained

WIDTH, HEADS, DEPTH, HIDDEN, PATCH = 24, 3, 2, 48, 8
TOY = OSTrackConfig(
    template_size=32,
    search_size=64,
    patch_size=PATCH,
    width=WIDTH,
    depth=DEPTH,
    heads=HEADS,
    mlp_ratio=2.0,
    eliminate_in=(1,),
    head_channels=16,
)


@pytest.fixture
def model() -> OSTrack:
    return build_ostrack(TOY).eval()


def timm_weights(extra: int = 1) -> dict[str, Tensor]:
    """Random weights in timm's names; ``extra`` rows of positions before those of a grid of 6 x 6."""
    random = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    weights = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, 36 + extra, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": draw(WIDTH),
        "norm.bias": draw(WIDTH),
    }
    shapes = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    shapes |= {"mlp.fc1": (HIDDEN, WIDTH), "mlp.fc2": (WIDTH, HIDDEN)}
    for block in range(DEPTH):
        for norm in ("norm1", "norm2"):
            weights |= {f"blocks.{block}.{norm}.{part}": draw(WIDTH) for part in ("weight", "bias")}
        for layer, shape in shapes.items():
            weights[f"blocks.{block}.{layer}.weight"] = draw(*shape)
            weights[f"blocks.{block}.{layer}.bias"] = draw(shape[0])
    return weights


@pytest.mark.parametrize(("kind", "extra"), [("mae", 1), ("deit", 1), ("deit", 2)])
def test_mae_and_deit(kind: str, extra: int, model: OSTrack, tmp_path: Path) -> None:
    weights = timm_weights(extra)
    if kind == "deit":
        weights |= {"head.weight": torch.zeros(1000, WIDTH), "head.bias": torch.zeros(1000)}
        weights |= {"dist_token": torch.zeros(1, 1, WIDTH)} if extra == 2 else {}
    path = tmp_path / "vit.pth"
    torch.save({"model": weights}, path)
    head = {name: value.clone() for name, value in model.head.state_dict().items()}
    assert is_vision_transformer(path)
    load_pretrained(model, path, kind)  # type: ignore[arg-type]
    backbone = model.backbone.state_dict()
    for name in ("blocks.1.attn.qkv.weight", "blocks.0.mlp.fc2.bias", "norm.bias"):
        assert torch.equal(backbone[name], weights[name])
    assert torch.equal(backbone["patch_embed.weight"], weights["patch_embed.proj.weight"])
    assert torch.equal(backbone["template_position"], resize_positions(weights["pos_embed"][:, extra:], 4))
    assert torch.equal(backbone["search_position"], resize_positions(weights["pos_embed"][:, extra:], 8))
    assert all(torch.equal(value, head[name]) for name, value in model.head.state_dict().items())


def jax_arrays() -> dict[str, np.ndarray]:
    """Random arrays as google-research/vision_transformer names and shapes them."""
    random = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32) / 3

    each = WIDTH // HEADS
    arrays = {
        "cls": draw(1, 1, WIDTH),
        "Transformer/posembed_input/pos_embedding": draw(1, 37, WIDTH),
        "embedding/kernel": draw(PATCH, PATCH, 3, WIDTH),
        "embedding/bias": draw(WIDTH),
        "Transformer/encoder_norm/scale": draw(WIDTH),
        "Transformer/encoder_norm/bias": draw(WIDTH),
        "head/kernel": draw(WIDTH, 10),
        "head/bias": draw(10),
    }
    for number in range(DEPTH):
        block = f"Transformer/encoderblock_{number}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            arrays |= {f"{block}/{norm}/{part}": draw(WIDTH) for part in ("scale", "bias")}
        arrays[f"{block}/MlpBlock_3/Dense_0/kernel"] = draw(WIDTH, HIDDEN)
        arrays[f"{block}/MlpBlock_3/Dense_0/bias"] = draw(HIDDEN)
        arrays[f"{block}/MlpBlock_3/Dense_1/kernel"] = draw(HIDDEN, WIDTH)
        arrays[f"{block}/MlpBlock_3/Dense_1/bias"] = draw(WIDTH)
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            arrays[f"{attention}/{part}/kernel"] = draw(WIDTH, HEADS, each)
            arrays[f"{attention}/{part}/bias"] = draw(HEADS, each)
        arrays[f"{attention}/out/kernel"] = draw(HEADS, each, WIDTH)
        arrays[f"{attention}/out/bias"] = draw(WIDTH)
    return arrays


def jax_block(x: np.ndarray, arrays: dict[str, np.ndarray], number: int) -> np.ndarray:
    """A block as JAX computes it from its own kernels, (N, C) -> (N, C)."""
    block = f"Transformer/encoderblock_{number}"

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        return y * arrays[f"{block}/{name}/scale"] + arrays[f"{block}/{name}/bias"]

    def part(y: np.ndarray, name: str) -> np.ndarray:
        layer = f"{block}/MultiHeadDotProductAttention_1/{name}"
        return np.einsum("nc,chd->hnd", y, arrays[f"{layer}/kernel"]) + arrays[f"{layer}/bias"][:, None]

    y = norm(x, "LayerNorm_0")
    query, key, value = (part(y, name) for name in ("query", "key", "value"))
    logits = torch.from_numpy(np.einsum("hnd,hmd->hnm", query, key) / np.sqrt(WIDTH // HEADS))
    mixed = np.einsum("hnm,hmd->nhd", logits.softmax(-1).numpy(), value)
    out = f"{block}/MultiHeadDotProductAttention_1/out"
    x = x + np.einsum("nhd,hdc->nc", mixed, arrays[f"{out}/kernel"]) + arrays[f"{out}/bias"]
    dense = [f"{block}/MlpBlock_3/Dense_{layer}" for layer in (0, 1)]
    y = norm(x, "LayerNorm_2") @ arrays[f"{dense[0]}/kernel"] + arrays[f"{dense[0]}/bias"]
    y = F.gelu(torch.from_numpy(y)).numpy()
    return x + y @ arrays[f"{dense[1]}/kernel"] + arrays[f"{dense[1]}/bias"]


def test_augreg_computes_what_jax_computes(model: OSTrack, tmp_path: Path) -> None:
    arrays, path = jax_arrays(), tmp_path / "B_16.npz"
    np.savez(path, **arrays)
    assert is_vision_transformer(path)
    load_pretrained(model, path, "augreg")
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        tokens = model.backbone.patch_embed(torch.from_numpy(image)).flatten(2).transpose(1, 2)[0]
        patches = image[0].reshape(3, 4, PATCH, 4, PATCH).transpose(1, 3, 2, 4, 0).reshape(16, PATCH, PATCH, 3)
        expected = np.einsum("nhwi,hwic->nc", patches, arrays["embedding/kernel"]) + arrays["embedding/bias"]
        np.testing.assert_allclose(tokens, expected, rtol=1e-4, atol=1e-4)
        x = tokens[None]
        for number, block in enumerate(model.backbone.blocks):
            x, expected = block.transform(block.attend(x, None)[0]), jax_block(expected, arrays, number)
    np.testing.assert_allclose(x[0], expected, rtol=1e-3, atol=1e-4)
    position = torch.from_numpy(arrays["Transformer/posembed_input/pos_embedding"])[:, 1:]
    assert torch.equal(model.backbone.search_position.detach(), resize_positions(position, 8))


def test_what_does_not_fit_is_refused(model: OSTrack, tmp_path: Path) -> None:
    path = tmp_path / "vit.pth"

    def refused(weights: object, match: str, kind: str | None = None) -> None:
        torch.save(weights, path)
        with pytest.raises(CheckpointError, match=match):
            load_pretrained(model, path, kind)  # type: ignore[arg-type]

    weights = timm_weights()
    refused({"model": weights}, "from deit; got .* seems to be mae", "deit")
    refused(weights | {"blocks.0.attn.qkv.weight": torch.zeros(3, 3)}, r"qkv.weight is \(3, 3\) instead of")
    refused({name: value for name, value in weights.items() if "blocks.1" not in name}, "missing blocks.1.*9 more")
    refused(weights | {"blocks.2.norm1.weight": torch.zeros(WIDTH)}, "unexpected blocks.2.norm1.weight")
    refused(weights | {"blocks.0.ls1.gamma": torch.zeros(WIDTH)}, "plain vision transformer: it has blocks.0.ls1.gamma")
    refused(weights | {"pos_embed": torch.zeros(1, 40, WIDTH)}, "40 rows")
    refused({"backbone.norm.weight": torch.zeros(WIDTH)}, "vision transformer with patch_embed.proj")
    broken = tmp_path / "B_16.npz"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(CheckpointError, match="download it again"):
        load_pretrained(model, broken)
    np.savez(broken, cls=np.zeros(3))
    with pytest.raises(CheckpointError, match="it lacks 'Transformer/posembed_input"):
        load_pretrained(model, broken)


def test_a_whole_tracker_is_no_vision_transformer(model: OSTrack, tmp_path: Path) -> None:
    torch.save({"net": model.state_dict()}, tmp_path / "tracker.pth.tar")
    assert not is_vision_transformer(tmp_path / "tracker.pth.tar")
