"""DaSiamRPN as a file: the same maps and boxes on each engine, for search crops of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from singletrack.engines import installed_engines
from singletrack.engines.preprocessing import UNCHANGED
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.export.to_onnx import export_onnx
from singletrack.export.verify import open_all_exactly
from singletrack.models.configs import DaSiamRPNConfig
from singletrack.models.dasiamrpn import DaSiamRPN, build_dasiamrpn
from singletrack.registry import make_tracker, network_config
from singletrack.tracking.base import Network
from singletrack.tracking.dasiamrpn import DaSiamRPNSettings

SETTINGS = DaSiamRPNSettings(local_to_global=True, distractor_aware=True, distractor_above=0.0, lost_below=0.5)


@pytest.fixture(scope="module")
def model() -> DaSiamRPN:
    torch.manual_seed(0)
    return build_dasiamrpn(replace(network_config("dasiamrpn-vot", DaSiamRPNConfig), widths=(8, 12, 12, 12, 8))).eval()


def boxes(network: Network, settings: DaSiamRPNSettings) -> tuple[list[tuple[float, ...]], list[float]]:
    """Of five frames of noise, in which an untrained network is now and then lost."""
    tracker = make_tracker(network, settings)
    frames = np.random.default_rng(5).integers(0, 256, (6, 90, 120, 3), dtype=np.uint8).repeat(3, 1).repeat(3, 2)
    tracker.init(frames[0], (150, 100, 60, 50))
    results = [tracker.update(frame) for frame in frames[1:]]
    return [result.box for result in results], [result.score for result in results]


def test_each_engine_gives_the_same_boxes(model: DaSiamRPN, tmp_path: Path) -> None:
    path = tmp_path / "dasiamrpn.onnx"
    differences = export_onnx(model, path, name="dasiamrpn-vot")
    assert {each.engine for each in differences} == set(installed_engines()) - {"torch"}
    assert max(each.box for each in differences) < 1e-2
    reference = TorchNetwork(model, "cpu", normalization=UNCHANGED)
    crop = np.random.default_rng(1).uniform(0, 255, (1, 3, 335, 335)).astype(np.float32)
    for network in open_all_exactly(path, UNCHANGED).values():
        wide = network.locate(network.encode(crop[..., :127, :127]), crop)
        expected = reference.locate(reference.encode(crop[..., :127, :127]), crop)
        assert wide["cls"].shape == (1, 10, 27, 27)
        for name, values in expected.items():
            np.testing.assert_allclose(wide[name], values, rtol=0, atol=1e-4)
        for settings in (DaSiamRPNSettings(), SETTINGS):
            got, expected_boxes = boxes(network, settings), boxes(reference, settings)
            np.testing.assert_allclose(got[0], expected_boxes[0], rtol=0, atol=0.01)
            np.testing.assert_allclose(got[1], expected_boxes[1], rtol=0, atol=1e-4)
