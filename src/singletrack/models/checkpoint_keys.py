"""Tables that map tensor names of official checkpoints to ours, one for each model and source.

A table lists every tensor of a checkpoint. None marks tensors that the network never uses.
"""

from __future__ import annotations

from collections.abc import Iterable

from singletrack.models import siamrpn
from singletrack.models.configs import DaSiamRPNConfig, NetworkConfig, OSTrackConfig, SiamRPNConfig, STARKConfig
from singletrack.models.layers import alexnet

Table = dict[str, str | None]

NORM = ("weight", "bias", "running_mean", "running_var")
COUNT = "num_batches_tracked"  # also stored by BatchNorm, but not by FrozenBatchNorm
BOTH = ("weight", "bias")


# Embeddings of the frame or of the part, (1, 1, C), that some checkpoints in OSTrack's layout have besides its own:
# DropTrack's, and those of the option SEP_SEG. They are added to every token, as the position embeddings are, so the
# sum of both is the same network.
ADDED_EMBEDDINGS = {
    "backbone.temporal_pos_embed_z": "backbone.pos_embed_z",
    "backbone.temporal_pos_embed_x": "backbone.pos_embed_x",
    "backbone.template_segment_pos_embed": "backbone.pos_embed_z",
    "backbone.search_segment_pos_embed": "backbone.pos_embed_x",
}


def _layer(theirs: str, ours: str, tensors: Iterable[str] = BOTH) -> Table:
    """Map the tensors of a layer, whose last name parts are equal."""
    return {f"{theirs}.{tensor}": f"{ours}.{tensor}" for tensor in tensors}


def _attention(theirs: str, ours: str) -> Table:
    """Map the tensors of an nn.MultiheadAttention."""
    together = {f"{theirs}.in_proj_{tensor}": f"{ours}.in_proj.{tensor}" for tensor in BOTH}
    return {**together, **_layer(f"{theirs}.out_proj", f"{ours}.out_proj")}


def _ostrack_official() -> Table:
    """Map botaoye/OSTrack."""
    names: Table = {
        "backbone.cls_token": None,
        "backbone.pos_embed": None,
        "backbone.pos_embed_z": "backbone.template_position",
        "backbone.pos_embed_x": "backbone.search_position",
    }
    names |= _layer("backbone.patch_embed.proj", "backbone.patch_embed")
    names |= _layer("backbone.norm", "backbone.norm")
    for block in range(12):
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
            names |= _layer(f"backbone.blocks.{block}.{layer}", f"backbone.blocks.{block}.{layer}")
    for theirs, ours in (("ctr", "score"), ("offset", "offset"), ("size", "size")):
        for stage in range(4):
            names |= _layer(f"box_head.conv{stage + 1}_{theirs}.0", f"head.{ours}.{stage}.0")
            names |= _layer(f"box_head.conv{stage + 1}_{theirs}.1", f"head.{ours}.{stage}.1", (*NORM, COUNT))
        names |= _layer(f"box_head.conv5_{theirs}", f"head.{ours}.4")
    return names


def _resnet_layers(blocks: Iterable[int]) -> dict[str, str]:
    """Map each convolution of a ResNet to its norm, by torchvision names."""
    layers = {"conv1": "bn1"}
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            layers |= {f"layer{stage}.{block}.conv{i}": f"layer{stage}.{block}.bn{i}" for i in (1, 2, 3)}
        layers[f"layer{stage}.0.downsample.0"] = f"layer{stage}.0.downsample.1"
    return layers


def _stark_resnet(config: STARKConfig, prefix: str, counted: bool) -> Table:
    """Map the ResNet, which has torchvision names in all sources. ``counted``: its norms are BatchNorm."""
    names: Table = {}
    for convolution, norm in _resnet_layers(config.blocks).items():
        names |= _layer(f"{prefix}.{convolution}", f"backbone.{convolution}", ["weight"])
        names |= _layer(f"{prefix}.{norm}", f"backbone.{norm}", NORM)
        if counted:
            names[f"{prefix}.{norm}.{COUNT}"] = None
    return names


def _stark_official(config: STARKConfig) -> Table:
    """Map researchmm/Stark. Its first-stage checkpoints include an untrained score head."""
    names = _stark_resnet(config, "backbone.0.body", counted=False)
    names |= _layer("bottleneck", "reduce")
    for part, layers, attentions, norms in (
        ("encoder", config.encoder_layers, {"self_attn": "self_attn"}, 2),
        ("decoder", config.decoder_layers, {"self_attn": "self_attn", "multihead_attn": "cross_attn"}, 3),
    ):
        for layer in range(layers):
            theirs, ours = f"transformer.{part}.layers.{layer}", f"{part}.layers.{layer}"
            for attention, our_attention in attentions.items():
                names |= _attention(f"{theirs}.{attention}", f"{ours}.{our_attention}")
            for linear in ("linear1", "linear2"):
                names |= _layer(f"{theirs}.{linear}", f"{ours}.feed_forward.{linear}")
            for norm in range(1, norms + 1):
                names |= _layer(f"{theirs}.norm{norm}", f"{ours}.norm{norm}")
    names |= _layer("transformer.decoder.norm", "decoder.norm")
    names["query_embed.weight"] = "decoder.query"
    for theirs, ours in (("tl", "top_left"), ("br", "bottom_right")):
        for stage in range(4):
            names |= _layer(f"box_head.conv{stage + 1}_{theirs}.0", f"corner_head.{ours}.{stage}.0")
            names |= _layer(f"box_head.conv{stage + 1}_{theirs}.1", f"corner_head.{ours}.{stage}.1", (*NORM, COUNT))
        names |= _layer(f"box_head.conv5_{theirs}", f"corner_head.{ours}.4")
    if config.num_templates > 1:
        for layer in range(3):
            for tensor in BOTH:
                ours = f"score_head.{2 * layer}.{tensor}"
                names[f"cls_head.layers.{layer}.{tensor}"] = ours if config.score_head else None
    return names


def _stark_mmtracking(config: STARKConfig) -> Table:
    """Map open-mmlab/mmtracking. Its first stage has no score head."""
    names = _stark_resnet(config, "backbone", counted=True)
    names |= _layer("neck.convs.0.conv", "reduce")
    for part, layers, attentions in (
        ("encoder", config.encoder_layers, ("self_attn",)),
        ("decoder", config.decoder_layers, ("self_attn", "cross_attn")),
    ):
        for layer in range(layers):
            theirs, ours = f"head.transformer.{part}.layers.{layer}", f"{part}.layers.{layer}"
            for number, attention in enumerate(attentions):
                names |= _attention(f"{theirs}.attentions.{number}.attn", f"{ours}.{attention}")
            names |= _layer(f"{theirs}.ffns.0.layers.0.0", f"{ours}.feed_forward.linear1")
            names |= _layer(f"{theirs}.ffns.0.layers.1", f"{ours}.feed_forward.linear2")
            for norm in range(len(attentions) + 1):
                names |= _layer(f"{theirs}.norms.{norm}", f"{ours}.norm{norm + 1}")
    names |= _layer("head.transformer.decoder.post_norm", "decoder.norm")
    names["head.query_embedding.weight"] = "decoder.query"
    for theirs, ours in (("tl", "top_left"), ("br", "bottom_right")):
        for stage in range(4):
            tower = f"head.bbox_head.{theirs}_corner_pred"
            names |= _layer(f"{tower}.{stage}.conv", f"corner_head.{ours}.{stage}.0")
            names |= _layer(f"{tower}.{stage}.bn", f"corner_head.{ours}.{stage}.1", (*NORM, COUNT))
        names |= _layer(f"head.bbox_head.{theirs}_corner_pred.4", f"corner_head.{ours}.4")
    if config.score_head:
        for layer in range(3):
            names |= _layer(f"head.cls_head.layers.{layer}", f"score_head.{2 * layer}")
    return names


def _siamrpnpp_official(config: SiamRPNConfig) -> Table:
    """Map STVIR/pysot."""
    names = _siamrpnpp_backbone(config)
    several = len(config.widths) > 1
    numbers = config.stages if several else (2,)  # pysot counts the stages of the ResNet and skips the first
    for stage, number in enumerate(numbers):
        if several:
            names |= _layer(f"neck.downsample{number}.downsample.0", f"neck.{stage}.0", ["weight"])
            names |= _layer(f"neck.downsample{number}.downsample.1", f"neck.{stage}.1", (*NORM, COUNT))
        for branch in ("cls", "loc"):
            theirs = f"rpn_head.rpn{number}.{branch}" if several else f"rpn_head.{branch}"
            ours = f"heads.{stage}.{branch}"
            for part, our_part in (("conv_kernel", "kernel"), ("conv_search", "search"), ("head", "read")):
                names |= _layer(f"{theirs}.{part}.0", f"{ours}.{our_part}.0", ["weight"])
                names |= _layer(f"{theirs}.{part}.1", f"{ours}.{our_part}.1", (*NORM, COUNT))
            names |= _layer(f"{theirs}.head.3", f"{ours}.read.3")
    if config.weighted:
        names |= {f"rpn_head.{branch}_weight": f"{branch}_weight" for branch in ("cls", "loc")}
    return names


def _siamrpnpp_backbone(config: SiamRPNConfig) -> Table:
    """Map the backbone, whose tensor names are unchanged."""
    names: Table = {}
    if config.backbone == "alexnet":
        for index in alexnet.CONVOLUTIONS:
            names |= _layer(f"backbone.features.{index}", f"backbone.features.{index}")
            names |= _layer(f"backbone.features.{index + 1}", f"backbone.features.{index + 1}", (*NORM, COUNT))
        return names
    if config.backbone == "resnet":
        layers = _resnet_layers(siamrpn.RESNET_BLOCKS)
    else:
        layers = {"layer0.0": "layer0.1"}
        for stage, (_, _, blocks, _, _) in enumerate(siamrpn.MOBILENET, start=1):
            for block in range(blocks):
                layers |= {f"layer{stage}.{block}.conv.{i}": f"layer{stage}.{block}.conv.{i + 1}" for i in (0, 3, 6)}
    for convolution, norm in layers.items():
        names |= _layer(f"backbone.{convolution}", f"backbone.{convolution}", ["weight"])
        names |= _layer(f"backbone.{norm}", f"backbone.{norm}", (*NORM, COUNT))
    return names


def _dasiamrpn_official() -> Table:
    """Map foolwood/DaSiamRPN. Its files predate the batch counts of PyTorch and lack them."""
    names: Table = {}
    for index in alexnet.CONVOLUTIONS:
        names |= _layer(f"featureExtract.{index}", f"backbone.{index}")
        names |= _layer(f"featureExtract.{index + 1}", f"backbone.{index + 1}", (*NORM, COUNT))
    for theirs, ours in (
        ("conv_r1", "shift_kernels"),
        ("conv_r2", "shift_search"),
        ("conv_cls1", "score_kernels"),
        ("conv_cls2", "score_search"),
        ("regress_adjust", "adjust"),
    ):
        names |= _layer(theirs, ours)
    return names


def official_keys(config: NetworkConfig) -> Table:
    """Return the official checkpoint's name of each tensor -> ours; empty where no checkpoint was released."""
    match config:
        case OSTrackConfig(stem="patch"):
            return _ostrack_official()
        case STARKConfig():
            return _stark_official(config)
        case SiamRPNConfig():
            return _siamrpnpp_official(config)
        case DaSiamRPNConfig():
            return _dasiamrpn_official()
    return {}


def mmtracking_keys(config: NetworkConfig) -> Table:
    """Return MMTracking's name of each tensor -> ours; empty where it has no such model."""
    return _stark_mmtracking(config) if isinstance(config, STARKConfig) else {}
