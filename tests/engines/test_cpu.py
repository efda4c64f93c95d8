"""The processor's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from singletrack.engines import cpu
from singletrack.engines.cpu import computes_in_bf16, processor_name, usable_cores


def test_the_processor_has_a_name() -> None:
    assert processor_name()


def test_name_family_and_model_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "processor : 0\ncpu family : 25\nmodel : 1\nmodel name : AMD EPYC\n\nprocessor : 1\nmodel : 1\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: told)
    assert processor_name() == "AMD EPYC family 25 model 1"


def test_without_that_file_python_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert processor_name() == "arm64"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu.max": "who knows"}, 64),
        ({}, 64),
    ],
)
def test_a_quota_of_time_counts(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cpu, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(cpu, "allowed_cores", lambda: 64)
    assert usable_cores() == cores


@pytest.mark.parametrize(("flags", "whether"), [("fpu avx2 avx512_bf16", True), ("fpu avx2", False)])
def test_bf16_is_known_by_the_flags(flags: str, whether: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"flags : {flags}\n")
    assert computes_in_bf16() == whether


def test_networks_compiled_for_fewer_instructions_are_kept_apart(tmp_path: Path) -> None:
    """OpenVINO crashed on what it had compiled itself under ONEDNN_MAX_CPU_ISA."""
    program = (
        "import numpy as np, singletrack\n"
        "tracker = singletrack.load('ostrack-nano', engine='openvino', precision='fp32', threads=1)\n"
        "frame = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)\n"
        "tracker.init(frame, (60, 30, 30, 30))\n"
        "print(*tracker.update(frame).box)\n"
    )
    boxes = []
    for limit in ("AVX2", None, "AVX2"):
        environment = {**os.environ, "SINGLETRACK_CACHE": str(tmp_path)} | (
            {"ONEDNN_MAX_CPU_ISA": limit} if limit else {}
        )
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        boxes.append([float(number) for number in done.stdout.split()])
    assert boxes[0] == pytest.approx(boxes[1], abs=0.05)
    assert boxes[0] == boxes[2]
    assert len(list((tmp_path / "compiled").iterdir())) == 2


def test_bf16_that_is_turned_off_is_not_chosen() -> None:
    """The processor supports bf16, and ONEDNN_MAX_CPU_ISA disables it."""
    program = (
        "import singletrack\n"
        "print(singletrack.load('ostrack-tiny', engine='openvino', threads=1).network.precision)\n"
        "try: singletrack.load('ostrack-tiny', engine='openvino', precision='bf16', threads=1)\n"
        "except singletrack.InputError as error: print(error)\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    precision, *refused = done.stdout.splitlines()
    assert precision == "fp32"
    # where the processor has no bf16 at all, OpenVINO may emulate it
    assert refused in (
        [],
        ["expected a precision that OpenVINO can compile here; got bf16; choose auto or fp32"],
    )
