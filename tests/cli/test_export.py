"""`singletrack export`: what it asks for, hands on and prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from singletrack import registry
from singletrack.cli.export import command
from singletrack.errors import InputError
from singletrack.export import calibration, to_onnx, verify
from singletrack.export.verify import OutputDifference
from singletrack.models.checkpoints import save_safetensors
from singletrack.models.ostrack import OSTrack, build_ostrack
from singletrack.registry import MODELS


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_safetensors(build_ostrack(MODELS["ostrack-tiny"].network).state_dict(), path, "ostrack-tiny")
    return path


def differences(value: float) -> list[OutputDifference]:
    return [OutputDifference(engine="openvino", batch=1, maps={"score": value, "size": 0.0}, box=0.001)]


@pytest.mark.parametrize("half", [False, True])
def test_prints_the_largest_differences(
    half: bool, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tiny.onnx"

    def export_onnx(model: OSTrack, path: Path, *, name: str, **options: object) -> list[OutputDifference]:
        assert (options["half"], options["calibration"]) == (half, [])
        assert options["share"] == (weights if half else None)
        assert model.config.keep_ratio == 0.5
        assert name == "ostrack-tiny"
        path.write_bytes(bytes(2_000_000))
        return differences(1e-6)

    monkeypatch.setattr(to_onnx, "export_onnx", export_onnx)
    monkeypatch.setattr(verify, "compare_with_module", lambda path, model: differences(1e-3))
    monkeypatch.setattr(calibration, "clip_looks", lambda tracker, listener: ["a look"])
    monkeypatch.setattr(verify, "compare_on_looks", lambda path, model, each, inputs, **options: differences(2e-6))
    arguments = ["ostrack-tiny", "--out", str(out), "--weights", str(weights), "--keep-ratio", "0.5"]
    options = ["--half", "--share-weights"] if half else []
    done = CliRunner().invoke(command, [*arguments, *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "openvino, batch 1: score 1.0e-06, size 0.0e+00; box 1.0e-03 px" in done.output
    assert ("score 1.0e-03" in done.output) == half
    assert "score 2.0e-06" in done.output
    assert done.output.endswith("tiny.onnx: ostrack-tiny, 2.0 MB\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ostrack", "--out", "x.onnx"], "unknown model 'ostrack'; choose one of ostrack-nano"),
        (["ostrack-256", "--out", "x.xml"], r"output file must end in \.onnx; got x\.xml"),
        (
            ["ostrack-256", "--out", "x.onnx", "--format", "openvino"],
            r"output file must end in \.xml; got x\.onnx",
        ),
        (["ostrack-256", "--out", "x.onnx", "--int8"], "--int8 needs --photos; got none"),
        (["ostrack-tiny", "--out", "x.onnx", "--share-weights"], r"got --weights None.*give --weights x\.safetensors"),
        (
            ["ostrack-tiny", "--out", "x.onnx", "--share-weights", "--weights", "there/x.safetensors"],
            "--share-weights needs the weights beside an .onnx file",
        ),
        (
            ["ostrack-tiny", "--format", "openvino", "--out", "x.xml", "--share-weights", "--weights", "x.safetensors"],
            "--share-weights needs the weights beside an .onnx file",
        ),
        (["ostrack-256", "--out", "x.onnx"], "no bundled weights for ostrack-256"),
        (["ostrack-256", "--out", "x.onnx", "--keep-ratio", "2"], "keep ratio must be above 0"),
        (["ostrack-256", "--out", "x.onnx", "--weights", "none"], "weights file not found: none"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_bundled_names_are_those_of_the_zoo() -> None:
    assert [name for name, entry in registry.MODELS.items() if entry.bundled] == [
        "ostrack-nano",
        "ostrack-tiny",
        "ostrack-small",
    ]
