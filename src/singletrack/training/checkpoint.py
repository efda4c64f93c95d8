"""Checkpoints: everything that changes between the steps of a run, written to a file and read back."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from singletrack.errors import CheckpointError, InputError, SingletrackError
from singletrack.files import atomic_write, writing
from singletrack.models.checkpoints import save_safetensors
from singletrack.training.base import Recipe, Stage, Task


class EMA:
    """Exponential moving average of weights and statistics; young averages follow faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        state = model.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.values[n] for n in floats], [state[n].detach() for n in floats], 1 - decay)
        for name in state.keys() - set(floats):
            self.values[name].copy_(state[name])


@dataclasses.dataclass
class TrainState:
    """Everything that changes between steps.

    step: steps of the stage that are done. started_from: name and sha256 of the file of weights that the run started
    from; None: from nothing. data: fingerprints of the data. best: the highest AO of the stage, and its step; None
    before the first. checks_since_best: validations since then. scaler: of fp16's gradients; idle in other precisions.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: EMA | None
    stage: int = 0
    step: int = 0
    started_from: dict[str, str] | None = None
    data: dict[str, str] = dataclasses.field(default_factory=dict)
    best: dict[str, float] | None = None
    checks_since_best: int = 0

    def result(self) -> dict[str, Tensor]:
        """The weights that the run is for: averaged where there is an average."""
        return self.average.values if self.average else self.model.state_dict()


def begin(
    recipe: Recipe,
    stage: int,
    weights: Mapping[str, Tensor] | None,
    device: torch.device,
    half: bool = False,
) -> TrainState:
    """The state before a stage's first step: a new optimizer, and ``weights``, of whatever size, or from nothing.

    half: whether it computes in fp16.
    """
    torch.manual_seed(recipe.seed)
    now = recipe.stages[stage]
    model = now.task.build(now)
    if weights is not None:
        model.load_state_dict(now.task.fitted(weights, model))
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = optimizer_of(now.task, model, recipe, now)
    scaler = torch.amp.GradScaler(device.type, enabled=half)
    return TrainState(model, optimizer, scaler, EMA(model, recipe.ema) if recipe.ema else None, stage)


def optimizer_of(task: Task, model: nn.Module, recipe: Recipe, stage: Stage) -> torch.optim.Optimizer:
    """That of the objective's groups, each of which remembers its peak rate; parameters in no group are frozen."""
    groups = task.groups(model, stage)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def set_training(model: nn.Module) -> None:
    """Training mode; normalizations whose parameters are frozen keep their statistics, too."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            module.eval()


def read_start(recipe: Recipe, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights to start from, at the size of the last stage, and the file's name and sha256.

    Raises CheckpointError when the file is not of the recipe's network.
    """
    last = recipe.stages[-1]
    torch.manual_seed(recipe.seed)  # the file may fill a part only
    model = last.task.build(last)
    last.task.start(model, path, recipe.model)
    return model.state_dict(), file_facts(path)


def file_facts(path: Path) -> dict[str, str]:
    """Name and sha256 of a file."""
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def described(recipe: Recipe) -> Any:
    """Every number of a recipe as JSON has it, and of which kind its objectives and sources are."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return {"kind": type(value).__name__, **fields}
        if isinstance(value, Mapping):
            return {str(key): plain(each) for key, each in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(each) for each in value]
        return str(value) if isinstance(value, Path) else value

    return json.loads(json.dumps(plain(recipe)))


def save(progress: TrainState, recipe: Recipe, out: Path) -> None:
    """Write ``last.pt`` and ``weights.safetensors``, each whole or not at all."""
    state = {
        "recipe": described(recipe),
        "stage": progress.stage,
        "step": progress.step,
        "started_from": progress.started_from,
        "data": progress.data,
        "best": progress.best,
        "checks_since_best": progress.checks_since_best,
        "model": progress.model.state_dict(),
        "average": progress.average.values if progress.average else None,
        "updates": progress.average.updates if progress.average else 0,
        "optimizer": progress.optimizer.state_dict(),
        "scaler": progress.scaler.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)  # written here: PyTorch's own writer says nothing of a full disk
    with writing(out / "last.pt"), atomic_write(out / "last.pt") as unfinished:
        unfinished.write_bytes(buffer.getbuffer())
    save_safetensors(progress.result(), out / "weights.safetensors", recipe.model)


def resume(
    recipe: Recipe,
    out: Path,
    device: torch.device,
    half: bool = False,
    weights: Path | None = None,
    data: dict[str, str] | None = None,
) -> TrainState:
    """Where ``last.pt`` stands.

    weights, data: the file of weights to start from and the fingerprints of the data, as given now; None where they
    are not to be compared. Raises CheckpointError when there is no ``last.pt`` or when it belongs to another recipe or
    to other data, InputError when the run started from other weights.
    """
    path = out / "last.pt"
    if not path.exists():
        raise CheckpointError(f"expected {path} to resume from, found none; leave out --resume to start anew")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds {type(state).__name__}")
        return _continue(recipe, state, out, device, half, weights, data)
    except SingletrackError:
        raise
    except Exception as error:  # arbitrary bytes can make PyTorch's reader fail in any way
        raise CheckpointError(
            f"expected a complete {path} to resume from; got {type(error).__name__}: {error}; start anew with another "
            "--out, from weights.safetensors if it is complete"
        ) from error


def _continue(
    recipe: Recipe,
    state: Mapping[str, Any],
    out: Path,
    device: torch.device,
    half: bool,
    weights: Path | None,
    data: dict[str, str] | None,
) -> TrainState:
    path = out / "last.pt"
    _check_same(state.get("recipe", {}), described(recipe), f"{path} to come from this recipe")
    if data is not None:
        _check_same(state["data"], data, f"{path} to come from these data")
    if weights is not None and (facts := file_facts(weights)) != state["started_from"]:
        first = state["started_from"] or {"name": "nothing", "sha256": "none"}
        raise InputError(
            f"expected the weights that the run in {out} started from, {first['name']} ({first['sha256'][:12]}); got "
            f"{facts['name']} ({facts['sha256'][:12]}); leave out --weights, or choose another --out to start anew"
        )
    progress = begin(recipe, state["stage"], None, device, half)
    progress.step, progress.started_from = state["step"], state["started_from"]
    progress.data, progress.best = state["data"], state["best"]
    progress.checks_since_best = state["checks_since_best"]
    progress.model.load_state_dict(state["model"])
    if progress.average:
        progress.average.values = state["average"]
        progress.average.updates = state["updates"]
    progress.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:  # empty where it was not in use
        progress.scaler.load_state_dict(state["scaler"])
    return progress


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        raise CheckpointError(
            f"expected {what}, but {', '.join(changed)} differ; "
            "resume with the recipe and flags of the first start, or choose another --out"
        )
