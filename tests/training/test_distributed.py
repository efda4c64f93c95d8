"""Several processes: two with half a batch each are one with the whole, and a lost one ends the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tests.training.toys import ALONE, NOTHING, one_stage
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from singletrack.errors import InputError, SingletrackError
from singletrack.training.base import Recipe
from singletrack.training.distributed import WholeBatchNorm, launch, share_norms
from singletrack.training.trainer import RunSettings, train

HERE = str(Path(__file__).resolve().parents[2])  # the repository, so that tests can be imported
PLAIN = RunSettings(precision="fp32", log_every=1)


def shared_recipe() -> Recipe:
    """Twenty steps, with targets absent now and then, nothing dropped at random, and the rate of OSTrack's backbone.

    By seed 42 one weight of the stem has a gradient of almost 0 in some step, and Adam moves it by its rounding (4e-5
    in the variance behind it); by seeds 1, 2 and 3 two processes and one stay within 1e-6.
    """
    return replace(one_stage(steps=20, lr=4e-5, head_lr=4e-5), seed=1)


def run(script: str, folder: Path, *launcher: str) -> subprocess.CompletedProcess[str]:
    path = folder / "run.py"
    path.write_text(f"import sys\nsys.path.insert(0, {HERE!r})\n{script}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


TOGETHER = """
from functools import partial
from pathlib import Path
from tests.training.test_distributed import PLAIN, shared_recipe
from tests.training.toys import NOTHING
from singletrack.training.trainer import train
from singletrack.training.distributed import WholeBatchNorm, launch, share_norms

if __name__ == "__main__":
    out = Path({out!r})
    launch(2, partial(train, shared_recipe(), NOTHING, out, settings=PLAIN))
"""


def test_two_processes_with_half_a_batch_each_are_one_with_the_whole(tmp_path: Path) -> None:
    done = run(TOGETHER.format(out=str(tmp_path / "two")), tmp_path)
    assert done.returncode == 0, done.stderr
    train(shared_recipe(), NOTHING, tmp_path / "one", settings=PLAIN)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert len(logs[0]) == len(logs[1]) == 20
    for name in ("loss", "focal", "giou", "l1", "attention", "iou"):
        one, two = (np.array([line[name] for line in log]) for log in logs)
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5, err_msg=name)
    weights, others = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in weights.items():
        # Adam moves what has a gradient of almost 0 by its rounding: single elements, and the whole of a bias before a
        # normalization, which changes nothing, and which the running mean follows
        if name not in ("head.spread.bias", "head.fine.bias", "head.norm.running_mean"):
            apart = (others[name] - value).float().square().mean().sqrt()
            assert apart < 1e-5 * max(1.0, float(value.float().abs().max())), name
    assert json.loads((tmp_path / "two" / "recipe.json").read_text())["starts"][0]["processes"] == 2


LOSING = """
import os, signal
from pathlib import Path
from tests.training.test_distributed import PLAIN
from tests.training.toys import NOTHING, one_stage
import singletrack.training.trainer as loop
from singletrack.cli.main import main
from singletrack.training import recipes

def train(*given, **options):
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    steps = []
    def die(*_):
        steps.append(1)
        if len(steps) == 3 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
    register_optimizer_step_pre_hook(die)
    return true_train(*given, **options)

true_train, loop.train = loop.train, train
recipes.RECIPES["toy"] = one_stage
if __name__ == "__main__":
    sys.exit(main(["train", "toy", "--out", {out!r}, "--devices", "2"]))
"""


def test_a_lost_process_ends_the_run_with_its_error(tmp_path: Path) -> None:
    done = run(LOSING.format(out=str(tmp_path / "out")), tmp_path)
    assert done.returncode == 1
    assert "singletrack: training process 1 of 2 ended: by signal SIGKILL" in done.stderr
    assert "weights:" not in done.stdout


TORCHRUN = """
from pathlib import Path
from tests.training.toys import NOTHING, one_stage
from singletrack.training.trainer import train
train(one_stage(), NOTHING, Path({out!r}))
threads = [name.read_text() for name in Path("/proc/self/task").glob("*/comm")]
sys.exit(any("gloo" in name for name in threads))  # one that outlives its group aborts the process now and then
"""


def test_torchrun_starts_them_as_well_and_they_leave_one_log(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = run(TORCHRUN.format(out=str(tmp_path / "out")), tmp_path, *launcher)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "out" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("exitcode", "message", "reason"),
    [
        (-9, "Signal 9 (SIGKILL) received", "by signal SIGKILL"),
        (1, {"message": "InputError: expected lasot=DIR\nmore", "extraInfo": {}}, "InputError: expected lasot=DIR;"),
        (1, "no error file", "no error file;"),
    ],
)
def test_the_reason_of_a_lost_process_is_told(
    exitcode: int, message: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ProcessFailure(local_rank=3, pid=0, exitcode=exitcode, error_file="none")
    failure.message = message  # type: ignore[assignment]

    def fail(function: object) -> None:
        raise ChildFailedError("train", {3: failure})

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda config, entry: fail)
    with pytest.raises(SingletrackError, match=f"process 3 of 4 ended: {reason}"):
        launch(4, print)


def test_a_signal_to_the_first_process_stops_all_with_a_checkpoint(tmp_path: Path) -> None:  # A11
    script = LOSING.replace("os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getppid(), signal.SIGTERM)")
    done = run(script.format(out=str(tmp_path / "out")), tmp_path)
    assert done.returncode in (130, 143), done.stderr
    assert "stopping after this step; continue with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "last.pt").is_file()


def test_processes_that_were_stopped_stop_the_one_that_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end by themselves where it does not read their answer: for PyTorch waits 30 s and kills them."""
    leaving: list[tuple[float, object, list[int]]] = []

    class Timer(threading.Thread):
        def __init__(self, seconds: float, function: object, arguments: list[int]) -> None:
            super().__init__()
            leaving.append((seconds, function, arguments))

    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("singletrack.training.distributed.threading.Timer", Timer)
    monkeypatch.setattr(
        "torch.distributed.launcher.api.elastic_launch",
        lambda config, entry: lambda function: {0: entry(function), 1: entry(print)},
    )
    with pytest.raises(KeyboardInterrupt):
        launch(2, stopped)
    assert leaving == [(2.0, os._exit, [130])]


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", world_size=1, rank=0)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(("kind", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.usefixtures("group_of_one")
def test_a_norm_for_all_processes_is_that_of_pytorch(kind: torch.dtype, close: float) -> None:
    torch.manual_seed(0)
    plain, shared = nn.BatchNorm2d(5), nn.Sequential(nn.BatchNorm2d(5))
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    shared[0].load_state_dict(plain.state_dict())
    share_norms(shared)
    assert type(shared[0]) is WholeBatchNorm
    x = (3 + 2 * torch.randn(4, 5, 6, 7)).to(kind).to(memory_format=torch.channels_last)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    weigh = torch.randn(4, 5, 6, 7).to(kind)
    outputs = [norm(each) for norm, each in zip((plain, shared), inputs, strict=True)]
    for output in outputs:
        (output * weigh).sum().backward()
    assert outputs[0].dtype == outputs[1].dtype == kind
    for one, two in (
        outputs,
        [each.grad for each in inputs],
        [plain.weight.grad, shared[0].weight.grad],
        [plain.bias.grad, shared[0].bias.grad],
        *[[value, shared[0].state_dict()[name]] for name, value in plain.state_dict().items()],
    ):
        torch.testing.assert_close(two, one, rtol=close, atol=close)
    plain.eval()
    shared.eval()
    torch.testing.assert_close(shared(x), plain(x), rtol=close, atol=close)


def test_processes_are_not_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun already starts the processes"):
        launch(2, print)


def test_alone_everything_is_its_own_sum() -> None:
    values = torch.tensor([1.0, 2.0])
    assert torch.equal(ALONE.all_reduce(values), values)
    assert ALONE.any_rank(True, False) == [True, False]
