"""STARK's two stages at toy size: they run, the second changes its score head alone, and what each may start from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.made_data import make_got10k
from torch import Tensor

from singletrack.errors import CheckpointError
from singletrack.models.checkpoints import save_safetensors
from singletrack.models.configs import STARKConfig
from singletrack.models.stark import STARK, FrozenBatchNorm, build_stark
from singletrack.training.base import DataPaths, Recipe
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.data.video import Part
from singletrack.training.recipes import RECIPES
from singletrack.training.recipes.stark import stark_s50, stark_st50_stage1, stark_st50_stage2, stark_st101_stage2
from singletrack.training.tasks.stark import CornerTask, ScoreTask, corner_loss, crops
from singletrack.training.trainer import RunSettings, train

NARROW: dict[str, Any] = {
    "blocks": (1, 1, 1),
    "resnet_width": 4,
    "width": 16,
    "heads": 2,
    "hidden": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
}
LITTLE = STARKConfig(**NARROW, template_size=32, search_size=64, num_templates=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    folder = tmp_path_factory.mktemp("data")
    return DataPaths(folders={"got10k": make_got10k(folder / "got10k")}, cache=folder / "cache")


def small(recipe: Recipe, made: bool = False) -> Recipe:
    """Ten steps of a recipe's stage at reduced size, from nothing, on GOT-10k alone or on made pairs."""
    (stage,) = recipe.stages
    source: Any = SyntheticPairs(picture_size=96, clips=0)
    if not made:
        parts, held = (Part(dataset="got10k", split="vottrain"),), (Part(dataset="got10k", split="votval"),)
        source = replace(stage.source, parts=parts, held=held, followed=1)  # type: ignore[call-arg, type-var]
    task: Any = stage.task
    task = replace(task, config=replace(task.config, **NARROW))
    stage = replace(stage, task=task, source=source, template_size=32, search_size=64)
    return replace(recipe, stages=(replace(stage, steps=10, batch=4, check_samples=4),), starts_from="")


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def first(data: DataPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ten steps of the first stage left."""
    out = tmp_path_factory.mktemp("stage1")
    return train(small(stark_st50_stage1()), data, out, settings=RunSettings(log_every=5))


def test_the_first_stage_leaves_the_stem_alone(first: Path) -> None:
    (start,) = small(stark_st50_stage1()).stages
    torch.manual_seed(stark_st50_stage1().seed)
    before = start.task.build(start).state_dict()
    after = load_file(first)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not any(name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1")) for name in changed)
    assert not any(name.split(".")[-2].startswith("bn") for name in changed)
    for part in ("backbone.layer2", "backbone.layer3", "reduce", "encoder", "decoder", "corner_head"):
        assert any(name.startswith(part) for name in changed), part
    assert not any(name.startswith("score_head") for name in after)
    log = lines(first.parent)
    assert {"loss", "giou", "l1", "iou", "inverted"} <= log[0].keys()
    assert {"argmax_iou", "ao"} <= log[-1].keys()


def test_the_second_stage_changes_its_score_head_and_nothing_else(first: Path, data: DataPaths, tmp_path: Path) -> None:
    second = train(small(stark_st50_stage2()), data, tmp_path, weights=first, settings=RunSettings(log_every=5))
    before, after = load_file(first), load_file(second)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    heads = sorted(after.keys() - before.keys())
    assert heads == [f"score_head.{layer}.{kind}" for layer in (0, 2, 4) for kind in ("bias", "weight")]
    log = lines(tmp_path)
    assert {"loss", "right"} <= log[0].keys()
    assert "giou" not in log[0]


def test_the_second_stage_follows_the_first_in_one_run(data: DataPaths, tmp_path: Path) -> None:
    one, two = small(stark_st50_stage1()), small(stark_st50_stage2())
    both = replace(two, stages=tuple(replace(r.stages[0], steps=1) for r in (one, two)))
    weights = load_file(train(both, data, tmp_path))
    assert "score_head.0.weight" in weights


@pytest.mark.parametrize("recipe", [stark_s50, stark_st50_stage1, stark_st50_stage2])
def test_made_pairs_serve_as_well(recipe: Callable[[], Recipe], first: Path, tmp_path: Path) -> None:
    plan = small(recipe(), made=True)
    plan = replace(plan, stages=(replace(plan.stages[0], steps=2),))
    train(plan, DataPaths(), tmp_path, weights=first if recipe is stark_st50_stage2 else None)
    assert lines(tmp_path)[-1]["step"] == 2


def test_the_second_stage_starts_from_the_first_alone(first: Path, tmp_path: Path) -> None:
    stage = small(stark_st50_stage2()).stages[0]
    model = stage.task.build(stage)
    whole = tmp_path / "whole.safetensors"
    save_safetensors(model.state_dict(), whole, "stark-st50")
    with pytest.raises(CheckpointError, match="unexpected score_head"):
        stage.task.start(model, whole, "stark-st50")
    part = tmp_path / "part.safetensors"
    save_safetensors({n: v for n, v in load_file(first).items() if n != "decoder.query"}, part, "stark-st50-stage1")
    with pytest.raises(CheckpointError, match=r"missing decoder\.query"):
        stage.task.start(model, part, "stark-st50")


def test_the_backbone_may_start_from_an_image_classifier(tmp_path: Path) -> None:
    task, model = CornerTask(config=LITTLE), build_stark(LITTLE)
    theirs: dict[str, Tensor] = {n: torch.rand_like(v) for n, v in model.backbone.state_dict().items()}
    extra = {"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2), "layer4.0.conv1.weight": torch.zeros(1)}
    torch.save({**theirs, **extra, "bn1.num_batches_tracked": torch.tensor(1)}, tmp_path / "resnet.pth")
    reduce = model.reduce.weight.clone()
    task.start(model, tmp_path / "resnet.pth", "stark-st50-stage1")
    assert all(torch.equal(value, theirs[name]) for name, value in model.backbone.state_dict().items())
    assert torch.equal(model.reduce.weight, reduce)
    torch.save({**theirs, **extra, "layer3.1.conv1.weight": torch.zeros(1)}, tmp_path / "deeper.pth")
    with pytest.raises(CheckpointError, match=r"as layer3\.1\.conv1\.weight; give torchvision's file of the same"):
        task.start(model, tmp_path / "deeper.pth", "stark-st50-stage1")


def test_learning_rates_by_group() -> None:
    (stage,) = stark_s50().stages
    with torch.device("meta"):
        model: STARK = stage.task.build(stage)  # type: ignore[assignment]
    backbone, rest = stage.task.groups(model, stage)
    assert (backbone["peak"], rest["peak"]) == (1e-5, 1e-4)
    assert sum(p.numel() for group in (backbone, rest) for p in group["params"]) == 27_873_154  # as published
    assert any(isinstance(module, FrozenBatchNorm) for module in model.modules())
    (second,) = stark_st101_stage2().stages
    with torch.device("meta"):
        model = second.task.build(second)  # type: ignore[assignment]
    (head,) = second.task.groups(model, second)
    assert sum(p.numel() for p in head["params"]) == 2 * (256 * 256 + 256) + 256 + 1


def test_published_lengths() -> None:
    steps = {name: RECIPES[name]().stages[0] for name in ("stark_s50", "stark_st50_stage1", "stark_st101_stage2")}
    assert [stage.steps for stage in steps.values()] == [500 * 468, 500 * 468, 50 * 468]
    assert {stage.batch for stage in steps.values()} == {128}
    assert RECIPES["stark_st50_stage2_got10k"]().starts_from == "the file that stark_st50_stage1_got10k left"


def corners(*boxes_xyxy: tuple[float, float, float, float], grid: int = 10) -> Tensor:
    """Maps (B, 2, grid, grid) that are sure of corners in tenths of the crop."""
    maps = torch.zeros(len(boxes_xyxy), 2, grid, grid)
    for index, (left, top, right, bottom) in enumerate(boxes_xyxy):
        maps[index, 0, round(top * grid), round(left * grid)] = 1
        maps[index, 1, round(bottom * grid), round(right * grid)] = 1
    return maps


def test_the_loss_of_corners_by_hand() -> None:
    maps = {"corners": corners((0.2, 0.2, 0.6, 0.6), (0.0, 0.0, 0.2, 0.4), (0.8, 0.8, 0.4, 0.4), (0.1, 0.1, 0.2, 0.2))}
    truth = torch.tensor([[0.2, 0.2, 0.4, 0.4], [0.0, 0.0, 0.4, 0.4], [0.4, 0.4, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5]])
    present = torch.tensor([True, True, True, False])
    loss, log = corner_loss(maps, truth, present, torch.tensor(3.0), giou_weight=2.0, l1=5.0)
    # exact; half of the true box, so GIoU = IoU = 0.5; inverted, so no GIoU; absent, so nothing
    assert log["giou"].item() == pytest.approx((0 + 0.5 + 1) / 3, abs=1e-5)
    assert log["l1"].item() == pytest.approx((0 + 0.2 / 4 + 1.6 / 4) / 3, abs=1e-5)
    assert loss.item() == pytest.approx(2 * log["giou"].item() + 5 * log["l1"].item(), abs=1e-5)
    assert log["inverted"].item() == pytest.approx(1 / 3)
    assert log["iou"].item() == pytest.approx(1.5 / 3, abs=1e-5)


def test_a_batch_without_any_target_has_a_finite_loss() -> None:
    maps = {"corners": torch.rand(2, 2, 4, 4).requires_grad_()}
    absent = torch.zeros(2, dtype=torch.bool)
    loss, _ = corner_loss(maps, torch.rand(2, 4), absent, torch.tensor(1.0), giou_weight=2.0, l1=5.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0


def test_crops_carry_their_padding() -> None:
    template, search = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    templates, region = crops({"template": template, "search": search}, templates=2)
    assert templates.shape == (2, 2, 4, 4, 4)
    assert region.shape == (2, 4, 8, 8)
    assert not templates[:, :, 3].any()
    assert not region[:, 3].any()
    beyond = torch.rand(2, 2, 4, 4) > 0.5
    several = template[:, None].expand(-1, 2, -1, -1, -1)
    batch = {"template": several, "search": search, "template_padding": beyond, "search_padding": search[:, 0] == 0}
    templates, region = crops(batch, templates=2)
    assert torch.equal(templates[:, :, 3], beyond.float())
    assert region[:, 3].all()


def test_the_score_alone_is_the_score_of_the_whole() -> None:
    torch.manual_seed(0)
    model = build_stark(replace(LITTLE, score_head=True)).eval()
    inputs = torch.randn(2, 2, 4, 32, 32), torch.randn(2, 4, 64, 64)
    with torch.inference_mode():
        logit = model(*inputs, trust_alone=True)["logit"]
        torch.testing.assert_close(logit.sigmoid(), model(*inputs)["score"])
    assert isinstance(small(stark_st50_stage2()).stages[0].task, ScoreTask)
