"""Evaluation protocols of three toolkits, which reproduce their numbers to the last digit.

    "ostrack"   the analysis of OSTrack and STARK, and of PyTracking except for two details below
    "got10k"    the got10k toolkit: its GOT-10k, OTB, LaSOT and UAV experiments
    "pysot"     the one-pass evaluation of pysot

They differ in which frames count, the first frame, empty predictions, thresholds, averaging, and the order of
arithmetic, which matters for a box exactly at a threshold. The three functions below contain all differences.

PyTracking differs from "ostrack" in two details: a frame counts as annotated only if all four numbers are positive,
not only width and height; and it has no additional measures.

Shares are 0 to 1 everywhere. The recorded toolkits print 0 to 100; OSTrack computes in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from singletrack.errors import InputError
from singletrack.evaluation import metrics
from singletrack.evaluation.metrics import OVERLAP_THRESHOLDS, PIXEL_THRESHOLDS, SIZE_THRESHOLDS, Array, Flags, LongTerm

# benchmark, as in `datasets.registry` -> the protocol used in its papers
DEFAULT_PROTOCOLS = {
    "lasot": "ostrack",
    "lasot_ext": "ostrack",
    "trackingnet": "ostrack",
    "got10k": "got10k",
    "nfs": "ostrack",
    "uav123": "ostrack",
    "uav20l": "pysot",  # papers on aerial tracking (HiFT, TCTrack and later) use the pysot toolkit
    "tnl2k": "ostrack",
    "otb": "ostrack",
    "vot": "ostrack",  # as plain sequences; the VOT measures need the VOT toolkit
    "vasttrack": "ostrack",
    "dtb70": "pysot",  # as uav20l
    "folder": "ostrack",
}
# benchmarks whose hidden frames the toolkits use
USES_VISIBLE = ("lasot", "lasot_ext")
# benchmarks whose files have NaN without a target; for the others, the toolkits only know zeros
WRITES_NAN = ("uav123", "uav20l")
# no toolkit defines these: frames without annotation (NaN) are not compared
UNANNOTATED = ("folder",)

GOT10K_THRESHOLDS = np.linspace(0, 1, 101)
# as torch.arange(0, 1.05, 0.05): the 13th and 15th are one rounding step above 0.65 and 0.75
OSTRACK_THRESHOLDS = np.where(np.isin(np.arange(21), (13, 15)), np.nextafter(OVERLAP_THRESHOLDS, 2), OVERLAP_THRESHOLDS)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores of one sequence, or of many together.

    Attributes:
        measures: name -> 0 to 1, such as AUC, OP50, OP75, P, P_norm, AO, SR0.5, SR0.75; those of the protocol, its
            headline first. NaN if no frame counts.
        curves: "success", "precision" and "normalized_precision", if the protocol has them -> shares of frames, 0 to 1,
            at evenly spaced thresholds from 0 to CURVE_LIMITS.
        overlaps: (N,) overlap of each frame for display, NaN where nothing was compared; empty for many sequences.
        weight: weight in the mean over sequences: 1, or the number of frames if the protocol pools frames.
    """

    measures: Mapping[str, float]
    curves: Mapping[str, Array]
    overlaps: Array = field(default_factory=lambda: np.empty(0))
    weight: float = 1.0


# description of each protocol in reports
ABOUT = {
    "ostrack": "OSTrack analysis, as in PyTracking: every annotated frame counts, the first as correct; an empty "
    "prediction is replaced by the box before it; 21 overlap thresholds; means over sequences.",
    "got10k": "got10k toolkit: on GOT-10k, the first frame and frames without the target do not count, and all other "
    "frames are pooled; on other benchmarks, the first frame counts as correct; means over sequences.",
    "pysot": "pysot one-pass evaluation: every frame counts, the first as predicted; 21 overlap thresholds; means over "
    "sequences.",
}

CURVE_LIMITS = {"success": 1.0, "precision": 50.0, "normalized_precision": 0.5}


def default_protocol(benchmark: str) -> str:
    """Return the protocol that the papers on a benchmark use.

    Raises:
        InputError: the data set is not a tracking benchmark.
    """
    if benchmark not in DEFAULT_PROTOCOLS:
        raise InputError(
            f"{benchmark!r} has no default protocol; choose a tracking benchmark ({', '.join(DEFAULT_PROTOCOLS)}), or "
            "give the protocol"
        )
    return DEFAULT_PROTOCOLS[benchmark]


def score_sequence(
    prediction_xywh: ArrayLike,
    truth_xywh: ArrayLike,
    *,
    benchmark: str,
    protocol: str | None = None,
    visible: ArrayLike | None = None,
    cover: ArrayLike | None = None,
    size_wh: tuple[int, int] | None = None,
    exclude_invalid: bool = False,
) -> Score:
    """Score the boxes of one tracker in one sequence by the rules of a toolkit.

    Args:
        prediction_xywh: (N, 4) pixels, one row per frame from the first on. "ostrack" truncates a prediction longer
            than the truth, as the toolkit does.
        truth_xywh: (N, 4) pixels. Rows without a target are NaN or have no area.
        benchmark: its name in ``datasets.registry``; the toolkits treat some benchmarks specially.
        protocol: "ostrack", "got10k" or "pysot"; None for the default of the benchmark.
        visible: (N,) False where the target is absent or hidden; needed for LaSOT by "ostrack" and "pysot", else not
            used.
        cover: (N,) visible part of the target, in any unit; needed for GOT-10k by "got10k", where frames of 0 do not
            count.
        size_wh: width and height of the frames; needed for GOT-10k by "got10k", which clips boxes.
        exclude_invalid: OSTrack's option exclude_invalid_frames.

    Raises:
        InputError: input that the toolkit cannot score either: different lengths, boxes that are not finite, boxes of
            negative size ("ostrack"), or missing data.
    """
    name = protocol or default_protocol(benchmark)
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; choose one of {', '.join(PROTOCOLS)}")
    if exclude_invalid and name != "ostrack":
        raise InputError(f"exclude_invalid needs protocol ostrack; got protocol {name}; leave one of them out")
    prediction, truth = _boxes(prediction_xywh, "predicted"), _boxes(truth_xywh, "true")
    _check_lengths(prediction, truth, may_be_longer=name == "ostrack")
    prediction = prediction[: len(truth)]
    facts = _Facts(
        benchmark=benchmark,
        visible=_flags(visible, "visible", len(truth)),
        covered=None if cover is None else _flags(np.asarray(cover) > 0, "cover", len(truth)),
        size_wh=size_wh,
        exclude_invalid=exclude_invalid,
    )
    kept = np.ones(len(truth), dtype=bool)
    if benchmark in UNANNOTATED:
        kept = np.asarray(~np.isnan(truth).any(axis=1))
    elif benchmark not in WRITES_NAN:
        truth = np.where(np.isnan(truth).any(axis=1, keepdims=True), 0.0, truth)
    return PROTOCOLS[name](prediction, truth, kept, facts)


def mean_score(scores: Iterable[Score]) -> Score:
    """Average the scores of many sequences as the toolkit of their protocol does.

    All three average per-sequence curves, except "got10k" on GOT-10k, which pools the frames of all sequences. NaN
    values are left out of the mean.

    Raises:
        InputError: no scores, or scores of different protocols.
    """
    parts = list(scores)
    if not parts:
        raise InputError("there are no scores to average; evaluate at least one sequence first")
    if len({tuple(part.measures) for part in parts}) > 1:
        raise InputError("scores are from different protocols; score all sequences with the same one")
    weights = np.array([part.weight for part in parts])
    return Score(
        measures={
            name: float(_mean(np.array([part.measures[name] for part in parts]), weights)) for name in parts[0].measures
        },
        curves={name: _mean(np.stack([part.curves[name] for part in parts]), weights) for name in parts[0].curves},
        weight=float(weights.sum()),
    )


def mean_speed(seconds: Iterable[ArrayLike], *, protocol: str, benchmark: str) -> float:
    """Compute frames per second over sequences, as the toolkit does; NaN if unknown.

    "got10k" uses the mean of 1 / seconds, over all frames (GOT-10k) or first within each sequence. The others divide
    the number of frames by their time.

    Args:
        seconds: times of the frames of each sequence.
        protocol: name of the protocol.
        benchmark: name of the benchmark.
    """
    arrays = [np.asarray(values, dtype=np.float64).ravel() for values in seconds]
    everything = np.concatenate([*arrays, np.empty(0)])
    if protocol != "got10k":
        return metrics.frames_per_second(everything)
    if benchmark == "got10k":
        return metrics.mean_frame_rate(everything)
    speeds = np.array([metrics.mean_frame_rate(values) for values in arrays])
    return float(_mean(speeds, np.ones(len(speeds)))) if len(speeds) else float("nan")


def score_long_term(
    predictions_xywh: Iterable[ArrayLike],
    truths_xywh: Iterable[ArrayLike],
    confidences: Iterable[ArrayLike],
    visibles: Iterable[ArrayLike | None],
    *,
    benchmark: str,
) -> LongTerm:
    """Compute the VOT-LT measures over sequences, for any benchmark whose results have confidences.

    As in the VOT toolkit, the first frame has no overlap and no confidence, but the target counts as present. The
    target is absent if its true box is NaN or has no area, or if the benchmark marks it as not visible. (The toolkit
    also clips boxes to the frame and counts whole pixels, so its numbers differ in the third digit.)
    """
    overlaps: list[ArrayLike] = []
    scores: list[ArrayLike] = []
    present: list[ArrayLike] = []
    for ours, true, sure, seen in zip(predictions_xywh, truths_xywh, confidences, visibles, strict=True):
        prediction, truth = _boxes(ours, "predicted"), _boxes(true, "true")
        _check_lengths(prediction, truth, may_be_longer=False)
        shared, score = metrics.overlap(prediction, truth), np.array(sure, dtype=np.float64)
        shared[0], score[:1] = 0.0, 0.0
        there = np.asarray((truth[:, 2:] > 0).all(axis=1))
        if seen is not None:
            there &= np.asarray(seen, dtype=bool)
        kept = ~np.isnan(truth).any(axis=1) if benchmark in UNANNOTATED else np.ones(len(truth), dtype=bool)
        overlaps.append(shared[kept])
        scores.append(score[kept])
        present.append(there[kept])
    return metrics.long_term(overlaps, scores, present)


def _mean(values: Array, weights: Array) -> Array:
    """Compute the weighted mean over the first axis, ignoring NaN."""
    shaped = weights.reshape(-1, *[1] * (values.ndim - 1))
    known = np.where(np.isnan(values), 0.0, shaped)
    total = known.sum(axis=0)
    summed = (known * np.nan_to_num(values)).sum(axis=0)
    return np.asarray(np.divide(summed, total, out=np.full_like(total, np.nan), where=total > 0))


# --- the three toolkits ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Additional data of a sequence; see ``score_sequence``."""

    benchmark: str
    visible: Flags | None
    covered: Flags | None
    size_wh: tuple[int, int] | None
    exclude_invalid: bool


def _ostrack(prediction: Array, truth: Array, kept: Flags, facts: _Facts) -> Score:
    """Follow lib/test/analysis/extract_results.py of OSTrack."""
    if not np.isfinite(prediction).all() or (prediction[:, 2:] < 0).any():
        raise InputError(
            "predicted boxes must be four finite numbers with non-negative width and height; "
            f"got {_first_row(prediction, ~np.isfinite(prediction).all(axis=1) | (prediction[:, 2:] < 0).any(axis=1))};"
            " fix the result file (OSTrack refuses it, too)"
        )
    prediction = prediction.copy()
    repaired = (prediction[:, 2:] == 0).any(axis=1) & ~np.isnan(truth).any(axis=1)
    for index in np.flatnonzero(repaired[1:]) + 1:  # one by one, because an empty box may follow an empty box
        prediction[index] = prediction[index - 1]
    prediction[0] = truth[0]

    valid = (truth[:, 2:] > 0).all(axis=1)
    if facts.benchmark in USES_VISIBLE:
        valid &= _needed_visible(facts)
    overlaps = np.full(len(truth), -1.0)
    overlaps[valid] = _overlap_of_pixels(prediction[valid], truth[valid])
    errors = np.full(len(truth), -1.0 if facts.benchmark in WRITES_NAN else np.inf)
    errors[valid] = metrics.center_error(prediction[valid], truth[valid])
    # counts as correct in invalid frames: unintended by the toolkit, but part of published numbers
    in_sizes = np.full(len(truth), -1.0)
    in_sizes[valid] = metrics.normalized_center_error(prediction[valid], truth[valid])
    if facts.benchmark == "lasot":
        in_sizes[~_needed_visible(facts)] = np.inf

    count = int((valid & kept).sum()) if facts.exclude_invalid else int(kept.sum())
    if count == 0:
        raise InputError(
            "no frame has a true box, and exclude_invalid leaves out the others; leave out this sequence, or "
            "exclude_invalid"
        )
    success = metrics.success_curve(overlaps[kept], OSTRACK_THRESHOLDS, frame_count=count)
    precision = metrics.precision_curve(errors[kept], PIXEL_THRESHOLDS, frame_count=count)
    normalized = metrics.precision_curve(in_sizes[kept], SIZE_THRESHOLDS, frame_count=count)
    return Score(
        measures={
            "AUC": metrics.area_under(success),
            "OP50": float(success[10]),
            "OP75": float(success[15]),
            "P": float(precision[20]),
            "P_norm": float(normalized[20]),
            "AO": metrics.average_overlap(overlaps[valid & kept]),
        },
        curves={"success": success, "precision": precision, "normalized_precision": normalized},
        overlaps=np.where(valid & kept, overlaps, np.nan),
    )


def _got10k(prediction: Array, truth: Array, kept: Flags, facts: _Facts) -> Score:
    """Follow the experiments of the got10k toolkit (PyPI got10k; that of LaSOT is only in its repository)."""
    if not np.isfinite(prediction).all():
        raise InputError(
            "predicted boxes must be four finite numbers; "
            f"got {_first_row(prediction, ~np.isfinite(prediction).all(axis=1))}; fix the result file"
        )
    if facts.benchmark == "got10k":
        return _got10k_pooled(prediction, truth, facts)
    prediction = prediction.copy()
    prediction[0] = truth[0]
    kept = kept & ~np.isnan(truth).any(axis=1)
    overlaps = np.full(len(truth), np.nan)
    overlaps[kept] = _overlap_and_epsilon(prediction[kept], truth[kept])
    success = metrics.success_curve(overlaps[kept])
    precision = metrics.precision_curve(metrics.center_error(prediction[kept], truth[kept]))
    measures = {"AUC": metrics.area_under(success), "P": float(precision[20]), "OP50": float(success[10])}
    curves = {"success": success, "precision": precision}
    if facts.benchmark in USES_VISIBLE:
        apart = metrics.center(prediction[kept]) - metrics.center(truth[kept])
        in_sizes = np.sqrt(np.sum((apart / np.maximum(1.0, truth[kept, 2:])) ** 2, axis=1))
        curves["normalized_precision"] = metrics.precision_curve(in_sizes, SIZE_THRESHOLDS)
        measures["P_norm"] = metrics.area_under(curves["normalized_precision"])
    return Score(measures=measures, curves=curves, overlaps=overlaps)


def _got10k_pooled(prediction: Array, truth: Array, facts: _Facts) -> Score:
    """Follow its GOT-10k experiment: the first frame and frames without the target do not count, all others are
    pooled.
    """
    if facts.size_wh is None:
        raise InputError("protocol got10k clips boxes to the frame; give size_wh, the size of the frames")
    if facts.covered is None:
        raise InputError(
            "protocol got10k needs the visible part of the target on GOT-10k; give cover, from cover.label"
        )
    kept = facts.covered.copy()
    kept[0] = False
    clipped = (_clip(boxes[kept], facts.size_wh) for boxes in (prediction, truth))
    overlaps = np.full(len(truth), np.nan)
    overlaps[kept] = _overlap_and_epsilon(*clipped)
    counted = overlaps[kept]
    return Score(
        measures={
            "AO": metrics.average_overlap(counted),
            "SR0.5": metrics.success_rate(counted, 0.5),
            "SR0.75": metrics.success_rate(counted, 0.75),
        },
        curves={"success": metrics.success_curve(counted, GOT10K_THRESHOLDS)},
        overlaps=overlaps,
        weight=float(len(counted)),
    )


def _pysot(prediction: Array, truth: Array, kept: Flags, facts: _Facts) -> Score:
    """Follow toolkit/evaluation/ope_benchmark.py of pysot."""
    frame_count = int(kept.sum())
    compared = kept & _needed_visible(facts) if facts.benchmark in USES_VISIBLE else kept
    ours, true = prediction[compared], truth[compared]
    annotated = (true[:, 2:] > 0).all(axis=1)
    overlaps = np.full(len(true), -1.0)
    overlaps[annotated] = np.clip(metrics.overlap(ours[annotated], true[annotated]), 0, 1)
    sizes = true[:, 2:] + 1e-16
    centers = metrics.center(ours), metrics.center(true)
    success = metrics.success_curve(overlaps, frame_count=frame_count)
    precision = metrics.precision_curve(_pysot_distance(*centers), frame_count=frame_count)
    normalized = metrics.precision_curve(
        _pysot_distance(*(center / sizes for center in centers)), SIZE_THRESHOLDS, frame_count=frame_count
    )
    shown = np.full(len(truth), np.nan)
    shown[compared] = np.where(annotated, overlaps, np.nan)
    return Score(
        measures={"AUC": metrics.area_under(success), "P": float(precision[20]), "P_norm": float(normalized[20])},
        curves={"success": success, "precision": precision, "normalized_precision": normalized},
        overlaps=shown,
    )


def _pysot_distance(ours: Array, true: Array) -> Array:
    """Compute the center error; -1, which counts as correct, if the true center is not positive in x and y."""
    inside = (true > 0).all(axis=1)
    apart = ours[inside] - true[inside]
    distances = np.full(len(true), -1.0)
    distances[inside] = np.sqrt(np.sum(apart**2, axis=1))
    return distances


PROTOCOLS: dict[str, Callable[[Array, Array, Flags, _Facts], Score]] = {
    "ostrack": _ostrack,
    "got10k": _got10k,
    "pysot": _pysot,
}


# --- arithmetic of the toolkits --------------------------------------------------------------------------------------


def _overlap_of_pixels(prediction: Array, truth: Array) -> Array:
    """Compute the overlap with sides counted between pixel centers: equal up to rounding, which matters at a
    threshold.
    """
    top_left = np.maximum(prediction[:, :2], truth[:, :2])
    ends = (boxes[:, :2] + boxes[:, 2:] - 1.0 for boxes in (prediction, truth))
    sides = np.clip(np.minimum(*ends) - top_left + 1.0, 0, None)
    shared = sides[:, 0] * sides[:, 1]
    return np.asarray(shared / (_area(prediction) + _area(truth) - shared))


def _overlap_and_epsilon(prediction: Array, truth: Array) -> Array:
    """Compute the overlap with an epsilon added to the union, so that 0 / 0 is 0; this may change the last digit."""
    ends = (boxes[:, :2] + boxes[:, 2:] for boxes in (prediction, truth))
    sides = np.maximum(np.minimum(*ends) - np.maximum(prediction[:, :2], truth[:, :2]), 0)
    shared = sides[:, 0] * sides[:, 1]
    union = _area(prediction) + _area(truth) - shared + np.finfo(float).eps
    return np.asarray(np.clip(np.divide(shared, union, out=np.zeros(len(shared)), where=union != 0), 0.0, 1.0))


def _area(boxes_xywh: Array) -> Array:
    return np.asarray(boxes_xywh[:, 2] * boxes_xywh[:, 3])


def _clip(boxes_xywh: Array, size_wh: tuple[int, int]) -> Array:
    """Clip x and y to the frame, then width and height to the rest of it."""
    corner = np.clip(boxes_xywh[:, :2], 0, size_wh)
    return np.concatenate([corner, np.clip(boxes_xywh[:, 2:], 0, np.asarray(size_wh) - corner)], axis=1)


# --- checks of the input -----------------------------------------------------------------------------------------


def _boxes(boxes_xywh: ArrayLike, which: str) -> Array:
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        shape = " x ".join(map(str, boxes.shape)) or "one number"
        raise InputError(f"{which} boxes must be (N, 4): x, y, width, height, one row per frame; got {shape}")
    return boxes


def _flags(values: ArrayLike | None, name: str, count: int) -> Flags | None:
    if values is None:
        return None
    flags = np.asarray(values, dtype=bool)
    if flags.shape != (count,):
        raise InputError(f"{name} must have one value for each of {count} frames; got {flags.size}")
    return flags


def _check_lengths(prediction: Array, truth: Array, *, may_be_longer: bool) -> None:
    if len(truth) == 0:
        raise InputError("the sequence has no true boxes; leave it out")
    if len(truth) == 1 < len(prediction):
        raise InputError(
            f"only the first of {len(prediction)} true boxes is public for this benchmark; submit the results to its "
            "server (singletrack submit)"
        )
    if len(prediction) < len(truth) or (len(prediction) > len(truth) and not may_be_longer):
        raise InputError(
            f"there must be a predicted box for each of {len(truth)} frames; got {len(prediction)}; "
            "run the tracker over the complete sequence, or use results that match these annotations"
        )


def _needed_visible(facts: _Facts) -> Flags:
    if facts.visible is None:
        raise InputError(
            f"this protocol needs the visible frames of {facts.benchmark}; give visible, from full_occlusion.txt and "
            "out_of_view.txt"
        )
    return facts.visible


def _first_row(boxes: Array, wrong: ArrayLike) -> str:
    index = int(np.argmax(wrong))
    return f"{','.join(f'{value:g}' for value in boxes[index])} in frame {index}"
