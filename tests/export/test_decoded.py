"""Files that read their own maps: the tracker's boxes, with nothing of the maps looked at in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.export.test_to_onnx import LEAST, little_network

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.engines import installed_engines, open_network
from singletrack.errors import InputError
from singletrack.export.to_onnx import export_onnx
from singletrack.export.verify import made_input
from singletrack.models.dasiamrpn import build_dasiamrpn
from singletrack.registry import MODELS
from singletrack.tracking.ostrack import OSTrackSettings, OSTrackTracker, read_maps

ENGINES = [engine for engine in installed_engines() if engine != "torch"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoded") / "little.onnx"
    differences = export_onnx(little_network(LEAST), path, name="little", decoded=True)
    assert {"boxes", "peaks"} < set(differences[0].maps)
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_boxes_are_those_that_are_read_in_python(path: Path, engine: str, precision: str) -> None:
    if engine == "onnx" and precision == "auto":
        pytest.skip("ONNX Runtime has no other precision here")
    network = open_network(engine, path, "cpu", precision=precision)
    maps = network.locate(network.encode(made_input(3, (3, 48, 48), 1)), made_input(3, (3, 96, 96), 2))
    for sample in range(3):
        one = {name: values[sample : sample + 1] for name, values in maps.items()}
        for row, window in enumerate((True, False)):
            box, score = read_maps(one, window)
            np.testing.assert_allclose(maps["boxes"][sample, row], box, atol=1e-6)
            assert maps["peaks"][sample, row] == pytest.approx(float(score), abs=1e-6)


class Blind:
    """Passes on what the network says, its maps but for their boxes and peaks made useless."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def encode(self, template: np.ndarray) -> object:
        return self.network.encode(template)

    def locate(self, features: object, search: np.ndarray) -> dict[str, np.ndarray]:
        maps = self.network.locate(features, search)
        return {**{name: np.zeros_like(values) for name, values in maps.items()}, **{k: maps[k] for k in READ}}


READ = ("boxes", "peaks")


def test_the_tracker_reads_nothing_else(path: Path) -> None:
    network = open_network("openvino", path, "cpu", precision="fp32")
    clip = list(generate_clip(5, (160, 120)))
    settings = OSTrackSettings(template_size=48, search_size=96)

    class Bare(Blind):
        def locate(self, features: object, search: np.ndarray) -> dict[str, np.ndarray]:
            maps = self.network.locate(features, search)
            return {name: values for name, values in maps.items() if name not in READ}

    followed = []
    for seen in (Blind(network), Bare(network)):
        tracker = OSTrackTracker(seen, settings)
        tracker.init(*clip[0])
        followed.append([tracker.update(frame) for frame, _ in clip[1:]])
    for ours, python in zip(*followed, strict=True):
        assert ours.box == pytest.approx(python.box, abs=1e-3)
        assert ours.score == pytest.approx(python.score, abs=1e-6)


def test_networks_without_a_center_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs a network with a center head.*got DaSiamRPN"):
        export_onnx(build_dasiamrpn(MODELS["dasiamrpn-vot"].network), tmp_path / "no.onnx", name="no", decoded=True)
