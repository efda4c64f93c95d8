"""`train`: what its flags become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from singletrack.cli.main import main
from singletrack.training import distributed, trainer
from singletrack.training.trainer import RunSettings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What the loop was called with; it trains nothing."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer, "train", lambda *given, **options: calls.append((given, options)))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    return calls


def test_flags_become_settings_and_data(asked: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
    flags = (
        "--data lasot=one --data got10k=two --batch 6 --precision fp32 --grad-accum-steps 3 "
        "--activation-checkpointing --compile"
    )
    assert main(["train", "ostrack_tiny", *flags.split(), "--log", "tensorboard", "--resume"]) == 0
    ((recipe, data, out), options), *_ = asked
    assert [stage.batch for stage in recipe.stages] == [6, 6]
    assert dict(data.folders) == {"lasot": Path("one"), "got10k": Path("two")}
    assert out == Path("runs/ostrack_tiny")
    assert options["resume_run"]
    assert options["settings"] == RunSettings(
        precision="fp32",
        grad_accum_steps=3,
        activation_checkpointing=True,
        compiler="inductor",
        boards=("tensorboard",),
        report=click.echo,
    )


def test_without_flags_the_settings_are_the_loops_own(asked: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> None:
    assert main(["train", "ostrack_tiny"]) == 0
    assert asked[0][1] == {"resume_run": False, "weights": None, "settings": RunSettings(report=click.echo)}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lasot", "expected NAME=DIR, such as lasot=/data/LaSOT; got 'lasot'"),
        ("=one", "expected NAME=DIR"),
        ("lasot=three", "folder of lasot not found: three"),
    ],
)
def test_data_that_cannot_be_meant(
    value: str, message: str, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "ostrack_tiny", "--data", value]) == 2
    assert message in capsys.readouterr().err
    assert asked == []


def test_several_devices_are_several_processes(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = []

    def launched(count: int, function: object) -> str:
        counts.append(count)
        return "somewhere"

    monkeypatch.setattr(distributed, "launch", launched)
    assert main(["train", "ostrack_tiny", "--devices", "2"]) == 0
    assert (counts, asked) == ([2], [])
    assert "weights: somewhere" in capsys.readouterr().out


def test_more_devices_than_there_are(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert main(["train", "ostrack_tiny", "--device", "cuda", "--devices", "4"]) == 2
    assert "there are 1 GPUs here; got --devices 4; give at most 1" in capsys.readouterr().err
    assert asked == []
