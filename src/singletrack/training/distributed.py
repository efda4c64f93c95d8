"""Distributed training in several processes.

Processes communicate through ``torch.distributed``: with NCCL one process per GPU, with gloo any number on a CPU.
Each takes its share of every batch.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from singletrack.errors import InputError, SingletrackError


@dataclass(frozen=True)
class Distributed:
    """The processes of a run, as one of them sees them. rank: its number, from 0; world: how many there are."""

    rank: int
    world: int
    device: torch.device

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world > 1:
            values = values.to(self.device, copy=True)
            dist.all_reduce(values)
        return values

    def broadcast(self, model: nn.Module) -> None:
        """The first process's weights and statistics to all others."""
        if self.world > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def any_rank(self, *answers: bool) -> list[bool]:
        """Of each answer, whether it is True in any process, so that all do the same."""
        if self.world == 1:
            return list(answers)
        return [bool(count) for count in self.all_reduce(torch.tensor([int(answer) for answer in answers]))]

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Inside, the first process goes before the others: what it leaves in a cache they find."""
        if self.world > 1 and self.rank > 0:
            dist.barrier()
        yield
        if self.world > 1 and self.rank == 0:
            dist.barrier()


@contextmanager
def init_distributed(device: str) -> Iterator[Distributed]:
    """Inside, this process is one of those that ``torchrun`` or ``launch`` started together; alone if none did.

    device: "cpu", or "cuda", where each of several takes its own graphics processor, whatever number it has here.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if world == 1:
        yield Distributed(0, 1, torch.device(device))
        return
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    elif device == "cpu":
        here = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))
    # its functions take the group of the time of their import for a default, and would keep it, with its threads, for
    # ever: a thread that lets go of a tensor while Python ends aborts the process
    importlib.import_module("torch.distributed.nn.functional")

    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Distributed(rank, world, torch.device(device))
    finally:
        dist.destroy_process_group()


# --- starting them ---

STOPPED = "stopped"
TELL_OF_OTHERS = ("gloo", "NCCL")  # in errors of a process that waits for another, which is there no more
WAIT_FOR_CAUSE = 30.0  # seconds, many times what passes between two looks at the processes
Result = TypeVar("Result")


def check_devices(count: int, device: str) -> None:
    """Raise InputError unless so many processes can have a graphics processor each; a processor they share."""
    if device.startswith("cuda") and count > torch.cuda.device_count():
        raise InputError(
            f"expected at most {torch.cuda.device_count()} devices, which are here; got {count}; give --devices "
            f"{torch.cuda.device_count()}, and several machines to torchrun"
        )


def launch(count: int, function: Callable[[], Result]) -> Result:
    """Call a function in so many new processes, as ``torchrun`` does, and give what the first of them returns.

    function: can be sent to another process. Raises SingletrackError, with the reason of the first that
    failed, when any is lost, after ending the others; KeyboardInterrupt when they were stopped.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if "WORLD_SIZE" in os.environ:
        raise InputError(
            f"expected processes to be started once; got {count} asked for inside torchrun; leave out --devices"
        )
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any port that is free
        max_restarts=0,
    )
    try:
        returned = elastic_launch(config, _obedient)(function)
    except SignalException as stop:
        raise KeyboardInterrupt from stop
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        said: Any = failure.message  # of an exception, a dict that holds it
        reason = str(said["message"] if isinstance(said, dict) else said).splitlines()[0]
        if failure.exitcode < 0:
            reason = f"by signal {signal.Signals(-failure.exitcode).name}"
        raise SingletrackError(
            f"expected {count} processes to train to the end; got process {rank} ended: {reason}; what was saved is in "
            "the run folder: put right what ended it and go on with --resume"
        ) from error
    if STOPPED in returned.values():
        raise KeyboardInterrupt
    result: Result = returned[0]
    return result


def _obedient(function: Callable[[], Result]) -> Result | str:
    """The call in a new process; told to stop, it says so: an exception would be lost on its way."""
    try:
        return function()
    except KeyboardInterrupt:
        return STOPPED
    except RuntimeError as error:
        if any(word in str(error) for word in TELL_OF_OTHERS):
            time.sleep(WAIT_FOR_CAUSE)  # until it is found who ended first, and this one is ended, too
        raise


# --- one batch normalization for all of them ---


def _mean_of_all(values: Tensor) -> Tensor:
    """The mean over all processes."""
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


class _Normalize(torch.autograd.Function):
    """The values, normalized by the mean and the variance of all processes', and these two.

    The passes over the values are PyTorch's own: backward, as if mean and variance were constants; what follows from
    their being none is the same linear function of every value of a channel.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        variance_here, mean_here = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        mean = _mean_of_all(mean_here)
        variance = _mean_of_all(variance_here + (mean_here - mean) ** 2)
        context.save_for_backward(x, weight, mean, variance)
        context.eps = eps
        context.mark_non_differentiable(mean, variance)
        return nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps), mean, variance

    @staticmethod
    def backward(context: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance = context.saved_tensors
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, context.eps, [True, True, True]
        )
        scale = (variance + context.eps).rsqrt()
        of_bias, of_weight = _mean_of_all(torch.stack([to_bias, to_weight])) * (x.shape[1] / x.numel())
        slope = weight * scale**2 * of_weight
        constant = weight * scale * of_bias - slope * mean
        to_x = to_x - (x * slope[:, None, None] + constant[:, None, None])
        return to_x.to(x.dtype), to_weight, to_bias, None


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch normalization whose statistics are those of all processes' parts of the batch, which are equally large.

    PyTorch's own needs a graphics processor; this one gives the same on any device.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        out: Tensor
        out, mean, variance = _Normalize.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        count = dist.get_world_size() * x.numel() // x.shape[1]
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return out


def share_norms(model: nn.Module) -> None:
    """Make every batch normalization of a network one for all processes, in place."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm
