"""`singletrack train`: run a training recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from singletrack.errors import InputError
from singletrack.runtimes import TRAIN_EXTRA, require_packages
from singletrack.video.files import make_folder
from singletrack.zoo import cache_folder


@click.command(short_help="Train a model by a recipe.")
@click.argument("recipe")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photos to make pairs from. [default: none, made pictures]",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Steps of the whole run, shared by its stages.  [default: the recipe's]"
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Start from these weights of the recipe's model.  [default: from nothing]",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder. [default: runs/RECIPE]")
@click.option("--device", default="cpu", show_default=True, help="Where it runs: cpu or cuda.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(min=0), help="Processes that make pairs.")
@click.option("--batch", type=click.IntRange(min=1), help="Pairs a step in every stage, instead of the recipe's.")
def command(
    recipe: str,
    photos: Path | None,
    steps: int | None,
    weights: Path | None,
    resume: bool,
    out: Path | None,
    device: str,
    workers: int,
    batch: int | None,
) -> None:
    """Train a model by RECIPE (see singletrack/training/recipes.py), for example ostrack_tiny.

    Everything of the run goes to its folder: recipe, log, pictures, checkpoint and weights. It may be cut off
    at any moment and go on with --resume and the same flags. To use N processes:
    torchrun --nproc-per-node N -m singletrack train RECIPE ...
    """
    require_packages("training", *TRAIN_EXTRA)
    from singletrack.runtimes.torch_runtime import find_device
    from singletrack.training.loop import RunSettings, train
    from singletrack.training.objectives import Data
    from singletrack.training.recipes import RECIPES, shortened

    if recipe not in RECIPES:
        raise InputError(f"expected a recipe among {', '.join(RECIPES)}; got {recipe!r}; give one of these")
    where = str(find_device(device))
    folder = out or Path("runs") / recipe
    if photos and folder.resolve().is_relative_to(photos.resolve()):
        raise InputError(
            f"expected a run folder outside the photos; got {folder} in {photos}, where the run's pictures would be "
            "taken for photos; choose another --out"
        )
    make_folder(folder)
    chosen = RECIPES[recipe]()
    if batch is not None:
        stages = tuple(dataclasses.replace(stage, batch=batch) for stage in chosen.stages)
        chosen = dataclasses.replace(chosen, stages=stages)
    if steps is not None:
        chosen = shortened(chosen, steps)
    data = Data(photos=photos, cache=cache_folder())
    settings = RunSettings(device=where, workers=workers)
    left = train(chosen, data, folder, resume_run=resume, weights=weights, settings=settings)
    click.echo(f"weights: {left}")
