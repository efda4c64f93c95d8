"""Fine-tuning at toy size: what is held out, what learns, and what is left in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.training.toys import toy

from singletrack import registry
from singletrack.cli.main import singletrack
from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.errors import InputError
from singletrack.labeling import label_project
from singletrack.models.checkpoints import read_weights, save_safetensors
from singletrack.models.ostrack import build_ostrack
from singletrack.tracking.ostrack import OSTrackSettings
from singletrack.training import finetune as module
from singletrack.training.base import DataPaths
from singletrack.training.checkpoint import begin
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.finetune import CustomPairs, finetune, finetune_recipe, split_sequences
from singletrack.training.trainer import RunSettings
from singletrack.video.writer import VideoWriter

TINY = replace(toy().stages[0].task.config, template_size=48, search_size=96)  # type: ignore[attr-defined]
SETTINGS = OSTrackSettings(template_size=TINY.template_size, search_size=TINY.search_size)


@pytest.fixture
def toy_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The registry with a model "toy", and a file of weights for it."""
    spec = replace(registry.MODELS["ostrack-tiny"], network=TINY, settings={}, bundled=False)
    monkeypatch.setitem(registry.MODELS, "toy", spec)
    torch.manual_seed(0)
    path = tmp_path / "toy.safetensors"
    save_safetensors(build_ostrack(TINY).state_dict(), path, "toy")
    return path


def write_clips(folder: Path, count: int, frames: int = 8) -> Path:
    for number in range(count):
        clip = folder / f"clip-{number}"
        clip.mkdir(parents=True)
        boxes = []
        for index, (frame, box) in enumerate(generate_clip(frames, (96, 72), number)):
            cv2.imwrite(str(clip / f"{index:03d}.png"), frame[..., ::-1])
            boxes.append(",".join(map(repr, box)))
        (clip / "groundtruth.txt").write_text("\n".join(boxes) + "\n")
    return folder


def data_of(folder: Path, cache: Path | None = None) -> DataPaths:
    return DataPaths(folders={"folder": folder}, cache=cache)


def test_every_fifth_sequence_is_held_out_and_never_trained_on(tmp_path: Path) -> None:
    data = data_of(write_clips(tmp_path / "clips", 6, frames=2))
    train, held = split_sequences("folder", data)
    assert [sequence.name for sequence in held] == ["clip-2"]
    assert [sequence.name for sequence in train] == [f"clip-{number}" for number in (0, 1, 3, 4, 5)]


def test_of_one_video_the_last_fifth_is_held_out(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "walk.mp4", fps=10) as writer:
        boxes = []
        for frame, box in generate_clip(10, (96, 72), 3):
            writer.write(frame)
            boxes.append(",".join(map(repr, box)))
    (tmp_path / "walk.txt").write_text("\n".join(boxes) + "\n")
    (train,), (held,) = split_sequences("folder", data_of(tmp_path, tmp_path / "cache"))
    assert (len(train), len(held)) == (8, 2)
    assert train.frames[7].shape == (72, 96, 3)
    assert not np.array_equal(train.frames[0], held.frames[1])


def test_too_little_to_hold_any_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several sequences, or one of at least 10 frames"):
        split_sequences("folder", data_of(write_clips(tmp_path, 1, frames=4)))


def test_first_boxes_alone_are_nothing_to_learn_from(tmp_path: Path) -> None:
    write_clips(tmp_path, 2, frames=3)
    (tmp_path / "clip-1" / "groundtruth.txt").write_text("1,2,3,4\n")
    with pytest.raises(InputError, match=r"clip-1 needs a box for each of its .* frames; got only the first"):
        split_sequences("folder", data_of(tmp_path))


@pytest.mark.parametrize("trainable", ["all", "head", "light"])
def test_what_learns(toy_model: Path, trainable: module.Trainable) -> None:
    recipe = finetune_recipe("toy", ["folder"], trainable=trainable, settings=SETTINGS)
    model = begin(recipe, 0, None, torch.device("cpu")).model
    learns = {name for name, value in model.named_parameters() if value.requires_grad}
    backbone = {name: value for name, value in model.named_parameters() if name.startswith("backbone")}
    expected = {
        "all": set(backbone),
        "head": set(),
        "light": {name for name, value in backbone.items() if value.dim() == 1},
    }[trainable]
    assert learns - {name for name, _ in model.named_parameters() if name.startswith("head")} == expected
    assert all(value.requires_grad for value in model.head.parameters())


def test_a_share_of_the_pairs_is_rehearsed(tmp_path: Path) -> None:
    data = data_of(write_clips(tmp_path, 2, frames=4))
    source = CustomPairs(datasets=("folder",), replay_share=0.5, made=SyntheticPairs(picture_size=96))
    stage = finetune_recipe("ostrack-tiny", ["folder"]).stages[0]
    mixed = source.samples(stage, data, [1])
    made = source.made.samples(stage, data, [1])
    same = [torch.equal(mixed[index]["search"], made[index]["search"]) for index in range(12)]
    assert 0 < sum(same) < 12


def test_the_verb_leaves_the_best_weights_or_says_that_there_are_none(
    toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = write_clips(tmp_path / "clips", 3, frames=6)
    common = ["finetune", "toy", "--data", f"folder={clips}", "--weights", str(toy_model), "--steps", "4"]

    def run(out: str, *more: str) -> str:
        result = CliRunner().invoke(
            singletrack, [*common, "--batch", "2", "--out", str(tmp_path / out), *more], catch_exceptions=False
        )
        return result.output

    overlaps = iter([0.2, 0.1, 0.3, 0.25, 0.28])
    monkeypatch.setattr(module, "tracking_overlap", lambda *_: next(overlaps))
    monkeypatch.setattr("singletrack.training.trainer.tracking_overlap", lambda *_: next(overlaps))
    said = run("better", "--old-weights", "0")
    assert "0.200 before, 0.300 with the best weights, 0.300 with the result" in said
    best, result = (tmp_path / "better" / f"{name}.safetensors" for name in ("best", "finetuned"))
    assert best.read_bytes() == result.read_bytes()
    overlaps = iter([0.2, 0.1, 0.3, 0.25, 0.28, 0.29])
    assert "0.300 with the best weights, 0.290 with the result" in run("mixed", "--old-weights", "0.25")
    best_weights, mixed = (read_weights(tmp_path / "mixed" / f"{name}.safetensors") for name in ("best", "finetuned"))
    for name, old in read_weights(toy_model).items():
        expected = 0.75 * best_weights[name] + 0.25 * old if old.is_floating_point() else best_weights[name]
        assert torch.allclose(mixed[name], expected, atol=1e-6)
    overlaps = iter([0.2, 0.1, 0.3, 0.25, 0.28, 0.15])  # the mixture is worse than what there was
    assert "0.300 with the result" in run("alone")
    assert not (tmp_path / "alone" / "mixed.safetensors").exists()
    overlaps = iter([0.9, 0.1, 0.3, 0.25, 0.28])
    assert "keep those" in run("worse", "--trainable", "head")
    assert not (tmp_path / "worse" / "finetuned.safetensors").exists()


def test_a_label_project_is_data(toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        clip = write_clips(tmp_path / str(number), 1, frames=6) / "clip-0"
        boxes = [tuple(map(float, line.split(","))) for line in (clip / "groundtruth.txt").read_text().split()]
        (clip / "groundtruth.txt").unlink()
        with label_project(clip, tmp_path / f"{number}.singletrack") as project:
            target = project.add_target("thing")
            for frame, box in enumerate(boxes):
                project.set_keyframe(target, frame, box)  # type: ignore[arg-type]
    overlaps = iter([0.2, 0.3, 0.3, 0.3, 0.3, 0.3])
    monkeypatch.setattr(module, "tracking_overlap", lambda *_: next(overlaps))
    monkeypatch.setattr("singletrack.training.trainer.tracking_overlap", lambda *_: next(overlaps))
    data = [part for number in range(2) for part in ("--data", str(tmp_path / f"{number}.singletrack"))]
    common = ["finetune", "toy", *data, "--weights", str(toy_model), "--steps", "2", "--batch", "2"]
    result = CliRunner().invoke(singletrack, [*common, "--out", str(tmp_path / "run")], catch_exceptions=False)
    assert "projects: 2 sequences" in result.output
    assert "0.200 before, 0.300 with the best weights" in result.output
    assert len(list((tmp_path / "run" / "projects").glob("*/groundtruth.txt"))) == 2


def test_it_measures_by_following(toy_model: Path, tmp_path: Path) -> None:
    data = data_of(write_clips(tmp_path / "clips", 3, frames=4))
    recipe = finetune_recipe("toy", ["folder"], steps=2, batch=2, settings=SETTINGS)
    outcome = finetune(recipe, toy_model, data, tmp_path / "run", settings=RunSettings())
    assert 0.0 <= outcome.before <= outcome.best <= 1.0
    assert outcome.before <= outcome.after <= 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stark-st50", "--data", "folder=DIR"], "expected a model among ostrack-nano"),
        (
            ["ostrack-256", "--data", "folder=DIR"],
            "ostrack-256 has no bundled weights; give an official or converted file with --weights",
        ),
        (["ostrack-tiny", "--data", "nothing=DIR"], "unknown data set"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    arguments = [argument.replace("DIR", str(tmp_path / "data")) for argument in arguments]
    result = CliRunner().invoke(singletrack, ["finetune", *arguments, "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["missing.singletrack"], "project not found"),
        (["mine.singletrack", "folder=."], "expected projects or folder=DIR"),
    ],
)
def test_projects_that_cannot_be_meant(data: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.singletrack").touch()
    given = [part for each in data for part in ("--data", str(tmp_path / each) if "=" not in each else each)]
    result = CliRunner().invoke(singletrack, ["finetune", "ostrack-tiny", *given, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert message in result.output
