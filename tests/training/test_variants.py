"""Variants of recipes: what --set changes, and what `train --list` says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.training.toys import one_stage

from singletrack.cli.main import main
from singletrack.errors import InputError
from singletrack.training.checkpoint import described
from singletrack.training.recipes import RECIPES
from singletrack.training.variants import MEANINGS, VALUES, change_recipe, variants


def test_every_variant_of_every_recipe_has_values_and_a_meaning() -> None:
    names = {name for make in RECIPES.values() for name in variants(make())}
    assert names == VALUES.keys() == MEANINGS.keys()


@pytest.mark.parametrize("name", ["ostrack_256", "ostrack_tiny", "siamrpnpp_r50"])
def test_each_value_changes_the_recipe(name: str) -> None:
    recipe = RECIPES[name]()
    for variant, values in variants(recipe).items():
        if name == "ostrack_tiny" and variant in ("eliminate_in", "keep_ratios"):
            continue  # their values are for twelve blocks
        made = [json.dumps(described(change_recipe(recipe, {variant: value}))) for value in values]
        assert len(set(made)) == len(values), variant
        if name != "ostrack_tiny":
            assert made[0] == json.dumps(described(recipe)), variant  # the first is published


def test_the_ratio_of_the_task_follows() -> None:
    recipe = change_recipe(RECIPES["ostrack_256"](), {"keep_ratio": 0.5, "eliminate_in": [3, 6]})
    task = recipe.stages[0].task
    assert (task.keep_ratio, task.config.keep_ratio, task.config.eliminate_in) == (0.5, 0.5, (3, 6))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("ostrack_256", {"depth": 3}, "ostrack_256 has no variant 'depth'; choose among eliminate_in, keep_ratio"),
        ("ostrack_256", {"template_rows": "x"}, "template_rows must be one of point, center, rectangle, box, all"),
        ("ostrack_256", {"keep_ratio": 2.0}, "keep_ratio must be above 0 and at most 1"),
        ("ostrack_256", {"eliminate_in": [5, 3]}, "in ascending order"),
        ("ostrack_256", {"pretraining": "dino"}, "pretraining must be one of mae, deit, augreg, none"),
        ("siamrpnpp_r50", {"search_shift": 99}, "search_shift must be a number of pixels from 0 to 64"),
        ("stark_s50", {"head": "center"}, "stark_s50 has no variant 'head'; choose among none"),
    ],
)
def test_what_cannot_be_changed(name: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        change_recipe(RECIPES[name](), changes)


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    text = capsys.readouterr().out
    plain = [n for n in RECIPES if not any(s in n for s in ("_plain", "_deit", "_augreg", "_scratch", "_as_published"))]
    assert [line for line in text.splitlines() if line in RECIPES] == plain
    assert "lasot AUC 69.1, trackingnet AUC 83.1" in text
    assert "mae_pretrain_vit_base.pth" in text
    assert "18.0 million samples in 140,400 steps" in text
    assert "template_rows" in text
    assert main(["train"]) == 2


def test_a_run_of_an_earlier_version_goes_on() -> None:
    """Fields that were added since are left out of the comparison while they have their defaults."""
    recipe = one_stage()
    task: Any = recipe.stages[0].task
    before = described(recipe)
    del before["stages"][0]["task"]["config"]["keep_ratio"]
    assert described(recipe, before) != before  # 0.4 is not the default
    before = described(recipe)
    del before["stages"][0]["task"]["frozen"]
    assert described(recipe, before) == before
    other = replace(recipe.stages[0], task=replace(task, frozen=("head",)))
    assert described(replace(recipe, stages=(other,)), before) != before
