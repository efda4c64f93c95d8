"""What the processor calls itself, as it should stand beside every figure; and how many of its cores are ours."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def processor_name() -> str:
    """Name, family and model where the system tells them, as ``AMD EPYC family 25 model 1``; else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    numbers = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    return " ".join([facts["model name"], *numbers])


def computes_in_bf16() -> bool:
    """Whether the processor multiplies in bf16 itself, as far as the system tells; emulated, it is far slower."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)


def usable_cores() -> int:
    """How many cores this process may use: those it is allowed on, or fewer, where a container has a quota of time.

    An engine that starts a thread for each core of the machine, when it has the time of two, becomes many times slower.
    """
    allowed = allowed_cores()
    granted = _quota_of_cores()
    return allowed if granted >= allowed else max(1, math.ceil(granted))


def allowed_cores() -> int:
    """How many cores the system lets this process run on, whatever its quota of time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota_of_cores() -> float:
    """The cores' worth of time that Linux grants this container; infinite where it does not say."""
    version_2, version_1 = CONTROL_GROUPS / "cpu.max", CONTROL_GROUPS / "cpu"
    try:
        if version_2.exists():
            quota, period = version_2.read_text().split()
        else:
            quota, period = ((version_1 / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        granted = float(quota.replace("max", "inf")) / float(period)
    except (OSError, ValueError):
        return math.inf
    return granted if granted > 0 else math.inf  # -1: no limit
