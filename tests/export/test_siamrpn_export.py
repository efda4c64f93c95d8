"""SiamRPN++ in every engine: the same boxes, search crops of any size, several targets one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from singletrack.engines.onnx_engine import ONNXRuntimeNetwork
from singletrack.engines.openvino_engine import OpenVINONetwork
from singletrack.engines.preprocessing import UNCHANGED
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.export.to_onnx import export_onnx
from singletrack.models.configs import SiamRPNConfig
from singletrack.models.siamrpn import AlexNet, SiamRPN, build_siamrpn
from singletrack.registry import network_config
from singletrack.tracking.base import Network
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker

SEARCH, LOST_SEARCH = 159, 207


@pytest.fixture(scope="module")
def model() -> SiamRPN:
    """AlexNet with small search crops of any size; weights that keep raw pixels, and boxes, within bounds."""
    torch.manual_seed(0)
    model = build_siamrpn(
        replace(network_config("siamrpnpp-alex", SiamRPNConfig), search_size=SEARCH, free_sizes=True)
    ).eval()
    assert isinstance(model.backbone, AlexNet)
    with torch.no_grad():
        model.backbone.features[0].weight *= 0.01  # type: ignore[assignment]
        for head in model.heads:
            head.loc.read[3].weight *= 0.05
    return model


@pytest.fixture(scope="module")
def engines(model: SiamRPN, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    path = tmp_path_factory.mktemp("export") / "siamrpn.onnx"
    differences = export_onnx(model, path, name="siamrpnpp-alex")
    assert {(each.engine, each.batch) for each in differences} == {(e, b) for e in ("openvino", "onnx") for b in (1, 3)}
    return {
        "openvino": OpenVINONetwork(path, device="cpu", precision="fp32", threads=1, normalization=UNCHANGED),
        "onnx": ONNXRuntimeNetwork(path, device="cpu", threads=1, normalization=UNCHANGED),
    }


def boxes(network: Network) -> np.ndarray:
    """Over a few frames, half of them with the wide search region: the limits are such that it is always lost."""
    settings = SiamRPNSettings(
        search_size=SEARCH, lost_search_size=LOST_SEARCH, lost_below=0.0, found_above=1.0, lost_after=1
    )
    tracker = SiamRPNTracker(network, settings)
    background = np.random.default_rng(5).integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    tracker.init(background, (140, 100, 40, 30))
    found = []
    for index in range(6):
        assert tracker._target is not None
        tracker._target.lost_state.lost = index % 2 == 1
        found.append(tracker.update(np.roll(background, (2 * index, 3 * index), (0, 1))).box)
    return np.array(found)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_boxes_are_those_of_pytorch(engine: str, engines: dict[str, Network], model: SiamRPN) -> None:
    reference = TorchNetwork(model, "cpu", normalization=UNCHANGED)
    np.testing.assert_allclose(boxes(engines[engine]), boxes(reference), rtol=0, atol=1e-2)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_several_targets_go_one_by_one(engine: str, engines: dict[str, Network]) -> None:
    random = np.random.default_rng(1)
    template = random.uniform(0, 255, (3, 3, 127, 127)).astype(np.float32)
    search = random.uniform(0, 255, (3, 3, SEARCH, SEARCH)).astype(np.float32)
    network = engines[engine]
    together = network.locate(network.encode(template), search)
    for row in range(3):
        alone = network.locate(network.encode(template[row : row + 1]), search[row : row + 1])
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][row : row + 1], values, rtol=0, atol=1e-4)
