"""`singletrack train`: train a model with a recipe."""

from __future__ import annotations

import dataclasses
import difflib
from functools import partial
from pathlib import Path
from typing import Any

import click

from singletrack.cache import cache_folder
from singletrack.cli.options import parse_changes, parse_folders
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError
from singletrack.files import check_output_folder, new_folder
from singletrack.install import docs_page
from singletrack.interrupts import terminate_as_interrupt
from singletrack.loading import existing_file
from singletrack.published import published_results


@click.command(short_help="Train a model with a recipe.")
@click.argument("recipe", required=False)
@click.option(
    "--list", "listed", is_flag=True, help="List the recipes: data, weights, cost, published scores, variants."
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photos for synthetic pairs.  [default: generated images]",
)
@click.option(
    "--data",
    "folders",
    multiple=True,
    metavar="NAME=DIR",
    callback=parse_folders,
    help="Folder of a data set that the recipe needs, such as lasot=/data/LaSOT. Repeatable.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Total number of steps over all stages.  [default: the recipe's]"
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Initial weights file.  [default: train from scratch]",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    callback=parse_changes,
    metavar="NAME=VALUE",
    help="Change a variant of the recipe, such as template_rows=all; --list names them. Repeatable.",
)
@click.option("--resume", is_flag=True, help="Resume from the last checkpoint in --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/RECIPE]")
@click.option("--device", default="cpu", show_default=True, help="Device: cpu or cuda.")
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    help="Number of training processes (one GPU each on CUDA).  [default: 1, or set by torchrun]",
)
@click.option(
    "--workers",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Data loading processes per training process.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Batch size of every stage.  [default: the recipe's]")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Precision of forward and backward passes. auto: bf16 if the device supports it, else fp32.",
)
@click.option(
    "--grad-accum-steps",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Split each batch into N parts to save memory.",
)
@click.option(
    "--reduced-decoding", is_flag=True, help="Decode JPEGs at reduced size where the crop is even smaller (faster)."
)
@click.option(
    "--activation-checkpointing", is_flag=True, help="Recompute activations in the backward pass to save memory."
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the network with torch.compile.")
@click.option(
    "--keep-every",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Keep the weights every N steps, as weights-STAGE-STEP.safetensors.  [default: only the last and the best]",
)
@click.option(
    "--log",
    "boards",
    multiple=True,
    default=("tensorboard",),
    show_default=True,
    type=click.Choice(["tensorboard", "wandb", "trackio"]),
    help="Logger for curves, in addition to log.jsonl. Repeatable.",
)
def command(
    recipe: str | None,
    listed: bool,
    photos: Path | None,
    folders: dict[str, Path],
    steps: int | None,
    weights: Path | None,
    changes: dict[str, Any],
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
    keep_every: int | None,
    boards: tuple[str, ...],
) -> None:
    """Train a model with RECIPE, such as ostrack_tiny (see singletrack/training/recipes).

    `singletrack train --list` lists the recipes and what --set can change in each.

    The run folder stores the recipe, log, images, checkpoint and weights. An interrupted run resumes with --resume and
    the same options. --devices N starts N processes on this machine. For several machines, start
    torchrun -m singletrack train RECIPE ... on each.
    """
    require_packages("training", *TRAIN_EXTRA)
    from singletrack.engines.torch_engine import find_device
    from singletrack.training.base import DataPaths
    from singletrack.training.distributed import check_devices, launch
    from singletrack.training.recipes import RECIPES, shortened
    from singletrack.training.recipes.ostrack import with_reduced_decoding
    from singletrack.training.trainer import RunSettings, train
    from singletrack.training.variants import change_recipe

    if listed:
        click.echo(list_recipes())
        return
    if recipe is None:
        raise click.UsageError("missing RECIPE; singletrack train --list lists the recipes")
    if recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, n=5) or list(RECIPES)[:5]
        raise InputError(
            f"unknown recipe {recipe!r}; choose one of singletrack/training/recipes, such as {', '.join(near)}"
        )
    if weights is not None:
        existing_file(weights)
    where = str(find_device(device))
    check_devices(devices or 1, where)
    folder = out or Path("runs") / recipe
    check_output_folder(folder, [photos, *folders.values(), weights], outputs=["weights.safetensors"])
    chosen = change_recipe(RECIPES[recipe](), changes)
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
        keep_every=keep_every or 0,
        report=click.echo,
    )
    run = partial(train, chosen, data, folder, resume_run=resume, weights=weights, settings=settings)
    with new_folder(folder), terminate_as_interrupt():
        left = run() if devices in (None, 1) else launch(devices, run)
    click.echo(f"weights: {left}")


SUFFIXES = ("_plain", "_deit", "_augreg", "_scratch", "_as_published")


def list_recipes() -> str:
    """Describe every recipe: model, data, initial weights, cost, published scores and variants."""
    from singletrack.training.recipes import RECIPES
    from singletrack.training.variants import MEANINGS, VALUES, variants

    lines, meanings = [], dict[str, None]()
    for name, make in RECIPES.items():
        if any(suffix in name for suffix in SUFFIXES):
            continue
        recipe = make()
        needs = dict.fromkeys(each for stage in recipe.stages for each in stage.source.needs())
        samples = sum(stage.steps * stage.batch for stage in recipe.stages)
        scores = [
            f"{result.benchmark} {measure} {value:g}"
            for result in published_results(recipe=name)
            for measure, value in list(result.measures.items())[:1]
        ]
        known = variants(recipe)
        meanings |= dict.fromkeys(known)
        lines += [
            name,
            f"  model      {recipe.model}",
            f"  data       {', '.join(needs) or 'photos, or generated images'}",
            f"  weights    {recipe.starts_from or 'none needed'}",
            f"  cost       {samples / 1e6:.1f} million samples in {sum(s.steps for s in recipe.stages):,} steps",
            f"  published  {', '.join(scores) or 'nothing for this recipe'}",
            *([f"  settings   those of {recipe.settings_of}; none are published"] if recipe.settings_of else []),
            *([f"  --set      {', '.join(known)}"] if known else []),
        ]
    lines += [
        "",
        f"Names of OSTrack's recipes take suffixes, in this order: {', '.join(SUFFIXES)} ({docs_page('training')}).",
        "",
        "Variants for --set, with the values that the papers compare, the published one first:",
    ]
    for name in meanings:
        values = ", ".join(_spelled(value) for value in VALUES[name])
        lines.append(f"  {name:16}{MEANINGS[name]}: {values}")
    return "\n".join(lines)


def _spelled(value: Any) -> str:
    """Spell a value as --set takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
