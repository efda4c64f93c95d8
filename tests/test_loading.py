"""Models by name: what can be loaded, from what, on which engine; and the cache of exports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch

from singletrack import engines, loading
from singletrack.cache import cache_folder
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
from singletrack.engines.openvino_engine import OpenVINONetwork
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import CheckpointError, InputError, MissingDependencyError
from singletrack.export import to_onnx
from singletrack.loading import OLD_METADATA_KEYS, LoadArguments, LoadOptions, choose_model, load
from singletrack.models.checkpoints import save_safetensors, with_metadata
from singletrack.models.configs import OSTrackConfig, STARKConfig
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.models.stark import build_stark
from singletrack.registry import MODELS, change_settings, network_config
from singletrack.tracking.longterm import LongTermTracker
from singletrack.tracking.multi import MultiTracker
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.tracking.stark import STARKSettings, STARKTracker

BUNDLED = Path(loading.__file__).parent / "weights" / "ostrack-tiny.onnx"
# stands in for ostrack-tiny: the same crops, but a network that is exported in a few seconds
LITTLE = OSTrackConfig(
    template_size=112,
    search_size=224,
    mark_template=True,
    num_templates=2,
    width=32,
    depth=2,
    heads=2,
    drop_path=0.0,
    eliminate_in=(0,),
    head_channels=16,
)


@pytest.fixture(scope="module")
def little() -> Iterator[None]:
    before = MODELS["ostrack-tiny"]
    MODELS["ostrack-tiny"] = replace(before, network=LITTLE)
    yield
    MODELS["ostrack-tiny"] = before


@pytest.fixture(scope="module")
def weights(little: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "little.safetensors"
    save_safetensors(build_ostrack(LITTLE).state_dict(), path, "ostrack-tiny")
    return path


@pytest.fixture(scope="module")
def filled_cache(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the export of ``weights``."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SINGLETRACK_CACHE", str(folder))
        load("ostrack-tiny", weights=weights)
    return folder


@pytest.fixture
def exported(filled_cache: Path) -> Path:
    (path,) = filled_cache.glob("*.onnx")
    return path


@pytest.fixture
def cache(filled_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the filled cache, in use."""
    folder = tmp_path / "cache"
    shutil.copytree(filled_cache, folder)
    monkeypatch.setenv("SINGLETRACK_CACHE", str(folder))
    return folder


@pytest.fixture
def exports(exported: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Exporting only copies a ready file; what was asked for is noted."""
    asked: list[str] = []

    def export_onnx(model: OSTrack, path: Path, *, name: str) -> None:
        asked.append(f"{name} {model.config.keep_ratio}")
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(exported, path)

    monkeypatch.setattr(to_onnx, "export_onnx", export_onnx)
    return asked


def test_sizes_of_the_tracker_are_those_of_the_network() -> None:
    for name, spec in MODELS.items():
        settings, network = spec.tracker_settings, spec.network
        assert (settings.template_size, settings.search_size) == (network.template_size, network.search_size), name
    tiny = MODELS["ostrack-tiny"].tracker_settings
    assert isinstance(tiny, OSTrackSettings)
    assert (tiny.template_size, tiny.search_size, tiny.num_templates, tiny.mark_template) == (112, 224, 2, True)
    assert MODELS["ostrack-384"].tracker_settings.search_size == 384
    assert MODELS["siamrpnpp-alex"].tracker_settings.search_size == 287


def test_options_of_load_are_those_of_the_dataclass() -> None:
    hints = typing.get_type_hints(LoadOptions)
    assert typing.get_type_hints(LoadArguments) == hints
    with pytest.raises(InputError, match="unknown option 'keep'; choose among weights, engine"):
        load("ostrack-tiny", keep=0.7)  # type: ignore[call-arg]
    assert LoadOptions(precision="f32").precision == "fp32"  # type: ignore[arg-type]


@pytest.mark.parametrize(("missing", "value"), [("mark_template", "True"), ("num_templates", "2")])
def test_a_file_from_before_the_network_was_taught_more_is_refused(tmp_path: Path, missing: str, value: str) -> None:
    graph = onnx.load(BUNDLED)
    facts = {
        entry.key: entry.value
        for entry in graph.metadata_props
        if OLD_METADATA_KEYS.get(entry.key, entry.key) != missing
    }
    onnx.helper.set_model_props(graph, facts)
    onnx.save(graph, tmp_path / "before.onnx")
    with pytest.raises(InputError, match=rf"{missing} {value}; got .* with None; export it again"):
        load(tmp_path / "before.onnx")


def test_what_the_network_was_taught_cannot_be_set() -> None:
    with pytest.raises(InputError, match="unknown setting 'mark_template' of ostrack-tiny"):
        load("ostrack-tiny", settings={"mark_template": False})


def test_starks_renew_a_template_where_they_have_learned_when() -> None:
    starks = {name: spec for name, spec in MODELS.items() if isinstance(spec.network, STARKConfig)}
    assert len(starks) == 11
    for name, spec in starks.items():
        assert (spec.tracker_settings.update_interval is not None) == spec.network.score_head, name  # type: ignore[union-attr, attr-defined]


def test_only_our_own_models_hold_their_place_when_lost() -> None:
    holding = [name for name, entry in MODELS.items() if getattr(entry.tracker_settings, "hold_when_lost", False)]
    assert holding == ["ostrack-nano", "ostrack-tiny", "ostrack-small"]


def test_settings_of_the_tracker_can_be_changed(exported: Path) -> None:
    tracker = load(exported, settings={"lost_after": 9, "hold_when_lost": False})
    assert tracker.settings == replace(MODELS["ostrack-tiny"].tracker_settings, lost_after=9, hold_when_lost=False)
    assert change_settings("stark-st50", {"update_interval": 25}) == STARKSettings(update_interval=25)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (
            "ostrack-tiny",
            {"update_every": 25},
            "unknown setting 'upd",
        ),
        ("ostrack-256", {"update_interval": 25}, "update_interval must be None with a single template"),
        ("stark-st50", {"search_size": 256}, "unknown setting 'search_size' of stark-st50"),
        ("stark-s50", {"update_interval": 25}, "update_interval must be None with a single template"),
        (
            "stark-st50",
            {"lost_below": None},
            "lost_below must be a finite number; got None",
        ),
        ("stark-st50", {"lost_after": 0}, "lost_after must be at least 1"),
    ],
)
def test_settings_that_cannot_be_changed(model: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(model, weights=BUNDLED.with_suffix(".safetensors"), engine="torch", settings=changes)


def test_engines_agree(weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in full precision, also on a processor where OpenVINO would take bf16, which is coarser than 0.02 px
    monkeypatch.setattr(OpenVINONetwork, "_choose_precision", lambda self, asked: "fp32")
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    boxes = {}
    kinds = {"torch": TorchNetwork, "openvino": OpenVINONetwork, "onnx": ONNXRuntimeNetwork, "auto": OpenVINONetwork}
    for engine, kind in kinds.items():
        tracker = load("ostrack-tiny", weights=weights, engine=engine, device="cpu")
        assert isinstance(tracker.network, kind)
        assert getattr(tracker.network, "precision", "fp32") == "fp32"
        tracker.init(frame, (60.0, 40.0, 30.0, 30.0))
        boxes[engine] = tracker.update(frame).box
    for engine, box in boxes.items():
        np.testing.assert_allclose(box, boxes["torch"], atol=0.02, err_msg=engine)


def test_engines_agree_on_stark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after its second template was renewed, and at the border of the frame."""
    monkeypatch.setattr(OpenVINONetwork, "_choose_precision", lambda self, asked: "fp32")
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path / "cache"))
    small = {"blocks": (1, 1, 1), "resnet_width": 4, "width": 16, "heads": 2, "hidden": 16}
    config = replace(network_config("stark-st50", STARKConfig), **small, encoder_layers=1, decoder_layers=1)
    monkeypatch.setitem(MODELS, "stark-st50", replace(MODELS["stark-st50"], network=config))
    torch.manual_seed(0)
    model = build_stark(config)
    model.score_head[-1].bias.data.fill_(2.0)  # type: ignore[index]
    weights = tmp_path / "stark.safetensors"
    save_safetensors(model.state_dict(), weights, "stark-st50")
    frames = np.random.default_rng(0).integers(0, 256, (5, 120, 160, 3), dtype=np.uint8)
    results = {}
    for engine in ("torch", "openvino", "onnx"):
        tracker = load("stark-st50", weights=weights, engine=engine, device="cpu", settings={"update_interval": 2})
        tracker.init(frames[0], (-10.0, 40.0, 60.0, 60.0))
        results[engine] = [tracker.update(frame) for frame in frames]
    for engine, each in results.items():
        boxes, scores = ([getattr(result, name) for result in each] for name in ("box", "score"))
        np.testing.assert_allclose(boxes, [result.box for result in results["torch"]], atol=0.02, err_msg=engine)
        np.testing.assert_allclose(scores, [result.score for result in results["torch"]], atol=1e-4, err_msg=engine)
        assert min(scores) > 0.5
    exported = next((tmp_path / "cache").glob("stark-st50-*.onnx"))
    assert isinstance(load(exported), STARKTracker)
    with pytest.raises(InputError, match=r"expected a file with keep_ratio 0\.5; got .* with None"):
        load(exported, keep_ratio=0.5)
    with pytest.raises(InputError, match=r"needs a network that eliminates tokens; got 0\.5"):
        load("stark-st50", weights=weights, engine="torch", keep_ratio=0.5)


def test_exported_once_for_all_engines(weights: Path, cache: Path, exports: list[str]) -> None:
    load("ostrack-tiny", weights=weights, engine="openvino")
    load("ostrack-tiny", weights=str(weights), engine="onnx")
    assert exports == []
    assert sorted(file.suffix for file in cache.iterdir() if file.is_file()) == [".alias", ".blake2b", ".onnx"]


def test_the_same_tensors_in_another_file_are_not_exported_again(
    weights: Path, cache: Path, exports: list[str], tmp_path: Path
) -> None:
    tensors = safetensors.torch.load_file(weights)
    torch.save({"net": tensors}, tmp_path / "checkpoint.pth.tar")
    load("ostrack-tiny", weights=tmp_path / "checkpoint.pth.tar")
    assert exports == []
    assert len(list(cache.glob("*.alias"))) == 2
    assert len(list(cache.glob("*.onnx"))) == 1


def test_weights_name_their_model(weights: Path, cache: Path, exports: list[str]) -> None:
    assert isinstance(load(weights=weights), LongTermTracker)
    (exported,) = cache.glob("*.onnx")
    assert isinstance(load(weights=exported), LongTermTracker)
    assert choose_model(None, LoadOptions()) == ("ostrack-tiny", LoadOptions())
    assert choose_model("ostrack-256", LoadOptions(weights=weights))[0] == "ostrack-256"


@pytest.mark.parametrize("content", [b"x" * 40, (4).to_bytes(8, "little") + b"[[[[", (2**40).to_bytes(8, "little")])
def test_weights_that_name_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "official.pth.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"does not name its model; add --model NAME"):
        load(weights=tmp_path / "official.pth.tar")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 370\n", "git-lfs pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>", "web page"),
        (b"\xef\xbb\xbf<HTML>", "web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
        (b'{"error": "Repository not found"}', "error message of a server"),
        (b"", "empty file"),
    ],
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.onnx"])
def test_files_that_are_no_weights_are_named(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"expected weights; .*{name} is .*{kind}"):
        load("ostrack-tiny", weights=tmp_path / name)
    with pytest.raises(CheckpointError, match="expected weights"):
        load(weights=tmp_path / name)


def test_a_gpu_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singletrack.loading.installed_engines", lambda: ["openvino"])
    monkeypatch.setattr("singletrack.loading.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"needs a GPU build; got no onnxruntime .*onnxruntime-gpu\[cuda"):
        load(device="cuda")


def test_a_gpu_with_the_packages_for_cpus(weights: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a PyTorch that knows no GPU")
    with pytest.raises(InputError, match=r"PyTorch has no device 'cuda' here.*PyTorch with CUDA"):
        load(weights=weights, device="cuda", engine="torch")


def test_another_ratio_and_other_weights_are_exported_anew(
    weights: Path, cache: Path, exports: list[str], tmp_path: Path
) -> None:
    load("ostrack-tiny", weights=weights, keep_ratio=1.0)
    other = tmp_path / "other.safetensors"
    save_safetensors(build_ostrack(LITTLE).state_dict(), other, "ostrack-tiny")
    load("ostrack-tiny", weights=other)
    assert exports == ["ostrack-tiny 1.0", "ostrack-tiny 0.7"]
    assert len(list(cache.glob("*.onnx"))) == 3


@pytest.mark.parametrize("damage", ["cut", "changed", "seal gone"])
def test_damaged_cache_is_made_anew(damage: str, weights: Path, cache: Path, exports: list[str]) -> None:
    (path,) = cache.glob("*.onnx")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:1000])
    elif damage == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.with_suffix(".blake2b").unlink()
    load("ostrack-tiny", weights=weights)
    assert exports == ["ostrack-tiny 0.7"]
    load("ostrack-tiny", weights=weights)
    assert exports == ["ostrack-tiny 0.7"]


def test_a_ready_export_needs_no_torch(
    weights: Path, cache: Path, exports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    load("ostrack-tiny", weights=weights)
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path / "empty"))
    for engine in ("torch", "openvino"):
        with pytest.raises(MissingDependencyError, match=r"run: pip install .*\[train\]"):
            load("ostrack-tiny", weights=weights, engine=engine)


def test_an_export_is_made_anew_when_any_code_of_models_changed() -> None:
    sources = {str(path.relative_to(Path(loading.__file__).parent).as_posix()) for path in loading._sources()}
    assert {"models/ostrack.py", "models/checkpoints.py", "models/layers/towers.py", "export/to_onnx.py"} <= sources


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_exported_file_knows_its_model(exported: Path, engine: str) -> None:
    for tracker in (load(exported, engine=engine), load("ostrack-tiny", weights=exported, engine=engine)):
        assert tracker.settings == MODELS["ostrack-tiny"].tracker_settings
    load(str(exported), engine=engine, keep_ratio=0.7)
    with pytest.raises(InputError, match=r"expected a file with keep_ratio 1\.0; got .* with 0\.7"):
        load(exported, engine=engine, keep_ratio=1.0)
    with pytest.raises(CheckpointError, match=r"expected a file that holds ostrack-256; got .* with ostrack-tiny"):
        load("ostrack-256", weights=exported, engine=engine)
    with pytest.raises(InputError, match="expected one weights file"):
        load(exported, weights=exported, engine=engine)


def test_export_of_other_crops_is_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = MODELS["ostrack-tiny"]
    other = replace(entry, network=replace(entry.network, search_size=256))
    monkeypatch.setitem(MODELS, "ostrack-tiny", other)
    with pytest.raises(InputError, match=r"expected a file with search_size 256; got .* with 224"):
        load(exported)


def test_torch_takes_no_exported_file(exported: Path) -> None:
    with pytest.raises(InputError, match="choose engine openvino or onnx"):
        load(exported, engine="torch")


def test_bundled_weights(
    weights: Path, exported: Path, cache: Path, exports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {".onnx": exported, ".safetensors": weights}
    monkeypatch.setattr(loading, "bundled_file", lambda name, suffix: files[suffix])
    load("ostrack-tiny")
    load("ostrack-tiny", keep_ratio=0.7)
    load("ostrack-tiny", engine="torch", keep_ratio=1.0)
    assert exports == []
    load("ostrack-tiny", keep_ratio=1.0)
    assert exports == ["ostrack-tiny 1.0"]


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_a_bundled_graph_without_its_weights_says_so(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(BUNDLED, tmp_path)
    monkeypatch.setattr(loading, "bundled_file", lambda name, suffix: tmp_path / f"{name}{suffix}")
    with pytest.raises(CheckpointError, match=r"ostrack-tiny\.safetensors, which is not there; .*install singletrack"):
        load("ostrack-tiny", engine=engine)


def test_bundled_model_without_torch() -> None:
    check = (
        "import sys; sys.modules['torch'] = None; from singletrack.loading import load; "
        "load('ostrack-tiny', engine='openvino', device='cpu')"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_published_models_ask_for_weights(engine: str) -> None:
    with pytest.raises(InputError, match=r"no bundled weights for ostrack-256.*pass weights=PATH"):
        load("ostrack-256", engine=engine)


@pytest.mark.parametrize("name", ["ostrack", "", "Ostrack-tiny", "tiny.pth"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(
        InputError, match=r"unknown model .*; choose one of ostrack-nano, ostrack-tiny, ostrack-small, ostrack-256"
    ):
        load(name)


@pytest.mark.parametrize("ratio", [0, -1, 1.01, float("nan"), "much"])
def test_ratios_that_cannot_be_meant(ratio: float) -> None:
    with pytest.raises(InputError, match="keep ratio must be above 0 and at most 1; got"):
        load("ostrack-tiny", keep_ratio=ratio)


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("openvino", "weights"), ("openvino", "exported"), ("onnx", "exported"), ("torch", "weights")],
)
def test_threads_reach_the_engine(
    engine: str, kind: str, weights: Path, exported: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def note(self: object, *_: object, **options: object) -> None:
        asked.append(options["threads"])
        raise MissingDependencyError

    for network in (OpenVINONetwork, ONNXRuntimeNetwork, TorchNetwork):
        monkeypatch.setattr(network, "__init__", note)
    with pytest.raises(MissingDependencyError):
        load("ostrack-tiny", weights={"weights": weights, "exported": exported}[kind], engine=engine, threads=2)
    assert asked == [2]


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_cannot_be_meant(threads: int) -> None:
    with pytest.raises(InputError, match="threads must be 1 or more; got"):
        load("ostrack-tiny", threads=threads)


def test_weights_that_are_no_file(tmp_path: Path) -> None:
    for name, weights in (("ostrack-tiny", tmp_path / "none.safetensors"), (tmp_path / "none.onnx", None)):
        with pytest.raises(InputError, match=r"weights file not found: .*none.*check the path"):
            load(name, weights=weights)


def test_unknown_engine_and_device(exported: Path) -> None:
    with pytest.raises(InputError, match="unknown engine 'tensorrt'; choose one of openvino, onnx, torch"):
        load(exported, engine="tensorrt")
    with pytest.raises(InputError, match="OpenVINO has no device 'abacus' here"):
        load(exported, engine="openvino", device="abacus")


@pytest.mark.parametrize(
    ("device", "weights", "installed", "chosen"),
    [
        ("auto", "tiny.onnx", ["openvino", "torch"], "openvino"),
        ("cpu", "tiny.safetensors", ["onnx", "torch"], "onnx"),
        ("cuda", "tiny.safetensors", ["openvino", "onnx", "torch"], "torch"),
        ("CUDA:1", "tiny.safetensors", ["openvino", "onnx", "torch"], "torch"),
        ("cuda", "tiny.safetensors", ["openvino", "onnx"], "onnx"),
        ("Cuda", "tiny.onnx", ["openvino", "onnx", "torch"], "onnx"),
        ("MPS", "tiny.safetensors", ["openvino", "onnx"], "torch"),
        ("auto", "tiny.onnx", [], "openvino"),
    ],
)
def test_engine_auto(
    device: str, weights: str, installed: list[str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(engine: str) -> None:
        raise MissingDependencyError(engine)

    monkeypatch.setattr(loading, "installed_engines", lambda: installed)
    monkeypatch.setattr(loading, "require_engine", refuse)
    (tmp_path / weights).write_bytes(b"weights")
    with pytest.raises(MissingDependencyError, match=f"^{chosen}$"):
        load("ostrack-tiny", weights=tmp_path / weights, device=device)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SINGLETRACK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "singletrack"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "singletrack"
    monkeypatch.setenv("SINGLETRACK_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


# --- weights carry what their training varied ---


def carrying(folder: Path, **changes: object) -> Path:
    """Weights of a network with changed fields, as a training run leaves them."""
    model = build_ostrack(replace(LITTLE, **changes))
    path = folder / "carrying.safetensors"
    save_safetensors(model.state_dict(), path, "ostrack-tiny", model.config)
    return path


def test_weights_without_elimination_run_without_it(cache: Path, exports: list[str], tmp_path: Path) -> None:
    path = carrying(tmp_path, keep_ratio=1.0)
    load("ostrack-tiny", weights=path)
    assert exports == ["ostrack-tiny 1.0"]
    assert loading.build_model("ostrack-tiny", path).config.keep_ratio == 1.0
    load("ostrack-tiny", weights=path, engine="torch", keep_ratio=1.0)
    with pytest.raises(
        InputError, match=r"was trained with keep ratio 1; got keep ratio 0\.7; leave it out, or write a"
    ):
        load("ostrack-tiny", weights=path, engine="torch", keep_ratio=0.7)
    with pytest.raises(InputError, match="was trained with keep ratio 1"):
        load("ostrack-tiny", weights=path, keep_ratio=0.7)


def test_equal_tensors_with_another_ratio_are_another_export(cache: Path, exports: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    load("ostrack-tiny", weights=carrying(tmp_path, keep_ratio=1.0))
    torch.manual_seed(0)
    load("ostrack-tiny", weights=carrying(tmp_path, keep_ratio=0.5))
    assert exports == ["ostrack-tiny 1.0", "ostrack-tiny 0.5"]


@pytest.mark.usefixtures("little")
def test_other_fields_are_carried_too(tmp_path: Path) -> None:
    path = carrying(tmp_path, template_rows="all", eliminate_in=(1,))
    config = loading.build_model("ostrack-tiny", path).config
    assert (config.template_rows, config.eliminate_in) == ("all", (1,))


@pytest.mark.usefixtures("little")
def test_a_network_that_ranks_by_the_targets_box_tracks_on_every_engine(cache: Path, tmp_path: Path) -> None:
    """Also from an exported file, and several targets in a batch."""
    torch.manual_seed(0)
    path = carrying(tmp_path, template_rows="box")
    exported = tmp_path / "box.onnx"
    to_onnx.export_onnx(loading.build_model("ostrack-tiny", path), exported, name="ostrack-tiny")
    clip = list(generate_clip(frames=5))
    x, y, width, height = clip[0][1]
    wide = (x - width, y, 3 * width, height)
    found = {}
    for engine, file in {"torch": path, "openvino": exported, "onnx": exported}.items():
        tracker = load("ostrack-tiny", engine=engine, weights=file, precision="fp32")
        tracker.init(clip[0][0], wide)
        found[engine] = [tracker.update(frame).box for frame, _ in clip[1:]]
        several = MultiTracker(tracker)
        _, second = (several.add(clip[0][0], box) for box in (clip[0][1], wide))
        together = [several.update(frame)[second].box for frame, _ in clip[1:]]
        np.testing.assert_allclose(together, found[engine], atol=0.01)
    np.testing.assert_allclose(found["openvino"], found["torch"], atol=0.01)
    np.testing.assert_allclose(found["onnx"], found["torch"], atol=0.01)
    with pytest.raises(InputError, match="unknown setting 'box_channel'"):
        load("ostrack-tiny", weights=path, settings={"box_channel": False})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('{"keep_ratio": 7}', "keep_ratio must be above 0 and at most 1; got 7"),
        ('{"keep_ratio": "x"}', "keep_ratio must be a value of type float; got 'x'"),
        ('{"template_rows": "x"}', "template_rows must be one of point, "),
        ('{"eliminate_in": [99]}', "eliminate_in must list blocks from 0 to "),
        ('{"depth": 1000000}', "has no variable field 'depth'"),
        ("[1]", "expected the fields of a network; got"),
        ("{", "expected the fields of a network; got"),
    ],
)
@pytest.mark.usefixtures("little")
def test_fields_that_do_not_fit(fields: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    content = safetensors.torch.save(build_ostrack(LITTLE).state_dict())
    path.write_bytes(with_metadata(content, {"format": "pt", "model": "ostrack-tiny", "network": fields}))
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load("ostrack-tiny", weights=path, engine="torch")
