#!/usr/bin/env python3
"""One stream or two: OSTrack and its aligned rivals at equal cost, small, from nothing, on the same made pairs.

    python benchmarks/aligned.py --photos ../shared/photos    # half an hour on two cores; goes on where it was cut
    OMP_NUM_THREADS=1 python benchmarks/aligned.py --photos ../shared/photos --only stark-aligned    # beside the others
    python benchmarks/aligned.py --pairs 16 --batch 4 --check-pairs 8 --check-samples 4    # a try, on made pictures

Each network sees the same pairs in the same order, with the same losses, rates and start (see ``recipe``). They have
one width, stem and head; how many blocks and layers they have makes their MACs for a frame equal within one per cent,
the template's way through a two-stream backbone left out, since a tracker keeps it. What is logged over the pairs
seen is argmax IoU: the overlap of the box at the score's peak, on held-out pairs with targets placed anywhere.

Writes OUT/aligned.json and OUT/aligned.png, and prints a Markdown table. Needs the extras [train] and [report].
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from singletrack.cache import cache_folder
from singletrack.engines.cpu import processor_name
from singletrack.models.configs import AlignedConfig, OSTrackConfig, RelationConfig
from singletrack.training.base import DataPaths, Recipe, Stage, Task
from singletrack.training.data.synthetic import SyntheticPairs
from singletrack.training.losses import LossWeights
from singletrack.training.tasks.two_stream import OneStreamTask, TwoStreamTask
from singletrack.training.trainer import RunSettings, train

SIZES: dict[str, Any] = {"template_size": 64, "search_size": 128}
COMMON: dict[str, Any] = {
    "width": 192,
    "heads": 3,
    "drop_path": 0.0,
    "stem": "convolution",
    "head_channels": 96,
    **SIZES,
}
RELATION: dict[str, Any] = {"width": 192, "heads": 3, "dropout": 0.0, "drop_path": 0.0}
# three of each network's layers that see both crops are taught what to attend to: see ``losses.attention_loss``
TEACHING: dict[str, Any] = {"loss_weights": LossWeights(attention=1.0, dense=True), "from_similarity": True}

OBJECTIVES: dict[str, Callable[[], Task]] = {
    "OSTrack (one stream)": lambda: OneStreamTask(
        config=OSTrackConfig(**COMMON, depth=8, eliminate_in=(), template_rows="rectangle"),
        listen=(2, 4, 6),
        **TEACHING,
    ),
    "STARK-aligned": lambda: TwoStreamTask(
        config=AlignedConfig(
            **COMMON, depth=5, relation=RelationConfig(**RELATION, hidden=896, encoder_layers=3, decoder_layers=3)
        ),
        listen=(0, 1, 2),
        **TEACHING,
    ),
    "SwinTrack-aligned": lambda: TwoStreamTask(
        config=AlignedConfig(
            **COMMON,
            depth=5,
            relation=RelationConfig(**RELATION, kind="concatenation", hidden=704, encoder_layers=3, decoder_layers=1),
        ),
        listen=(0, 1, 2),
        **TEACHING,
    ),
}


def recipe(name: str, pairs: int, batch: int, check_pairs: int, check_samples: int, seed: int) -> Recipe:
    """What each network is trained by: ``ostrack_tiny``'s first stage, shorter. name: a key of ``OBJECTIVES``."""
    stage = Stage(
        name="small",
        task=OBJECTIVES[name](),
        source=SyntheticPairs(clips=0),
        **SIZES,
        steps=max(1, pairs // batch),
        batch=batch,
        lr=7e-4,
        head_lr=1e-3,
        warmup=min(100, pairs // batch // 8),
        last_lr=0.1,
        check_every=max(1, check_pairs // batch),
        check_samples=check_samples,
    )
    return Recipe(name=name, model=name, stages=(stage,), weight_decay=0.05, clip=1.0, ema=0.998, seed=seed)


def cost(stage: Stage) -> dict[str, float]:
    """MACs (millions) of ``encode``, once for a target, and of ``locate``, for each frame; parameters (millions)."""
    task: Any = stage.task
    with torch.device("meta"):  # where no kernel hides its products from the counter
        model = replace(task, from_similarity=False).build(stage).eval().requires_grad_(False)
        template, search = (
            torch.zeros(1, *shape) for shape in (model.config.template_shape, model.config.search_shape)
        )
    with FlopCounterMode(display=False) as once:
        features = model.encode(template)
    with FlopCounterMode(display=False) as each:
        model.locate(features, search)
    return {
        "encode_mmacs": once.get_total_flops() / 2e6,
        "locate_mmacs": each.get_total_flops() / 2e6,
        "parameters_m": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
    }


def curve(folder: Path, batch: int) -> list[tuple[int, float]]:
    """(pairs seen, argmax IoU) at each validation of a run."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["step"] * batch, line["argmax_iou"]) for line in lines if "argmax_iou" in line]


def draw(results: dict[str, Any], path: Path) -> None:
    """The curves of all networks in one small picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.8), dpi=110)
    for name, marker in zip(results, "os^", strict=False):
        pairs, overlaps = zip(*results[name]["curve"], strict=True)
        axes.plot([count / 1000 for count in pairs], overlaps, marker=marker, markersize=3, label=name)
    axes.set(xlabel="pairs seen, thousands", ylabel="argmax IoU, held-out pairs", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photos to make pairs from; without it, made pictures")
    parser.add_argument("--pairs", type=int, default=28_800, help="that each network sees")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--check-pairs", type=int, default=2_880, help="between two validations")
    parser.add_argument("--check-samples", type=int, default=512, help="held-out pairs in a validation")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--workers", type=int, default=1, help="processes that make pairs")
    parser.add_argument("--only", help="train this one network: its folder's name; without it, all, and compare them")
    parser.add_argument("--out", type=Path, default=Path("runs/aligned"))
    arguments = parser.parse_args()

    data = DataPaths(photos=arguments.photos, cache=cache_folder())
    results: dict[str, Any] = {}
    folders = {name: name.split()[0].lower() for name in OBJECTIVES}
    if arguments.only not in (None, *folders.values()):
        parser.error(f"expected --only among {', '.join(folders.values())}; got {arguments.only!r}; give one of these")
    for name in OBJECTIVES:
        if arguments.only not in (None, folders[name]):
            continue
        plan = recipe(
            name, arguments.pairs, arguments.batch, arguments.check_pairs, arguments.check_samples, arguments.seed
        )
        folder = arguments.out / folders[name]
        stage, resumed = plan.stages[0], (folder / "last.pt").exists()
        settings = RunSettings(workers=arguments.workers, log_every=stage.check_every)
        train(plan, data, folder, resume_run=resumed, settings=settings)
        results[name] = cost(stage) | {"curve": curve(folder, arguments.batch)}
    if arguments.only:
        return
    facts = {
        "processor": processor_name(),
        "torch": torch.__version__,
        "pairs": arguments.pairs,
        "photos": data.photos is not None,
        "seed": arguments.seed,
    }
    (arguments.out / "aligned.json").write_text(json.dumps({**facts, "networks": results}, indent=1) + "\n")
    draw(results, arguments.out / "aligned.png")
    print(
        "\n| network | M parameters | MMACs a frame | MMACs of the template, once | argmax IoU at half | at the end |"
    )
    print("|---|---|---|---|---|---|")
    for name, result in results.items():
        points = result["curve"]
        half = min(points, key=lambda point: abs(point[0] - arguments.pairs / 2))
        print(
            f"| {name} | {result['parameters_m']:.1f} | {result['locate_mmacs']:.0f} | {result['encode_mmacs']:.0f} "
            f"| {half[1]:.3f} | {points[-1][1]:.3f} |"
        )


if __name__ == "__main__":
    main()
