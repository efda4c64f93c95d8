"""What the processor calls itself, as it should stand beside every figure."""

from __future__ import annotations

import platform
from pathlib import Path


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
