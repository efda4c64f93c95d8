"""The one training loop: pairs in, a run folder out. Knows nothing of how pairs are drawn or what a recipe says.

    out/
    ├── recipe.json       every number of the run, the weights it started from, versions, processor
    ├── log.jsonl         one line every few steps; tensorboard/ holds the same
    ├── last.pt           all that is needed to go on; written every few minutes and at the end of each stage
    ├── weights.safetensors   the averaged weights so far
    └── pictures/         pairs, boxes and score maps as the network sees them

Every number of a step follows from the recipe's seed and the step's index, not from what came before. So a run that
was cut off and goes on from ``last.pt`` ends in the same weights as one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from singletrack.datasets.pairs import draw_pair
from singletrack.datasets.pictures import Pictures
from singletrack.errors import CheckpointError, InputError
from singletrack.geometry.crops import IMAGENET_MEAN, IMAGENET_STD
from singletrack.models.checkpoints import load_weights, save_safetensors
from singletrack.models.ostrack import (
    CONFIGS,
    OSTrack,
    Trace,
    build_ostrack,
    decode,
    resize_positions,
    start_from_similarity,
)
from singletrack.runtimes.processor import processor_name
from singletrack.training.losses import clamped_xyxy, giou, ostrack_loss, to_xyxy
from singletrack.training.recipes import Recipe, Stage
from singletrack.training.targets import keep_ratio_at

MEAN = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
STD = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class PairStream(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Pairs by index: (3, T, T) and (3, S, S) uint8, the box xywh in [0, 1] of the crop, and whether it is there."""

    def __init__(self, pictures: Pictures, stage: Stage, seed: Sequence[int]) -> None:
        self.pictures, self.stage, self.seed = pictures, stage, list(seed)

    def __getitem__(self, index: int) -> Batch:
        stage = self.stage
        random = np.random.default_rng([*self.seed, index])
        pair = draw_pair(random, self.pictures, stage.template_size, stage.search_size, stage.pairs)
        return (
            torch.from_numpy(pair.template).permute(2, 0, 1),
            torch.from_numpy(pair.search).permute(2, 0, 1),
            torch.from_numpy(pair.box / stage.search_size).float(),
            torch.tensor(pair.present),
        )


def batches(stream: PairStream, indices: Sequence[range], workers: int = 0) -> Iterator[Batch]:
    """One batch for each list of pairs: the same whatever ``workers``, the processes that draw them."""
    yield from DataLoader(
        stream,
        batch_sampler=[list(pairs) for pairs in indices],
        num_workers=workers,
        worker_init_fn=_ready_worker if workers else None,
        # this process has threads by now (BLAS, TensorBoard): a fork of it could wait for a lock for ever
        multiprocessing_context="forkserver" if workers else None,
    )


def _ready_worker(worker: int) -> None:
    """One thread; and Ctrl-C, which a terminal sends to all, is the training process's to obey."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def shares(first: int, last: int, batch: int, rank: int, world: int) -> list[range]:
    """The pairs of the steps ``first`` to ``last`` (without it) that fall to this process of ``world``."""
    share = batch // world
    return [range(step * batch + rank * share, step * batch + (rank + 1) * share) for step in range(first, last)]


def normalise(pixels: Tensor, device: torch.device) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 with ImageNet's mean and deviation."""
    return (pixels.to(device).float() / 255 - MEAN.to(device)) / STD.to(device)


def learning_rate(stage: Stage, step: int) -> float:
    """Share of the peak rate at ``step`` of the stage."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    if stage.schedule == "step":
        return 1.0 if step < stage.drop_at * stage.steps else 0.1
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.last_lr + (1 - stage.last_lr) * (1 + math.cos(math.pi * done)) / 2


def kept_share(stage: Stage, step: int) -> float:
    """Share of search tokens that each eliminating block keeps at ``step``; it moves in thousandths of the stage."""
    done = int(1000 * (step / stage.steps)) / 1000
    return keep_ratio_at(done, stage.keep_from, stage.keep_over, stage.keep_ratio)


def optimizer_of(model: OSTrack, recipe: Recipe, stage: Stage) -> torch.optim.AdamW:
    """AdamW with the two published groups, backbone and head; each remembers its peak rate."""
    groups = [
        {"params": list(model.backbone.parameters()), "lr": stage.lr, "peak": stage.lr},
        {"params": list(model.head.parameters()), "lr": stage.head_lr, "peak": stage.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 where the processor has it; elsewhere fp32, since emulated bf16 is a hundred times slower."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


class Average:
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
class Progress:
    """Where a run stands: everything that changes between steps.

    started_from: name and sha256 of the file of weights that the run started from; None: from nothing.
    """

    model: OSTrack
    optimizer: torch.optim.AdamW
    average: Average | None
    stage: int = 0
    step: int = 0
    started_from: dict[str, str] | None = None

    def result(self) -> dict[str, Tensor]:
        """The weights that the run is for: averaged where there is an average."""
        return self.average.values if self.average else self.model.state_dict()


def staged(recipe: Recipe, stage: Stage) -> OSTrack:
    """A fresh network at the size of ``stage``, its elimination left to the loop."""
    config = dataclasses.replace(recipe.config, template_size=stage.template_size, search_size=stage.search_size)
    return build_ostrack(config, keep_ratio=stage.keep_ratio)


def resized(state: Mapping[str, Tensor], model: OSTrack) -> dict[str, Tensor]:
    """Weights of one size for a network of another: only the position embeddings change."""
    config = model.config
    grids = {
        "backbone.template_position": config.template_grid,
        "backbone.search_position": config.search_grid,
    }
    return {n: resize_positions(v, grids[n]) if n in grids else v for n, v in state.items()}


def begin(
    recipe: Recipe,
    stage: int,
    weights: Mapping[str, Tensor] | None,
    device: torch.device,
    started_from: dict[str, str] | None = None,
) -> Progress:
    """The state before a stage's first step: a new optimizer, and ``weights``, of whatever size, or from nothing."""
    torch.manual_seed(recipe.seed)
    model = staged(recipe, recipe.stages[stage])
    if weights is not None:
        model.load_state_dict(resized(weights, model))
    elif recipe.from_similarity:
        start_from_similarity(model)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Average(model, recipe.ema) if recipe.ema else None
    optimizer = optimizer_of(model, recipe, recipe.stages[stage])
    return Progress(model, optimizer, average, stage, started_from=started_from)


def read_start(recipe: Recipe, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights to start from, and the file's name and sha256.

    Raises CheckpointError when the file is not of the recipe's network.
    """
    model = build_ostrack(recipe.config)
    load_weights(model, path, model_name(recipe))
    return model.state_dict(), {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def model_name(recipe: Recipe) -> str:
    """The name that the zoo knows the recipe's network by; for a network of no name, the recipe's own."""
    return next((name for name, config in CONFIGS.items() if config == recipe.config), recipe.name)


def save(progress: Progress, recipe: Recipe, out: Path) -> None:
    """Write ``last.pt`` and ``weights.safetensors``, each whole or not at all."""
    state = {
        "recipe": json.loads(json.dumps(dataclasses.asdict(recipe))),
        "stage": progress.stage,
        "step": progress.step,
        "started_from": progress.started_from,
        "model": progress.model.state_dict(),
        "average": progress.average.values if progress.average else None,
        "updates": progress.average.updates if progress.average else 0,
        "optimizer": progress.optimizer.state_dict(),
    }
    torch.save(state, out / "last.pt.part")
    os.replace(out / "last.pt.part", out / "last.pt")
    save_safetensors(progress.result(), out / "weights.safetensors", model_name(recipe))


def resume(recipe: Recipe, out: Path, device: torch.device) -> Progress:
    """Where ``last.pt`` stands. Raises CheckpointError when it is missing or belongs to another recipe."""
    path = out / "last.pt"
    if not path.exists():
        raise CheckpointError(f"expected {path} to resume from, found none; leave out --resume to start anew")
    state = torch.load(path, map_location=device, weights_only=True)
    wanted = json.loads(json.dumps(dataclasses.asdict(recipe)))
    if state["recipe"] != wanted:
        changed = [key for key in wanted if state["recipe"].get(key) != wanted[key]]
        raise CheckpointError(
            f"expected {path} to come from this recipe, but {', '.join(changed)} differ; "
            "resume with the recipe and flags of the first start, or choose another --out"
        )
    progress = begin(recipe, state["stage"], None, device, state.get("started_from"))
    progress.step = state["step"]
    progress.model.load_state_dict(state["model"])
    if progress.average:
        progress.average.values = state["average"]
        progress.average.updates = state["updates"]
    progress.optimizer.load_state_dict(state["optimizer"])
    return progress


def train_step(
    network: nn.Module, progress: Progress, batch: Batch, recipe: Recipe, device: torch.device
) -> dict[str, float]:
    """One step: forward, loss, backward, clip, update, average. Returns the loss, its parts and the norm."""
    stage = recipe.stages[progress.stage]
    template, search = normalise(batch[0], device), normalise(batch[1], device)
    boxes, present = batch[2].to(device), batch[3].to(device)
    keep = kept_share(stage, progress.step)
    trace = Trace()
    with autocast(device):
        maps = network(template, search, [keep] * len(recipe.config.eliminate_in), trace)
    maps = {name: value.float() for name, value in maps.items()}
    attention = {block: value.float() for block, value in trace.attention.items()}
    loss, log = ostrack_loss(maps, boxes, stage.loss, None if bool(present.all()) else present, attention)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss.item()} at step {progress.step} of stage {stage.name}")
    progress.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(progress.model.parameters(), recipe.clip)
    rate = learning_rate(stage, progress.step)
    for group in progress.optimizer.param_groups:
        group["lr"] = group["peak"] * rate
    progress.optimizer.step()
    if progress.average:
        progress.average.update(progress.model)
    progress.step += 1
    return {"loss": loss.item(), "norm": norm.item(), "lr": rate * stage.lr, "keep": keep} | {
        name: value.item() for name, value in log.items()
    }


@torch.no_grad()
def validate(progress: Progress, recipe: Recipe, pictures: Pictures, pairs: int, device: torch.device) -> float:
    """Mean overlap of the box at the score's peak, by the averaged weights, on always the same held-out pairs."""
    stage = dataclasses.replace(
        recipe.stages[progress.stage],
        pairs=dataclasses.replace(recipe.stages[progress.stage].pairs, anywhere=1.0, absent=0.0),
    )
    model = staged(recipe, stage).to(device).eval()
    model.load_state_dict(progress.result())
    stream = PairStream(pictures, stage, [recipe.seed, 1, 0])
    overlaps = []
    at_once = [range(first, min(first + 32, pairs)) for first in range(0, pairs, 32)]
    for template, search, boxes, _ in batches(stream, at_once):
        maps = model(normalise(template, device), normalise(search, device))
        overlaps.append(giou(to_xyxy(decode(maps)), clamped_xyxy(boxes.to(device)))[1].cpu())
    return float(torch.cat(overlaps).clamp(min=0).mean())


@torch.no_grad()
def picture(
    progress: Progress, recipe: Recipe, pictures: Pictures, device: torch.device
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3) RGB: a few held-out pairs; true box green, predicted red, score map beside."""
    stage = recipe.stages[progress.stage]
    model = staged(recipe, stage).to(device).eval()
    model.load_state_dict(progress.result())
    template, search, boxes, _ = next(batches(PairStream(pictures, stage, [recipe.seed, 2]), [range(12)]))
    maps = model(normalise(template, device), normalise(search, device))
    found = to_xyxy(decode(maps)).cpu() * stage.search_size
    truth = clamped_xyxy(boxes) * stage.search_size
    tiles = []
    for i in range(len(boxes)):
        view = np.ascontiguousarray(search[i].permute(1, 2, 0).numpy())
        for box, color in ((truth[i], (0, 255, 0)), (found[i], (255, 0, 0))):
            x0, y0, x1, y1 = (int(v) for v in box)
            cv2.rectangle(view, (x0, y0), (x1, y1), color, 1)
        heat = (maps["score"][i].cpu().numpy() * 255).astype(np.uint8)
        heat = cv2.resize(heat, (stage.search_size,) * 2, interpolation=cv2.INTER_NEAREST)
        left = np.zeros((stage.search_size, stage.template_size, 3), np.uint8)
        left[: stage.template_size] = template[i].permute(1, 2, 0).numpy()
        tiles.append(np.hstack([left, view, np.repeat(heat[..., None], 3, 2)]))
    return np.vstack([np.hstack(tiles[row : row + 3]) for row in range(0, len(tiles), 3)])


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Inside, SIGINT (Ctrl-C) and SIGTERM are only written down in the list, and what is under way ends first.

    An exception raised by the signal itself could land between two tensors of an optimizer's step. Outside the main
    thread, where Python takes no signals, the list stays empty.
    """
    came: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def any_process(answer: bool, world: int, device: torch.device) -> bool:
    """Whether ``answer`` is True in any process of the run, so that all leave after the same step."""
    if world == 1:
        return answer
    shared = torch.tensor(int(answer), device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return bool(shared.item())


def train(
    recipe: Recipe,
    pictures: Pictures,
    held_out: Pictures,
    out: Path,
    *,
    resume_run: bool = False,
    weights: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    stop_after: int | None = None,
    log_every: int = 20,
    check_every: int = 500,
    validation_pairs: int = 256,
    save_seconds: float = 120.0,
) -> Path:
    """Run a recipe and return the file of its weights. Under ``torchrun`` each process takes its share of every batch.

    weights: a file to start from instead of nothing, of the recipe's network; a resumed run has had its start.
    stop_after: leave after so many steps of this call, as if cut off, with everything saved.
    Ctrl-C and SIGTERM are obeyed at the end of the step: everything is saved, then KeyboardInterrupt raised.
    Raises InputError when ``out`` holds a run already and ``resume_run`` is False, CheckpointError when ``weights``
    are another network's.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    cv2.setNumThreads(0)
    if world > 1:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        elif device == "cpu":
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
    where = torch.device(device)
    if validation_pairs < 1:
        raise InputError(f"expected 1 or more validation_pairs, got {validation_pairs}; leave it out for 256")
    for stage in recipe.stages:
        if stage.batch % world:
            raise InputError(
                f"expected a batch that {world} processes can share, got {stage.batch} in stage {stage.name}"
            )
    if (out / "last.pt").exists() and not resume_run:
        raise InputError(f"expected an empty run folder, got {out} with a run in it; pass --resume or another --out")
    out.mkdir(parents=True, exist_ok=True)
    if resume_run:
        progress = resume(recipe, out, where)
    else:
        start, started_from = read_start(recipe, weights) if weights else (None, None)
        progress = begin(recipe, 0, start, where, started_from)
    log = Log(out, recipe, world, progress.started_from) if rank == 0 else None
    taken = 0
    with ExitStack() as ending:
        if world > 1:
            ending.callback(dist.destroy_process_group)
        if log:
            ending.callback(log.close)
        signals = ending.enter_context(held_signals())
        while True:
            stage = recipe.stages[progress.stage]
            network: nn.Module = nn.parallel.DistributedDataParallel(progress.model) if world > 1 else progress.model
            progress.model.train()
            stream = PairStream(pictures, stage, [recipe.seed, 0, progress.stage])
            since, last_save, fresh = time.perf_counter(), time.perf_counter(), 0
            pairs = shares(progress.step, stage.steps, stage.batch, rank, world)
            for batch in batches(stream, pairs, workers):
                torch.manual_seed(hash((recipe.seed, progress.stage, progress.step, rank)))
                numbers = train_step(network, progress, batch, recipe, where)
                taken, fresh = taken + 1, fresh + 1
                at_end = progress.step == stage.steps
                if log and (progress.step % log_every == 0 or at_end):
                    now = time.perf_counter()
                    numbers["pairs_per_second"] = fresh * stage.batch / (now - since)
                    since, fresh = now, 0
                    if progress.step % check_every == 0 or at_end:
                        numbers["argmax_iou"] = validate(progress, recipe, held_out, validation_pairs, where)
                        log.picture(progress, picture(progress, recipe, held_out, where))
                        since = time.perf_counter()
                    log.write(progress, stage, numbers)
                interrupted = any_process(bool(signals), world, where)
                leave = interrupted or taken == stop_after
                if rank == 0 and (leave or at_end or time.perf_counter() - last_save > save_seconds):
                    save(progress, recipe, out)
                    last_save = time.perf_counter()
                if interrupted:
                    raise KeyboardInterrupt
                if leave:
                    return out / "weights.safetensors"
            if progress.stage + 1 == len(recipe.stages):
                return out / "weights.safetensors"
            progress = begin(recipe, progress.stage + 1, progress.result(), where, progress.started_from)


class Log:
    """JSON lines, TensorBoard, pictures, and a line on the terminal now and then."""

    def __init__(self, out: Path, recipe: Recipe, world: int, started_from: dict[str, str] | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.out, self.recipe = out, recipe
        facts = {
            "recipe": dataclasses.asdict(recipe),
            "started_from": started_from,
            "processes": world,
            "torch": torch.__version__,
            "processor": processor_name(),
        }
        (out / "recipe.json").write_text(json.dumps(facts, indent=1) + "\n")
        (out / "pictures").mkdir(exist_ok=True)
        self.board = SummaryWriter(out / "tensorboard")

    def step(self, progress: Progress) -> int:
        """Steps taken since the start of the run, over all stages."""
        return sum(stage.steps for stage in self.recipe.stages[: progress.stage]) + progress.step

    def write(self, progress: Progress, stage: Stage, numbers: dict[str, float]) -> None:
        line = {"stage": stage.name, "step": progress.step, "time": round(time.time(), 1)}
        line |= {name: round(value, 6) for name, value in numbers.items()}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in numbers.items():
            self.board.add_scalar(f"{stage.name}/{name}", value, progress.step)
        shown = ("loss", "iou", "attention", "argmax_iou", "pairs_per_second")
        text = "  ".join(f"{name} {numbers[name]:.3f}" for name in shown if name in numbers)
        print(f"{stage.name} {progress.step}/{stage.steps}  {text}", flush=True)

    def picture(self, progress: Progress, image: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        name = f"{progress.stage}_{progress.step:06d}.jpg"
        cv2.imwrite(str(self.out / "pictures" / name), image[..., ::-1])
        self.board.add_image("pairs", image, self.step(progress), dataformats="HWC")

    def close(self) -> None:
        self.board.close()
