"""docs/paper.md: each of its commands runs, at toy size."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.made_data import make_all
from tests.training.test_rehearsal import SEARCH, TEMPLATE, backbone, call, reduced, reduced_recipe  # noqa: F401

from singletrack.datasets.synthetic.clips import generate_clip
from singletrack.models.checkpoints import save_safetensors
from singletrack.models.configs import AlignedConfig, RelationConfig
from singletrack.models.ostrack import build_ostrack
from singletrack.registry import MODELS
from singletrack.training.base import Recipe
from singletrack.training.recipes import RECIPES
from singletrack.video import VideoWriter

PAGE = (Path(__file__).parent.parent / "docs" / "paper.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]
ALIGNED = AlignedConfig(
    template_size=TEMPLATE,
    search_size=SEARCH,
    width=24,
    depth=3,
    heads=2,
    relation=RelationConfig(width=16, heads=2, hidden=16, encoder_layers=1, decoder_layers=1),
    head_channels=16,
)
FOLDERS = {"LaSOT": "lasot", "GOT-10k": "got10k", "COCO": "coco", "TrackingNet": "trackingnet"}
LEFT_OUT = ("--device", "--devices", "--workers")  # there is one machine, without a GPU


def small(name: str) -> Recipe:
    """A recipe of the page at toy size; its clip pairs come from made copies of the data sets."""
    if not name.startswith("stark"):
        return reduced_recipe(name)
    (stage,) = RECIPES_BEFORE[name]().stages
    source: Any = replace(stage.source, incomplete=True, followed=1)  # type: ignore[type-var]
    task: Any = replace(stage.task, config=ALIGNED)  # type: ignore[type-var]
    stage = replace(
        stage, task=task, source=source, template_size=TEMPLATE, search_size=SEARCH, steps=10, batch=4,
        warmup=0, check_every=10, check_samples=4,
    )  # fmt: skip
    return replace(RECIPES_BEFORE[name](), stages=(stage,))


RECIPES_BEFORE = dict(RECIPES)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Iterator[Path]:  # noqa: F811
    """A folder with what the page speaks of, and narrow networks in place of the published ones."""
    folder = tmp_path_factory.mktemp("paper")
    make_all(folder / "data")
    (folder / "mae_pretrain_vit_base.pth").write_bytes(backbone.read_bytes())
    with VideoWriter(folder / "clip.mp4", 30.0) as video:
        for frame, _ in generate_clip(frames=12):
            video.write(frame)
    with pytest.MonkeyPatch.context() as patch:
        for name, network in (("ostrack-256", reduced(MODELS["ostrack-256"].network)), ("stark-aligned", ALIGNED)):  # type: ignore[arg-type]
            settings = {"search_factor": 4.0} if name == "ostrack-256" else {}
            patch.setitem(MODELS, name, replace(MODELS[name], network=network, settings=settings))
        for name in ("ostrack_256", "ostrack_256_got10k", "ostrack_256_got10k_plain", "stark_aligned_got10k"):
            patch.setitem(RECIPES, name, partial(small, name))
        torch.manual_seed(0)
        weights = build_ostrack(reduced(MODELS["ostrack-256"].network)).state_dict()  # type: ignore[arg-type]
        save_safetensors(weights, folder / "ostrack-256.safetensors", "ostrack-256")
        patch.chdir(folder)
        patch.setenv("SINGLETRACK_CACHE", str(folder / "cache"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield folder
        torch.set_num_threads(threads)


def at_toy_size(command: str, folder: Path) -> list[str]:
    """The arguments of a command, without what a small machine lacks, and with the made data."""
    program, *words = shlex.split(command)
    assert program == "singletrack"
    kept = [word for place, word in enumerate(words) if word not in LEFT_OUT and words[place - 1] not in LEFT_OUT]
    for name, made in FOLDERS.items():
        kept = [word.replace(f"/data/{name}", str(folder / "data" / made)) for word in kept]
    if kept[0] == "evaluate":
        kept.append("--incomplete")
    if kept[0] == "train" and "--out" in kept:
        kept += ["--precision", "fp32"]
    # three blocks instead of twelve
    return ["eliminate_in=0,1,2" if word == "eliminate_in=2,5,8" else word for word in kept]


@pytest.mark.slow
def test_every_command_runs(folder: Path) -> None:
    """In the order of the page, because later ones use what earlier ones leave."""
    said = {command: call(*at_toy_size(command, folder)) for command in COMMANDS}
    counted = next(text for command, text in said.items() if "--count-only" in command)
    assert counted.count("| ostrack-384 |") == 2
    assert "65.36 | 65.3 |" in counted
    assert "48.36 | 48.3 |" in counted
    report = next(text for command, text in said.items() if "report" in command.split())
    assert re.search(r"OSTrack-384\s+73.7\s+83.2\s+70.8\s+Papers with Code", report)
    for name in ("convergence.png", "speed.png", "report/report.html", "seen/ostrack-256.mp4"):
        assert (folder / name).stat().st_size > 1000, name
    assert (folder / "features" / "activation-000010.png").exists()
    assert (folder / "features" / "stark-aligned-000010.npz").exists()


def test_its_table_is_what_profile_counts() -> None:
    from singletrack.models.flops import count
    from singletrack.published import published_costs

    rows = re.findall(r"^\| OSTrack-(\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE, re.M)
    assert len(rows) == 4
    published = {(cost.model, cost.keep_ratio): cost.gmacs for cost in published_costs()}
    for size, ratio, printed, as_paper, computed in rows:
        cost = count(MODELS[f"ostrack-{size}"].network, float(ratio))
        assert cost.paper is not None
        assert (f"{cost.paper / 1e9:.2f}", f"{cost.published / 1e9:.2f}") == (as_paper, computed)
        assert published[f"ostrack-{size}", float(ratio)] == float(printed)


def test_each_section_of_the_paper_has_a_claim_or_a_published_number() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.M)[1:-1]
    assert len(sections) == 6
    assert all("**Published**" in text or "**Claim.**" in text or "Published:" in text for text in sections)
    assert all("**Here**" in text or "| ours" in text for text in sections)
