"""Learning rate schedules."""

from __future__ import annotations

import math

from singletrack.training.base import Stage


def learning_rate(stage: Stage, step: int) -> float:
    """Return the share of the peak learning rate at ``step`` of the stage, from 0."""
    if step < stage.warmup:
        return stage.warmup_from + (1 - stage.warmup_from) * (step + 1) / stage.warmup
    if stage.schedule == "step":
        return 1.0 if step < round(stage.drop_at * stage.steps) else 0.1
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    if stage.schedule == "exponential":
        return float(stage.last_lr**done)
    return stage.last_lr + (1 - stage.last_lr) * (1 + math.cos(math.pi * done)) / 2
