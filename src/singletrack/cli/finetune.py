"""`singletrack finetune`: fine-tune a model on your own videos."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from singletrack.cache import cache_folder
from singletrack.cli.options import parse_folders
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError
from singletrack.files import check_output_folder, new_folder
from singletrack.install import docs_page
from singletrack.interrupts import terminate_as_interrupt
from singletrack.loading import bundled_file, existing_file
from singletrack.models.configs import OSTrackConfig
from singletrack.registry import MODELS, network_config

if TYPE_CHECKING:
    from singletrack.training.finetune import Trainable


def _parse_data(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, list[Path]]:
    """Folders by the name of their data set, and project files by the name "folder", as which they are read."""
    projects = [value for value in values if value.endswith(".singletrack") and "=" not in value]
    for project in projects:
        if not Path(project).is_file():
            raise click.BadParameter(f"project not found: {project}")
    folders = parse_folders(context, option, tuple(value for value in values if value not in projects))
    if projects and "folder" in folders:
        raise click.BadParameter(
            "expected projects or folder=DIR, which are read alike; got both; write the projects to DIR with "
            "`singletrack labels --format got10k --save-frames`"
        )
    return {name: [folder] for name, folder in folders.items()} | (
        {"folder": [Path(project) for project in projects]} if projects else {}
    )


@click.command(short_help="Fine-tune a model on your own videos.", epilog=f"Documentation: {docs_page('finetuning')}")
@click.argument("model")
@click.option(
    "--data",
    "given",
    multiple=True,
    required=True,
    callback=_parse_data,
    metavar="NAME=DIR|PROJECT",
    help="Annotated videos: a project of `singletrack label` (clip.singletrack), or folder, coco_export, mot, cvat or "
    "any name of `singletrack datasets list` with its folder. Repeatable.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Initial weights file.  [default: bundled]")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/finetune-MODEL]")
@click.option("--steps", default=1000, show_default=True, type=click.IntRange(min=1), help="Maximum number of steps.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Pairs per step.")
@click.option(
    "--lr", default=1e-4, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Peak learning rate."
)
@click.option(
    "--trainable",
    type=click.Choice(["all", "head", "light"]),
    default="all",
    show_default=True,
    help="Parameters to train: all, head only, or head plus norms and biases (light).",
)
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Folder of photos for general pairs, which limit forgetting."
)
@click.option(
    "--replay",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of general pairs.  [default: 0.5 with --photos, else 0]",
)
@click.option(
    "--patience",
    default=4,
    show_default=True,
    type=click.IntRange(min=0),
    help="Stop after N validations without improvement (0: never).",
)
@click.option(
    "--old-weights",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of the old weights in the result, which limits forgetting.",
)
@click.option("--resume", is_flag=True, help="Resume from the last checkpoint in --out.")
@click.option("--device", default="cpu", show_default=True, help="Device: cpu or cuda.")
@click.option(
    "--workers", default=0, show_default=True, type=click.IntRange(min=0), help="Number of data loading processes."
)
def command(
    model: str,
    given: dict[str, list[Path]],
    weights: Path | None,
    out: Path | None,
    steps: int,
    batch: int,
    lr: float,
    trainable: Trainable,
    photos: Path | None,
    replay: float | None,
    patience: int,
    old_weights: float,
    resume: bool,
    device: str,
    workers: int,
) -> None:
    """Fine-tune MODEL, such as ostrack-tiny, on your own videos.

    Every fifth sequence is held out and tracked ten times during training. The best weights are blended with the old
    ones and saved as OUT/finetuned.safetensors, if the result is better than the old weights.
    """
    require_packages("fine-tuning", *TRAIN_EXTRA)
    from singletrack.engines.torch_engine import find_device
    from singletrack.training.base import DataPaths
    from singletrack.training.finetune import finetune, finetune_recipe
    from singletrack.training.trainer import RunSettings

    network_config(model, OSTrackConfig)  # only OSTrack's family can be fine-tuned
    spec = MODELS[model]
    if weights is None and not spec.bundled:
        raise InputError(f"{model} has no bundled weights; give an official or converted file with --weights")
    recipe = finetune_recipe(
        model,
        list(given),
        steps=steps,
        batch=batch,
        lr=lr,
        trainable=trainable,
        replay_share=replay if replay is not None else 0.5 if photos else 0.0,
        patience=patience,
        weights=existing_file(weights) if weights else None,
        settings=spec.tracker_settings,  # type: ignore[arg-type]  # an OSTrack has OSTrackSettings
    )
    folder = out or Path("runs") / f"finetune-{model}"
    check_output_folder(
        folder,
        [photos, *(path for paths in given.values() for path in paths), weights],
        outputs=["weights.safetensors", "finetuned.safetensors"],
    )
    with new_folder(folder), terminate_as_interrupt():
        folders = {name: _as_folder(paths, folder / "projects") for name, paths in given.items()}
        outcome = finetune(
            recipe,
            existing_file(weights) if weights else bundled_file(model, ".safetensors"),
            DataPaths(photos=photos, folders=folders, cache=cache_folder()),
            folder,
            old_weights=old_weights,
            resume_run=resume,
            settings=RunSettings(device=str(find_device(device)), workers=workers, report=click.echo),
        )
    click.echo(
        f"AO on held-out sequences: {outcome.before:.3f} before, {outcome.best:.3f} with the best weights, "
        f"{outcome.after:.3f} with the result"
    )
    if outcome.weights is None:
        click.echo(
            "No weights were better than the initial ones: keep those, or try another --lr, more data or --trainable."
        )
    else:
        click.echo(f"weights: {outcome.weights}\nto use them: singletrack track VIDEO --weights {outcome.weights}")


def _as_folder(paths: list[Path], written: Path) -> Path:
    """The folder itself, or the one that the labels of projects are written to, anew each time."""
    if paths[0].is_dir():
        return paths[0]
    from singletrack.labeling.lessons import write_lessons

    shutil.rmtree(written, ignore_errors=True)
    names = write_lessons(paths, written)
    click.echo(f"projects: {len(names)} sequence{'s' if len(names) != 1 else ''}, with their frames in {written}")
    return written
