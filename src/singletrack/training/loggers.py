"""Logs of a run: facts, a line of numbers every few steps, curves and images.

``recipe.json`` and ``log.jsonl`` are always written; TensorBoard, Weights & Biases and Trackio are optional.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from singletrack.engines import TRAIN_EXTRA, require_packages
from singletrack.engines.cpu import processor_name
from singletrack.errors import InputError
from singletrack.files import atomic_write, writing
from singletrack.opencv import cv2
from singletrack.telemetry import without_telemetry
from singletrack.training.base import Recipe, Stage
from singletrack.training.checkpoint import TrainState, described

Image = NDArray[np.uint8]
SHOWN = ("loss", "iou", "attention", "argmax_iou", "ao", "samples_per_second")  # shown on the terminal


class Board(Protocol):
    """Logger of curves. ``step``: counted over all stages."""

    def numbers(self, values: Mapping[str, float], step: int) -> None: ...

    def picture(self, name: str, image: Image, step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Curves in the run folder, shown by ``tensorboard --logdir``."""

    def __init__(self, out: Path, facts: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(out / "tensorboard")

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, name: str, image: Image, step: int) -> None:
        self.writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class Hosted:
    """Curves on Weights & Biases, or on Trackio with the same interface. A resumed run continues its curves."""

    def __init__(self, package: Any, out: Path, facts: Mapping[str, Any], **options: Any) -> None:
        self.package = package
        package.init(project="singletrack", name=out.name, config=dict(facts), resume="allow", **options)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self.package.log(dict(values), step=step)

    def picture(self, name: str, image: Image, step: int) -> None:
        self.package.log({name: self.package.Image(image)}, step=step)

    def close(self) -> None:
        self.package.finish()


def _wandb(out: Path, facts: Mapping[str, Any]) -> Board:
    import wandb  # type: ignore[import-not-found]

    return Hosted(wandb, out, facts, dir=str(out), id=facts["id"])


def _trackio(out: Path, facts: Mapping[str, Any]) -> Board:
    with without_telemetry():
        import trackio  # type: ignore[import-not-found]

    return Hosted(trackio, out, facts)


# name -> how to open it, its package, and the command that installs the package
BOARDS: dict[str, tuple[Callable[[Path, Mapping[str, Any]], Board], str, str]] = {
    "tensorboard": (TensorBoard, "tensorboard", TRAIN_EXTRA[1]),
    "wandb": (_wandb, "wandb", "pip install wandb"),
    "trackio": (_trackio, "trackio", "pip install trackio"),
}


def check_boards(names: Sequence[str]) -> None:
    """Raise InputError for an unknown logger, and MissingDependencyError for one that is not installed."""
    for name in names:
        if name not in BOARDS:
            raise InputError(f"unknown logger {name!r}; choose among {', '.join(BOARDS)}")
        _, package, command = BOARDS[name]
        require_packages(f"logging to {name}", (package,), command)


class Log:
    """Writes ``recipe.json``, ``log.jsonl`` and ``pictures/`` of a run folder, the loggers, and lines of text."""

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        progress: TrainState,
        how: Mapping[str, Any],
        boards: Sequence[str] = (),
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Open the log.

        Args:
            how: settings of this start, in addition to its recipe.
            report: called with lines of text.
        """
        self.out, self.recipe, self.report = out, recipe, report
        facts = write_facts(out, recipe, progress, how)
        (out / "pictures").mkdir(exist_ok=True)
        self.boards = [BOARDS[name][0](out, facts) for name in boards]

    def step(self, progress: TrainState) -> int:
        """Return the number of steps since the start of the run, over all stages."""
        return sum(stage.steps for stage in self.recipe.stages[: progress.stage]) + progress.step

    def write(self, progress: TrainState, stage: Stage, numbers: Mapping[str, float]) -> None:
        line = {"stage": stage.name, "step": progress.step, "time": round(time.time(), 1)}
        line |= {name: round(value, 6) for name, value in numbers.items()}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        for board in self.boards:
            board.numbers({f"{stage.name}/{name}": value for name, value in numbers.items()}, self.step(progress))
        text = "  ".join(f"{name} {numbers[name]:.3f}" for name in SHOWN if name in numbers)
        self.report(f"{stage.name} {progress.step}/{stage.steps}  {text}")

    def picture(self, progress: TrainState, image: Image) -> None:
        name = f"{progress.stage}_{progress.step:06d}.jpg"
        cv2.imwrite(str(self.out / "pictures" / name), image[..., ::-1])
        for board in self.boards:
            board.picture("pairs", image, self.step(progress))

    def close(self) -> None:
        for board in self.boards:
            board.close()


# --- facts ---


def write_facts(out: Path, recipe: Recipe, progress: TrainState, how: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``recipe.json``, which has everything needed to repeat the run; each resume adds its start to the list."""
    path = out / "recipe.json"
    before: Any = {}
    if path.exists():
        try:
            before = json.loads(path.read_text())
            if not isinstance(before, dict) or not isinstance(before.get("starts", []), list):
                raise ValueError("it is another file")
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"expected the facts of a run in {path}; cannot read them ({error}); remove that file to go on"
            ) from error
    start = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "stage": progress.stage,
        "step": progress.step,
        "command": sys.argv,
        **how,
        **machine(),
    }
    facts = {
        "id": before.get("id", uuid.uuid4().hex[:12]),
        "recipe": described(recipe),
        "started_from": progress.started_from,
        "data": progress.data,
        "starts": [*before.get("starts", []), start],
    }
    with writing(path), atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def machine() -> dict[str, Any]:
    """Collect what the numbers of a run depend on besides its recipe: versions, code revision, processors."""
    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "singletrack": metadata.version("singletrack"),
        "git": revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "processor": processor_name(),
        "graphics": cuda,
    }


def revision() -> dict[str, Any] | None:
    """Return the commit of the code and whether it was changed since; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # an installed copy may be inside the tree of another project
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", ".."))}
    except (OSError, subprocess.CalledProcessError):
        return None
