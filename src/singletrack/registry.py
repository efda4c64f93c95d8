"""The models by name: one row for each, with its network, its tracker and its settings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from singletrack.errors import InputError
from singletrack.models.configs import (
    AlignedConfig,
    DaSiamRPNConfig,
    NetworkConfig,
    OSTrackConfig,
    RelationConfig,
    SiamRPNConfig,
    STARKConfig,
)
from singletrack.tracking import common
from singletrack.tracking.base import Network
from singletrack.tracking.dasiamrpn import DaSiamRPNSettings, DaSiamRPNTracker
from singletrack.tracking.distractors import DistractorAwareTracker
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker
from singletrack.tracking.stark import STARKSettings, STARKTracker

if TYPE_CHECKING:
    from singletrack.models.checkpoint_keys import Table

TrackerSettings = OSTrackSettings | STARKSettings | DaSiamRPNSettings | SiamRPNSettings
ShortTermTracker = OSTrackTracker | STARKTracker | DaSiamRPNTracker | SiamRPNTracker
LoadedTracker = ShortTermTracker | DistractorAwareTracker | LongTermTracker

Config = TypeVar("Config", bound=NetworkConfig)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model.

    Attributes:
        network: config of the network, which ``models.build.build_network`` builds.
        tracker: class of the tracker.
        settings: how the tracker differs from the defaults of its settings class. Sizes and templates are the
            network's and are not repeated here.
        bundled: whether the package holds the weights, as weights/NAME.safetensors and weights/NAME.onnx, a graph
            that takes its weights from the other file (`singletrack export --half --share-weights`).
        parameters: millions of parameters.
        gmacs: billions of multiply-adds of one frame, without templates: what `singletrack profile` counts, twice
            with the setting ``mirror``.
        description: one line.
        reported_results: what was measured, where and by whom.
        checkpoint: address of the published weights; its name ends in the first digits of its SHA-256. Empty if the
            authors give none that lasts. Nothing is downloaded.
    """

    network: NetworkConfig
    tracker: type[ShortTermTracker]
    settings: Mapping[str, Any]
    parameters: float
    gmacs: float
    description: str
    reported_results: str
    bundled: bool = False
    checkpoint: str = ""

    @property
    def published_digest(self) -> str:
        """The first digits of the SHA-256 of the published checkpoint; empty if unknown."""
        return self.checkpoint.rpartition("-")[2].partition(".")[0]

    @property
    def tracker_settings(self) -> TrackerSettings:
        """The complete settings of the tracker; sizes, templates and marks are those of the network."""
        kind = SETTINGS[self.tracker]
        shared = {name: getattr(self.network, name) for name in common.FIXED_SETTINGS if hasattr(self.network, name)}
        known = {name: value for name, value in shared.items() if name in kind.__dataclass_fields__}
        return kind(**known, **self.settings)

    @property
    def checkpoint_keys(self) -> list[Table]:
        """Names of tensors in published checkpoints -> ours, one table for each place they come from. Needs PyTorch."""
        from singletrack.models.checkpoint_keys import mmtracking_keys, official_keys

        return [table for table in (official_keys(self.network), mmtracking_keys(self.network)) if table]


SETTINGS: dict[type[ShortTermTracker], type[TrackerSettings]] = {
    OSTrackTracker: OSTrackSettings,
    STARKTracker: STARKSettings,
    DaSiamRPNTracker: DaSiamRPNSettings,
    SiamRPNTracker: SiamRPNSettings,
}

# Without a score head, there is no signal for updating a template; the score then measures how sharp the corners are.
STARK_WITHOUT_SCORE = {"update_interval": None, "lost_below": 0.25, "found_above": 0.4}

# Our own models have one network; the sizes of their crops differ, and with them cost and accuracy.
TINY_NETWORK = OSTrackConfig(
    template_size=112,
    search_size=224,
    mark_template=True,
    num_templates=2,
    width=192,
    depth=8,
    heads=3,
    mlp_ratio=3.0,
    drop_path=0.0,
    eliminate_in=(2, 4, 6),
    keep_ratio=0.4,
    template_rows="rectangle",
    head_channels=96,
    stem="convolution",
    grid_convolutions=3,
    attention_to_head=(2, 4, 6),
    head="fine",
)
TINY_SETTINGS = {
    "search_factor": 3.5,
    "exact_squares": True,
    "update_interval": 5,
    "hold_when_lost": True,
    "hold_below": 0.3,
    "size_momentum": 0.8,
    "first_frame_correction": 0.6,
    "long_term": True,
    # the network scores 0.4, 0.5 and 0.5 as expected overlaps
    "lost_below": 0.54,
    "found_above": 0.635,
    "update_above": 0.635,
    "score_curve": (0.003, 0.017, 0.069, 0.313, 0.538, 0.635, 0.691, 0.783, 0.886, 0.932, 1.0),
}

SMALL_NETWORK = replace(
    TINY_NETWORK,
    template_size=128,
    search_size=256,
    depth=12,
    mlp_ratio=4.0,
    eliminate_in=(2, 6, 9),
    attention_to_head=(2, 6, 9),
    keep_ratio=0.7,
    head_depth=6,
)

MODELS: dict[str, ModelSpec] = {
    "ostrack-nano": ModelSpec(
        network=replace(TINY_NETWORK, template_size=64, search_size=128),
        tracker=OSTrackTracker,
        settings=TINY_SETTINGS
        | {
            "search_factor": 3.0,
            "size_momentum": 0.5,
            "lost_below": 0.47,
            "found_above": 0.6,
            "update_above": 0.6,
            "score_curve": (0.0, 0.014, 0.083, 0.299, 0.472, 0.605, 0.709, 0.779, 0.86, 0.918, 1.0),
        },
        parameters=3.77,
        gmacs=0.254,
        bundled=True,
        description="ours: the smallest, for old and small processors",
        reported_results="measured by us: AO 0.674 on 20 real sequences, 269 frames/s on two Xeon cores with AMX",
    ),
    "ostrack-tiny": ModelSpec(
        network=TINY_NETWORK,
        tracker=OSTrackTracker,
        settings=TINY_SETTINGS,
        bundled=True,
        parameters=3.8,
        gmacs=0.834,
        description="ours: small and bundled, for CPUs",
        reported_results="measured by us: AO 0.752 on 20 real sequences, 172 frames/s on two Xeon cores with AMX",
    ),
    "ostrack-small": ModelSpec(
        network=SMALL_NETWORK,
        tracker=OSTrackTracker,
        settings=TINY_SETTINGS | {"search_factor": 4.0, "mirror": True},
        parameters=6.27,
        gmacs=3.97,
        bundled=True,
        description="ours: the most accurate, for newer processors",
        reported_results="measured by us: AO 0.766 on 20 real sequences, 26 frames/s on two Xeon cores with AMX",
    ),
    "ostrack-256": ModelSpec(
        network=OSTrackConfig(),
        tracker=OSTrackTracker,
        settings={},
        parameters=92.37,
        gmacs=22.25,
        description="OSTrack with ViT-B at 256 px, as published",
        reported_results="published: LaSOT AUC 69.1, TrackingNet AUC 83.1, GOT-10k AO 71.0",
    ),
    "ostrack-384": ModelSpec(
        network=OSTrackConfig(template_size=192, search_size=384),
        tracker=OSTrackTracker,
        settings={"search_factor": 5.0},
        parameters=92.67,
        gmacs=53.16,
        description="OSTrack with ViT-B at 384 px, as published",
        reported_results="published: LaSOT AUC 71.1, TrackingNet AUC 83.9, GOT-10k AO 73.7",
    ),
    # OSTrack-384's network with an embedding per frame, which is added to the position embeddings when it is read
    "droptrack-384": ModelSpec(
        network=OSTrackConfig(template_size=192, search_size=384),
        tracker=OSTrackTracker,
        settings={"search_factor": 5.0},
        parameters=92.67,
        gmacs=53.16,
        description="DropTrack, OSTrack-384 from DropMAE's weights, as published",
        reported_results="published: LaSOT AUC 71.8, TrackingNet AUC 84.1, GOT-10k AO 75.9",
    ),
    "stark-s50": ModelSpec(
        network=STARKConfig(),
        tracker=STARKTracker,
        settings=STARK_WITHOUT_SCORE,
        parameters=28.1,
        gmacs=12.26,
        description="STARK-S with ResNet-50, as published",
        reported_results="published: LaSOT AUC 65.8, TrackingNet AUC 80.3, GOT-10k AO 67.2",
    ),
    "stark-st50": ModelSpec(
        network=STARKConfig(num_templates=2, score_head=True),
        tracker=STARKTracker,
        settings={},
        parameters=28.23,
        gmacs=13.01,
        description="STARK-ST with ResNet-50, as published",
        reported_results="published: LaSOT AUC 66.4, TrackingNet AUC 81.3, GOT-10k AO 68.0",
    ),
    "stark-st101": ModelSpec(
        network=STARKConfig(num_templates=2, score_head=True, blocks=(3, 4, 23)),
        tracker=STARKTracker,
        settings={},
        parameters=47.17,
        gmacs=20.59,
        description="STARK-ST with ResNet-101, as published",
        reported_results="published: LaSOT AUC 67.1, TrackingNet AUC 82.0, GOT-10k AO 68.8",
    ),
    # after the first of the two stages of training, when nothing yet says when to update the second template
    "stark-st50-stage1": ModelSpec(
        network=STARKConfig(num_templates=2),
        tracker=STARKTracker,
        settings=STARK_WITHOUT_SCORE,
        parameters=28.1,
        gmacs=13.01,
        description="STARK-ST with ResNet-50 after its first stage",
        reported_results="published by MMTracking: LaSOT AUC 67.0, TrackingNet AUC 80.3, GOT-10k AO 68.1",
    ),
    "stark-st101-stage1": ModelSpec(
        network=STARKConfig(num_templates=2, blocks=(3, 4, 23)),
        tracker=STARKTracker,
        settings=STARK_WITHOUT_SCORE,
        parameters=47.04,
        gmacs=20.59,
        description="STARK-ST with ResNet-101 after its first stage",
        reported_results="not published",
    ),
    "dasiamrpn-vot": ModelSpec(
        network=DaSiamRPNConfig(),
        tracker=DaSiamRPNTracker,
        settings={},
        parameters=22.63,
        gmacs=5.62,
        description="DaSiamRPN with the settings of VOT, as published",
        reported_results="not published for these weights alone; the paper's complete tracker: VOT2016 EAO 0.411",
    ),
    "dasiamrpn-otb": ModelSpec(
        network=DaSiamRPNConfig(),
        tracker=DaSiamRPNTracker,
        settings={"penalty_strength": 0.22, "window_influence": 0.40, "size_rate": 0.30},
        parameters=22.63,
        gmacs=5.62,
        description="DaSiamRPN with the settings of OTB, as published",
        reported_results="published: OTB2015 AUC 65.5",
    ),
    "dasiamrpn-big": ModelSpec(
        network=DaSiamRPNConfig(widths=(192, 512, 768, 768, 512)),
        tracker=DaSiamRPNTracker,
        settings={
            "penalty_strength": 0.055,
            "window_influence": 0.42,
            "size_rate": 0.295,
            "small_search_size": 287,
        },
        parameters=90.44,
        gmacs=21.15,
        description="DaSiamRPN with twice the channels, as published",
        reported_results="published: VOT2018 EAO 0.383",
    ),
    "siamrpnpp-r50": ModelSpec(
        network=SiamRPNConfig(),
        tracker=SiamRPNTracker,
        settings={},
        parameters=53.95,
        gmacs=48.72,
        description="SiamRPN++ with ResNet-50, as published",
        reported_results="in other papers: LaSOT AUC 49.6, TrackingNet AUC 73.3, GOT-10k AO 51.7",
    ),
    "siamrpnpp-r50-otb": ModelSpec(
        network=SiamRPNConfig(weighted=False),
        tracker=SiamRPNTracker,
        settings={"penalty_strength": 0.24, "window_influence": 0.5, "size_rate": 0.25},
        parameters=53.95,
        gmacs=48.72,
        description="SiamRPN++ with ResNet-50 and the settings of OTB, as published",
        reported_results="published with pysot: OTB2015 AUC 69.6",
    ),
    "siamrpnpp-r50-lt": ModelSpec(
        network=SiamRPNConfig(widths=(128, 256, 512), free_sizes=True),
        tracker=SiamRPNTracker,
        settings={
            "window_influence": 0.28,
            "size_rate": 0.22,
            "lost_below": 0.8,
            "found_above": 0.998,
            "lost_after": 1,
            "lost_search_size": 831,
        },
        parameters=60.02,
        gmacs=51.58,
        description="SiamRPN++ with ResNet-50 for long videos, as published",
        reported_results="published with pysot: VOT2018-LT F1 0.629",
    ),
    "siamrpnpp-mobilenet": ModelSpec(
        network=SiamRPNConfig(backbone="mobilenet", weighted=False),
        tracker=SiamRPNTracker,
        settings={"penalty_strength": 0.04, "window_influence": 0.4, "size_rate": 0.5},
        parameters=11.15,
        gmacs=6.91,
        description="SiamRPN++ with MobileNetV2, as published",
        reported_results="published with pysot: VOT2018 EAO 0.410",
    ),
    "siamrpnpp-alex": ModelSpec(
        network=SiamRPNConfig(backbone="alexnet", search_size=287, widths=(256,), weighted=False),
        tracker=SiamRPNTracker,
        settings={"penalty_strength": 0.16, "window_influence": 0.4, "size_rate": 0.3},
        parameters=6.25,
        gmacs=6.45,
        description="SiamRPN++ with AlexNet, as published",
        reported_results="published with pysot: VOT2018 EAO 0.352",
    ),
    "stark-aligned": ModelSpec(
        network=AlignedConfig(),
        tracker=OSTrackTracker,
        settings={},
        parameters=106.39,
        gmacs=27.0,
        description="for comparison: OSTrack-256's ViT in two streams, related as in STARK",
        reported_results="OSTrack's paper, whose authors released no weights: LaSOT AUC 67.6, GOT-10k AO 68.8",
    ),
    "swintrack-aligned": ModelSpec(
        # SwinTrack-B's fusion
        network=AlignedConfig(
            relation=RelationConfig(
                kind="concatenation", width=512, encoder_layers=8, decoder_layers=1, dropout=0.0, drop_path=0.1
            )
        ),
        tracker=OSTrackTracker,
        settings={},
        parameters=120.07,
        gmacs=34.44,
        description="for comparison: OSTrack-256's ViT in two streams, related as in SwinTrack",
        reported_results="OSTrack's paper, whose authors released no weights: LaSOT AUC 68.0, GOT-10k AO 69.5",
    ),
}


# How MMTracking tracks: crops in floating point, and boxes that may reach beyond the frame (docs/stark.md).
MMTRACKING: dict[str, Any] = {"unrounded_crops": True, "keep_size_at_border": True}
MMTRACKING_FILES = "https://download.openmmlab.com/mmtracking/sot/stark"


def _mmtracking(config: str, file: str, interval: int | None, results: str) -> ModelSpec:
    """Return the row of one of MMTracking's configurations: our network with its settings.

    Args:
        config: name of the configuration.
        file: name of its checkpoint, which ends in the first eight digits of its SHA-256.
        interval: frames between two template updates; None for the first stage, which has none.
        results: what MMTracking reports.
    """
    first = interval is None
    folder = file.rpartition("_")[0].rpartition("_")[0]
    return ModelSpec(
        network=STARKConfig(num_templates=2, score_head=not first),
        tracker=STARKTracker,
        settings={**MMTRACKING, **(STARK_WITHOUT_SCORE if first else {"update_interval": interval})},
        parameters=28.10 if first else 28.23,
        gmacs=13.01,
        description=f"MMTracking's {config}: {'first stage of ' if first else ''}STARK-ST50",
        reported_results=f"published by MMTracking: {results}",
        checkpoint=f"{MMTRACKING_FILES}/{folder}/{file}",
    )


_ST1, _ST2 = (
    "stark_st1_r50_500e_lasot_20220414_185654-9c19e39e.pth",
    "stark_st2_r50_50e_lasot_20220416_170201-b1484149.pth",
)
MODELS |= {
    "stark_st1_r50_500e_lasot": _mmtracking("stark_st1_r50_500e_lasot", _ST1, None, "LaSOT 67.0, 77.3, 71.7"),
    "stark_st1_r50_500e_trackingnet": _mmtracking(
        "stark_st1_r50_500e_trackingnet", _ST1, None, "TrackingNet 80.3, 85.0, 77.7"
    ),
    "stark_st1_r50_500e_got10k": _mmtracking(
        "stark_st1_r50_500e_got10k",
        "stark_st1_r50_500e_got10k_20220223_125400-40ead158.pth",
        None,
        "GOT-10k AO 68.1, SR 77.4, 62.4",
    ),
    "stark_st2_r50_50e_lasot": _mmtracking("stark_st2_r50_50e_lasot", _ST2, 300, "LaSOT 67.8, 78.5, 73.0"),
    "stark_st2_r50_50e_trackingnet": _mmtracking(
        "stark_st2_r50_50e_trackingnet", _ST2, 25, "TrackingNet 81.4, 86.2, 79.0"
    ),
    "stark_st2_r50_50e_got10k": _mmtracking(
        "stark_st2_r50_50e_got10k",
        "stark_st2_r50_50e_got10k_20220226_124213-ee39bbff.pth",
        200,
        "GOT-10k AO 68.3, SR 77.6, 62.7",
    ),
}


def find_model(name: str) -> ModelSpec:
    """Return the row of a model; raises InputError, listing the models, for an unknown name."""
    if name not in MODELS:
        raise unknown_model(name)
    return MODELS[name]


def unknown_model(name: str, advice: str = "") -> InputError:
    """Build the error for an unknown model, with the models and the name nearest to it.

    Args:
        name: what was given.
        advice: what else may be given, such as "or the path of an exported file".
    """
    near = difflib.get_close_matches(name, MODELS, n=1)
    return InputError(
        f"unknown model {name!r}; choose one of {', '.join(MODELS)}{advice and f', {advice}'}"
        + (f"; did you mean {near[0]}?" if near else "")
    )


def network_config(name: str, kind: type[Config]) -> Config:
    """Return the network config of a model of one family; raises InputError for an unknown name or another family."""
    config = find_model(name).network
    if not isinstance(config, kind):
        names = [each for each, spec in MODELS.items() if isinstance(spec.network, kind)]
        raise InputError(f"expected a model among {', '.join(names)}; got {name!r}; choose one of these")
    return config


def change_settings(name: str, changes: Mapping[str, Any]) -> TrackerSettings:
    """Return the settings of a model with some of them changed; raises InputError for invalid changes."""
    return common.change_settings(find_model(name).tracker_settings, changes, name)


def make_tracker(network: Network, settings: TrackerSettings) -> LoadedTracker:
    """Build the tracker of these settings around a network.

    Raises:
        InputError: for a long-term search that the tracker does not support.
    """
    if isinstance(settings, DaSiamRPNSettings) and settings.distractor_aware:
        return DistractorAwareTracker(network, settings)
    kind: Any = next(tracker for tracker, each in SETTINGS.items() if type(settings) is each)
    tracker: ShortTermTracker = kind(network, settings)
    return LongTermTracker(tracker) if getattr(settings, "long_term", False) else tracker
