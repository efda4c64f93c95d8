"""SiamRPN++ learns: which parameters, from which files, and ten steps of its recipe at reduced size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from singletrack.cli.main import main
from singletrack.errors import CheckpointError, InputError
from singletrack.models.checkpoints import load_weights
from singletrack.models.siamrpn import ResNet, build_siamrpn
from singletrack.registry import MODELS
from singletrack.training.base import DataPaths, Recipe
from singletrack.training.data.pysot import CroppedPairs
from singletrack.training.recipes import RECIPES
from singletrack.training.recipes.siamrpn import STEPS_AN_EPOCH, siamrpnpp_alex, siamrpnpp_r50
from singletrack.training.schedules import learning_rate
from singletrack.training.tasks.siamrpn import SiamRPNTask, start_from_imagenet
from singletrack.training.trainer import RunSettings, train


def make_crops(root: Path) -> Path:
    """A folder as pysot's scripts leave it: one video of two frames, whose target is white on black."""
    folder = root / "crop511" / "video"
    folder.mkdir(parents=True)
    crop = np.zeros((511, 511, 3), np.uint8)
    crop[234:277, 213:299] = 255
    for frame in ("000000", "000001"):
        cv2.imwrite(str(folder / f"{frame}.00.x.jpg"), crop)
    boxes = {"video": {"00": {"000000": [5, 5, 45, 25], "000001": [5, 5, 45, 25]}}}
    (root / "train.json").write_text(json.dumps(boxes))
    return root


def test_groups_are_the_published_ones() -> None:
    """First all but the backbone; then its last three stages as well, at a tenth of the rate."""
    heads, whole = siamrpnpp_r50().stages
    with torch.device("meta"):
        model = build_siamrpn(MODELS["siamrpnpp-r50"].network)
    (rest,) = heads.task.groups(model, heads)
    behind = [p for name, p in model.named_parameters() if not name.startswith("backbone.")]
    assert {id(p) for p in rest["params"]} == {id(p) for p in behind}
    backbone, same = whole.task.groups(model, whole)
    later = [
        p
        for name, p in model.named_parameters()
        if name.startswith(("backbone.layer2", "backbone.layer3", "backbone.layer4"))
    ]
    assert {id(p) for p in backbone["params"]} == {id(p) for p in later}
    assert same["params"] == rest["params"]
    assert backbone["lr"] == pytest.approx(same["lr"] / 10)


def test_the_rate_rises_and_falls_as_published() -> None:
    heads, whole = siamrpnpp_r50().stages
    rates = [
        stage.head_lr * learning_rate(stage, epoch * STEPS_AN_EPOCH) for stage in (heads, whole) for epoch in range(10)
    ]
    assert rates[0] == pytest.approx(1e-3, rel=0.01)
    assert rates[5] == pytest.approx(5e-3)
    assert rates[10] == pytest.approx(5e-3 * 10 ** (-5 / 14))  # it goes on where the first stage ended
    assert rates[19] == pytest.approx(5e-4, rel=0.02)


def test_a_backbone_of_imagenet_fills_the_backbone() -> None:
    backbone = ResNet()
    given = {name: torch.full_like(value, 2) for name, value in backbone.state_dict().items()}
    given = {name: value for name, value in given.items() if not name.endswith("num_batches_tracked")}
    given["layer3.0.downsample.0.weight"] = torch.full((1024, 512, 1, 1), 3.0)  # as torchvision's
    given["fc.weight"] = torch.zeros(1000, 2048)
    start_from_imagenet(backbone, given, Path("resnet50.model"))
    shortcut = backbone.get_parameter("layer3.0.downsample.0.weight")
    assert (shortcut[..., 1, 1] == 3).all()
    assert shortcut.sum() == 3 * 1024 * 512
    assert (backbone.conv1.weight == 2).all()
    del given["layer4.2.bn3.weight"]
    with pytest.raises(
        CheckpointError, match=r"expected layer4\.2\.bn3\.weight of \(2048,\).* got none in resnet50.model"
    ):
        start_from_imagenet(backbone, given, Path("resnet50.model"))


def test_alexnet_trains_as_published() -> None:
    """Its last two layers after ten epochs, at the same rate; 0.005 to 0.01 to 0.0005 over 50 epochs."""
    recipe = siamrpnpp_alex()
    heads, whole = recipe.stages
    epoch = heads.steps // 10
    assert heads.steps * heads.batch == pytest.approx(10 * 600_000, rel=0.01)
    rates = [
        stage.head_lr * learning_rate(stage, number * epoch)
        for stage, epochs in ((heads, 10), (whole, 40))
        for number in range(epochs)
    ]
    assert rates[0] == pytest.approx(5e-3, rel=0.01)
    assert rates[5] == pytest.approx(1e-2)
    assert rates[9] > rates[10] > rates[11]
    assert rates[49] == pytest.approx(5e-4, rel=0.03)
    with torch.device("meta"):
        model = build_siamrpn(MODELS["siamrpnpp-alex"].network)
    assert len(heads.task.groups(model, heads)) == 1
    backbone, rest = whole.task.groups(model, whole)
    learning = {name for name, p in model.named_parameters() if any(p is each for each in backbone["params"])}
    assert learning == {
        f"backbone.features.{index}.{part}" for index in (11, 12, 14, 15) for part in ("weight", "bias")
    }
    assert backbone["lr"] == rest["lr"]


def test_an_alexnet_of_imagenet_fills_the_backbone(tmp_path: Path) -> None:
    (stage, _) = siamrpnpp_alex().stages
    model = stage.task.build(stage)
    given = {name: torch.full_like(value, 2) for name, value in model.backbone.state_dict().items()}
    torch.save({**given, "classifier.1.weight": torch.zeros(3, 3)}, tmp_path / "alexnet-bn.pth")
    head = next(p for name, p in model.named_parameters() if not name.startswith("backbone.")).clone()
    stage.task.start(model, tmp_path / "alexnet-bn.pth", "siamrpnpp-alex")
    assert all((p == 2).all() for p in model.backbone.parameters())
    assert torch.equal(head, next(p for name, p in model.named_parameters() if not name.startswith("backbone.")))
    del given["features.15.bias"]
    torch.save(given, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"expected features\.15\.bias of .* of an AlexNet.*pysot's alexnet-bn"):
        stage.task.start(model, tmp_path / "cut.pth", "siamrpnpp-alex")


@pytest.mark.parametrize(
    ("name", "model"), [("siamrpnpp_mobilenet", "siamrpnpp-mobilenet"), ("siamrpnpp_r50_lt", "siamrpnpp-r50-lt")]
)
def test_recipes_without_published_settings_take_those_of_the_resnet(
    name: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, published = RECIPES[name](), siamrpnpp_r50()
    for stage, other in zip(recipe.stages, published.stages, strict=True):
        assert stage.task == SiamRPNTask(config=MODELS[model].network)
        assert replace(stage, task=other.task) == other
    same = replace(recipe, name=published.name, model=published.model, stages=published.stages)
    assert replace(same, starts_from=published.starts_from, settings_of="") == published
    assert main(["train", "--list"]) == 0
    entry = capsys.readouterr().out.split(f"\n{name}\n")[1].split("published  ")[1]
    assert entry.splitlines()[:2] == [
        "nothing for this recipe",
        "  settings   those of siamrpnpp_r50; none are published",
    ]


def test_the_later_stages_of_a_mobilenet_learn() -> None:
    heads, whole = RECIPES["siamrpnpp_mobilenet"]().stages
    with torch.device("meta"):
        model = build_siamrpn(MODELS["siamrpnpp-mobilenet"].network)
    assert len(heads.task.groups(model, heads)) == 1
    backbone, _ = whole.task.groups(model, whole)
    learning = {name.split(".")[1] for name, p in model.named_parameters() if any(p is q for q in backbone["params"])}
    assert learning == {f"layer{number}" for number in range(3, 8)}


def test_a_mobilenet_of_imagenet_fills_the_backbone(tmp_path: Path) -> None:
    (stage, _) = RECIPES["siamrpnpp_mobilenet"]().stages
    model = stage.task.build(stage)
    given = {name: torch.full_like(value, 2) for name, value in model.backbone.state_dict().items()}
    torch.save({**given, "classifier.1.weight": torch.zeros(3, 3)}, tmp_path / "mobilenet.pth")
    stage.task.start(model, tmp_path / "mobilenet.pth", "siamrpnpp-mobilenet")
    assert all((p == 2).all() for p in model.backbone.parameters())
    del given["layer7.0.conv.0.weight"]
    torch.save(given, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=r"expected layer7\.0\.conv\.0\.weight of .* give a MobileNetV2 of width"):
        stage.task.start(model, tmp_path / "cut.pth", "siamrpnpp-mobilenet")


def test_missing_data_are_named() -> None:
    (stage, _) = siamrpnpp_r50().stages
    with pytest.raises(InputError, match=r"--data vid=DIR .*got none for vid, youtubebb, det, coco"):
        stage.source.samples(stage, DataPaths(), [1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    root = tmp_path_factory.mktemp("pysot")
    folders = {name: make_crops(root / name) for name in CroppedPairs().shares}
    return DataPaths(folders=folders, cache=root / "cache")


def reduced_recipe(name: str = "siamrpnpp_r50", model: str = "siamrpnpp-alex", steps: int = 5) -> Recipe:
    """A recipe with the network of a model, small search regions and few steps a stage."""
    heads, whole = (
        replace(
            stage,
            task=SiamRPNTask(config=MODELS[model].network),
            search_size=159,
            steps=steps,
            batch=2,
            warmup=2 if stage.warmup else 0,
            check_every=5,
            check_samples=2,
        )
        for stage in RECIPES[name]().stages
    )
    return replace(RECIPES[name](), model=model, stages=(heads, whole), starts_from="")


def test_ten_steps(data: DataPaths, tmp_path: Path) -> None:
    """The backbone stays in the first five and moves after; the weights load as the model's."""
    settings = RunSettings(log_every=1, precision="fp32", boards=())
    train(reduced_recipe(), data, tmp_path, settings=settings)
    losses = [
        entry["loss"]
        for line in (tmp_path / "log.jsonl").read_text().splitlines()
        if "loss" in (entry := json.loads(line))
    ]
    assert len(losses) >= 10
    assert all(loss == loss and loss < 100 for loss in losses)
    load_weights(build_siamrpn(MODELS["siamrpnpp-alex"].network), tmp_path / "weights.safetensors", "siamrpnpp-alex")


@pytest.mark.parametrize(
    ("name", "model", "steps"),
    [("siamrpnpp_mobilenet", "siamrpnpp-mobilenet", 2), ("siamrpnpp_r50_lt", "siamrpnpp-r50-lt", 1)],
)
def test_a_few_steps_of_each_stage(name: str, model: str, steps: int, data: DataPaths, tmp_path: Path) -> None:
    settings = RunSettings(log_every=1, precision="fp32", boards=())
    recipe = reduced_recipe(name, model, steps)
    stages = tuple(replace(stage, batch=1, check_samples=1) for stage in recipe.stages)
    train(replace(recipe, stages=stages), data, tmp_path, settings=settings)
    entries = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert len(losses) == 2 * steps
    assert np.isfinite(losses).all()
    load_weights(build_siamrpn(MODELS[model].network), tmp_path / "weights.safetensors", model)
    (tmp_path / "last.pt").unlink()  # half a gigabyte


def test_a_folder_without_its_annotations_is_named(data: DataPaths, tmp_path: Path) -> None:
    folders = {**data.folders, "coco": tmp_path}
    with pytest.raises(InputError, match=r"got No such file or directory; run `singletrack datasets crops coco --root"):
        CroppedPairs().fingerprints(replace(data, folders=folders))
