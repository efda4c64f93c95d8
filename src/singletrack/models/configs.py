"""The configs of all networks: sizes and layers, importable without PyTorch.

Besides its fields, a config has traits that tell loading, export and profiling what its family needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from singletrack.errors import CheckpointError, InputError, show_value
from singletrack.files import safetensors_metadata

FixedRows = Literal["point", "center", "rectangle", "all"]
TemplateRows = Literal["point", "center", "rectangle", "box", "all"]

ANCHORS = 5  # of SiamRPN and DaSiamRPN in each cell
RESNET_STRIDE = 16  # of STARK's ResNet up to its third stage: pixels of a crop for one token


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What every config has.

    Attributes:
        template_size: side of the square template crop in pixels.
        search_size: side of the square search crop in pixels.
        raw_pixels: the network takes BGR pixels from 0 to 255, without normalization.
        fixed_batch: an exported graph takes one crop at a time.
        VARIABLE: fields that a training run may change, and that the weights carry: what an ablation varies.
    """

    template_size: int = 128
    search_size: int = 256
    VARIABLE: ClassVar[tuple[str, ...]] = ()
    raw_pixels: ClassVar[bool] = False
    fixed_batch: ClassVar[bool] = False

    @property
    def template_shape(self) -> tuple[int, ...]:
        """Shape of the input of ``encode``, without the batch: (3, T, T)."""
        return (3, self.template_size, self.template_size)

    @property
    def search_shape(self) -> tuple[int, ...]:
        """Shape of the search input of ``locate``, without the batch: (3, S, S)."""
        return (3, self.search_size, self.search_size)

    @property
    def cell_size(self) -> int:
        """Side of a cell of the maps in pixels of the search crop; 0 for a network without a center head."""
        return 0

    @property
    def center_head(self) -> bool:
        """Whether the maps are read by ``models.layers.center_head``."""
        return self.cell_size > 0

    @property
    def free_search_size(self) -> bool:
        """Whether an exported graph takes search crops of any size."""
        return False

    @property
    def eliminates(self) -> bool:
        """Whether the network drops search tokens, by a keep ratio."""
        return False

    @property
    def map_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shapes of the maps of ``locate`` without the batch, None for any size; an exported file is checked for them.

        By default those of a center head, if there is one; else nothing is checked.
        """
        if not self.center_head:
            return {}
        return {"score": (None, None), "size": (2, None, None), "offset": (2, None, None)}

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Facts besides the sizes that an exported file states."""
        return {}


@dataclass(frozen=True, kw_only=True)
class OSTrackConfig(NetworkConfig):
    """Config of OSTrack (arXiv 2203.11991). The defaults are OSTrack-256 with elimination.

    Attributes:
        mark_template: trained with the target's box drawn into the template, see ``geometry.crops.mark_box``.
        num_templates: 2 for a network that also takes a dynamic template, see ``models.ostrack.Fusion``.
        eliminate_in: blocks (from 0) that drop search tokens, each keeping ``keep_ratio`` of those that reach it.
        keep_ratios: keep ratio of each of these blocks; empty for ``keep_ratio`` in all.
        positions: position embeddings: "separate" ones of template and search region, as published; "none"; "segment"
            adds an embedding of the part, template or search region; "relative" adds a bias by relative position to
            the attention of all blocks.
        template_rows: template tokens whose attention ranks the search tokens: the token up-left of the center
            ("point", CTR_POINT of the published code), the one down-right of it ("center", the paper's formula), the
            2x2 around the center ("rectangle", CTR_REC), those in the target's box ("box", GT_BOX), or all. "box" adds
            a fourth channel to the template, see ``geometry.crops.fill_boxes``.
        stem: "patch" is ViT's single strided convolution; "convolution" has four of them with residual blocks between.
        grid_convolutions: number of first blocks that follow a depth-wise 3x3 convolution on each grid.
        attention_to_head: blocks whose template attention joins the head's input, one channel each.
        head: "center" reads its maps from the tokens; "fine" on a grid twice as fine, from the tokens and from the
            convolutional stem at half their stride. "corner" (two corner maps, as in STARK) and "mlp" (on the mean
            token) predict one box, for ablations; their score is not trained.
        head_depth: number of residual blocks in a fine head.
    """

    VARIABLE: ClassVar[tuple[str, ...]] = (
        "eliminate_in",
        "keep_ratio",
        "keep_ratios",
        "template_rows",
        "positions",
        "head",
    )

    mark_template: bool = False
    num_templates: Literal[1, 2] = 1
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    eliminate_in: tuple[int, ...] = (3, 6, 9)
    keep_ratio: float = 0.7
    keep_ratios: tuple[float, ...] = ()
    positions: Literal["separate", "none", "segment", "relative"] = "separate"
    template_rows: TemplateRows = "point"
    head_channels: int = 256
    stem: Literal["patch", "convolution"] = "patch"
    grid_convolutions: int = 0
    attention_to_head: tuple[int, ...] = ()
    head: Literal["center", "fine", "corner", "mlp"] = "center"
    head_depth: int = 4

    def __post_init__(self) -> None:
        if self.head == "fine" and self.stem != "convolution":
            raise InputError(f"expected a convolutional stem with a fine head; got {self.stem!r}; take head 'center'")
        if self.grid_convolutions > min(self.eliminate_in, default=self.depth) + 1:
            raise InputError(
                f"grid_convolutions must come before tokens are eliminated in blocks {self.eliminate_in}; got "
                f"{self.grid_convolutions}; use fewer, because a thinned grid has no neighbors"
            )
        for ratio in (self.keep_ratio, *self.keep_ratios):
            if not 0 < ratio <= 1:
                raise InputError(f"keep_ratio must be above 0 and at most 1; got {ratio}; 1 keeps all tokens")
        if self.keep_ratios and len(self.keep_ratios) != len(self.eliminate_in):
            raise InputError(
                f"keep_ratios needs a ratio for each of the blocks {self.eliminate_in}; got {self.keep_ratios}"
            )
        if list(self.eliminate_in) != sorted(set(self.eliminate_in) & set(range(self.depth))):
            raise InputError(
                f"eliminate_in must list blocks from 0 to {self.depth - 1} in ascending order; got {self.eliminate_in}"
            )

    @property
    def template_shape(self) -> tuple[int, ...]:
        """Shape of the input of ``encode``, without the batch: (3, T, T), or (K, 3, T, T) for several templates; with
        a ``box_channel``, 4 in place of 3.
        """
        crop = (4 if self.box_channel else 3, self.template_size, self.template_size)
        return crop if self.num_templates == 1 else (self.num_templates, *crop)

    @property
    def box_channel(self) -> bool:
        """Whether templates have a fourth channel, the target's box."""
        return self.template_rows == "box"

    @property
    def template_grid(self) -> int:
        """Tokens along one side of the template."""
        return self.template_size // self.patch_size

    @property
    def search_grid(self) -> int:
        """Tokens along one side of the search region."""
        return self.search_size // self.patch_size

    @property
    def cell_size(self) -> int:
        """Side of a cell of the maps in pixels of the search crop."""
        return self.patch_size // 2 if self.head == "fine" else self.patch_size

    @property
    def kept_shares(self) -> tuple[float, ...]:
        """Share of the search tokens that each eliminating block keeps."""
        return self.keep_ratios or (self.keep_ratio,) * len(self.eliminate_in)

    @property
    def eliminates(self) -> bool:
        return bool(self.eliminate_in)

    @property
    def metadata(self) -> Mapping[str, Any]:
        return {
            "keep_ratio": ",".join(map(str, self.keep_ratios)) or self.keep_ratio,
            "mark_template": self.mark_template,
            "num_templates": self.num_templates,
            **({"template_rows": "box"} if self.box_channel else {}),
        }


@dataclass(frozen=True, kw_only=True)
class STARKConfig(NetworkConfig):
    """Config of STARK (arXiv 2103.17154). The defaults are STARK-S50.

    Attributes:
        num_templates: number of templates that are taken together.
        blocks: blocks of the ResNet's first three stages; it has no fourth.
        resnet_width: channels of the first stage's inner convolutions; its output has sixteen times as many.
        score_head: whether a head scores the answer.
    """

    search_size: int = 320
    num_templates: int = 1
    blocks: tuple[int, int, int] = (3, 4, 6)
    resnet_width: int = 64
    width: int = 256
    heads: int = 8
    hidden: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    dropout: float = 0.1
    score_head: bool = False

    @property
    def template_shape(self) -> tuple[int, ...]:
        """Shape of the input of ``encode``, without the batch: (K, 4, T, T), RGB and padding."""
        return (self.num_templates, 4, self.template_size, self.template_size)

    @property
    def search_shape(self) -> tuple[int, ...]:
        """Shape of the search input of ``locate``, without the batch: (4, S, S), RGB and padding."""
        return (4, self.search_size, self.search_size)

    @property
    def map_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return {"corners": (2, None, None)}

    @property
    def template_tokens(self) -> int:
        """Number of tokens of all templates together."""
        return self.num_templates * (self.template_size // RESNET_STRIDE) ** 2


@dataclass(frozen=True, kw_only=True)
class SiamRPNConfig(NetworkConfig):
    """Config of SiamRPN++ (arXiv 1812.11703). The defaults are pysot's siamrpn_r50_l234_dwxcorr.

    Attributes:
        widths: channels of each stage behind the neck; a network without a neck has one stage.
        weighted: whether stages have learned weights; otherwise they count equally.
        stages: stages of a deep backbone that feed heads, from 2 to 4.
        correlation: "depthwise", one kernel per channel, or "up-channel", one per output and channel, as in SiamRPN.
        free_sizes: whether an exported graph takes search crops of any size, as long-term tracking needs.
    """

    raw_pixels: ClassVar[bool] = True
    VARIABLE: ClassVar[tuple[str, ...]] = ("stages", "correlation")
    # the kernels are a convolution with as many groups as one sample has channels
    fixed_batch: ClassVar[bool] = True

    template_size: int = 127
    search_size: int = 255
    backbone: Literal["resnet", "mobilenet", "alexnet"] = "resnet"
    widths: tuple[int, ...] = (256, 256, 256)
    weighted: bool = True
    stages: tuple[int, ...] = (2, 3, 4)
    correlation: Literal["depthwise", "up-channel"] = "depthwise"
    free_sizes: bool = False

    def __post_init__(self) -> None:
        if not self.stages or list(self.stages) != sorted(set(self.stages) & {2, 3, 4}):
            raise InputError(f"stages must be some of 2, 3 and 4 in ascending order; got {self.stages}; change them")

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of each head."""
        return self.widths if len(self.widths) == 1 else tuple(self.widths[stage - 2] for stage in self.stages)

    @property
    def free_search_size(self) -> bool:
        return self.free_sizes

    @property
    def map_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return {"cls": (2 * ANCHORS, None, None), "loc": (4 * ANCHORS, None, None)}


@dataclass(frozen=True, kw_only=True)
class DaSiamRPNConfig(NetworkConfig):
    """Config of DaSiamRPN (arXiv 1808.06048). The defaults are those of SiamRPNvot and SiamRPNotb.

    Attributes:
        widths: channels behind each convolution of the AlexNet; the kernels have as many as its last.
        free_sizes: whether an exported graph takes search crops of any size: small and lost targets need others.
    """

    raw_pixels: ClassVar[bool] = True

    template_size: int = 127
    search_size: int = 271
    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    free_sizes: bool = True

    @property
    def free_search_size(self) -> bool:
        return self.free_sizes

    @property
    def map_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        return {"cls": (2 * ANCHORS, None, None), "loc": (4 * ANCHORS, None, None)}


@dataclass(frozen=True, kw_only=True)
class RelationConfig:
    """Config of the module that relates two streams. The defaults are STARK's.

    Attributes:
        kind: "encoder-decoder" is STARK's, "concatenation" SwinTrack's.
        hidden: width inside a feed-forward part.
    """

    kind: Literal["encoder-decoder", "concatenation"] = "encoder-decoder"
    width: int = 256
    heads: int = 8
    hidden: int = 2048
    encoder_layers: int = 6
    decoder_layers: int = 6
    dropout: float = 0.1
    drop_path: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AlignedConfig(NetworkConfig):
    """Config of the aligned two-stream networks. The defaults of backbone and head are OSTrack-256's.

    Attributes:
        stem: "patch" is ViT's single strided convolution, "convolution" that of ``ostrack-tiny``.
    """

    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    stem: Literal["patch", "convolution"] = "patch"
    relation: RelationConfig = field(default_factory=RelationConfig)
    head_channels: int = 256

    @property
    def template_grid(self) -> int:
        """Tokens along one side of the template."""
        return self.template_size // self.patch_size

    @property
    def search_grid(self) -> int:
        """Tokens along one side of the search region, and cells along one side of the maps."""
        return self.search_size // self.patch_size

    @property
    def cell_size(self) -> int:
        """Side of a cell of the maps in pixels of the search crop."""
        return self.patch_size


# --- fields that a run may change ---

Config = TypeVar("Config", bound=NetworkConfig)


def variable_fields(config: NetworkConfig) -> dict[str, Any]:
    """Return the fields that a training run may change, as JSON values; weights carry them as "network"."""
    values = {name: getattr(config, name) for name in config.VARIABLE}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def change_config(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return a config with some of its ``VARIABLE`` fields changed.

    Args:
        config: the config.
        changes: field -> value; a list or single value becomes a tuple where the field is one, None an empty one.

    Raises:
        InputError: for another field, or a value of the wrong kind.
    """
    hints = get_type_hints(type(config))
    fitted: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in config.VARIABLE:
            known = ", ".join(config.VARIABLE) or "none"
            raise InputError(f"{type(config).__name__} has no variable field {show_value(name)}; choose among {known}")
        fitted[name] = _fit(name, value, hints[name])
    return replace(config, **fitted)


def _fit(name: str, value: Any, hint: Any) -> Any:
    """Return a value as the type of a field; raises InputError if it is of another kind."""
    if get_origin(hint) is tuple:
        parts = [] if value is None else value if isinstance(value, list | tuple) else [value]
        return tuple(_fit(name, part, get_args(hint)[0]) for part in parts)
    choices = get_args(hint)
    fits: bool
    if choices:
        fits = isinstance(value, str) and value in choices
    else:
        fits = isinstance(value, int | float if hint is float else hint) and isinstance(value, bool) == (hint is bool)
    if not fits:
        wanted = f"one of {', '.join(map(str, choices))}" if choices else f"a value of type {hint.__name__}"
        raise InputError(f"{name} must be {wanted}; got {show_value(value)}; change it")
    return hint(value) if hint is float else value


def stored_fields(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields that a weights file carries, see ``variable_fields``; empty for a file that carries none.

    Raises:
        CheckpointError: they are damaged.
    """
    text = safetensors_metadata(Path(path)).get("network", "{}")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise CheckpointError(f"expected the fields of a network; got {show_value(text)} in {path}; get the file again")
    return fields


def stored_config(config: Config, path: str | os.PathLike[str]) -> Config:
    """Return a config with the fields that a weights file carries.

    Raises:
        CheckpointError: they do not fit the config.
    """
    try:
        return change_config(config, stored_fields(path))
    except InputError as error:
        raise CheckpointError(f"{path} is of another network: {error}; name the model of the weights") from error
