"""Validation on held-out samples and by tracking held-out sequences.

The overlap on samples shows early whether a network learns to match. The average overlap of tracking selects the
best weights. Processes share the work.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from singletrack.datasets import base
from singletrack.geometry.boxes import iou
from singletrack.tracking.base import Tracker
from singletrack.training.base import DataPaths, Stage
from singletrack.training.data.loading import batches
from singletrack.training.distributed import Distributed
from singletrack.training.losses import clamped_xyxy, giou

AT_ONCE = 32  # samples per batch


@torch.no_grad()
def sample_overlap(
    model: nn.Module,
    stage: Stage,
    data: DataPaths,
    seed: int,
    distributed: Distributed,
    workers: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Compute the mean overlap on the held-out samples of the stage that show their target, always the same samples.

    ``stop`` is called repeatedly; once it returns True, the remaining samples are left out.
    """
    samples = stage.source.held_out(stage, data, [seed, 1, 0])
    count = stage.check_samples
    parts = [range(first, min(first + AT_ONCE, count)) for first in range(0, count, AT_ONCE)]
    mine = torch.zeros(2, dtype=torch.float64)
    for batch in batches(samples, parts[distributed.rank :: distributed.world], workers):
        if stop():
            break
        batch = {name: value.to(distributed.device) for name, value in batch.items()}
        overlaps = giou(stage.task.boxes(model, batch), clamped_xyxy(batch["box"]))[1]
        known = overlaps[batch["present"]].clamp(min=0)
        mine += torch.tensor([float(known.sum()), len(known)])
    total, shown = distributed.all_reduce(mine).tolist()
    return float(total / max(shown, 1))


def tracking_overlap(
    model: nn.Module,
    stage: Stage,
    data: DataPaths,
    distributed: Distributed,
    stop: Callable[[], bool] = lambda: False,
) -> float | None:
    """Compute the average overlap (AO, 0 to 1) of tracking the held-out sequences; None without sequences.

    It is the mean over sequences of the mean over their frames, without the first and without frames that have no box.
    """
    sequences = stage.source.sequences(data)
    tracker = stage.task.tracker(model, stage) if sequences else None
    if tracker is None:
        return None
    overlaps = [
        followed(tracker, sequences[index], stop)
        for index in range(distributed.rank, len(sequences), distributed.world)
    ]
    known = [overlap for overlap in overlaps if overlap is not None]
    total, count = distributed.all_reduce(torch.tensor([sum(known), len(known)], dtype=torch.float64)).tolist()
    return total / count if count else None


def followed(tracker: Tracker, sequence: base.VideoSequence, stop: Callable[[], bool] = lambda: False) -> float | None:
    """Compute the mean overlap over the frames of a sequence with a box, without the first; None without such frames.

    Also None if it is stopped, see ``sample_overlap``.
    """
    if stop():
        return None
    truth = sequence.boxes_xywh
    x, y, width, height = truth[0].tolist()
    tracker.init(sequence.frames[0], (x, y, width, height))
    found = []
    for index in range(1, len(sequence)):
        if stop():
            return None
        found.append(tracker.update(sequence.frames[index]).box)
    boxes = np.array(found)
    meant = np.isfinite(truth[1:]).all(1) & (truth[1:, 2:] > 0).all(1)
    if sequence.visible is not None:
        meant &= sequence.visible[1:]
    return float(np.mean(iou(boxes[meant], truth[1:][meant]))) if meant.any() else None
