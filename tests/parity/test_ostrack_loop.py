"""The tracker over all recorded frames, boxes within 0.01 pixels of the published loop's."""

from __future__ import annotations

import copy
import zlib

import numpy as np
import pytest
from tests.parity.conftest import Frames, PublishedOSTrack
from tests.parity.deterministic import checksum, for_ostrack_loop, to_our_names
from tests.parity.records import Recorded
from torch import Tensor

from singletrack.engines.torch_engine import TorchNetwork
from singletrack.geometry.crops import normalize, square_crop
from singletrack.models.ostrack import OSTrack
from singletrack.registry import MODELS
from singletrack.tracking.base import CropArray, FloatArray
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Listening(TorchNetwork):
    """A network that keeps the maps of its last answer."""

    def locate(self, features: Tensor, search: CropArray) -> dict[str, FloatArray]:
        self.maps = super().locate(features, search)
        return self.maps


@pytest.fixture(scope="module")
def loop_model(ostrack: PublishedOSTrack) -> OSTrack:
    """The network with the three tensors that the record changed, so that the box does not run away."""
    changed = for_ostrack_loop(ostrack.weights, ostrack.search_factor)
    model = copy.deepcopy(ostrack.model)
    model.load_state_dict(to_our_names(changed, ostrack.name))
    return model


@pytest.mark.parametrize("sequence", ["loop", "synthloop"])
def test_loop(
    sequence: str, recorded: Recorded, frames: Frames, ostrack: PublishedOSTrack, loop_model: OSTrack
) -> None:
    record = recorded(f"ostrack_{sequence}_{ostrack.config}")
    assert checksum(for_ostrack_loop(ostrack.weights, ostrack.search_factor)) == record["weights_crc"]
    network = Listening(loop_model, "cpu")
    settings = MODELS[ostrack.name].tracker_settings
    assert isinstance(settings, OSTrackSettings)
    tracker = OSTrackTracker(network, settings)
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
def test_crops_of_the_loop_to_the_bit(
    sequence: str, recorded: Recorded, frames: Frames, ostrack: PublishedOSTrack
) -> None:
    record, search = recorded(f"ostrack_{sequence}_{ostrack.config}"), ostrack.size
    for index, factor, size, name in ((0, 2.0, search // 2, "template"), (1, ostrack.search_factor, search, "search1")):
        crop, _ = square_crop(frames[sequence](index), record["init"], factor=factor, size=size)
        np.testing.assert_array_equal(crop.transpose(2, 0, 1)[None], record[f"{name}_u8"])
        tensor = normalize(crop, MEAN, STD)
        assert zlib.crc32(np.ascontiguousarray(tensor).tobytes()) == record[f"{name}_tensor_crc"]
