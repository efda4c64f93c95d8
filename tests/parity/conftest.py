"""The published network's recorded inputs and weights, made once for all parity tests.

Weights are a pure function of name and shape (detweights.py beside the fixtures), so that nothing large is stored.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from singletrack.models.build import Network, build_network
from singletrack.models.checkpoints import load_weights
from singletrack.models.ostrack import OSTrack
from singletrack.models.stark import STARK
from singletrack.registry import MODELS

CONFIG = "vitb_256_mae_ce_32x4_ep300"


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    return shared / "fixtures"


@pytest.fixture(scope="session")
def recorded(fixtures: Path) -> Callable[[str], Mapping[str, np.ndarray]]:
    """Read a file of recorded numbers by its name without ending."""

    def read(name: str) -> Mapping[str, np.ndarray]:
        path = fixtures / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"{name} is not among the records here")
        return np.load(path)

    return read


@pytest.fixture(scope="session")
def detweights(fixtures: Path) -> ModuleType:
    return module_at(fixtures / "detweights.py")


@pytest.fixture(scope="session")
def weights_256(fixtures: Path, detweights: ModuleType) -> dict[str, Tensor]:
    """The deterministic weights of OSTrack-256 under the official names."""
    return detweights.det_state_dict(json.loads((fixtures / "keys" / f"ostrack_{CONFIG}.json").read_text()))


@pytest.fixture(scope="session")
def weights_384(fixtures: Path, detweights: ModuleType, weights_256: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of OSTrack-384; only the tensors of another shape are made anew."""
    keys = fixtures / "keys" / f"ostrack_{CONFIG.replace('256', '384')}.json"
    shapes = {name: tuple(shape) for name, shape in json.loads(keys.read_text()).items()}
    return {
        name: weights_256[name] if weights_256[name].shape == shape else detweights.det_tensor(name, shape)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="session")
def model_256(weights_256: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> OSTrack:
    return through_a_checkpoint(weights_256, "ostrack-256", tmp_path_factory)


@pytest.fixture(scope="session")
def model_384(weights_384: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> OSTrack:
    return through_a_checkpoint(weights_384, "ostrack-384", tmp_path_factory)


@pytest.fixture(scope="session")
def inputs_256() -> tuple[Tensor, Tensor]:
    """The recorded random input: template (2, 3, 128, 128) and search (2, 3, 256, 256)."""
    rng = np.random.default_rng(1234)
    template = rng.standard_normal((2, 3, 128, 128), dtype=np.float32)
    return torch.from_numpy(template), torch.from_numpy(rng.standard_normal((2, 3, 256, 256), dtype=np.float32))


@pytest.fixture(scope="session", params=["stark_s50", "stark_st50", "stark_st101"])
def stark_name(request: pytest.FixtureRequest) -> str:
    """The name that a STARK has in the records."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def stark_weights(stark_name: str, fixtures: Path, detweights: ModuleType) -> dict[str, Tensor]:
    """The deterministic weights of a STARK under the official names."""
    return detweights.det_state_dict(json.loads((fixtures / "keys" / f"{stark_name}.json").read_text()))


@pytest.fixture(scope="session")
def stark(stark_name: str, stark_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> STARK:
    return through_a_checkpoint(stark_weights, stark_name.replace("_", "-"), tmp_path_factory)


@pytest.fixture(scope="session")
def frames(fixtures: Path) -> dict[str, Callable[[int], np.ndarray]]:
    """Frame number -> (H, W, 3) RGB, of the photographed and of the generated sequence."""

    def photographed(index: int) -> np.ndarray:
        return np.ascontiguousarray(cv2.imread(str(fixtures / "bag" / f"{index + 1:08d}.jpg"))[..., ::-1])

    return {"loop": photographed, "synthloop": module_at(fixtures / "synthseq.py").frame}


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def through_a_checkpoint(weights: dict[str, Tensor], name: str, folders: pytest.TempPathFactory) -> Network:
    """The network as a user gets it: from an official checkpoint."""
    path = folders.mktemp("weights") / "official.pth.tar"
    torch.save({"net": weights}, path)
    model = build_network(MODELS[name].network)
    load_weights(model, path, name)
    path.unlink()
    return model.eval()
