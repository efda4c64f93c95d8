"""`singletrack train`: run a training recipe."""

from __future__ import annotations

import dataclasses
import difflib
from functools import partial
from pathlib import Path

import click

from singletrack.cache import cache_folder
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError
from singletrack.files import make_folder


def read_folders(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    """NAME=DIR, as often as given -> folders by name."""
    folders = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not (name and equals and folder):
            raise click.BadParameter(f"expected NAME=DIR, such as lasot=/data/LaSOT; got {value!r}")
        if not Path(folder).is_dir():
            raise click.BadParameter(f"expected the folder of {name}; got {folder}, where there is none")
        folders[name] = Path(folder)
    return folders


@click.command(short_help="Train a model by a recipe.")
@click.argument("recipe")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photos to make pairs from. [default: none, made pictures]",
)
@click.option(
    "--data",
    "folders",
    multiple=True,
    metavar="NAME=DIR",
    callback=read_folders,
    help="Folder of a data set that the recipe wants, such as lasot=/data/LaSOT; once for each.",
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
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    help="Processes that share each batch, on cuda a device each.  [default: 1, or torchrun's]",
)
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Processes that make samples, for each that trains.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Samples a step in every stage, instead of the recipe's.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Bits of the passes; auto is bf16 where the device has it.",
)
@click.option(
    "--grad-accum-steps",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Parts of a batch that are passed one after the other, to save memory.",
)
@click.option(
    "--reduced-decoding", is_flag=True, help="Decode frames at reduced size where the crop is smaller still: faster."
)
@click.option("--activation-checkpointing", is_flag=True, help="Compute activations twice, to save memory.")
@click.option("--compile", "compiled", is_flag=True, help="Compile the network first.")
@click.option(
    "--log",
    "boards",
    multiple=True,
    default=("tensorboard",),
    show_default=True,
    type=click.Choice(["tensorboard", "wandb", "trackio"]),
    help="Where curves are drawn, beside log.jsonl; may be given several times.",
)
def command(
    recipe: str,
    photos: Path | None,
    folders: dict[str, Path],
    steps: int | None,
    weights: Path | None,
    resume: bool,
    out: Path | None,
    device: str,
    devices: int | None,
    workers: int,
    batch: int | None,
    precision: str,
    grad_accum_steps: int,
    reduced_decoding: bool,
    activation_checkpointing: bool,
    compiled: bool,
    boards: tuple[str, ...],
) -> None:
    """Train a model by RECIPE (see singletrack/training/recipes.py), for example ostrack_tiny.

    Everything of the run goes to its folder: recipe, log, pictures, checkpoint and weights. It may be cut off
    at any moment and go on with --resume and the same flags. --devices N uses N processes of this machine; to use
    several machines, start it on each with torchrun -m singletrack train RECIPE ...
    """
    require_packages("training", *TRAIN_EXTRA)
    from singletrack.engines.torch_engine import find_device
    from singletrack.training.base import DataPaths
    from singletrack.training.distributed import check_devices, launch
    from singletrack.training.recipes import RECIPES, shortened
    from singletrack.training.recipes.ostrack import with_reduced_decoding
    from singletrack.training.trainer import RunSettings, train

    if recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, n=5) or list(RECIPES)[:5]
        raise InputError(
            f"expected a recipe of singletrack/training/recipes.py, such as {', '.join(near)}; got {recipe!r}; "
            "check the spelling"
        )
    where = str(find_device(device))
    check_devices(devices or 1, where)
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
    if reduced_decoding:
        chosen = with_reduced_decoding(chosen)
    data = DataPaths(photos=photos, folders=folders, cache=cache_folder())
    settings = RunSettings(
        device=where,
        workers=workers,
        precision=precision,  # type: ignore[arg-type]
        grad_accum_steps=grad_accum_steps,
        activation_checkpointing=activation_checkpointing,
        compiler="inductor" if compiled else None,
        boards=boards,
    )
    run = partial(train, chosen, data, folder, resume_run=resume, weights=weights, settings=settings)
    left = run() if devices in (None, 1) else launch(devices, run)
    click.echo(f"weights: {left}")
