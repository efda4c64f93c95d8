"""Distributed training in several processes.

Processes communicate through ``torch.distributed``: with NCCL one process per GPU, with gloo any number on a CPU.
Each takes its share of every batch.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import threading
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
    """The processes of a run. ``rank``: number of this process, from 0. ``world``: number of processes."""

    rank: int
    world: int
    device: torch.device

    def all_reduce(self, values: Tensor) -> Tensor:
        """Sum values over all processes."""
        if self.world > 1:
            values = values.to(self.device, copy=True)
            dist.all_reduce(values)
        return values

    def broadcast(self, model: nn.Module) -> None:
        """Copy the weights and statistics of the first process to all others."""
        if self.world > 1:
            for value in model.state_dict().values():
                dist.broadcast(value, 0)

    def any_rank(self, *answers: bool) -> list[bool]:
        """For each answer, return whether it is True in any process, so that all act the same."""
        if self.world == 1:
            return list(answers)
        return [bool(count) for count in self.all_reduce(torch.tensor([int(answer) for answer in answers]))]

    @contextmanager
    def rank_zero_first(self) -> Iterator[None]:
        """Context manager in which the first process runs before the others, which then find its cache."""
        if self.world > 1 and self.rank > 0:
            dist.barrier()
        yield
        if self.world > 1 and self.rank == 0:
            dist.barrier()


@contextmanager
def init_distributed(device: str) -> Iterator[Distributed]:
    """Context manager that joins the processes started by ``torchrun`` or ``launch``; a single process otherwise.

    Args:
        device: "cpu", or "cuda" with one GPU per process.
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
    # its functions keep the group at import time as a default, including its threads, and a thread that releases a
    # tensor while Python exits aborts the process
    importlib.import_module("torch.distributed.nn.functional")

    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Distributed(rank, world, torch.device(device))
    finally:
        dist.destroy_process_group()


# --- starting processes ---

STOPPED = "stopped"
TELL_OF_OTHERS = ("gloo", "NCCL")  # in errors of a process that waited for one that ended
WAIT_FOR_PARENT = 2.0  # seconds
WAIT_FOR_CAUSE = 30.0  # seconds, many times the polling interval of the processes
Result = TypeVar("Result")


def check_devices(count: int, device: str) -> None:
    """Raise InputError unless there is one GPU per process; a CPU is shared."""
    if device.startswith("cuda") and count > torch.cuda.device_count():
        raise InputError(
            f"there are {torch.cuda.device_count()} GPUs here; got --devices {count}; give at most "
            f"{torch.cuda.device_count()}, and use torchrun for several machines"
        )


def launch(count: int, function: Callable[[], Result]) -> Result:
    """Call a function in new processes, as ``torchrun`` does, and return the result of the first.

    Args:
        count: number of processes.
        function: can be sent to another process.

    Raises:
        SingletrackError: a process failed, with its reason; the others are ended.
        KeyboardInterrupt: the processes were stopped.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if "WORLD_SIZE" in os.environ:
        raise InputError(f"torchrun already starts the processes; got --devices {count}; leave it out")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        max_restarts=0,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)  # it warns of each signal that it passes on
    try:
        returned = elastic_launch(config, _obedient)(function)
    except SignalException as stop:
        raise KeyboardInterrupt from stop
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        said: Any = failure.message  # a dict for an exception
        reason = str(said["message"] if isinstance(said, dict) else said).splitlines()[0]
        if failure.exitcode < 0:
            reason = f"by signal {signal.Signals(-failure.exitcode).name}"
        raise SingletrackError(
            f"training process {rank} of {count} ended: {reason}; the run folder has the last checkpoint: fix the "
            "cause and "
            "continue with --resume"
        ) from error
    if STOPPED in returned.values():
        raise KeyboardInterrupt
    result: Result = returned[0]
    return result


def _obedient(function: Callable[[], Result]) -> Result | str:
    """Call the function in a new process; returns a marker if it was stopped, because an exception would be lost."""
    try:
        return function()
    except KeyboardInterrupt:
        # where the signal came to the parent, it does not read the answer, and PyTorch waits until it does
        leave = threading.Timer(WAIT_FOR_PARENT, os._exit, [130])
        leave.daemon = True
        leave.start()
        return STOPPED
    except RuntimeError as error:
        if any(word in str(error) for word in TELL_OF_OTHERS):
            time.sleep(WAIT_FOR_CAUSE)  # until the first failure is found and this process is ended
        raise


# --- batch normalization over all processes ---


def _mean_of_all(values: Tensor) -> Tensor:
    """Average over all processes."""
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


class _Normalize(torch.autograd.Function):
    """Normalizes values with the mean and variance over all processes, and returns these two.

    The passes over the values are those of PyTorch. The backward pass treats mean and variance as constants; the
    correction is a linear function of the values of each channel.
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
    """Batch normalization with statistics over all processes, whose parts of the batch are equally large.

    PyTorch's own version needs GPUs; this one works on any device.
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
    """Replace every batch normalization of a network by one over all processes, in place."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WholeBatchNorm
