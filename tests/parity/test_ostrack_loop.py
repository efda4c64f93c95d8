"""The tracker over all recorded frames, boxes within 0.01 pixels of the published loop's."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
from torch import Tensor

from singletrack.engines.torch_engine import TorchNetwork
from singletrack.geometry.crops import normalize, square_crop
from singletrack.models.checkpoint_keys import official_keys
from singletrack.models.ostrack import OSTrack
from singletrack.registry import MODELS
from singletrack.tracking.base import CropArray, FloatArray
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker

LOOP = "ostrack_{}_vitb_256_mae_ce_32x4_ep300"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Frames = dict[str, Callable[[int], np.ndarray]]
Recorded = Callable[[str], Mapping[str, np.ndarray]]


class Listening(TorchNetwork):
    """A network that keeps the maps of its last answer."""

    def locate(self, features: Tensor, search: CropArray) -> dict[str, FloatArray]:
        self.maps = super().locate(features, search)
        return self.maps


@pytest.fixture(scope="module")
def loop_model(detweights: ModuleType, weights_256: dict[str, Tensor], model_256: OSTrack) -> OSTrack:
    """The network with the three tensors that the record changed, so that the box does not run away."""
    changed = detweights.ostrack_loop_overrides(weights_256, 4.0)
    model = OSTrack(model_256.backbone, copy.deepcopy(model_256.head))
    names = official_keys(MODELS["ostrack-256"].network)
    model.load_state_dict({ours: changed[name] for name, ours in names.items() if ours is not None})
    return model.eval()


@pytest.mark.parametrize("sequence", ["loop", "synthloop"])
def test_loop(sequence: str, recorded: Recorded, frames: Frames, loop_model: OSTrack) -> None:
    record = recorded(LOOP.format(sequence))
    network = Listening(loop_model, "cpu")
    tracker = OSTrackTracker(network, OSTrackSettings())
    tracker.init(frames[sequence](0), tuple(record["init"]))
    boxes, scores, cells = [tuple(record["init"])], [], []
    for index in range(1, 21):
        result = tracker.update(frames[sequence](index))
        boxes.append(result.box)
        scores.append(result.score)
        cells.append(int(np.argmax(network.maps["score"][0] * record["window"][0, 0])))
        if index == 1:
            np.testing.assert_allclose(network.maps["score"][None], record["score_map1"], atol=1e-5)
    assert cells == record["argmax"].tolist()
    np.testing.assert_allclose(boxes, record["boxes"], rtol=0, atol=0.01)
    np.testing.assert_allclose(scores, record["score"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("sequence", ["loop", "synthloop"])
def test_crops_of_the_loop_to_the_bit(sequence: str, recorded: Recorded, frames: Frames) -> None:
    record = recorded(LOOP.format(sequence))
    for index, factor, size, name in ((0, 2.0, 128, "template"), (1, 4.0, 256, "search1")):
        crop, _ = square_crop(frames[sequence](index), record["init"], factor=factor, size=size)
        np.testing.assert_array_equal(crop.transpose(2, 0, 1)[None], record[f"{name}_u8"])
        tensor = normalize(crop, MEAN, STD)
        assert zlib.crc32(np.ascontiguousarray(tensor).tobytes()) == record[f"{name}_tensor_crc"]
