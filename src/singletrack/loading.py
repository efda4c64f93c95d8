"""Load a tracker: ``load`` opens a model's weights on an engine.

Runs without PyTorch for a bundled model or an exported file. Other weights run on PyTorch, or are exported once for
another engine and kept in the cache.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from singletrack.auto import AUTO, DEFAULT_RATE, check_rate, pick_model
from singletrack.cache import cache_folder, check_cache, compiled_folder, digest
from singletrack.engines import (
    ENGINES,
    EXPORTED_ENDINGS,
    GPU_HELP,
    PRECISION_ALIASES,
    PRECISIONS,
    TRAIN_EXTRA,
    CheckGraph,
    Precision,
    Shapes,
    check_shapes,
    installed_engines,
    open_network,
    require_engine,
    require_packages,
)
from singletrack.engines.beside import files_of
from singletrack.engines.cpu import instructions
from singletrack.engines.preprocessing import UNCHANGED, Normalization
from singletrack.errors import CheckpointError, InputError, MissingDependencyError
from singletrack.files import atomic_write, check_weights_kind, safetensors_metadata, writing
from singletrack.models.configs import (
    NetworkConfig,
    OSTrackConfig,
    change_config,
    stored_config,
    stored_fields,
    variable_fields,
)
from singletrack.registry import (
    MODELS,
    LoadedTracker,
    ModelSpec,
    TrackerSettings,
    change_settings,
    find_model,
    make_tracker,
    unknown_model,
)
from singletrack.tracking.base import Network
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.tracking.state import from_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
    from singletrack.engines.openvino_engine import OpenVINONetwork
    from singletrack.models import build

log = logging.getLogger(__name__)

DEFAULT_MODEL = "ostrack-tiny"
# Compiled networks of larger files, in bytes, are not kept: they are as large again and slow to read back.
LARGEST_KEPT = 100_000_000
# Facts of the network's config that an exported file must agree with; files from before 0.1.0 had other keys.
METADATA_KEYS = ("mark_template", "num_templates")
OLD_METADATA_KEYS = {"templates": "num_templates"}


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded. ``load``, ``track`` and every command that names a model take these options.

    Attributes:
        weights: .safetensors, an official checkpoint, or an exported .onnx or .xml file; None for the bundled ones.
        engine: "openvino", "onnx", "torch", or "auto" for the first of these that is installed; with device "cuda" or
            "mps", for the first that supports it.
        device: as the engine calls it, such as "cpu" or "cuda"; "auto" for the engine's usual one.
        precision: "fp32", "bf16" or "fp16", where the engine supports it on the device; "auto" for bf16 in OpenVINO on
            a CPU with bf16 instructions, and fp32 otherwise. See docs/engines.md.
        keep_ratio: share of the search tokens that each elimination of an OSTrack keeps, above 0 and at most 1, which
            turns elimination off; None for that of the weights, where they carry one, else for the model's own.
        threads: number of CPU threads; None for the engine's choice, usually one for each core. PyTorch has one
            number for the process.
        long_term: search the complete frame for a lost target, see ``tracking.longterm``; None for the model's own.
        min_fps: with model "auto", the updates per second that the chosen model must reach on this machine; None for
            30.
        settings: tracker settings that differ from the model's own, by the names of ``OSTrackSettings``,
            ``STARKSettings``, ``DaSiamRPNSettings`` or ``SiamRPNSettings``, such as {"update_interval": 25}.

    Raises:
        InputError: for a precision, keep ratio, number of threads or frame rate that is not valid.
    """

    weights: str | Path | None = None
    engine: str = "auto"
    device: str = "auto"
    precision: Precision = "auto"
    keep_ratio: float | None = None
    threads: int | None = None
    long_term: bool | None = None
    min_fps: float | None = None
    settings: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", PRECISION_ALIASES.get(self.precision, self.precision))
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        if self.keep_ratio is not None:
            object.__setattr__(self, "keep_ratio", check_keep_ratio(self.keep_ratio))
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be 1 or more; got {self.threads}; leave it out for the engine's choice")
        if self.min_fps is not None:
            object.__setattr__(self, "min_fps", check_rate(self.min_fps))

    @property
    def arguments(self) -> LoadArguments:
        """The options as keyword arguments of ``load``."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[return-value]

    @property
    def changes(self) -> dict[str, Any]:
        """Settings of the tracker that differ from the model's own, with ``long_term`` among them."""
        return {**(self.settings or {}), **({} if self.long_term is None else {"long_term": self.long_term})}


class LoadArguments(TypedDict, total=False):
    """The fields of ``LoadOptions`` as keyword arguments, for type checkers."""

    weights: str | Path | None
    engine: str
    device: str
    precision: Precision
    keep_ratio: float | None
    threads: int | None
    long_term: bool | None
    min_fps: float | None
    settings: Mapping[str, Any] | None


def load(name: str | Path | None = None, **options: Unpack[LoadArguments]) -> LoadedTracker:
    """Load a tracker, ready for ``init``.

    Args:
        name: a model in ``registry.MODELS``, or the path of a file that ``singletrack export`` wrote, which names
            its model. "auto" is the most accurate bundled model that reaches ``min_fps`` on this machine, which is
            measured; the choice is logged. None is the model that the weights name, or ``ostrack-tiny``.
        **options: see ``LoadOptions``.

    Returns:
        The tracker.

    Raises:
        InputError: for an unknown name, engine, device or setting, or an invalid value.
        CheckpointError: for weights that do not fit the model.
        MissingDependencyError: for a package that is not installed.
    """
    return load_with(name, make_options(options))


def make_options(options: Mapping[str, Any]) -> LoadOptions:
    """Build ``LoadOptions`` from keyword arguments; raises InputError, listing the options, for an unknown one."""
    known = LoadOptions.__dataclass_fields__
    for option in options:
        if option not in known:
            raise InputError(f"unknown option {option!r}; choose among {', '.join(known)}")
    return LoadOptions(**options)


def choose_model(name: str | Path | None, options: LoadOptions) -> tuple[str | Path, LoadOptions]:
    """Return the model to load, and the options, where no name or "auto" was given.

    Weights of ours hold the name of their model. Raises InputError for weights that do not, and for ``min_fps`` with
    another model than "auto".
    """
    if name == AUTO:
        return _choose_by_speed(replace(options, min_fps=options.min_fps or DEFAULT_RATE)), replace(
            options, min_fps=None
        )
    if options.min_fps is not None:
        raise InputError(f"min_fps is for model {AUTO}, which chooses by speed; leave it out, or name no other model")
    if name is not None:
        return name, options
    if options.weights is None:
        return DEFAULT_MODEL, options
    path = existing_file(options.weights)
    if path.suffix in EXPORTED_ENDINGS:
        return path, replace(options, weights=None)
    held = safetensors_metadata(path).get("model")
    if held in MODELS:
        return held, options
    raise InputError(
        f"{path} does not name its model; add --model NAME (model=NAME), one of {', '.join(MODELS)}; or convert it "
        "once with `singletrack convert`"
    )


def _choose_by_speed(options: LoadOptions) -> str:
    """Return the most accurate bundled model that reaches ``min_fps`` here; measured once for each set of options."""
    if options.weights is not None:
        raise InputError(f"model {AUTO} chooses among the bundled models; got weights {options.weights}; leave one out")
    key = repr(options)
    if key in _chosen:
        return _chosen[key]
    models = [name for name, entry in MODELS.items() if entry.bundled][::-1]
    assert options.min_fps is not None
    name, rates = pick_model(models, lambda name: _load(name, options), options.min_fps)
    found = ", ".join(f"{each} {rate:.0f}" for each, rate in rates.items())
    log.warning("Chose %s: wanted %g updates per second, measured %s", name, options.min_fps, found)
    _chosen[key] = name
    return name


_chosen: dict[str, str] = {}  # options -> model


def restore(state: bytes, tracker: LoadedTracker | None = None, **options: Unpack[LoadArguments]) -> LoadedTracker:
    """Continue a tracker from the bytes that its ``state()`` returned.

        state = tracker.state()
        ...
        tracker = singletrack.restore(state)
        result = tracker.update(frame)

    Args:
        state: What ``state()`` returned.
        tracker: A loaded tracker of the same model and weights. The restored one shares its network, so that a server
            loads the network once. Without it, the model is loaded as before, from the same paths; states that come
            from others should not decide what is loaded.
        **options: Load options that differ from those before, such as other paths; see ``LoadOptions``.

    Returns:
        The tracker, ready for ``update``.

    Raises:
        InputError: for bytes that are no state, or the state of another model.
    """
    content = from_bytes(state)
    if tracker is None:
        origin = content.get("origin")
        if not isinstance(origin, dict):
            raise InputError("this state does not name its model; load the model, and pass it as tracker")
        restored = load_with(origin["model"], make_options({**origin["options"], **options}))
    else:
        restored = copy.copy(tracker)
    restored.continue_from(content)
    return restored


def load_with(name: str | Path | None, options: LoadOptions) -> LoadedTracker:
    """Load a tracker with options in one object; see ``load``."""
    name, options = choose_model(name, options)
    tracker = _load(name, options)
    arguments: dict[str, Any] = {**options.arguments}
    if options.weights is not None:
        arguments["weights"] = str(Path(options.weights).absolute())
    tracker.origin = {"model": str(name if str(name) in MODELS else Path(name).absolute()), "options": arguments}
    return tracker


def _load(name: str | Path, options: LoadOptions) -> LoadedTracker:
    weights = options.weights
    models = [str(name)]
    if str(name) not in MODELS and Path(name).suffix in EXPORTED_ENDINGS:
        if weights is not None:
            raise InputError(f"expected one weights file; got {name} and {weights}; leave one of them out")
        models, weights = list(MODELS), name
    elif str(name) not in MODELS:
        raise unknown_model(str(name), "or give the path of an exported .onnx or .xml file")
    path = None if weights is None else existing_file(weights)
    engine = options.engine
    if engine == "auto":
        engine = _choose_engine(options.device.lower(), path)
    _require_gpu_packages(engine, options.device.lower())
    require_engine(engine)
    options = replace(options, engine=engine)
    if path is not None and path.suffix in EXPORTED_ENDINGS:
        held, network = _open_exported(models, path, options)
        settings = change_settings(held, options.changes)
        return make_tracker(network, fit_settings(settings, exported_config(MODELS[held].network, network.metadata)))
    settings = change_settings(models[0], options.changes)  # invalid ones are reported before anything is opened
    if path is not None:
        settings = fit_settings(settings, trained_config(models[0], path, options.keep_ratio))
    open_model = _open_torch if engine == "torch" else _open_on_engine
    return make_tracker(open_model(models[0], path, options), settings)


def fit_settings(settings: TrackerSettings, config: NetworkConfig) -> TrackerSettings:
    """Return tracker settings with what the config of trained weights decides."""
    if isinstance(settings, OSTrackSettings) and isinstance(config, OSTrackConfig):
        return replace(settings, box_channel=config.box_channel)
    return settings


def exported_config(config: NetworkConfig, metadata: Mapping[str, str]) -> NetworkConfig:
    """Return a config with what the metadata of an exported file says about its inputs."""
    rows = metadata.get("template_rows")
    return config if rows is None else change_config(config, {"template_rows": rows})


def _choose_engine(device: str, path: Path | None) -> str:
    """Choose the engine that "auto" means for a device and a weights file; it may turn out not to be installed."""
    installed = installed_engines()
    if device.startswith("mps"):  # which only PyTorch knows
        return "torch"
    if path is not None and path.suffix == ".xml":
        return "openvino"
    if device == "tensorrt":
        return "onnx"
    if device.startswith("cuda"):  # ONNX Runtime supports it in its GPU build, and PyTorch reads no .onnx
        exported = path is not None and path.suffix == ".onnx"
        return "torch" if "torch" in installed and not exported else "onnx"
    return next(iter(installed), "openvino")


def _require_gpu_packages(engine: str, device: str) -> None:
    """Raise MissingDependencyError, naming the packages for GPUs, if a GPU is wanted and its engine is missing."""
    if device.startswith(("cuda", "tensorrt")) and engine in ENGINES:
        missing = [package for package in ENGINES[engine][0] if find_spec(package) is None]
        if missing:
            raise MissingDependencyError(
                f"device {device} needs a GPU build; got no {' and no '.join(missing)}; {GPU_HELP}"
            )


def normalization_of(config: NetworkConfig) -> Normalization:
    """Return what a network needs done to pixels."""
    return UNCHANGED if config.raw_pixels else Normalization()


def _open_file(
    path: Path, options: LoadOptions, name: str | None, check: CheckGraph | None = None
) -> OpenVINONetwork | ONNXRuntimeNetwork:
    """Open the exported file of a model; None where the file itself says which model it holds.

    check: as for ``engines.open_network``; None compares the shapes with those of the model, where it is known.
    """
    if check is None and name is not None:
        check = partial(_check_shapes, path, MODELS[name])
    size = sum(file.stat().st_size for file in files_of(path))
    return open_network(
        options.engine,
        path,
        options.device,
        options.threads,
        precision=options.precision,
        normalization=None if name is None else normalization_of(MODELS[name].network),
        cache=compiled_folder(instructions()) if size <= LARGEST_KEPT else None,
        check=check,
    )


def _open_torch(name: str, path: Path | None, options: LoadOptions) -> Network:
    from singletrack.engines.torch_engine import TorchNetwork

    return TorchNetwork(
        build_model(name, path or bundled_file(name, ".safetensors"), options.keep_ratio),
        options.device,
        threads=options.threads,
        precision=options.precision,
        normalization=normalization_of(MODELS[name].network),
    )


def _open_exported(
    models: list[str], path: Path, options: LoadOptions
) -> tuple[str, OpenVINONetwork | ONNXRuntimeNetwork]:
    """Open an exported file, which must hold one of ``models``; returns which of them, and the network."""
    if options.engine == "torch":
        raise InputError(
            f"engine torch needs .safetensors or an official checkpoint; got {path}; give one of these, or choose "
            "engine openvino or onnx"
        )

    def check(metadata: Mapping[str, str], shapes: Shapes) -> None:
        metadata = {OLD_METADATA_KEYS.get(key, key): value for key, value in metadata.items()}
        held = metadata.get("model", "no name")
        if held not in models:
            raise CheckpointError(
                f"expected a file that holds {' or '.join(models)}; got {path} with {held}; name the right model, "
                "or write the file with `singletrack export`"
            )
        config = MODELS[held].network
        facts = {key: str(getattr(config, key)) for key in ("template_size", "search_size")}
        # a file may leave out what is as published: files of the published models from before stated less
        published = {"mark_template": "False", "num_templates": "1"}
        for key in METADATA_KEYS:
            if key in config.metadata and str(config.metadata[key]) != published[key]:
                facts[key] = str(config.metadata[key])
        _require_facts(path, metadata, facts, "export it again with this version")
        if options.keep_ratio is not None:
            advice = "export the weights again with --keep-ratio"
            _require_facts(path, metadata, {"keep_ratio": str(options.keep_ratio)}, advice)
        _check_shapes(path, MODELS[held], metadata, shapes)

    network = _open_file(path, options, models[0] if len(models) == 1 else None, check)
    held = network.metadata["model"]
    config = MODELS[held].network
    if len(models) > 1 and config.raw_pixels:
        network = _open_file(path, options, held)
    return held, network


def _open_on_engine(name: str, path: Path | None, options: LoadOptions) -> Network:
    """Open the bundled file if that is wanted, else an export of the weights."""
    if path is None:
        network = _open_file(bundled_file(name, ".onnx"), options, name)
        if options.keep_ratio is None or network.metadata.get("keep_ratio") == str(options.keep_ratio):
            return network
        path = bundled_file(name, ".safetensors")
    return _open_file(cached_export(name, path, options.keep_ratio), options, name)


def _check_shapes(path: Path, spec: ModelSpec, metadata: Mapping[str, str], shapes: Shapes) -> None:
    """Raise CheckpointError unless a file has the inputs and outputs that the model's tracker works with."""
    config = exported_config(spec.network, metadata)
    maps = config.map_shapes
    if config.center_head and "boxes" in shapes:  # decoded in the graph
        maps = {"boxes": (2, 4), "peaks": (2,), "score": (None, None)}
    search = (config.search_shape[0], None, None) if config.free_search_size else config.search_shape
    template: tuple[int | None, ...] = config.template_shape
    expected = {"template": template, "search": search, **maps}
    check_shapes(path, {name: (None, *sizes) for name, sizes in expected.items()}, shapes)


def _require_facts(path: Path, held: Mapping[str, str], wanted: Mapping[str, str], advice: str) -> None:
    for key, value in wanted.items():
        if held.get(key) != value:
            raise InputError(f"expected a file with {key} {value}; got {path} with {held.get(key)}; {advice}")


def build_model(name: str, path: Path, keep_ratio: float | None = None) -> build.AnyNetwork:
    """Build the PyTorch network of a model with the weights of a file, in evaluation mode."""
    require_engine("torch")
    from singletrack.models.build import build_network
    from singletrack.models.checkpoints import load_weights

    model = build_network(trained_config(name, path, keep_ratio), keep_ratio).eval()
    load_weights(model, path, name)
    return model


def trained_config(name: str, path: Path, keep_ratio: float | None = None) -> NetworkConfig:
    """Return the config of a model as the weights file carries it, see ``models.configs.stored_config``.

    Raises:
        CheckpointError: the file is of another network.
        InputError: ``keep_ratio`` is another than that of the file.
    """
    config = stored_config(find_model(name).network, path)
    fields = stored_fields(path)
    trained = set(fields.get("keep_ratios") or [fields["keep_ratio"]]) if "keep_ratio" in fields else set()
    if keep_ratio is not None and trained - {keep_ratio}:
        held = ", ".join(f"{each:g}" for each in sorted(trained))
        raise InputError(
            f"{path} was trained with keep ratio {held}; got keep ratio {keep_ratio:g}; leave it out, or write a "
            f"copy for that ratio: singletrack convert {path} --model {name} --keep-ratio {keep_ratio:g} --out COPY"
        )
    return config


def bundled_file(name: str, suffix: str) -> Path:
    """Return the path of a model's bundled weights; raises InputError, saying what to pass, where there are none."""
    path = Path(str(resources.files("singletrack.weights") / f"{name}{suffix}"))
    if not find_model(name).bundled or not path.is_file():
        raise InputError(
            f"no bundled weights for {name}; the package holds those of "
            f"{', '.join(each for each in MODELS if MODELS[each].bundled)}; pass weights=PATH (--weights PATH), a "
            ".safetensors file or the official checkpoint"
        )
    return path


def existing_file(path: str | Path) -> Path:
    """Return the path if a file is there; raises InputError if not."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights file not found: {path}; check the path")
    check_weights_kind(path)
    return path


def weights_files(path: str | Path) -> list[Path]:
    """Return the files that hold given weights; raises InputError if there are none."""
    path = existing_file(path)
    return files_of(path) if path.suffix in EXPORTED_ENDINGS else [path]


def check_keep_ratio(value: float | str) -> float:
    """Return the keep ratio as a number above 0 and at most 1; raises InputError for anything else."""
    try:
        ratio = float(value)
    except ValueError:
        ratio = 0.0
    if not 0.0 < ratio <= 1.0:
        raise InputError(f"keep ratio must be above 0 and at most 1; got {value}; 1 turns elimination off")
    return ratio


def cached_export(name: str, weights: Path, keep_ratio: float | None) -> Path:
    """Return the exported file of these weights, exporting now if the cache lacks it or it was damaged.

    The file's name is a digest of the weights' tensors and of the code that turns them into a graph, so that a
    checkpoint and what it was converted to share one export. An alias of the bytes of the weights leads to it, without
    reading the tensors.
    """
    config = trained_config(name, weights, keep_ratio)
    code = digest(*_sources(), name.encode(), f"{keep_ratio} {variable_fields(config)}".encode()).encode()
    alias = cache_folder() / f"{name}-{digest(weights, code)}.alias"
    if alias.is_file() and _is_sealed(path := cache_folder() / Path(alias.read_text().strip()).name):
        return path
    require_packages(f"exporting {name} to another engine", *TRAIN_EXTRA)
    check_cache(2 * weights.stat().st_size)
    from singletrack.export.to_onnx import export_onnx

    model = build_model(name, weights, keep_ratio)
    tensors = (digest(key.encode(), value.numpy().tobytes()) for key, value in sorted(model.state_dict().items()))
    path = cache_folder() / f"{name}-{digest(','.join(tensors).encode(), code)}.onnx"
    if not _is_sealed(path):
        log.warning("Exporting %s once, which may take a minute; kept as %s", name, path)
        seal = path.with_suffix(".blake2b")
        with writing(path):
            seal.unlink(missing_ok=True)
            export_onnx(model, path, name=name)
            with atomic_write(seal) as unfinished:
                unfinished.write_text(digest(path))
    with writing(alias), atomic_write(alias) as unfinished:
        unfinished.write_text(path.name)
    return path


def _is_sealed(path: Path) -> bool:
    """Return whether a cached export is there as it was written."""
    seal = path.with_suffix(".blake2b")
    return path.suffix == ".onnx" and path.is_file() and seal.is_file() and seal.read_text() == digest(path)


def _sources() -> list[Path]:
    """Return the code that a graph depends on."""
    package = Path(__file__).parent
    return [
        *sorted((package / "models").rglob("*.py")),
        package / "registry.py",
        *(package / "export" / name for name in ("to_onnx.py", "simplify.py")),
    ]
