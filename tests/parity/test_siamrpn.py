"""The SiamRPN++ networks and trackers against what was recorded from pysot."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tests.parity.conftest import Frames
from tests.parity.deterministic import (
    Weights,
    checksum,
    for_siamrpnpp,
    published_shapes,
    published_weights,
    to_our_names,
)
from tests.parity.records import SHARED, SIAMRPNPP, Record, Recorded, found, is_recorded
from torch import Tensor

from singletrack.engines.preprocessing import UNCHANGED
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.models.build import build_network
from singletrack.models.checkpoints import load_weights
from singletrack.models.siamrpn import SiamRPN, build_siamrpn
from singletrack.registry import MODELS
from singletrack.tracking.anchors import anchor_grid, cosine_window
from singletrack.tracking.siamrpn import SiamRPNSettings, SiamRPNTracker

PARAMETERS = {
    "siamrpnpp-r50": 53_950_624,
    "siamrpnpp-r50-lt": 60_018_336,
    "siamrpnpp-mobilenet": 11_150_446,
    "siamrpnpp-alex": 6_251_102,
}
# of 20; a box follows from the one before, so that an error in any of them would be seen in the last
FRAMES = 10


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        model = build_siamrpn(MODELS[name].network)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("config", SIAMRPNPP)
def test_names_and_shapes_are_the_published(config: str) -> None:
    keys = SHARED / "keys" / f"pysot_{config}.json"
    if not keys.is_file():
        pytest.skip(f"needs ../shared/fixtures/keys/{keys.name}, which is not part of the repository")
    shapes = {name: tuple(shape) for name, shape in json.loads(keys.read_text()).items()}
    assert published_shapes(SIAMRPNPP[config]) == shapes


class Case(NamedTuple):
    """A model whose numbers were recorded. weights: under pysot's names. record: of its maps, from either file."""

    config: str
    name: str
    model: SiamRPN
    weights: Weights
    record: Record


@pytest.fixture(scope="module", params=found("pysot_synth_{}", SIAMRPNPP, "pysot_{}"))
def case(request: pytest.FixtureRequest, recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The network as a user gets it: from a checkpoint of pysot's training, whose names begin with module."""
    config: str = request.param
    name, kind = SIAMRPNPP[config], "synth_" if is_recorded(f"pysot_synth_{config}") else ""
    record = recorded(f"pysot_{kind}{config}")
    weights = for_siamrpnpp(published_weights(name))
    path = tmp_path_factory.mktemp("weights") / "checkpoint_e20.pth"
    wrapped = {f"module.{key}": tensor for key, tensor in weights.items()}
    torch.save({"epoch": 19, "state_dict": wrapped, "optimizer": {"param_groups": [{"lr": 0.1}]}}, path)
    model = build_network(MODELS[name].network).eval()
    load_weights(model, path, name)
    path.unlink()
    assert isinstance(model, SiamRPN)
    return Case(config, name, model, weights, record)


def close(got: Tensor | np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_weights_are_those_of_the_record(case: Case) -> None:
    assert checksum(case.weights) == case.record["weights_crc"]


@torch.inference_mode()
def test_every_map(case: Case) -> None:
    record, config = case.record, case.model.config
    random = np.random.default_rng(int(record["input_seed"]))
    template, search = (
        torch.from_numpy(random.integers(0, 256, (1, 3, size, size)).astype(np.float32))
        for size in (config.template_size, config.search_size)
    )
    for number, stage in enumerate(case.model.see(template)):
        first = (stage.shape[-1] - record[f"zf{number}"].shape[-1]) // 2
        inside = slice(first, first + record[f"zf{number}"].shape[-1])
        close(stage[:, ::4, inside, inside], record[f"zf{number}"], 1e-4)
    features = case.model.encode(template)
    assert features.shape[1] == 2 * sum(config.widths)
    for name, values in case.model.locate(features, search).items():
        close(values, record[name], 1e-4)


@torch.inference_mode()
def test_a_batch_is_its_samples(case: Case) -> None:
    """Each sample's kernels look at its own search crop alone."""
    size = case.model.config.template_size + 64
    random = torch.Generator().manual_seed(1)
    template = 255 * torch.rand(3, 3, 127, 127, generator=random)
    search = 255 * torch.rand(3, 3, size, size, generator=random)
    together = case.model(template, search)
    for row in range(3):
        alone = case.model(template[row : row + 1], search[row : row + 1])
        for name, values in alone.items():
            close(together[name][row : row + 1], values.numpy(), 1e-5)


def test_anchors_and_window(case: Case) -> None:
    record = case.record
    cells = int(record["score_size"])
    close(anchor_grid(cells), record["anchors"], 0)
    close(cosine_window(cells)[: cells * cells], record["window"], 1e-12)


@pytest.mark.parametrize("sequence", ["", "synth_"])
def test_loop(case: Case, sequence: str, recorded: Recorded, frames: Frames) -> None:
    record, frame = recorded(f"pysot_{sequence}{case.config}"), frames["synthloop" if sequence else "loop"]
    settings = MODELS[case.name].tracker_settings
    assert isinstance(settings, SiamRPNSettings)
    tracker = SiamRPNTracker(TorchNetwork(case.model, "cpu", normalization=UNCHANGED), settings)
    tracker.init(frame(0), tuple(record["init"]))
    assert tracker._target is not None
    np.testing.assert_array_equal(tracker._target.template.transpose(0, 3, 1, 2), record["template_crop_u8"])
    boxes, scores = [], []
    for index in range(1, FRAMES + 1):
        inputs = tracker.preprocess(frame(index))
        assert inputs is not None
        if index == 1:
            np.testing.assert_array_equal(inputs.search.transpose(0, 3, 1, 2), record["search1_u8"])
        result = tracker.postprocess(tracker.network.locate(tracker._target.features, inputs.search))
        boxes.append(result.box)
        scores.append(result.score)
    close(np.array(boxes), record["boxes"][:FRAMES], 0.01)
    close(np.array(scores), record["scores"][:FRAMES], 1e-5)


def test_long_term_toggles(recorded: Recorded, frames: Frames) -> None:
    record = recorded("pysot_lt_toggle")
    name = "siamrpnpp-r50-lt"
    model = build_siamrpn(MODELS[name].network).eval()
    model.load_state_dict(to_our_names(for_siamrpnpp(published_weights(name)), name))
    settings = replace(MODELS[name].tracker_settings, lost_below=0.985, found_above=0.9865)
    assert isinstance(settings, SiamRPNSettings)
    tracker = SiamRPNTracker(TorchNetwork(model, "cpu", normalization=UNCHANGED), settings)
    frame = frames["loop"]
    tracker.init(frame(0), tuple(record["init"]))
    results = [tracker.update(frame(index)) for index in range(1, len(record["boxes"]) + 1)]
    close(np.array([result.box for result in results]), record["boxes"], 0.01)
    after = record["longterm_after" if "longterm_after" in record else "longterm"]  # the state after each frame
    assert [result.lost for result in results] == after.astype(bool).tolist()
