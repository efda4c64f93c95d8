"""Tracking metrics as pure functions of arrays.

Boxes are (N, 4) xywh in pixels, one row per frame. A curve is the share of frames, 0 to 1, at each threshold. To
leave out frames, leave out their rows. A NaN overlap or error never counts as a success. ``protocols`` has the
special rules of the toolkits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singletrack.errors import InputError
from singletrack.geometry.boxes import iou

Array = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

OVERLAP_THRESHOLDS = np.linspace(0, 1, 21)
PIXEL_THRESHOLDS = np.arange(51.0)
SIZE_THRESHOLDS = np.arange(51) / 100
CONFIDENCE_COUNT = 100  # thresholds of a precision-recall curve, as in the VOT toolkit


# --- one number per frame ------------------------------------------------------------------------------------


def overlap(prediction_xywh: ArrayLike, truth_xywh: ArrayLike) -> Array:
    """Compute the IoU of each pair of boxes, 0 to 1; 0 if one is NaN or has no area."""
    return iou(prediction_xywh, truth_xywh)


def center(boxes_xywh: ArrayLike) -> Array:
    """Compute the centers (N, 2), counted between pixel centers: a box one pixel wide has its center at that pixel."""
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    return boxes[..., :2] + 0.5 * (boxes[..., 2:] - 1)


def center_error(prediction_xywh: ArrayLike, truth_xywh: ArrayLike) -> Array:
    """Compute the distance of the centers in pixels (Wu et al., "Online Object Tracking: A Benchmark", 2013)."""
    return _length(center(prediction_xywh) - center(truth_xywh))


def normalized_center_error(prediction_xywh: ArrayLike, truth_xywh: ArrayLike) -> Array:
    """Compute the center error relative to the true width and height (Müller et al., TrackingNet, 2018).

    It is NaN or infinite if the true box has no width or height.
    """
    sizes = np.asarray(truth_xywh, dtype=np.float64)[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return _length(center(prediction_xywh) / sizes - center(truth_xywh) / sizes)


def _length(vectors: Array) -> Array:
    return np.asarray(np.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2))


# --- one curve or number per sequence ------------------------------------------------------------------------


def success_curve(
    overlaps: ArrayLike, thresholds: ArrayLike = OVERLAP_THRESHOLDS, *, frame_count: int | None = None
) -> Array:
    """Compute the share of frames with an overlap *above* each threshold, of ``frame_count`` or all given frames."""
    values = np.asarray(overlaps, dtype=np.float64)
    return _share(values[:, None] > np.asarray(thresholds), frame_count)


def precision_curve(
    errors: ArrayLike, thresholds: ArrayLike = PIXEL_THRESHOLDS, *, frame_count: int | None = None
) -> Array:
    """Compute the share of frames with a center error of *at most* each threshold, of ``frame_count`` or all given
    frames.

    With normalized errors and SIZE_THRESHOLDS, this is the normalized precision.
    """
    values = np.asarray(errors, dtype=np.float64)
    return _share(values[:, None] <= np.asarray(thresholds), frame_count)


def _share(right: Flags, frame_count: int | None) -> Array:
    count = len(right) if frame_count is None else frame_count
    if count == 0:
        return np.full(right.shape[1], np.nan)
    return np.asarray(right.sum(axis=0) / count)


def area_under(curve: ArrayLike) -> float:
    """Compute the mean of a curve, called AUC in the field."""
    return float(np.mean(np.asarray(curve)))


def success_rate(overlaps: ArrayLike, threshold: float) -> float:
    """Compute the share of frames with an overlap above the threshold: OP50 or SR0.5, OP75 or SR0.75."""
    return float(success_curve(overlaps, [threshold])[0])


def average_overlap(overlaps: ArrayLike) -> float:
    """Compute the mean overlap over frames, AO; NaN without frames."""
    values = np.asarray(overlaps, dtype=np.float64)
    return float(values.mean()) if len(values) else float("nan")


# --- speed -------------------------------------------------------------------------------------------------


def frames_per_second(seconds: ArrayLike) -> float:
    """Compute the number of frames divided by their total time; NaN without known times.

    Args:
        seconds: time of each frame; values that are not positive are unknown.
    """
    known = _known(seconds)
    return float(len(known) / known.sum()) if len(known) else float("nan")


def mean_frame_rate(seconds: ArrayLike) -> float:
    """Compute the mean of 1 / seconds over frames, the speed of the got10k toolkit; NaN if unknown. Fast frames
    dominate it.
    """
    known = _known(seconds)
    return float(np.mean(1 / known)) if len(known) else float("nan")


def _known(seconds: ArrayLike) -> Array:
    values = np.asarray(seconds, dtype=np.float64).ravel()
    return np.asarray(values[values > 0])


# --- long-term: detecting the absence of the target ---------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LongTerm:
    """Precision and recall of a tracker that may report absence, by confidence threshold.

    Attributes:
        thresholds: (T,) from highest to lowest.
        precision: (T,) in 0 to 1.
        recall: (T,) in 0 to 1.
        f_scores: (T,) in 0 to 1.
    """

    thresholds: Array
    precision: Array
    recall: Array

    @property
    def f_scores(self) -> Array:
        total = self.precision + self.recall
        product = 2 * self.precision * self.recall
        return np.divide(product, total, out=np.zeros_like(total), where=total > 0)

    @property
    def best(self) -> tuple[float, float, float]:
        """Return precision, recall and F at the highest F, the three numbers of VOT-LT."""
        index = int(np.argmax(self.f_scores))
        return float(self.precision[index]), float(self.recall[index]), float(self.f_scores[index])


def long_term(
    overlaps: Sequence[ArrayLike], confidences: Sequence[ArrayLike], present: Sequence[ArrayLike]
) -> LongTerm:
    """Compute the VOT-LT measures over sequences.

    Follows Lukežič et al., "Now you see me", 2018, Equations 2 to 4, with the thresholds of the VOT toolkit. Precision
    is the mean overlap of the frames above the confidence threshold, 1 without such frames. Recall is the sum of these
    overlaps divided by the number of frames with the target. Both are means over sequences.

    Args:
        overlaps: (N,) for each sequence; frames without the target count as 0.
        confidences: (N,) for each sequence; NaN is below every threshold.
        present: (N,) bool for each sequence.

    Raises:
        InputError: different lengths, or a sequence without its target.
    """
    if not overlaps:
        raise InputError("no sequence has confidences; run the tracker first")
    scored = []
    for values, sure, there in zip(overlaps, confidences, present, strict=True):
        shared, score, seen = np.asarray(values, float), np.asarray(sure, float), np.asarray(there, bool)
        if not len(shared) == len(score) == len(seen):
            raise InputError(
                f"overlaps, confidences and present must have equal lengths; got {len(shared)}, {len(score)} and "
                f"{len(seen)}; give one value per frame"
            )
        if not seen.any():
            raise InputError("a sequence never shows its target; leave that sequence out")
        scored.append((np.where(seen, np.nan_to_num(shared), 0.0), score, int(seen.sum())))
    thresholds = confidence_thresholds(np.concatenate([score for _, score, _ in scored]))
    curves = np.mean([_precision_recall(*entry, thresholds) for entry in scored], axis=0)
    return LongTerm(thresholds=thresholds, precision=curves[0], recall=curves[1])


def confidence_thresholds(confidences: ArrayLike, count: int = CONFIDENCE_COUNT) -> Array:
    """Choose up to ``count`` thresholds that divide the confidences evenly, highest first, infinite at both ends."""
    values = np.asarray(confidences, dtype=np.float64)
    falling = np.sort(values[~np.isnan(values)])[::-1]
    if len(falling) > count - 2:
        step = len(falling) // (count - 2)
        falling = falling[np.round(np.linspace(step, len(falling) - step, count - 2)).astype(int)]
    return np.concatenate([[np.inf], falling, [-np.inf]])


def _precision_recall(shared: Array, score: Array, present_count: int, thresholds: Array) -> tuple[Array, Array]:
    """Compute both at each threshold from sums over the frames in order of falling confidence."""
    known = ~np.isnan(score)
    order = np.argsort(-score[known], kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(shared[known][order])])
    last_confident_box = np.searchsorted(-score[known][order], -thresholds, side="right")
    precision = np.divide(
        sums[last_confident_box], last_confident_box, out=np.ones(len(thresholds)), where=last_confident_box > 0
    )
    return precision, np.asarray(sums[last_confident_box] / present_count)


# --- between two trackers ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference between two trackers, with its 95 % interval.

    Attributes:
        better: share of resamples, 0 to 1, in which the first tracker is better; a tie counts half.
    """

    value: float
    low: float
    high: float
    better: float


def bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    first_weights: ArrayLike | None = None,
    second_weights: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compute the paired bootstrap over sequences of the difference of two weighted means (Efron's percentile
    interval).

    Complete sequences are resampled, because the frames of a sequence depend on each other. The same seed gives the
    same interval.

    Args:
        first: (N,) values of the first tracker.
        second: (N,) values of the second tracker, for the same sequences in the same order.
        weights: (N,) weights of the sequences; None for equal weights.

    Raises:
        InputError: different lengths, or no sequences.
    """
    values = [np.asarray(array, dtype=np.float64) for array in (first, second)]
    weights = [
        np.ones(len(array)) if weight is None else np.asarray(weight, dtype=np.float64)
        for array, weight in zip(values, (first_weights, second_weights), strict=True)
    ]
    lengths = {len(array) for array in values + weights}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"both trackers need the same sequences, at least one; got {len(values[0])} and {len(values[1])}; "
            "compare runs on the same data set"
        )
    count = lengths.pop()
    random = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, 1000):  # in chunks: 10,000 draws of 3,500 sequences would take 280 MB
        times = random.multinomial(count, np.full(count, 1 / count), size=min(1000, resamples - start))
        a, b = (_weighted_means(times, *pair) for pair in zip(values, weights, strict=True))
        drawn.append(a - b)
    once = np.ones((1, count))
    value = float((_weighted_means(once, values[0], weights[0]) - _weighted_means(once, values[1], weights[1]))[0])
    differences = np.concatenate(drawn)
    differences = differences[np.isfinite(differences)]
    low, high = np.quantile(differences, [0.025, 0.975]) if len(differences) else (np.nan, np.nan)
    better = float(np.mean((np.sign(differences) + 1) / 2)) if len(differences) else float("nan")
    return Difference(value=value, low=float(low), high=float(high), better=better)


def _weighted_means(times: NDArray[Any], values: Array, weights: Array) -> Array:
    """Compute the mean of each resample; NaN values have no weight."""
    known = np.where(np.isfinite(values), weights, 0.0)
    totals = times @ known
    sums = times @ (known * np.nan_to_num(values))
    return np.asarray(np.divide(sums, totals, out=np.full(len(totals), np.nan), where=totals > 0))
