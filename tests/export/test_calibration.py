"""Real crops for checks and calibration, and what is written besides plain ONNX."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch

from singletrack.engines import open_network
from singletrack.engines.preprocessing import Normalization, as_network_input
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.errors import InputError, MissingDependencyError
from singletrack.export.calibration import RecordingNetwork, clip_looks, photo_looks
from singletrack.export.quantize import quantize
from singletrack.export.to_onnx import export_onnx
from singletrack.export.verify import compare_on_looks
from singletrack.models.configs import OSTrackConfig
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker

SETTINGS = OSTrackSettings(template_size=48, search_size=96)
LEAST = OSTrackConfig(
    template_size=48, search_size=96, width=32, depth=1, heads=2, drop_path=0.0, eliminate_in=(), head_channels=16
)


@pytest.fixture(scope="module")
def network() -> OSTrack:
    torch.manual_seed(0)
    return build_ostrack(LEAST).eval()


@dataclass
class Eyes:
    """A tracker and what listens to it."""

    tracker: OSTrackTracker
    listener: RecordingNetwork


@pytest.fixture
def eyes(network: OSTrack) -> Eyes:
    listener = RecordingNetwork(TorchNetwork(network, "cpu"))
    return Eyes(OSTrackTracker(listener, SETTINGS), listener)


def test_looks_are_the_tracker_s_own_crops(eyes: Eyes, tmp_path: Path) -> None:
    looks = clip_looks(eyes.tracker, eyes.listener, frames=4)
    assert [(template.shape, search.shape) for template, search in looks] == [((1, 48, 48, 3), (1, 96, 96, 3))] * 3
    assert all(template is looks[0][0] for template, _ in looks)
    with pytest.raises(InputError, match="no photos"):
        photo_looks(eyes.tracker, eyes.listener, tmp_path, 2)
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    first = photo_looks(eyes.tracker, eyes.listener, tmp_path, 3)
    again = photo_looks(eyes.tracker, eyes.listener, tmp_path, 3)
    assert len(first) == 3
    for (template, search), (same_template, same_search) in zip(first, again, strict=True):
        np.testing.assert_array_equal(template, same_template)
        np.testing.assert_array_equal(search, same_search)


def test_files_agree_on_real_crops_and_as_ir(eyes: Eyes, network: OSTrack, tmp_path: Path) -> None:
    looks = clip_looks(eyes.tracker, eyes.listener, frames=4)
    export_onnx(network, tmp_path / "least.xml", name="least")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["least.bin", "least.xml"]
    (difference,) = compare_on_looks(tmp_path / "least.xml", network, looks, "made clip")
    assert difference.engine == "openvino"
    assert max(difference.maps.values()) < 1e-4
    assert difference.box < 1e-3
    assert str(difference).startswith("openvino, batch 1, made clip: score")
    assert open_network("openvino", tmp_path / "least.xml").metadata["model"] == "least"
    with pytest.raises(InputError, match="no crops to compare on"):
        compare_on_looks(tmp_path / "least.xml", network, [], "nothing")


def test_half_and_integers_exclude_each_other(eyes: Eyes, network: OSTrack, tmp_path: Path) -> None:
    looks = clip_looks(eyes.tracker, eyes.listener, frames=2)
    with pytest.raises(InputError, match="half and 8-bit integers cannot be combined"):
        export_onnx(network, tmp_path / "least.onnx", name="least", half=True, calibration=looks)


def test_without_nncf_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: None)
    with pytest.raises(
        MissingDependencyError,
        match=r"8-bit quantization needs nncf, which is not installed; run: pip install .*\[int8\]",
    ):
        quantize(onnx.ModelProto(), [], Normalization())


def test_calibration_sees_network_input(eyes: Eyes, monkeypatch: pytest.MonkeyPatch) -> None:
    """NNCF itself is no part of the development extra: what it is asked for is held here."""
    asked: dict[str, Any] = {}

    def note(graph: onnx.ModelProto, data: list[dict[str, np.ndarray]], **options: Any) -> onnx.ModelProto:
        asked.update(options, data=data)
        return graph

    stand_in = types.SimpleNamespace(quantize=note, Dataset=list, ModelType=types.SimpleNamespace(TRANSFORMER="vit"))
    monkeypatch.setitem(sys.modules, "nncf", stand_in)
    monkeypatch.setattr("singletrack.engines.find_spec", lambda name: object())
    looks = clip_looks(eyes.tracker, eyes.listener, frames=3)
    quantize(onnx.ModelProto(), looks, Normalization())
    assert (asked["model_type"], asked["subset_size"]) == ("vit", 2)
    for given, (template, search) in zip(asked["data"], looks, strict=True):
        np.testing.assert_array_equal(given["template"], as_network_input(template, Normalization()))
        assert given["search"].shape == (1, 3, 96, 96)
        assert given["search"].dtype == np.float32
        assert search.dtype == np.uint8
