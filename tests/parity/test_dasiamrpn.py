"""DaSiamRPN against what was recorded from the published code: maps, anchors, and the loop under both Pythons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.parity.conftest import Frames
from tests.parity.deterministic import Weights, checksum, for_dasiamrpn, published_weights
from tests.parity.records import DASIAMRPN, Record, Recorded, found, with_part

from singletrack.engines.preprocessing import UNCHANGED
from singletrack.engines.torch_engine import TorchNetwork
from singletrack.geometry.padded_crops import mean_color
from singletrack.models.build import build_network
from singletrack.models.checkpoints import load_weights
from singletrack.models.dasiamrpn import DaSiamRPN
from singletrack.registry import MODELS, change_settings
from singletrack.tracking.anchors import anchor_grid, anchor_shapes
from singletrack.tracking.dasiamrpn import DaSiamRPNTracker

PARAMETERS = {"dasiamrpn-vot": 22_632_932, "dasiamrpn-otb": 22_632_932, "dasiamrpn-big": 90_436_132}


@pytest.fixture(scope="module", params=found("dasiamrpn_{}", DASIAMRPN))
def published_name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def name(published_name: str) -> str:
    return DASIAMRPN[published_name]


@pytest.fixture(scope="module")
def record(published_name: str, recorded: Recorded) -> Record:
    return recorded(f"dasiamrpn_{published_name}")


@pytest.fixture(scope="module")
def weights(name: str) -> Weights:
    return for_dasiamrpn(published_weights(name))


@pytest.fixture(scope="module")
def model(name: str, weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> DaSiamRPN:
    """From a file without counts of batches, as the official ones are."""
    published = {key: tensor for key, tensor in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(published) == 40
    path = tmp_path_factory.mktemp("weights") / "official.model"
    torch.save(published, path)
    model = build_network(MODELS[name].network)
    load_weights(model, path, name)
    path.unlink()
    assert isinstance(model, DaSiamRPN)
    return model.eval()


@pytest.mark.parametrize("each", PARAMETERS)
def test_parameters_are_as_many_as_published(each: str) -> None:
    with torch.device("meta"):
        model = build_network(MODELS[each].network)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[each]


def test_weights_are_those_of_the_record(record: Record, weights: Weights) -> None:
    assert checksum(weights) == record["weights_crc"]


@torch.inference_mode()
def test_maps(record: Record, model: DaSiamRPN) -> None:
    rng = np.random.default_rng(int(record["input_seed"]))
    template, search = (rng.integers(0, 256, (1, 3, size, size)).astype(np.float32) for size in (127, 271))
    features = model.encode(torch.from_numpy(template))
    assert features.shape == (1, 30, model.config.widths[-1], 4, 4)
    maps = model.locate(features, torch.from_numpy(search))
    np.testing.assert_allclose(maps["cls"], record["score"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(maps["loc"], record["delta"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("origin", ["py2", "py3"])
def test_anchors(record: Record, origin: str) -> None:
    assert anchor_shapes().tolist() == record["anchor_wh"].tolist()
    grid = anchor_grid(19, f"{origin[:2]}thon{origin[2:]}")  # type: ignore[arg-type]
    np.testing.assert_array_equal(grid[0, :2], record[f"anchor_origin_{origin}"])


@pytest.mark.parametrize("origin", ["py2", "py3"])
def test_loop(name: str, origin: str, record: Record, model: DaSiamRPN, frames: Frames) -> None:
    """The published demonstration, which tracks the first frame as well."""
    with_part(record, f"boxes_{origin}")
    settings = change_settings(name, {"anchor_origin": f"{origin[:2]}thon{origin[2:]}"})
    network = TorchNetwork(model, "cpu", normalization=UNCHANGED)
    tracker = DaSiamRPNTracker(network, settings)  # type: ignore[arg-type]
    show = frames["loop"]
    assert mean_color(show(0)) == tuple(int(value) for value in record["avg_chans"][::-1])
    center_x, center_y, width, height = record["init_cxcywh"].tolist()
    tracker.init(show(0), (center_x - width / 2, center_y - height / 2, width, height))
    results = [tracker.update(show(index)) for index in range(20)]
    np.testing.assert_allclose([each.box for each in results], record[f"boxes_{origin}"], rtol=0, atol=0.01)
    np.testing.assert_allclose([each.score for each in results], record[f"scores_{origin}"], rtol=0, atol=1e-5)


def test_python2_is_the_default(name: str) -> None:
    assert change_settings(name, {}).anchor_origin == "python2"  # type: ignore[union-attr]
