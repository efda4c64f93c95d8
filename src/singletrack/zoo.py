"""The models by name: settings of the tracker, bundled weights, score card; and ``load``, which opens one.

Needs no PyTorch for a bundled model or an exported file. Other weights run on PyTorch, or are exported once for
another engine and kept in a cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singletrack.engines import (
    EXPORTED_ENDINGS,
    PRECISIONS,
    TRAIN_EXTRA,
    Precision,
    installed_engines,
    open_network,
    require_engine,
    require_packages,
)
from singletrack.engines.preprocessing import UNCHANGED, Normalization
from singletrack.errors import CheckpointError, InputError
from singletrack.registry import MODELS
from singletrack.tracking import common
from singletrack.tracking.base import Network
from singletrack.tracking.dasiamrpn import DaSiamRPNSettings, DaSiamRPNTracker
from singletrack.tracking.distractors import DistractorAwareTracker
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker
from singletrack.tracking.stark import STARKSettings, STARKTracker

if TYPE_CHECKING:
    from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
    from singletrack.engines.openvino_engine import OpenVINONetwork
    from singletrack.models import build

Settings = OSTrackSettings | STARKSettings | DaSiamRPNSettings | SiamRPNSettings
ShortTermTracker = OSTrackTracker | STARKTracker | DaSiamRPNTracker | SiamRPNTracker
LoadedTracker = ShortTermTracker | DistractorAwareTracker | LongTermTracker

log = logging.getLogger(__name__)

# What is compiled from larger files, in bytes, is not kept: it is as large again, and takes long to read back.
LARGEST_KEPT = 100_000_000


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model of the zoo; its network is what ``models.build.build_network`` makes of the same name.

    bundled: whether the package holds its weights, as weights/NAME.onnx and weights/NAME.safetensors.
    description: one line. score_card: what was measured, where, and by whom.
    """

    settings: Settings
    bundled: bool
    description: str
    reported_results: str


# Of an OSTrack that was taught more than the published ones its file must tell so.
METADATA_KEYS = ("mark_template", "templates")
# without a score head nothing tells when to renew a template, and a score says how decided the corners are
UNTAUGHT_STARK = STARKSettings(num_templates=1, update_interval=None, lost_below=0.25, found_above=0.4)

MODELS: dict[str, ModelSpec] = {
    "ostrack-tiny": ModelSpec(
        settings=OSTrackSettings(
            template_size=112,
            search_factor=3.5,
            search_size=224,
            exact_squares=True,
            mark_template=True,
            num_templates=2,
            update_interval=5,
            hold_when_lost=True,
            size_momentum=0.8,
            first_frame_correction=0.6,
            lost_below=0.4,
            found_above=0.5,
            long_term=True,
        ),
        bundled=True,
        description="ours: small and bundled, for processors",
        reported_results="measured by us: AO 0.751 on 20 real sequences",
    ),
    "ostrack-256": ModelSpec(
        settings=OSTrackSettings(),
        bundled=False,
        description="OSTrack with ViT-B at 256 px, as published",
        reported_results="published: LaSOT AUC 69.1, TrackingNet AUC 83.1, GOT-10k AO 71.0",
    ),
    "ostrack-384": ModelSpec(
        settings=OSTrackSettings(template_size=192, search_size=384, search_factor=5.0),
        bundled=False,
        description="OSTrack with ViT-B at 384 px, as published",
        reported_results="published: LaSOT AUC 71.1, TrackingNet AUC 83.9, GOT-10k AO 73.7",
    ),
    "stark-s50": ModelSpec(
        settings=UNTAUGHT_STARK,
        bundled=False,
        description="STARK-S with ResNet-50, as published",
        reported_results="published: LaSOT AUC 65.8, TrackingNet AUC 80.3, GOT-10k AO 67.2",
    ),
    "stark-st50": ModelSpec(
        settings=STARKSettings(),
        bundled=False,
        description="STARK-ST with ResNet-50, as published",
        reported_results="published: LaSOT AUC 66.4, TrackingNet AUC 81.3, GOT-10k AO 68.0",
    ),
    "stark-st101": ModelSpec(
        settings=STARKSettings(),
        bundled=False,
        description="STARK-ST with ResNet-101, as published",
        reported_results="published: LaSOT AUC 67.1, TrackingNet AUC 82.0, GOT-10k AO 68.8",
    ),
    "stark-st50-stage1": ModelSpec(
        settings=replace(UNTAUGHT_STARK, num_templates=2),
        bundled=False,
        description="STARK-ST with ResNet-50 after its first stage",
        reported_results="published by MMTracking: LaSOT AUC 67.0, TrackingNet AUC 80.3, GOT-10k AO 68.1",
    ),
    "stark-st101-stage1": ModelSpec(
        settings=replace(UNTAUGHT_STARK, num_templates=2),
        bundled=False,
        description="STARK-ST with ResNet-101 after its first stage",
        reported_results="not published",
    ),
    "dasiamrpn-vot": ModelSpec(
        settings=DaSiamRPNSettings(),
        bundled=False,
        description="DaSiamRPN with the settings of VOT, as published",
        reported_results="not published for these weights alone; the paper's whole tracker: VOT2016 EAO 0.411",
    ),
    "dasiamrpn-otb": ModelSpec(
        settings=DaSiamRPNSettings(penalty_strength=0.22, window_influence=0.40, size_rate=0.30),
        bundled=False,
        description="DaSiamRPN with the settings of OTB, as published",
        reported_results="published: OTB2015 AUC 65.5",
    ),
    "dasiamrpn-big": ModelSpec(
        settings=DaSiamRPNSettings(
            penalty_strength=0.055, window_influence=0.42, size_rate=0.295, small_search_size=287
        ),
        bundled=False,
        description="DaSiamRPN with twice the channels, as published",
        reported_results="published: VOT2018 EAO 0.383",
    ),
    "siamrpnpp-r50": ModelSpec(
        settings=SiamRPNSettings(),
        bundled=False,
        description="SiamRPN++ with ResNet-50, as published",
        reported_results="in others' papers: LaSOT AUC 49.6, TrackingNet AUC 73.3, GOT-10k AO 51.7",
    ),
    "siamrpnpp-r50-otb": ModelSpec(
        settings=SiamRPNSettings(penalty_strength=0.24, window_influence=0.5, size_rate=0.25),
        bundled=False,
        description="SiamRPN++ with ResNet-50 and the settings of OTB, as published",
        reported_results="published with pysot, from memory: OTB2015 AUC 69.6",
    ),
    "siamrpnpp-r50-lt": ModelSpec(
        settings=SiamRPNSettings(
            window_influence=0.28,
            size_rate=0.22,
            lost_below=0.8,
            found_above=0.998,
            lost_after=1,
            lost_search_size=831,
        ),
        bundled=False,
        description="SiamRPN++ with ResNet-50 for long videos, as published",
        reported_results="published with pysot, from memory: VOT2018-LT F1 0.629",
    ),
    "siamrpnpp-mobilenet": ModelSpec(
        settings=SiamRPNSettings(penalty_strength=0.04, window_influence=0.4, size_rate=0.5),
        bundled=False,
        description="SiamRPN++ with MobileNetV2, as published",
        reported_results="published with pysot, from memory: VOT2018 EAO 0.410",
    ),
    "siamrpnpp-alex": ModelSpec(
        settings=SiamRPNSettings(search_size=287, penalty_strength=0.16, window_influence=0.4, size_rate=0.3),
        bundled=False,
        description="SiamRPN++ with AlexNet, as published",
        reported_results="published with pysot, from memory: VOT2018 EAO 0.352",
    ),
    "stark-aligned": ModelSpec(
        settings=OSTrackSettings(),
        bundled=False,
        description="for comparison: OSTrack-256's ViT in two streams, related as in STARK",
        reported_results="OSTrack's paper, whose authors released no weights: LaSOT AUC 67.6, GOT-10k AO 68.8",
    ),
    "swintrack-aligned": ModelSpec(
        settings=OSTrackSettings(),
        bundled=False,
        description="for comparison: OSTrack-256's ViT in two streams, related as in SwinTrack",
        reported_results="OSTrack's paper, whose authors released no weights: LaSOT AUC 68.0, GOT-10k AO 69.5",
    ),
}


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What runs a network, and how, as ``load`` was asked for it; the engine is no longer "auto"."""

    engine: str
    device: str
    precision: Precision
    threads: int | None

    def open(self, path: Path, settings: Settings | None) -> OpenVINONetwork | ONNXRuntimeNetwork:
        """The exported file of a model with these settings; None where the file is to tell which one it holds."""
        return open_network(
            self.engine,
            path,
            self.device,
            self.threads,
            precision=self.precision,
            normalization=None if settings is None else normalization_of(settings),
            cache=_compiled_folder() if path.stat().st_size <= LARGEST_KEPT else None,
        )


def load(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    keep_ratio: float | None = None,
    threads: int | None = None,
    long_term: bool | None = None,
    settings: Mapping[str, Any] | None = None,
) -> LoadedTracker:
    """A tracker, ready for ``init``.

    name: of a model in ``MODELS``; or the path of a file that ``singletrack export`` wrote, which knows its model.
    weights: .safetensors, an official checkpoint, or an exported .onnx or .xml; None takes the bundled ones.
    engine: "openvino", "onnx", "torch", or "auto" for the first of these that is installed; with device "cuda" or
        "mps" for one that knows it.
    device: as the engine calls it, such as "cpu" or "cuda", in upper or lower case; "auto" for the engine's usual one.
    precision: that it computes in: "fp32", "bf16" or "fp16", where the engine has it on the device; "auto" for bf16 in
        OpenVINO on a processor that computes in it, and fp32 otherwise. See docs/engines.md.
    keep_ratio: share of the search tokens that each elimination of an OSTrack keeps, over 0 and up to 1, which turns
        elimination off; None for the model's own.
    threads: of the processor, that the engine computes with; None for its own choice, mostly one for each core.
        PyTorch has one number for the whole process.
    long_term: search the whole frame for a lost target, see ``tracking.longterm``; None as the model's entry says.
    settings: what the tracker should do otherwise than the model's entry in ``MODELS`` says, by the names of
        ``OSTrackSettings``, ``STARKSettings``, ``DaSiamRPNSettings`` or ``SiamRPNSettings``, such as
        {"update_interval": 25}.

    Raises InputError for a name, engine, device, ratio, number or setting that cannot be meant, CheckpointError for
    weights that do not fit, MissingDependencyError for what is not installed.
    """
    models = [str(name)]
    if str(name) not in MODELS and Path(name).suffix in EXPORTED_ENDINGS:
        if weights is not None:
            raise InputError(f"expected one file of weights; got {name} and {weights}; leave one of them out")
        models, weights = list(MODELS), name
    elif str(name) not in MODELS:
        raise InputError(
            f"expected a model among {', '.join(MODELS)}, or the path of an exported .onnx or .xml file; "
            f"got {str(name)!r}; give one of these"
        )
    ratio = None if keep_ratio is None else check_keep_ratio(keep_ratio)
    if threads is not None and threads < 1:
        raise InputError(f"expected 1 or more threads; got {threads}; leave it out for the engine's own number")
    if precision not in PRECISIONS:
        raise InputError(f"expected a precision among {', '.join(PRECISIONS)}; got {precision!r}; give one of these")
    path = None if weights is None else existing_file(weights)
    changes = {**(settings or {}), **({} if long_term is None else {"long_term": long_term})}
    if engine == "auto":
        engine = _choose_engine(device.lower(), path)
    require_engine(engine)
    asked = _Asked(engine=engine, device=device, precision=precision, threads=threads)
    if path is not None and path.suffix in EXPORTED_ENDINGS:
        held, network = _open_exported(models, path, asked, ratio)
        return make_tracker(network, change_settings(held, changes))
    chosen = change_settings(str(name), changes)
    opened = _open_torch if engine == "torch" else _open_on_engine
    return make_tracker(opened(str(name), path, asked, ratio), chosen)


def make_tracker(network: Network, settings: Settings) -> LoadedTracker:
    """The tracker that these settings are of; raises InputError for a long-term search that it is not made for."""
    tracker: ShortTermTracker
    if isinstance(settings, STARKSettings):
        tracker = STARKTracker(network, settings)
    elif isinstance(settings, DaSiamRPNSettings):
        if settings.distractor_aware:
            return DistractorAwareTracker(network, settings)
        tracker = DaSiamRPNTracker(network, settings)
    elif isinstance(settings, SiamRPNSettings):
        tracker = SiamRPNTracker(network, settings)
    else:
        tracker = OSTrackTracker(network, settings)
    return LongTermTracker(tracker) if settings.long_term else tracker


def change_settings(name: str, changes: Mapping[str, Any]) -> Settings:
    """The settings of a model with some of them changed; raises InputError for those that cannot be meant."""
    return common.change_settings(MODELS[name].settings, changes, name)


def _choose_engine(device: str, path: Path | None) -> str:
    """What "auto" means for a device and a file of weights; the engine may turn out not to be installed."""
    installed = installed_engines()
    if device.startswith("mps"):  # which only PyTorch knows
        return "torch"
    if path is not None and path.suffix == ".xml":
        return "openvino"
    if device == "tensorrt":
        return "onnx"
    if device.startswith("cuda"):  # ONNX Runtime knows it in its build for it, and PyTorch reads no .onnx
        exported = path is not None and path.suffix == ".onnx"
        return "torch" if "torch" in installed and not exported else "onnx"
    return next(iter(installed), "openvino")


def normalization_of(settings: Settings) -> Normalization:
    """What the network of a model with these settings wants done to pixels; Siamese networks take them as they are."""
    if isinstance(settings, common.CropSettings):
        return Normalization(mean=settings.mean, std=settings.std)
    return UNCHANGED


def _open_torch(name: str, path: Path | None, asked: _Asked, keep_ratio: float | None) -> Network:
    from singletrack.engines.torch_engine import TorchNetwork

    model = build_model(name, path or bundled_file(name, ".safetensors"), keep_ratio)
    return TorchNetwork(
        model,
        asked.device,
        threads=asked.threads,
        precision=asked.precision,
        normalization=normalization_of(MODELS[name].settings),
    )


def _open_exported(
    models: list[str], path: Path, asked: _Asked, keep_ratio: float | None
) -> tuple[str, OpenVINONetwork | ONNXRuntimeNetwork]:
    """The network of an exported file, which must hold one of ``models``, and which of them it is."""
    if asked.engine == "torch":
        raise InputError(
            f"expected .safetensors or an official checkpoint for engine torch; got {path}; give those, or choose "
            "engine openvino or onnx"
        )
    network = asked.open(path, MODELS[models[0]].settings if len(models) == 1 else None)
    held = network.metadata.get("model", "no name")
    if held not in models:
        raise CheckpointError(
            f"expected a file that holds {' or '.join(models)}; got {path} with {held}; name the right model, "
            "or write the file with `singletrack export`"
        )
    settings = MODELS[held].settings
    sizes = {key: str(getattr(settings, key)) for key in ("template_size", "search_size")}
    taught = {}
    if isinstance(settings, OSTrackSettings):
        plain = OSTrackSettings()
        taught = {
            key: str(getattr(settings, key)) for key in METADATA_KEYS if getattr(settings, key) != getattr(plain, key)
        }
    _require_facts(path, network.metadata, sizes | taught, "export it again with this version")
    if keep_ratio is not None:
        advice = "export the weights again with --keep-ratio"
        _require_facts(path, network.metadata, {"keep_ratio": str(keep_ratio)}, advice)
    if len(models) > 1 and normalization_of(settings) != Normalization():
        network = asked.open(path, settings)
    return held, network


def _open_on_engine(name: str, path: Path | None, asked: _Asked, keep_ratio: float | None) -> Network:
    """The network of the bundled file where that is what was asked for, else of an export of the weights."""
    settings = MODELS[name].settings
    if path is None:
        network = asked.open(bundled_file(name, ".onnx"), settings)
        if keep_ratio is None or network.metadata.get("keep_ratio") == str(keep_ratio):
            return network
        path = bundled_file(name, ".safetensors")
    return asked.open(cached_export(name, path, keep_ratio), settings)


def _require_facts(path: Path, held: Mapping[str, str], asked: Mapping[str, str], advice: str) -> None:
    for key, value in asked.items():
        if held.get(key) != value:
            raise InputError(f"expected a file with {key} {value}; got {path} with {held.get(key)}; {advice}")


def build_model(name: str, path: Path, keep_ratio: float | None = None) -> build.Network:
    """The network of ``name`` in PyTorch with the weights of ``path``, ready for use."""
    require_engine("torch")
    from singletrack.models.build import build_network
    from singletrack.models.checkpoints import load_weights

    model = build_network(MODELS[name].network, keep_ratio).eval()
    load_weights(model, path, name)
    return model


def bundled_file(name: str, suffix: str) -> Path:
    """The weights of ``name`` inside the package; raises InputError, saying what to pass, where there are none."""
    path = Path(str(resources.files("singletrack.weights") / f"{name}{suffix}"))
    if not MODELS[name].bundled or not path.is_file():
        raise InputError(
            f"expected weights for {name}, which come with the package only for "
            f"{', '.join(each for each in MODELS if MODELS[each].bundled)}; got none that fit; pass weights=PATH "
            "(--weights PATH), a .safetensors file or the official checkpoint"
        )
    return path


def existing_file(path: str | Path) -> Path:
    """The path, if a file is there; raises InputError if not."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"expected a file of weights; got {path}, which is no file; check the path")
    return path


def check_keep_ratio(value: float | str) -> float:
    """The ratio as a number over 0 and up to 1; raises InputError for anything else."""
    try:
        ratio = float(value)
    except ValueError:
        ratio = 0.0
    if not 0.0 < ratio <= 1.0:
        raise InputError(f"expected a keep ratio over 0 and up to 1; got {value}; 1 turns elimination off")
    return ratio


# --- exports made on the fly ------------------------------------------------------------------------------------


def cached_export(name: str, weights: Path, keep_ratio: float | None) -> Path:
    """The exported file of these weights, made now if it was not made before or was damaged since.

    A file is known by what it was made of: the bytes of the weights and the code that turns them into a graph.
    """
    key = _digest(weights, *_sources(), name.encode(), str(keep_ratio).encode())
    path = cache_folder() / f"{name}-{key}.onnx"
    seal = path.with_suffix(".blake2b")
    if path.is_file() and seal.is_file() and seal.read_text() == _digest(path):
        return path
    require_packages(f"exporting {name} to another engine", *TRAIN_EXTRA)
    from singletrack.export.to_onnx import export_onnx

    log.warning("Exporting %s once, which may take a minute; kept as %s", name, path)
    seal.unlink(missing_ok=True)
    export_onnx(build_model(name, weights, keep_ratio), path, name=name)
    unfinished = seal.with_suffix(f".{os.getpid()}")
    unfinished.write_text(_digest(path))
    unfinished.replace(seal)
    return path


def cache_folder() -> Path:
    """Where exports are kept: SINGLETRACK_CACHE, else singletrack in XDG_CACHE_HOME, else in ~/.cache."""
    if own := os.environ.get("SINGLETRACK_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "singletrack"


def _compiled_folder() -> Path | None:
    """Where engines keep what they compiled; None where nothing can be written."""
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _sources() -> list[Path]:
    """The code that a graph depends on."""
    package = Path(__file__).parent
    return [
        *sorted((package / "models").rglob("*.py")),
        *(package / "export" / name for name in ("to_onnx.py", "simplify.py")),
    ]


def _digest(*parts: Path | bytes) -> str:
    """A name for the content of files and bytes: 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        one = hashlib.blake2b()
        if isinstance(part, bytes):
            one.update(part)
        else:
            with part.open("rb") as stream:
                while block := stream.read(1 << 20):
                    one.update(block)
        total.update(one.digest())
    return total.hexdigest()
