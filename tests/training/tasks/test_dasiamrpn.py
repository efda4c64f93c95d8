"""DaSiamRPN's training: labels and losses by hand, pairs with look-alikes, and ten steps at a small size."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.training.made_data import make_coco_with_categories, make_got10k, make_lasot, make_siamese
from torch import Tensor

from singletrack.cli.main import main
from singletrack.datasets.categories import Categories, Target
from singletrack.datasets.pysot_crops import Views
from singletrack.errors import InputError
from singletrack.models.checkpoints import read_weights
from singletrack.models.configs import DaSiamRPNConfig
from singletrack.models.dasiamrpn import build_dasiamrpn
from singletrack.tracking.anchors import anchor_grid
from singletrack.training.anchor_losses import anchor_counts, anchor_loss, best_boxes, label_anchors
from singletrack.training.base import DataPaths, Stage
from singletrack.training.data.dasiamrpn import DistractorAwarePairs, DistractorAwareStream, PairChanges
from singletrack.training.data.pysot import CroppedPairs
from singletrack.training.data.video import Part
from singletrack.training.recipes import RECIPES
from singletrack.training.recipes.dasiamrpn import dasiamrpn_vot, dasiamrpn_vot_crops
from singletrack.training.tasks.dasiamrpn import DaSiamRPNTask
from singletrack.training.trainer import RunSettings, train

SIZE, CELLS = 271, 19
MIDDLE = 2 * CELLS * CELLS + CELLS * CELLS // 2  # the square anchor of the middle cell
NARROW = DaSiamRPNConfig(widths=(4, 6, 6, 6, 4))


def boxes(*cxcywh: tuple[float, float, float, float]) -> Tensor:
    """From the crop's center, in pixels -> xywh in [0, 1] of the crop."""
    values = torch.tensor(cxcywh)
    return torch.cat([values[:, :2] - values[:, 2:] / 2 + SIZE / 2, values[:, 2:]], 1) / SIZE


# --- labels and losses ---


def test_the_anchors_that_overlap_the_target_speak_for_it() -> None:
    labels = label_anchors(boxes((0, 0, 64, 64)), torch.tensor([True]), SIZE, CELLS)
    grid = anchor_grid(CELLS)
    towards = labels.towards[0] > 0
    # squares up to 8 pixels off one way, (56 x 64) / (72 x 64) = 0.78, or both, 56^2 / (2 x 64^2 - 56^2) = 0.62
    assert sorted(grid[towards.numpy(), :2].tolist()) == [[x, y] for x in (-8, 0, 8) for y in (-8, 0, 8)]
    assert labels.towards[0].sum() == 9
    assert labels.against[0].sum() == pytest.approx(48)
    assert not (towards & (labels.against[0] > 0)).any()
    torch.testing.assert_close(labels.shifts[0, :, MIDDLE], torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(labels.shifts[0, :, MIDDLE + 1], torch.tensor([-8 / 64, 0, 0, 0]), atol=1e-5, rtol=0)


def test_of_a_negative_pair_the_anchors_near_the_other_target_speak_against_it() -> None:
    labels = label_anchors(boxes((21, -30, 64, 64)), torch.tensor([False]), SIZE, CELLS)
    near = anchor_grid(CELLS)[(labels.against[0] > 0).numpy(), :2]
    assert len(near) == 5 * 7 * 7
    assert (near.min(0).tolist(), near.max(0).tolist()) == ([0, -56], [48, -8])  # round (24, -32), three cells each way
    assert labels.against[0].sum() == pytest.approx(16)
    assert not labels.towards.any()


def test_loss_by_hand() -> None:
    """Undecided scores cost log 2 each way; a shift of a quarter in x and of log 2 in width cost their sum."""
    labels = label_anchors(boxes((16, 0, 128, 64), (0, 0, 64, 64)), torch.tensor([True, False]), SIZE, CELLS)
    towards = torch.zeros_like(labels.towards)
    towards[0, MIDDLE] = 1.0
    labels = labels._replace(towards=towards)
    maps = {"cls": torch.zeros(2, 10, CELLS, CELLS), "loc": torch.zeros(2, 20, CELLS, CELLS)}
    loss, log = anchor_loss(maps, labels)
    shift = (0.25 + math.log(2)) / 2  # over two samples
    assert log["shift"].item() == pytest.approx(shift, rel=1e-5)
    assert loss.item() == pytest.approx(math.log(2) + 1.2 * shift, rel=1e-5)
    half = anchor_loss(maps, labels, {name: 2 * count for name, count in anchor_counts(labels).items()})
    assert half[0].item() == pytest.approx(math.log(2) / 2 + 1.2 * shift, rel=1e-5)


def test_a_batch_of_negatives_alone_has_a_finite_loss() -> None:
    labels = label_anchors(boxes((0, 0, 64, 64)), torch.tensor([False]), SIZE, CELLS)
    maps = {"cls": torch.zeros(1, 10, CELLS, CELLS), "loc": torch.zeros(1, 20, CELLS, CELLS)}
    loss, _ = anchor_loss(maps, labels)
    assert loss.item() == pytest.approx(0.5 * math.log(2), rel=1e-5)


def test_what_the_labels_ask_for_is_read_back_as_the_target() -> None:
    asked = boxes((13, -21, 70, 50))
    labels = label_anchors(asked, torch.tensor([True]), SIZE, CELLS)
    cls = torch.stack([-labels.towards, labels.towards], 1)
    maps = {"cls": cls.reshape(1, 10, CELLS, CELLS), "loc": labels.shifts.reshape(1, 20, CELLS, CELLS)}
    expected = torch.cat([asked[:, :2], asked[:, :2] + asked[:, 2:]], 1)
    torch.testing.assert_close(best_boxes(maps, SIZE), expected)


def test_frozen_convolutions_are_in_no_group() -> None:
    stage = small_stage(DistractorAwarePairs(parts=(), held=()))
    task = DaSiamRPNTask(config=NARROW, frozen=3)
    model = task.build(stage)
    taught = {id(part) for group in task.groups(model, stage) for part in group["params"]}
    still = {name for name, part in model.named_parameters() if id(part) not in taught}
    assert still == {f"backbone.{layer}.{part}" for layer in (0, 1, 4, 5, 8, 9) for part in ("weight", "bias")}
    groups = replace(task, frozen=0).groups(model, stage)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


# --- pairs ---


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """LaSOT with two cats and, in COCO, a cat and two dogs."""
    root = tmp_path_factory.mktemp("data")
    make_lasot(root / "lasot")
    make_coco_with_categories(root / "coco")
    make_got10k(root / "got10k")
    return DataPaths(folders={name: root / name for name in ("lasot", "coco", "got10k")}, cache=root / "cache")


PARTS = (Part(dataset="lasot", split="train"), Part(dataset="coco", split="train"))


def small_stage(source: DistractorAwarePairs) -> Stage:
    return Stage(
        name="small",
        task=DaSiamRPNTask(config=NARROW),
        source=source,
        template_size=127,
        search_size=175,
        steps=10,
        batch=4,
        lr=1e-3,
        head_lr=1e-3,
        check_samples=2,
    )


def stream(data: DataPaths, parts: tuple[Part, ...] = PARTS, **changes: float) -> DistractorAwareStream:
    source = DistractorAwarePairs(parts=parts, held=PARTS[:1], changes=PairChanges(**changes), incomplete=True)
    samples = source.samples(small_stage(source), data, [7])
    assert isinstance(samples, DistractorAwareStream)
    return samples


def test_boxes_lie_where_the_target_is_seen(data: DataPaths) -> None:
    """In made data it is the one thing that is green."""
    samples = stream(data, negatives=0, gray=0, blurred=0, brightness=0)
    for index in range(6):
        sample = samples[index]
        rows, columns = np.nonzero((sample["search"][1] > 130).numpy())
        x, y, width, height = (sample["box"] * 175).tolist()
        low, high = np.array([x, y]), np.array([x + width, y + height])
        shown = np.array([columns.min(), rows.min()]), np.array([columns.max() + 1, rows.max() + 1])
        inside = (low > 3).all() and (high < 172).all()
        assert sample["present"]
        if inside:
            pixel = width / 24  # of the frame: half of one lies between crops and boxes, as published, half is rounding
            np.testing.assert_allclose(shown[0], low, atol=pixel + 1)
            np.testing.assert_allclose(shown[1], high, atol=pixel + 1)


def test_pairs_follow_from_seed_and_index(data: DataPaths) -> None:
    one, two = stream(data, negatives=0.5), stream(data, negatives=0.5)
    for index in (3, 1):
        assert all(torch.equal(value, two[index][name]) for name, value in one[index].items())
    assert not torch.equal(one[0]["search"], one[1]["search"])


def test_categories_are_those_that_the_data_sets_tell(data: DataPaths) -> None:
    categories = stream(data).categories
    assert [names.tolist() for names in categories.names] == [[b"cat", b"cat"], [b"cat", b"dog", b"dog"]]
    assert {name: len(members) for name, members in categories.members.items()} == {b"cat": 3, b"dog": 2}


def test_where_categories_are_not_known_any_other_target_will_do(data: DataPaths) -> None:
    samples = stream(data, (Part(dataset="got10k", split="train"),), negatives=1.0, same_category=1.0)
    assert set(samples.categories.names[0]) == {b""}
    assert not samples[0]["present"]


def test_data_of_a_single_category_has_no_negatives_of_others(data: DataPaths) -> None:
    with pytest.raises(InputError, match="targets of several categories"):
        stream(data, PARTS[:1], negatives=1.0, same_category=0.0)[0]


# --- negative pairs by category, from all data sets of the paper ---

NAMES = ("vid", "youtubebb", "det", "coco")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """The data sets of the paper, each with a cat and a dog, COCO with two dogs."""
    root = tmp_path_factory.mktemp("papers")
    return DataPaths(folders=make_siamese(root), cache=root / "cache")


@pytest.fixture(scope="module")
def crops(papers: DataPaths, tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """The same, as cut by the command."""
    root = tmp_path_factory.mktemp("crops")
    for name in NAMES:
        asked = ["datasets", "crops", name, "--root", str(papers.folders[name]), "--incomplete"]
        assert main([*asked, "--out", str(root / name)]) == 0
    return DataPaths(folders={name: root / name for name in NAMES}, cache=root / "cache")


def from_frames(papers: DataPaths, crops: DataPaths) -> Categories:
    return stream(papers, tuple(Part(dataset=name, split="train") for name in NAMES)).categories


def from_crops(papers: DataPaths, crops: DataPaths) -> Categories:
    recipe = dasiamrpn_vot_crops()
    samples: Any = recipe.stages[0].source.samples(recipe.stages[0], crops, [7])
    return samples.categories


@pytest.mark.parametrize("source", [from_frames, from_crops])
def test_negative_pairs_are_drawn_by_category_from_all_data_sets(
    source: Callable[..., Categories], papers: DataPaths, crops: DataPaths
) -> None:
    categories = source(papers, crops)
    pair = [b"cat", b"dog"]  # DET's are in the order of their synsets
    assert [names.tolist() for names in categories.names] == [pair, pair, pair[::-1], [*pair, b"dog"]]
    random = np.random.default_rng(3)

    def draw() -> Target:
        dataset = int(random.integers(4))
        return Target(dataset, int(random.integers(len(categories.names[dataset]))))

    target = Target(2, 1)  # DET's cat
    same = [categories.other(random, target, 1.0, draw) for _ in range(60)]
    assert set(same) == {(0, 0), (1, 0), (3, 0)}
    others = [categories.other(random, target, 0.0, draw) for _ in range(100)]
    assert set(others) == {(0, 1), (1, 1), (2, 0), (3, 1), (3, 2)}
    mixed = [categories.other(random, target, 0.5, draw) for _ in range(300)]
    assert 0.4 < np.mean([categories.of(each) == "cat" for each in mixed]) < 0.6


def test_the_search_crop_of_a_negative_pair_shows_the_category_asked_for(crops: DataPaths) -> None:
    """In VID's crops, every frame of the cat is painted green here, and of the dog red."""
    root = crops.folders["vid"]
    told = json.loads((root / "categories.json").read_text())
    for video, tracks in told.items():
        color = (0, 200, 0) if tracks["00"] == "cat" else (0, 0, 200)
        for path in (root / "crop511" / video).iterdir():
            cv2.imwrite(str(path), np.full((511, 511, 3), color, np.uint8))
    views = Views(other=1.0, same_category=0.0, color=0.0, blur=0.0)
    source = CroppedPairs(shares={"vid": 1.0}, views=views)
    samples = source.samples(replace(small_stage(source), search_size=175), crops, [7])
    for index in range(10):
        sample = samples[index]
        template, search = (sample[name].float().mean((1, 2)).argmax() for name in ("template", "search"))
        assert {int(template), int(search)} == {0, 1}
        assert not sample["present"]


def test_crops_of_pysot_have_no_categories(crops: DataPaths, tmp_path: Path) -> None:
    folder = tmp_path / "vid"
    shutil.copytree(crops.folders["vid"], folder)
    (folder / "categories.json").unlink()
    source = CroppedPairs(shares={"vid": 1.0}, views=Views(other=1.0, same_category=1.0))
    samples = source.samples(small_stage(source), DataPaths(folders={"vid": folder}), [7])
    assert not samples[0]["present"]
    (folder / "categories.json").write_text('{"video": {"00": 3}}')
    with pytest.raises(InputError, match=r"must be {video: {track: category}}; got 3; write it again"):
        source.samples(small_stage(source), DataPaths(folders={"vid": folder}), [7])


# --- the recipe ---


def test_the_recipe_is_known_by_its_name() -> None:
    recipe = RECIPES["dasiamrpn_vot"]()
    assert recipe == dasiamrpn_vot()
    assert recipe.stages[0].steps == 46_875


@pytest.mark.parametrize("name", ["dasiamrpn_vot_paper", "dasiamrpn_vot_crops"])
def test_ten_steps_on_the_data_sets_of_the_paper(
    name: str, papers: DataPaths, crops: DataPaths, tmp_path: Path
) -> None:
    recipe = RECIPES[name]()
    source: Any = recipe.stages[0].source
    data = papers if name == "dasiamrpn_vot_paper" else crops
    if name == "dasiamrpn_vot_paper":
        source = replace(source, incomplete=True, followed=1)
    recipe = replace(recipe, stages=(small_stage(source),))
    train(recipe, data, tmp_path / "run", settings=RunSettings(log_every=1))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 10
    assert np.isfinite(losses).all()


def test_ten_steps(data: DataPaths, tmp_path: Path) -> None:
    changes = PairChanges(negatives=0.5)
    source = DistractorAwarePairs(parts=PARTS, held=PARTS[:1], followed=1, changes=changes, incomplete=True)
    recipe = replace(dasiamrpn_vot(), stages=(small_stage(source),))
    weights = train(recipe, data, tmp_path / "run", settings=RunSettings(log_every=1))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 10
    assert np.isfinite(losses).all()
    assert read_weights(weights).keys() == build_dasiamrpn(NARROW).state_dict().keys()


def test_the_recipe_of_the_papers_data_sets() -> None:
    recipe, other = RECIPES["dasiamrpn_vot_paper"](), RECIPES["dasiamrpn_vot"]()
    assert list(recipe.stages[0].source.needs()) == ["vid", "youtubebb", "det", "coco"]
    same = replace(recipe.stages[0], source=other.stages[0].source)
    assert replace(recipe, name=other.name, stages=(same,)) == other
    crops = RECIPES["dasiamrpn_vot_crops"]()
    assert crops.stages[0].source.needs() == recipe.stages[0].source.needs()
    assert replace(crops.stages[0], source=other.stages[0].source) == same
