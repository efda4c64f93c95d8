"""`singletrack finetune`: teach a model one's own kind of video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from singletrack.cache import cache_folder
from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.errors import InputError
from singletrack.files import make_folder
from singletrack.loading import bundled_file
from singletrack.registry import MODELS
from singletrack.tracking.ostrack import OSTrackSettings

if TYPE_CHECKING:
    from singletrack.training.finetune import Trained


def parse_data(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Path]:
    """Texts of NAME=DIR -> data sets and their folders."""
    folders = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise click.BadParameter(f"expected NAME=DIR, as folder=clips; got {text!r}")
        folders[name] = Path(folder)
    return folders


@click.command(short_help="Teach a model one's own kind of video.")
@click.argument("model")
@click.option(
    "--data",
    "folders",
    multiple=True,
    required=True,
    callback=parse_data,
    metavar="NAME=DIR",
    help="Annotated video: folder, coco_export, mot, cvat or any data set of `singletrack datasets list`; repeatable.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights to start from.  [default: the bundled ones]")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/finetune-MODEL]")
@click.option("--steps", default=1000, show_default=True, type=click.IntRange(min=1), help="At most so many steps.")
@click.option("--batch", default=16, show_default=True, type=click.IntRange(min=1), help="Pairs a step.")
@click.option("--lr", default=1e-4, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Peak rate.")
@click.option(
    "--train",
    "trained",
    type=click.Choice(["all", "head", "light"]),
    default="all",
    show_default=True,
    help="What learns: all, the head alone, or the head with biases and normalizations.",
)
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Photos to make general pairs from, so that nothing is forgotten."
)
@click.option(
    "--rehearse",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of general pairs.  [default: 0.5 with --photos, else 0]",
)
@click.option(
    "--patience", default=4, show_default=True, type=click.IntRange(min=0), help="Validations without gain; 0: no end."
)
@click.option(
    "--keep",
    "kept",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of the old weights in the result, so that little is forgotten.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--device", default="cpu", show_default=True, help="Where it runs: cpu or cuda.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(min=0), help="Processes that make pairs.")
def command(
    model: str,
    folders: dict[str, Path],
    weights: Path | None,
    out: Path | None,
    steps: int,
    batch: int,
    lr: float,
    trained: Trained,
    photos: Path | None,
    rehearse: float | None,
    patience: int,
    kept: float,
    resume: bool,
    device: str,
    workers: int,
) -> None:
    """Teach MODEL, such as ostrack-tiny, one's own kind of video (docs/finetuning.md).

    Every fifth sequence is held out and followed ten times on the way; the weights that follow these best are mixed
    with the old ones and left as OUT/finetuned.safetensors, if that is better than before.
    """
    require_packages("fine-tuning", *TRAIN_EXTRA)
    from singletrack.engines.torch_engine import find_device
    from singletrack.training.base import DataPaths
    from singletrack.training.finetune import finetune, finetune_recipe
    from singletrack.training.trainer import RunSettings

    entry = MODELS.get(model)
    if entry is None or not isinstance(entry.settings, OSTrackSettings):
        can = [name for name, other in MODELS.items() if isinstance(other.settings, OSTrackSettings)]
        raise InputError(f"expected a model among {', '.join(can)} to fine-tune; got {model!r}; give one of these")
    if weights is None and not entry.bundled:
        raise InputError(
            f"expected --weights for {model}, which ships none; got none; give an official or converted file"
        )
    recipe = finetune_recipe(
        model,
        list(folders),
        steps=steps,
        batch=batch,
        lr=lr,
        trained=trained,
        replay_share=rehearse if rehearse is not None else 0.5 if photos else 0.0,
        patience=patience,
        settings=entry.settings,
    )
    folder = out or Path("runs") / f"finetune-{model}"
    make_folder(folder)
    outcome = finetune(
        recipe,
        weights or bundled_file(model, ".safetensors"),
        DataPaths(photos=photos, folders=folders, cache=cache_folder()),
        folder,
        kept=kept,
        resume_run=resume,
        settings=RunSettings(device=str(find_device(device)), workers=workers),
    )
    click.echo(
        f"AO on held-out sequences: {outcome.before:.3f} before, {outcome.best:.3f} by the best weights, "
        f"{outcome.after:.3f} by the result"
    )
    if outcome.weights is None:
        click.echo("Nothing was better than the weights at the start: keep those, or try --lr, more data or --train.")
    else:
        click.echo(f"weights: {outcome.weights}\nuse them: singletrack track VIDEO --weights {outcome.weights}")
