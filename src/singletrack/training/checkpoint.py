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
from singletrack.models.configs import NetworkConfig
from singletrack.training.base import Recipe, Stage, Task


class EMA:
    """Exponential moving average of weights and statistics, with a smaller decay at the beginning."""

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

    Attributes:
        step: finished steps of the stage.
        started_from: name and SHA-256 of the initial weights; None for training from scratch.
        data: fingerprints of the data.
        best: highest AO of the stage and its step; None before the first validation.
        checks_since_best: validations since then.
        pending: numbers of the step whose validation was interrupted; it comes first when the run is resumed.
        scaler: gradient scaler of fp16; unused in other precisions.
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
    pending: dict[str, float] | None = None

    def result(self) -> dict[str, Tensor]:
        """Return the resulting weights: averaged if the recipe averages."""
        return self.average.values if self.average else self.model.state_dict()


def begin(
    recipe: Recipe,
    stage: int,
    weights: Mapping[str, Tensor] | None,
    device: torch.device,
    half: bool = False,
) -> TrainState:
    """Create the state before the first step of a stage, with a new optimizer.

    Args:
        weights: initial weights at any crop size; None to train from scratch.
        half: whether the passes use fp16.
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
    """Create the optimizer of the task's parameter groups; parameters in no group are frozen."""
    groups = task.groups(model, stage)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def set_training(model: nn.Module) -> None:
    """Set training mode; normalizations with frozen parameters keep their statistics."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
            module.eval()


def read_start(recipe: Recipe, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the initial weights at the size of the last stage, with the name and SHA-256 of the file.

    Raises:
        CheckpointError: the file is of another network.
    """
    last = recipe.stages[-1]
    torch.manual_seed(recipe.seed)  # the file may have only some of the weights
    model = last.task.build(last)
    last.task.start(model, path, recipe.model)
    return model.state_dict(), file_facts(path)


def file_facts(path: Path) -> dict[str, str]:
    """Return the name and SHA-256 of a file."""
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def described(recipe: Recipe, earlier: Any = None) -> Any:
    """Convert a recipe to JSON values, including the types of its tasks and data sources.

    Args:
        recipe: the recipe.
        earlier: a description by another version of this package. Fields that it lacks, because they were added since,
            are left out if they have their default value.
    """

    def plain(value: Any, before: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            known = before if isinstance(before, dict) else None
            fields = {
                field.name: plain(getattr(value, field.name), (known or {}).get(field.name))
                for field in dataclasses.fields(value)
                if known is None or field.name in known or not _has_default(value, field)
            }
            return {"kind": type(value).__name__, **fields}
        if isinstance(value, Mapping):
            known = before if isinstance(before, dict) else {}
            return {str(key): plain(each, known.get(str(key))) for key, each in value.items()}
        if isinstance(value, (tuple, list)):
            befores = before if isinstance(before, list) and len(before) == len(value) else [None] * len(value)
            return [plain(each, then) for each, then in zip(value, befores, strict=True)]
        return str(value) if isinstance(value, Path) else value

    return json.loads(json.dumps(plain(recipe, earlier)))


def _has_default(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Return whether a field of a dataclass has its default value."""
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    return bool(getattr(value, field.name) == default)


def network_config_of(model: nn.Module) -> NetworkConfig | None:
    """Return the config of a network, which its weights carry; None for a network without one."""
    config = getattr(model, "config", None)
    return config if isinstance(config, NetworkConfig) else None


def save(progress: TrainState, recipe: Recipe, out: Path) -> None:
    """Write ``last.pt`` and ``weights.safetensors`` atomically."""
    state = {
        "recipe": described(recipe),
        "stage": progress.stage,
        "step": progress.step,
        "started_from": progress.started_from,
        "data": progress.data,
        "best": progress.best,
        "checks_since_best": progress.checks_since_best,
        "pending": progress.pending,
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
    save_safetensors(progress.result(), out / "weights.safetensors", recipe.model, network_config_of(progress.model))


def resume(
    recipe: Recipe,
    out: Path,
    device: torch.device,
    half: bool = False,
    weights: Path | None = None,
    data: dict[str, str] | None = None,
) -> TrainState:
    """Read the state from ``last.pt``.

    Args:
        weights: the initial weights given now; None to skip the comparison.
        data: the fingerprints of the data given now; None to skip the comparison.

    Raises:
        CheckpointError: ``last.pt`` belongs to another recipe or other data.
        InputError: there is no ``last.pt``, or the run started from other weights.
    """
    path = out / "last.pt"
    if not path.exists():
        raise InputError(f"checkpoint not found: {path}; leave out --resume to start a new run")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds {type(state).__name__}")
        return _continue(recipe, state, out, device, half, weights, data)
    except SingletrackError:
        raise
    except Exception as error:  # arbitrary bytes can make PyTorch's reader fail in any way
        raise CheckpointError(
            f"cannot resume from {path}, which is damaged ({type(error).__name__}: {error}); start a new run with "
            "another "
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
    before = state.get("recipe", {})
    _check_same(before, described(recipe, before), f"{path} is from another recipe")
    if data is not None:
        _check_same(state["data"], data, f"{path} is from other data")
    if weights is not None and (facts := file_facts(weights)) != state["started_from"]:
        first = state["started_from"] or {"name": "nothing", "sha256": "none"}
        raise InputError(
            f"the run in {out} started from {first['name']} ({first['sha256'][:12]}); got {facts['name']} "
            f"({facts['sha256'][:12]}); leave out --weights, or choose another --out to start a new run"
        )
    progress = begin(recipe, state["stage"], None, device, half)
    progress.step, progress.started_from = state["step"], state["started_from"]
    progress.data, progress.best = state["data"], state["best"]
    progress.checks_since_best, progress.pending = state["checks_since_best"], state.get("pending")
    progress.model.load_state_dict(state["model"])
    if progress.average:
        progress.average.values = state["average"]
        progress.average.updates = state["updates"]
    progress.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:  # empty if it was not used
        progress.scaler.load_state_dict(state["scaler"])
    return progress


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        raise CheckpointError(
            f"{what}: {', '.join(changed)} differ; resume with the recipe and options of the first start, or choose "
            "another "
            "--out"
        )
