"""The name of the CPU, and how many of its cores this process may use."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def processor_name() -> str:
    """Return the CPU name with family and model, such as ``AMD EPYC family 25 model 1``, or what Python reports."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    numbers = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    return " ".join([facts["model name"], *numbers])


def instructions() -> str:
    """Return the processor's name and instructions, and the limits on them that oneDNN reads in the environment."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.partition(":")[0].strip() in ("flags", "Features")), "")
    limits = [f"{name}={os.environ.get(name, '')}" for name in ISA_LIMITS]
    return "\n".join([processor_name(), flags, *limits])


def computes_in_bf16() -> bool:
    """Check whether the CPU has bf16 instructions. Emulated bf16 is far slower."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(words)


def usable_cores() -> int:
    """Return the number of cores that this process may use, limited by its affinity and a container's CPU quota.

    An engine that starts one thread per core of the machine, with a quota of two, becomes many times slower.
    """
    allowed = allowed_cores()
    granted = _quota_of_cores()
    return allowed if granted >= allowed else max(1, math.ceil(granted))


def allowed_cores() -> int:
    """Return the number of cores on which this process may run, without its CPU quota."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota_of_cores() -> float:
    """Return the CPU quota of a Linux container in cores; infinite without a quota."""
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
