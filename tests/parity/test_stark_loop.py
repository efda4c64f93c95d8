"""The STARK tracker over all recorded frames: what the network answers, boxes, and when the template is renewed."""

from __future__ import annotations

import numpy as np
import pytest
from tests.parity.conftest import Frames
from tests.parity.deterministic import Weights, checksum, for_stark_loop, to_our_names
from tests.parity.records import STARK, Recorded
from torch import Tensor

from singletrack.engines.torch_engine import TorchNetwork
from singletrack.models.configs import STARKConfig
from singletrack.models.stark import build_stark
from singletrack.registry import network_config
from singletrack.tracking.base import CropArray, FloatArray
from singletrack.tracking.stark import STARKSettings, STARKTracker, read_corners


class Listening(TorchNetwork):
    """A network that keeps the box of its last answer, and counts how often it was shown templates."""

    encoded = 0

    def encode(self, template: CropArray) -> Tensor:
        self.encoded += 1
        return super().encode(template)

    def locate(self, features: Tensor, search: CropArray) -> dict[str, FloatArray]:
        maps = super().locate(features, search)
        self.box, _ = read_corners(maps["corners"][0])
        return maps


@pytest.mark.parametrize("sequence", ["loop", "synthloop"])
@pytest.mark.parametrize("run", ["natural", "forced", "update"])
def test_loop(
    run: str,
    sequence: str,
    recorded: Recorded,
    frames: Frames,
    stark_name: str,
    stark_weights: Weights,
) -> None:
    record = recorded(f"stark_{sequence}_{stark_name}")
    name = STARK[stark_name]
    config = network_config(name, STARKConfig)
    if run == "update" and not config.score_head:
        pytest.skip(f"{name} has no score head, and so no run with updated templates")
    changed = for_stark_loop(stark_weights, 1.0 if run == "update" else 0.0)
    assert checksum(changed) == record[f"{run}_weights_crc"]
    model = build_stark(config).eval()
    model.load_state_dict(to_our_names(changed, name))

    network = Listening(model, "cpu")
    interval = None if config.num_templates == 1 else int(record["update_interval"]) if run == "update" else 200
    tracker = STARKTracker(network, STARKSettings(num_templates=config.num_templates, update_interval=interval))
    tracker.init(frames[sequence](0), tuple(record["init"]))
    boxes, answers, scores, renewed = [tuple(record["init"])], [], [], []
    for index in range(1, 21):
        assert tracker._target is not None
        if run != "natural":
            tracker._target.box = tuple(record["forced_states"][index])
        before = tracker._target.templates
        result = tracker.update(frames[sequence](index))
        boxes.append(result.box)
        answers.append(network.box)
        scores.append(result.score)
        renewed.append(tracker._target.templates is not before)
        np.testing.assert_array_equal(tracker._target.templates[:, 0], before[:, 0])
    np.testing.assert_allclose(answers, record[f"{run}_pred_cxcywh"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(boxes, record[f"{run}_boxes"], rtol=0, atol=0.05)
    if config.score_head:
        np.testing.assert_allclose(scores, record[f"{run}_conf"], rtol=0, atol=1e-5)
    # a network that never updates its template may have been recorded without that column
    assert renewed == record.get(f"{run}_updated", np.zeros(20)).astype(bool).tolist()
    assert network.encoded == 1 + sum(renewed[:-1])
