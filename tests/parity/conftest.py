"""The published networks' weights and inputs, made once for all parity tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.parity.deterministic import Weights, make_tensor, published_shapes, published_weights, synthetic_frame
from tests.parity.records import OSTRACK, SHARED, Recorded, found, read_record
from tests.parity.records import STARK as STARKS
from torch import Tensor

from singletrack.models.build import build_network
from singletrack.models.checkpoints import load_weights
from singletrack.models.ostrack import OSTrack
from singletrack.models.stark import STARK
from singletrack.registry import MODELS

Frames = dict[str, Callable[[int], np.ndarray]]


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    """Read a file of recorded numbers by its name without ending."""
    return read_record


@pytest.fixture(scope="session")
def weights_256() -> Weights:
    """The deterministic weights of OSTrack-256 under the official names."""
    return published_weights("ostrack-256")


@pytest.fixture(scope="session")
def weights_384(weights_256: Weights) -> Weights:
    """Those of OSTrack-384; only the tensors of another shape are made anew."""
    return {
        name: weights_256[name] if weights_256[name].shape == shape else make_tensor(name, shape)
        for name, shape in published_shapes("ostrack-384").items()
    }


@pytest.fixture(scope="session")
def model_256(weights_256: Weights, tmp_path_factory: pytest.TempPathFactory) -> OSTrack:
    model = through_a_checkpoint(weights_256, "ostrack-256", tmp_path_factory)
    assert isinstance(model, OSTrack)
    return model


@pytest.fixture(scope="session")
def model_384(weights_384: Weights, tmp_path_factory: pytest.TempPathFactory) -> OSTrack:
    model = through_a_checkpoint(weights_384, "ostrack-384", tmp_path_factory)
    assert isinstance(model, OSTrack)
    return model


@pytest.fixture(scope="session")
def inputs_256() -> tuple[Tensor, Tensor]:
    """The recorded random input: template (2, 3, 128, 128) and search (2, 3, 256, 256)."""
    return random_inputs(256)


def random_inputs(size: int) -> tuple[Tensor, Tensor]:
    """The recorded random input of an OSTrack: template (2, 3, size / 2, size / 2) and search (2, 3, size, size)."""
    random = np.random.default_rng(1234)
    template = random.standard_normal((2, 3, size // 2, size // 2), dtype=np.float32)
    return torch.from_numpy(template), torch.from_numpy(random.standard_normal((2, 3, size, size), dtype=np.float32))


@dataclass(frozen=True)
class PublishedOSTrack:
    """One of the published configurations. config: its name in the records; name: in the registry."""

    config: str
    name: str
    weights: Weights
    model: OSTrack

    @property
    def size(self) -> int:
        return self.model.config.search_size

    @property
    def search_factor(self) -> float:
        return 4.0 if self.size == 256 else 5.0

    @property
    def eliminates(self) -> bool:
        return "_ce_" in self.config


@pytest.fixture(
    scope="session",
    params=found("ostrack_forward_{}", OSTRACK, "ostrack_loop_{}", "ostrack_synthloop_{}", "ostrack_train_{}"),
)
def ostrack(request: pytest.FixtureRequest) -> PublishedOSTrack:
    """Each OSTrack that numbers were recorded of; with and without elimination the weights are the same."""
    config: str = request.param
    size = OSTRACK[config].removeprefix("ostrack-")
    weights: Weights = request.getfixturevalue(f"weights_{size}")
    model: OSTrack = request.getfixturevalue(f"model_{size}")
    if "_ce_" not in config:
        plain = build_network(MODELS[OSTRACK[config]].network, keep_ratio=1.0)
        assert isinstance(plain, OSTrack)
        plain.load_state_dict(model.state_dict())
        model = plain.eval()
    return PublishedOSTrack(config, OSTRACK[config], weights, model)


@pytest.fixture(scope="session", params=found("stark_forward_{}", STARKS, "stark_loop_{}", "stark_synthloop_{}"))
def stark_name(request: pytest.FixtureRequest) -> str:
    """The name that a STARK has in the records."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def stark_weights(stark_name: str) -> Weights:
    """The deterministic weights of a STARK under the official names."""
    return published_weights(STARKS[stark_name])


@pytest.fixture(scope="session")
def stark(stark_name: str, stark_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> STARK:
    model = through_a_checkpoint(stark_weights, STARKS[stark_name], tmp_path_factory)
    assert isinstance(model, STARK)
    return model


@pytest.fixture(scope="session")
def frames() -> Frames:
    """Frame number -> (H, W, 3) RGB, of the photographed and of the generated sequence."""

    def photographed(index: int) -> np.ndarray:
        path = SHARED / "bag" / f"{index + 1:08d}.jpg"
        if not path.is_file():
            pytest.skip("needs the photographed frames in ../shared/fixtures/bag, which are not part of the repository")
        return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])

    return {"loop": photographed, "synthloop": synthetic_frame}


def through_a_checkpoint(weights: Weights, name: str, folders: pytest.TempPathFactory) -> Any:
    """The network as a user gets it: from an official checkpoint."""
    path = folders.mktemp("weights") / "official.pth.tar"
    torch.save({"net": weights}, path)
    model = build_network(MODELS[name].network)
    load_weights(model, path, name)
    path.unlink()
    return model.eval()
