"""The training loop: turns a recipe and its data into a run folder.

    out/
    ├── recipe.json       every number of the run, the initial weights, and each start: versions, revision, processor
    ├── log.jsonl         one line every few steps; tensorboard/ holds the same
    ├── last.pt           the checkpoint to resume from; written every few minutes and at the end of each stage
    ├── weights.safetensors   the averaged weights so far
    ├── weights-STAGE-STEP.safetensors  every few steps, if wanted
    ├── best.safetensors  the weights with the highest AO of the stage, if there are validation sequences
    └── pictures/         pairs, boxes and maps

All numbers of a step depend only on the seed of the recipe and the step index. A run that was interrupted and
resumed from ``last.pt`` therefore ends with the same weights as one that was not.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from singletrack.engines import Precision
from singletrack.errors import InputError, SingletrackError
from singletrack.models.checkpoints import save_safetensors
from singletrack.opencv import cv2
from singletrack.training.amp import Autocast, choose_precision
from singletrack.training.base import Batch, DataPaths, Recipe, Stage
from singletrack.training.checkpoint import (
    TrainState,
    begin,
    network_config_of,
    read_start,
    resume,
    save,
    set_training,
)
from singletrack.training.data.loading import batches, shares
from singletrack.training.distributed import Distributed, init_distributed, share_norms
from singletrack.training.loggers import Log, check_boards
from singletrack.training.schedules import learning_rate
from singletrack.training.validation import sample_overlap, tracking_overlap
from singletrack.training.visualize import picture

PICTURED = 6  # held-out samples that are shown


def ignore(line: str) -> None:
    """Report nothing."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How the steps of a run are computed. These affect only rounding, time and memory.

    Attributes:
        device: "cpu", or "cuda" with one GPU per process.
        workers: data loading processes per training process.
        precision: precision of the passes; "auto" is bf16 if the device supports it.
        grad_accum_steps: number of micro-batches per step over which each process accumulates gradients. Batch norm
            statistics are those of a micro-batch.
        compiler: backend of ``torch.compile``, such as "inductor"; None to not compile.
        activation_checkpointing: recompute the activations of the task's ``repeatable`` parts in the backward pass, to
            save memory.
        boards: loggers of curves, among ``loggers.BOARDS``.
        keep_every: keep the weights every this many steps of a stage; 0 for the last ones only.
        report: called with a line of text every few steps and after each validation, in the first process.
    """

    device: str = "cpu"
    workers: int = 0
    precision: Precision = "auto"
    grad_accum_steps: int = 1
    compiler: str | None = None
    activation_checkpointing: bool = False
    boards: Sequence[str] = ("tensorboard",)
    log_every: int = 20
    save_seconds: float = 120.0
    keep_every: int = 0
    report: Callable[[str], None] = ignore


def train(
    recipe: Recipe,
    data: DataPaths,
    out: Path,
    *,
    resume_run: bool = False,
    weights: Path | None = None,
    settings: RunSettings | None = None,
    stop_after: int | None = None,
) -> Path:
    """Run a recipe. Under ``torchrun``, each process takes its share of every batch.

    Ctrl-C and SIGTERM take effect at the end of the step, or at once during a validation: everything is saved, then
    KeyboardInterrupt is raised.

    Args:
        recipe: the recipe.
        data: locations of the data.
        out: the run folder.
        resume_run: resume from the last checkpoint in ``out``.
        weights: initial weights of the recipe's network; None to train from scratch.
        stop_after: end after this many steps of this call, with everything saved.
        settings: how the steps are computed.

    Returns:
        The path of the weights.

    Raises:
        InputError: ``out`` already holds a run and ``resume_run`` is False, or the run started from other weights.
        CheckpointError: ``weights`` are of another network.
        SingletrackError: the loss is not finite.
    """
    settings = settings or RunSettings()
    cv2.setNumThreads(0)
    check_boards(settings.boards)
    with ExitStack() as ending:
        distributed = ending.enter_context(init_distributed(settings.device))
        precision = choose_precision(settings.precision, distributed.device)
        check_start(recipe, out, resume_run, distributed.world * settings.grad_accum_steps, weights)
        with distributed.rank_zero_first():
            fingerprints = fingerprints_of(recipe, data)
        if resume_run:
            progress = resume(recipe, out, distributed.device, precision == "fp16", weights, fingerprints)
        else:
            start, started_from = read_start(recipe, weights) if weights else (None, None)
            progress = begin(recipe, 0, start, distributed.device, precision == "fp16")
            progress.started_from, progress.data = started_from, fingerprints
        out.mkdir(parents=True, exist_ok=True)
        log = None
        if distributed.rank == 0:
            how = {
                "processes": distributed.world,
                "precision": precision,
                "grad_accum_steps": settings.grad_accum_steps,
            }
            log = Log(out, recipe, progress, how, settings.boards, settings.report)
            ending.callback(log.close)
        signals = ending.enter_context(deferred_signals())
        run = Run(recipe, data, out, settings, distributed, precision, log, signals, stop_after)
        while not run.stage(progress) and progress.stage + 1 < len(recipe.stages):
            following = begin(recipe, progress.stage + 1, progress.result(), distributed.device, precision == "fp16")
            following.started_from, following.data = progress.started_from, progress.data
            progress = following
    return out / "weights.safetensors"


def check_start(recipe: Recipe, out: Path, resume_run: bool, parts: int, weights: Path | None = None) -> None:
    """Raise InputError for a run folder that is not empty, a batch that cannot be divided, or missing initial
    weights.
    """
    if recipe.starts_from and weights is None and not resume_run:
        raise InputError(
            f"{recipe.name} starts from {recipe.starts_from}; give that file with --weights, or use a recipe that "
            "trains "
            "from scratch"
        )
    for stage in recipe.stages:
        if stage.batch % parts:
            raise InputError(
                f"batch size {stage.batch} of stage {stage.name} is not divisible by {parts}, the number of processes "
                "and "
                f"parts; give a --batch that {parts} divides"
            )
    if (out / "last.pt").exists() and not resume_run:
        raise InputError(f"{out} already holds a run; give --resume to continue it, or another --out")


def fingerprints_of(recipe: Recipe, data: DataPaths) -> dict[str, str]:
    """Collect the fingerprints of all data that the stages of a recipe use."""
    prints: dict[str, str] = {}
    for stage in recipe.stages:
        prints |= stage.source.fingerprints(data)
    return prints


class StopValidation(Exception):
    """A signal came during validation."""


@dataclass
class Run:
    """One call of ``train``. ``taken``: number of steps so far."""

    recipe: Recipe
    data: DataPaths
    out: Path
    settings: RunSettings
    distributed: Distributed
    precision: Precision
    log: Log | None
    signals: list[int]
    stop_after: int | None
    taken: int = 0

    def stage(self, progress: TrainState) -> bool:
        """Run the remaining steps of a stage; returns True if the run was stopped before its end."""
        recipe, distributed, settings = self.recipe, self.distributed, self.settings
        stage = recipe.stages[progress.stage]
        network = self.prepared(progress.model, stage)
        samples = stage.source.samples(stage, self.data, [recipe.seed, 0, progress.stage])
        indices = shares(progress.step, stage.steps, stage.batch, distributed.rank, distributed.world)
        if progress.pending is not None:
            numbers, progress.pending = progress.pending, None
            self.validate(progress, stage, numbers)
            at_end = progress.step == stage.steps
            out_of_patience = bool(recipe.patience) and progress.checks_since_best >= recipe.patience
            if distributed.rank == 0 and (at_end or out_of_patience):
                save(progress, recipe, self.out)
            if out_of_patience:
                return False
        since, last_save, fresh = time.perf_counter(), time.perf_counter(), 0
        for batch in batches(samples, indices, settings.workers, pin=distributed.device.type == "cuda"):
            torch.manual_seed(step_seed(recipe.seed, progress.stage, progress.step, distributed.rank))
            numbers = train_step(network, progress, batch, recipe, distributed, settings.grad_accum_steps)
            self.taken, fresh = self.taken + 1, fresh + 1
            sound = isfinite(numbers["loss"]) and (isfinite(numbers["norm"]) or progress.scaler.is_enabled())
            interrupted, lost = distributed.any_rank(bool(self.signals), not sound)
            if lost:
                raise self.lost(progress, numbers)
            at_end = progress.step == stage.steps
            if settings.keep_every and progress.step % settings.keep_every == 0 and distributed.rank == 0:
                kept = self.out / f"weights-{stage.name}-{progress.step:07d}.safetensors"
                save_safetensors(progress.result(), kept, recipe.model, network_config_of(progress.model))
            validates = progress.step % stage.check_every == 0 or at_end
            if progress.step % settings.log_every == 0 or validates:
                now = time.perf_counter()
                numbers = self.averaged(numbers) | {"samples_per_second": fresh * stage.batch / (now - since)}
                numbers |= memory_used(distributed.device)
                if validates:
                    self.validate(progress, stage, numbers)
                elif self.log:
                    self.log.write(progress, stage, numbers)
                since, fresh = time.perf_counter(), 0
            out_of_patience = bool(recipe.patience) and progress.checks_since_best >= recipe.patience
            leave = interrupted or self.taken == self.stop_after
            if distributed.rank == 0 and (
                leave or at_end or out_of_patience or time.perf_counter() - last_save > settings.save_seconds
            ):
                save(progress, recipe, self.out)
                last_save = time.perf_counter()
            if interrupted:
                raise KeyboardInterrupt
            if leave:
                return True
            if out_of_patience:
                return False
        return False

    def prepared(self, model: nn.Module, stage: Stage) -> Autocast:
        """Wrap the network for the steps of a stage; ``model`` itself gets changes that last for the stage."""
        if self.recipe.whole_batch and self.distributed.world > 1:
            share_norms(model)
        if self.settings.activation_checkpointing:
            for module in stage.task.repeatable(model):
                module.forward = partial(checkpoint, module.forward, use_reentrant=False)
        if self.settings.compiler:
            model.compile(backend=self.settings.compiler)
        set_training(model)
        shared = DistributedDataParallel(model) if self.distributed.world > 1 else model
        return Autocast(shared, self.precision, self.distributed.device)

    def validate(self, progress: TrainState, stage: Stage, numbers: dict[str, float]) -> None:
        """Validate, and log it with the numbers of the step.

        A signal that comes meanwhile is obeyed at once: everything is saved, with the numbers, so that the resumed run
        begins with this validation; then KeyboardInterrupt is raised.
        """
        try:
            numbers = numbers | self.check(progress, stage)
        except StopValidation:
            progress.pending = numbers
            if self.distributed.rank == 0:
                save(progress, self.recipe, self.out)
            raise KeyboardInterrupt from None
        if self.log:
            self.log.write(progress, stage, numbers)

    def stop(self) -> bool:
        """Whether a signal asked this process to stop."""
        return bool(self.signals)

    def obey(self) -> None:
        """Raise StopValidation if a signal asked any process to stop."""
        if self.distributed.any_rank(self.stop())[0]:
            raise StopValidation

    def check(self, progress: TrainState, stage: Stage) -> dict[str, float]:
        """Validate the current result, save it if it is the best of its stage, and draw what it predicts."""
        model = stage.task.build(stage).to(self.distributed.device).eval()
        model.load_state_dict(progress.result())
        self.distributed.broadcast(model)  # in case each process has separate statistics
        workers = self.settings.workers
        seed, distributed = self.recipe.seed, self.distributed
        numbers = {"argmax_iou": sample_overlap(model, stage, self.data, seed, distributed, workers, self.stop)}
        self.obey()
        overlap = tracking_overlap(model, stage, self.data, distributed, self.stop)
        self.obey()
        if overlap is not None:
            numbers["ao"] = overlap
            progress.checks_since_best += 1
            if progress.best is None or overlap > progress.best["ao"]:
                progress.best, progress.checks_since_best = {"ao": overlap, "step": progress.step}, 0
                if self.distributed.rank == 0:
                    best = self.out / "best.safetensors"
                    save_safetensors(progress.result(), best, self.recipe.model, network_config_of(progress.model))
        if self.log:
            samples = stage.source.held_out(stage, self.data, [self.recipe.seed, 2, 0])
            batch = next(batches(samples, [range(PICTURED)]))
            self.log.picture(progress, picture(model, stage, on_device(batch, self.distributed.device)))
        return numbers

    def averaged(self, numbers: dict[str, float]) -> dict[str, float]:
        """Average numbers over all processes."""
        total = self.distributed.all_reduce(torch.tensor(list(numbers.values()), dtype=torch.float64))
        return dict(zip(numbers, (total / self.distributed.world).tolist(), strict=True))

    def lost(self, progress: TrainState, numbers: dict[str, float]) -> SingletrackError:
        """Build the error for a loss or gradient that is not finite; ``last.pt`` holds an earlier step."""
        stage = self.recipe.stages[progress.stage]
        return SingletrackError(
            f"loss and gradient must be finite; got loss {numbers['loss']} and norm {numbers['norm']} at step "
            f"{progress.step} of stage {stage.name}; {self.out / 'last.pt'} holds an earlier step: resume from it with "
            "--resume and --precision fp32, or start again with lower learning rates"
        )


def train_step(
    network: Autocast,
    progress: TrainState,
    batch: Batch,
    recipe: Recipe,
    distributed: Distributed,
    grad_accum_steps: int = 1,
) -> dict[str, float]:
    """Run one step: forward, loss, backward, clip, update, average.

    Args:
        batch: this process's share of the samples, on any device.

    Returns:
        The loss, its parts and the gradient norm.
    """
    stage = recipe.stages[progress.stage]
    task, model, optimizer, scaler = stage.task, progress.model, progress.optimizer, progress.scaler
    batch = on_device(batch, distributed.device)
    counts: Batch = {}
    if recipe.whole_batch:
        for name, count in task.counts(batch).items():
            counts[f"counts.{name}"] = distributed.all_reduce(count.float()).clamp(min=1) / (
                distributed.world * grad_accum_steps
            )
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    for index, part in enumerate(cut(batch, grad_accum_steps)):
        shared = network.network
        last = index + 1 == grad_accum_steps
        with shared.no_sync() if isinstance(shared, DistributedDataParallel) and not last else nullcontext():
            loss, log = task.loss(network, part | counts, progress.step / stage.steps)
            scaler.scale(loss / grad_accum_steps).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": loss.detach(), **log}.items():
            sums[name] = sums.get(name, 0.0) + value / grad_accum_steps
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or float("inf"))
    rate = learning_rate(stage, progress.step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate
    scaler.step(optimizer)
    scaler.update()
    if progress.average:
        progress.average.update(model)
    progress.step += 1
    numbers = {name: value.item() for name, value in sums.items()}
    return numbers | {"norm": norm.item(), "lr": optimizer.param_groups[0]["lr"]}


def memory_used(device: torch.device) -> dict[str, float]:
    """Return the peak of the memory that tensors took on a GPU since the start, in GiB; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {"gpu_gib": torch.cuda.max_memory_allocated(device) / 2**30}


def step_seed(*numbers: int) -> int:
    """Compute a 64-bit PyTorch seed that depends only on these numbers, on any machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch to a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def cut(batch: Batch, parts: int) -> list[Batch]:
    """Split a batch into equal parts."""
    pieces = {name: value.chunk(parts) for name, value in batch.items()}
    return [{name: each[index] for name, each in pieces.items()} for index in range(parts)]


@contextmanager
def deferred_signals() -> Iterator[list[int]]:
    """Context manager in which SIGINT (Ctrl-C) and SIGTERM are only recorded in the list.

    Otherwise, the exception of the signal could interrupt the optimizer between two tensors. Outside the main thread,
    where Python handles no signals, the list stays empty.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        if not came:
            os.write(2, b"stopping after this step; continue with --resume\n")
        came.append(number)

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
