"""Loads pre-trained vision transformers into the backbone of OSTrack: MAE, DeiT and AugReg.

Each file is read in its authors' format. Parts that trackers do not have (classifier, class token) are dropped. The
position embedding of a 14 x 14 grid is resized to the grids of the template and the search region.

    mae      facebookresearch/mae      mae_pretrain_vit_base.pth       named tensors under "model", no classifier
             jimmy-dq/DropMAE          the same, with an embedding for each of the two frames
    deit     facebookresearch/deit     deit_base_patch16_224-*.pth     the same with a classifier, possibly distilled
    augreg   google-research/vision_transformer   B_16-*.npz           JAX arrays, kernels (inputs, outputs)
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from singletrack.errors import CheckpointError
from singletrack.models.checkpoints import LARGEST_RATIO, read_weights
from singletrack.models.layers.pos_embed import resize_positions
from singletrack.models.ostrack import OSTrack

Pretraining = Literal["mae", "deit", "augreg"]

# Names of timm, which MAE and DeiT use. Only the names in UNUSED may be dropped.
BLOCK = re.compile(r"blocks\.\d+\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)")
OUTER = {
    "patch_embed.proj.weight": "patch_embed.weight",
    "patch_embed.proj.bias": "patch_embed.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
}
UNUSED = ("cls_token", "dist_token", "mask_token", "head", "pre_logits", "fc_norm", "decoder_")
CLASSIFIER = "head.weight"
# DropMAE's embeddings of the frame, (1, 1, C), which are added to every token, as the position embeddings are
ADDED = {"temporal_pos_embed_z": "template_position", "temporal_pos_embed_x": "search_position"}


def load_pretrained(model: OSTrack, path: str | Path, kind: Pretraining | None = None) -> None:
    """Load a pre-trained file into the backbone of a network; the head is not changed.

    Args:
        model: the network.
        path: the file.
        kind: required kind of pre-training; None for any.

    Raises:
        CheckpointError: another kind, or weights that do not fit.
    """
    path = Path(path)
    found, tensors = read_vision_transformer(path)
    if kind is not None and found != kind:
        raise CheckpointError(
            f"expected weights from {kind}; got {path}, which seems to be {found}; give the right file, or use the "
            f"recipe for {found}"
        )
    weights = under_our_names(tensors, model, path)
    expected = model.backbone.state_dict()
    # a network without position embeddings takes none
    weights = {name: tensor for name, tensor in weights.items() if name in expected or not name.endswith("_position")}
    # what an ablation adds to the vision transformer starts as it was built
    extra = ("template_segment", "search_segment", "step_bias")
    weights |= {name: tensor for name, tensor in expected.items() if name in extra}
    wrong = [f"missing {name}" for name in expected if name not in weights]
    wrong += [f"unexpected {name}" for name in weights if name not in expected]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{path} does not fit this network: {'; '.join(wrong[:3])}{more}; give the weights of ViT-B/16 for "
            "OSTrack-256 and OSTrack-384"
        )
    model.backbone.load_state_dict(weights)


def is_vision_transformer(path: str | Path) -> bool:
    """Check whether a file holds a vision transformer rather than a tracker; raises CheckpointError for other files."""
    return Path(path).suffix == ".npz" or "patch_embed.proj.weight" in read_weights(path)


def read_vision_transformer(path: Path) -> tuple[Pretraining, dict[str, Tensor]]:
    """Read the kind of pre-training and the tensors with timm names; raises CheckpointError for other files."""
    if path.suffix == ".npz":
        return "augreg", read_jax(path)
    weights = read_weights(path)
    if "patch_embed.proj.weight" not in weights or "pos_embed" not in weights:
        raise CheckpointError(
            f"{path} is not a vision transformer with patch_embed.proj and pos_embed: it has "
            f"{', '.join(list(weights)[:3])}; give the file of MAE, DeiT or AugReg"
        )
    return ("deit" if CLASSIFIER in weights else "mae"), weights


def under_our_names(tensors: Mapping[str, Tensor], model: OSTrack, path: Path) -> dict[str, Tensor]:
    """Map timm names to those of our backbone, with position embeddings resized to both grids."""
    config, weights = model.config, {}
    for name, tensor in tensors.items():
        if name == "pos_embed":
            grid = positions_on_a_grid(tensor, path)
            weights["template_position"] = resize_positions(grid, config.template_grid)
            weights["search_position"] = resize_positions(grid, config.search_grid)
        elif BLOCK.fullmatch(name) or name in OUTER:
            weights[OUTER.get(name, name)] = tensor
        elif name not in ADDED and not name.startswith(UNUSED):
            raise CheckpointError(
                f"{path} is not a plain vision transformer: it has {name}; give the file of MAE, DeiT or AugReg"
            )
    for name, ours in ADDED.items():
        if name in tensors and ours in weights:
            weights[ours] = weights[ours] + tensors[name].float()
    return {name: tensor.float() for name, tensor in weights.items()}


def positions_on_a_grid(position: Tensor, path: Path) -> Tensor:
    """Drop the rows of class and distillation tokens, which come first: (1, rows, C) -> (1, n * n, C)."""
    rows = position.shape[1]
    extra = next((extra for extra in range(3) if math.isqrt(rows - extra) ** 2 == rows - extra), None)
    if extra is None:
        raise CheckpointError(
            f"position embeddings must be a square grid with up to two tokens before it; got {rows} rows in {path}; "
            "give the weights of a plain vision transformer"
        )
    return position[:, extra:].float()


# --- JAX arrays of AugReg ---

JAX_LAYERS = {  # AugReg name -> timm name
    "LayerNorm_0": "norm1",
    "LayerNorm_2": "norm2",
    "MlpBlock_3/Dense_0": "mlp.fc1",
    "MlpBlock_3/Dense_1": "mlp.fc2",
}
JAX_ATTENTION = "MultiHeadDotProductAttention_1"


def read_jax(path: Path) -> dict[str, Tensor]:
    """Read a .npz of google-research/vision_transformer as tensors with timm names.

    Dense kernels are (inputs, outputs), those of attention (C, heads, C / heads) and back, the convolution (H, W,
    inputs, outputs).

    Raises:
        CheckpointError: another or damaged file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(record.file_size for record in archive.infolist())
        if unpacked > LARGEST_RATIO * path.stat().st_size:
            raise ValueError(f"its arrays unpack to {unpacked} bytes")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.array(file[name], np.float32)) for name in file.files}
        return _from_jax(arrays)
    except KeyError as error:
        raise CheckpointError(f"{path} is not an AugReg file: it lacks {error}; give its B_16 file") from error
    except Exception as error:  # arbitrary bytes can make a reader fail in any way
        raise CheckpointError(f"cannot read AugReg file {path} ({error}); download it again") from error


def _from_jax(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {
        "pos_embed": arrays["Transformer/posembed_input/pos_embedding"],
        "patch_embed.proj.weight": arrays["embedding/kernel"].permute(3, 2, 0, 1).contiguous(),
        "patch_embed.proj.bias": arrays["embedding/bias"],
        "norm.weight": arrays["Transformer/encoder_norm/scale"],
        "norm.bias": arrays["Transformer/encoder_norm/bias"],
    }
    numbers = {int(match[1]) for name in arrays if (match := re.match(r"Transformer/encoderblock_(\d+)/", name))}
    for number in sorted(numbers):
        theirs, ours = f"Transformer/encoderblock_{number}", f"blocks.{number}"
        for layer, name in JAX_LAYERS.items():
            is_norm = layer.startswith("LayerNorm")
            weight = arrays[f"{theirs}/{layer}/{'scale' if is_norm else 'kernel'}"]
            tensors[f"{ours}.{name}.weight"] = weight if is_norm else weight.T.contiguous()
            tensors[f"{ours}.{name}.bias"] = arrays[f"{theirs}/{layer}/bias"]
        attention = f"{theirs}/{JAX_ATTENTION}"
        parts = [f"{attention}/{part}" for part in ("query", "key", "value")]
        tensors[f"{ours}.attn.qkv.weight"] = torch.cat([arrays[f"{part}/kernel"].flatten(1).T for part in parts])
        tensors[f"{ours}.attn.qkv.bias"] = torch.cat([arrays[f"{part}/bias"].flatten() for part in parts])
        tensors[f"{ours}.attn.proj.weight"] = arrays[f"{attention}/out/kernel"].flatten(0, 1).T.contiguous()
        tensors[f"{ours}.attn.proj.bias"] = arrays[f"{attention}/out/bias"]
    return tensors
