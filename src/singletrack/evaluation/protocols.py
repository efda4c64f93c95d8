"""Three toolkits by name: the numbers that each of them gives for the same result files, to the last digit.

    "ostrack"   OSTrack's, STARK's and (but for two details below) PyTracking's analysis
    "got10k"    the got10k toolkit: its GOT-10k experiment, and its OTB, LaSOT and UAV experiments
    "pysot"     pysot's one-pass evaluation

They differ in which frames count, in the first frame, in what is done with an empty prediction, in thresholds, in
what is averaged, and in the order of their arithmetic, which moves a box that lies exactly on a threshold. The three
functions below are the whole difference. Knows nothing of files, and of a data set nothing but its name.

PyTracking differs from "ostrack" in two details: a frame counts as annotated only if all four of its numbers are
above zero, not only width and height; and it shows no measure of its own beside these.

Shares are 0 to 1 everywhere; the recorded toolkits print 0 to 100, OSTrack's from single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from singletrack.errors import InputError
from singletrack.evaluation import metrics
from singletrack.evaluation.metrics import OVERLAP_THRESHOLDS, PIXEL_THRESHOLDS, SIZE_THRESHOLDS, Array, Flags, LongTerm

# benchmark, as `datasets.registry` names it -> the protocol by which its papers' numbers came about
DEFAULT_PROTOCOLS = {
    "lasot": "ostrack",
    "lasot_ext": "ostrack",
    "trackingnet": "ostrack",
    "got10k": "got10k",
    "nfs": "ostrack",
    "uav123": "ostrack",
    "uav20l": "pysot",  # the papers of aerial tracking (HiFT, TCTrack and after) evaluate with pysot's toolkit
    "tnl2k": "ostrack",
    "otb": "ostrack",
    "vot": "ostrack",  # as plain sequences; VOT's own measures come from its own toolkit
    "vasttrack": "ostrack",
    "dtb70": "pysot",  # as uav20l
    "folder": "ostrack",
}
# frames where the target is hidden are known, and used: the toolkits read no such file of another benchmark
USES_VISIBLE = ("lasot", "lasot_ext")
# benchmarks whose own files write NaN where there is no target; of the others the toolkits know zeros only
WRITES_NAN = ("uav123", "uav20l")
# in whose name no toolkit speaks: a frame that the user did not annotate (NaN) is not compared at all
UNANNOTATED = ("folder",)

GOT10K_THRESHOLDS = np.linspace(0, 1, 101)
# as torch.arange(0, 1.05, 0.05) has them: the 13th and 15th are one rounding above 0.65 and 0.75
OSTRACK_THRESHOLDS = np.where(np.isin(np.arange(21), (13, 15)), np.nextafter(OVERLAP_THRESHOLDS, 2), OVERLAP_THRESHOLDS)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a protocol says of one sequence, or of many together.

    measures: name -> 0 to 1, such as AUC, OP50, OP75, P, P_norm, AO, SR0.5, SR0.75; those of the protocol, its headline
        first. NaN where no frame counts.
    curves: "success", "precision" and "normalized_precision", as far as the protocol has them, -> shares of frames,
        0 to 1, at thresholds that are evenly spaced over 0 to CURVE_LIMITS of its name.
    overlaps: (N,) of the frames, for looking at: NaN where nothing was compared. Empty for many sequences.
    weight: what this counts in the mean over sequences: 1, or its frames where a protocol pools all frames.
    """

    measures: Mapping[str, float]
    curves: Mapping[str, Array]
    overlaps: Array = field(default_factory=lambda: np.empty(0))
    weight: float = 1.0


# for the reader of a report: what a protocol does
ABOUT = {
    "ostrack": "OSTrack's analysis, as PyTracking's: every annotated frame counts, the first as right; an empty "
    "prediction is the box before it; 21 overlap thresholds; means over sequences.",
    "got10k": "the got10k toolkit: on GOT-10k the first frame and frames without the target do not count and all other "
    "frames count alike; on other benchmarks the first frame counts as right, and these are means over sequences.",
    "pysot": "pysot's one-pass evaluation: every frame counts, the first as it was predicted; 21 overlap thresholds; "
    "means over sequences.",
}

CURVE_LIMITS = {"success": 1.0, "precision": 50.0, "normalized_precision": 0.5}


def default_protocol(benchmark: str) -> str:
    """The protocol that the papers on a benchmark use. Raises InputError for a benchmark that is none for tracking."""
    if benchmark not in DEFAULT_PROTOCOLS:
        raise InputError(
            f"expected a benchmark of tracking among {', '.join(DEFAULT_PROTOCOLS)}; got {benchmark!r}; "
            "give one of these, or name the protocol"
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
    """One tracker's boxes in one sequence, by the rules of a toolkit.

    prediction_xywh, truth_xywh: (N, 4) pixels, a row a frame from the first on. Rows of the truth where there is no
        target are NaN or have no area. A prediction longer than the truth is cut by "ostrack", as it does itself.
    benchmark: its name, as ``datasets.registry`` has it; the toolkits treat some of them in their own way.
    protocol: "ostrack", "got10k" or "pysot"; None for the default of the benchmark.
    visible: (N,) where the target is neither absent nor hidden; needed for LaSOT by "ostrack" and "pysot", else
        not used.
    cover: (N,) the visible part of the target, of any scale; needed for GOT-10k by "got10k": frames of 0 do not count.
    size_wh: width and height of the frames; needed for GOT-10k by "got10k", which clips boxes to them.
    exclude_invalid: OSTrack's option exclude_invalid_frames.

    Raises InputError for what the toolkit cannot compute either: lengths that do not fit, boxes that are not numbers,
    boxes of negative size ("ostrack"), something needed that is missing.
    """
    name = protocol or default_protocol(benchmark)
    if name not in PROTOCOLS:
        raise InputError(f"expected a protocol among {', '.join(PROTOCOLS)}; got {name!r}; give one of these")
    if exclude_invalid and name != "ostrack":
        raise InputError(f"expected exclude_invalid with protocol ostrack; got protocol {name}; leave one of them out")
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
    """Many sequences together, as the toolkit of their protocol takes them together.

    All three take means of per-sequence curves, but for "got10k" on GOT-10k, which pools the frames of all sequences.
    A measure that a sequence does not have (NaN) is left out of its mean.

    Raises InputError for no scores, or scores of several protocols.
    """
    parts = list(scores)
    if not parts:
        raise InputError("expected the score of at least one sequence; got none; evaluate some sequence first")
    if len({tuple(part.measures) for part in parts}) > 1:
        raise InputError("expected scores of one protocol; got several; score all sequences by the same one")
    weights = np.array([part.weight for part in parts])
    return Score(
        measures={
            name: float(_mean(np.array([part.measures[name] for part in parts]), weights)) for name in parts[0].measures
        },
        curves={name: _mean(np.stack([part.curves[name] for part in parts]), weights) for name in parts[0].curves},
        weight=float(weights.sum()),
    )


def mean_speed(seconds: Iterable[ArrayLike], *, protocol: str, benchmark: str) -> float:
    """Frames per second over sequences, from the seconds of each frame, as the toolkit has it; NaN if unknown.

    "got10k" takes the mean of 1 / seconds, over all frames (GOT-10k) or first within each sequence; the others divide
    frames by their time.
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
    """VOT-LT over sequences, for any benchmark whose results hold a confidence; each iterable gives one a sequence.

    As in the VOT toolkit the first frame has no overlap and no confidence, but the target is present in it. The target
    is absent where its true box is NaN or has no area, or where the benchmark says that it cannot be seen. (The toolkit
    also clips boxes to the frame and counts whole pixels: its numbers differ from these in the third digit.)
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
    """The weighted mean over the first axis of what is not NaN."""
    shaped = weights.reshape(-1, *[1] * (values.ndim - 1))
    known = np.where(np.isnan(values), 0.0, shaped)
    total = known.sum(axis=0)
    summed = (known * np.nan_to_num(values)).sum(axis=0)
    return np.asarray(np.divide(summed, total, out=np.full_like(total, np.nan), where=total > 0))


# --- the three toolkits ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What else is known of a sequence; see ``score_sequence``."""

    benchmark: str
    visible: Flags | None
    covered: Flags | None
    size_wh: tuple[int, int] | None
    exclude_invalid: bool


def _ostrack(prediction: Array, truth: Array, kept: Flags, facts: _Facts) -> Score:
    """OSTrack's lib/test/analysis/extract_results.py."""
    if not np.isfinite(prediction).all() or (prediction[:, 2:] < 0).any():
        raise InputError(
            "expected predicted boxes of four finite numbers, width and height not below zero; "
            f"got {_first_row(prediction, ~np.isfinite(prediction).all(axis=1) | (prediction[:, 2:] < 0).any(axis=1))};"
            " mend the result file (protocol ostrack refuses it as OSTrack does)"
        )
    prediction = prediction.copy()
    repaired = (prediction[:, 2:] == 0).any(axis=1) & ~np.isnan(truth).any(axis=1)
    for index in np.flatnonzero(repaired[1:]) + 1:  # one after the other: an empty box may follow an empty box
        prediction[index] = prediction[index - 1]
    prediction[0] = truth[0]

    valid = (truth[:, 2:] > 0).all(axis=1)
    if facts.benchmark in USES_VISIBLE:
        valid &= _needed_visible(facts)
    overlaps = np.full(len(truth), -1.0)
    overlaps[valid] = _overlap_of_pixels(prediction[valid], truth[valid])
    errors = np.full(len(truth), -1.0 if facts.benchmark in WRITES_NAN else np.inf)
    errors[valid] = metrics.center_error(prediction[valid], truth[valid])
    # in invalid frames this counts as right: the toolkit never meant it, but published numbers contain it
    in_sizes = np.full(len(truth), -1.0)
    in_sizes[valid] = metrics.normalized_center_error(prediction[valid], truth[valid])
    if facts.benchmark == "lasot":
        in_sizes[~_needed_visible(facts)] = np.inf

    count = int((valid & kept).sum()) if facts.exclude_invalid else int(kept.sum())
    if count == 0:
        raise InputError(
            "expected a frame with a true box to compare with; got none, and exclude_invalid leaves out the others; "
            "leave out this sequence, or exclude_invalid"
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
    """The experiments of the got10k toolkit (PyPI got10k; LaSOT's is in its repository only)."""
    if not np.isfinite(prediction).all():
        raise InputError(
            "expected predicted boxes of four finite numbers; "
            f"got {_first_row(prediction, ~np.isfinite(prediction).all(axis=1))}; mend the result file"
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
    """Its GOT-10k experiment: the first frame and frames without the target do not count, all others count alike."""
    if facts.size_wh is None:
        raise InputError(
            "expected the size of the frames, to which the got10k toolkit clips boxes; got none; give size_wh"
        )
    if facts.covered is None:
        raise InputError(
            "expected to know how much of the target is visible in each frame of GOT-10k; got nothing; "
            "give cover, from cover.label"
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
    """pysot's toolkit/evaluation/ope_benchmark.py."""
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
    """Where the true center is not above zero in x and y the distance is -1, and so counts as right."""
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


# --- their arithmetic --------------------------------------------------------------------------------------


def _overlap_of_pixels(prediction: Array, truth: Array) -> Array:
    """Overlap with sides counted from pixel to pixel: the same number, but for roundings on which a threshold hangs."""
    top_left = np.maximum(prediction[:, :2], truth[:, :2])
    ends = (boxes[:, :2] + boxes[:, 2:] - 1.0 for boxes in (prediction, truth))
    sides = np.clip(np.minimum(*ends) - top_left + 1.0, 0, None)
    shared = sides[:, 0] * sides[:, 1]
    return np.asarray(shared / (_area(prediction) + _area(truth) - shared))


def _overlap_and_epsilon(prediction: Array, truth: Array) -> Array:
    """Overlap where 0 / 0 is 0: a rounding is added to the union, which may move the last digit."""
    ends = (boxes[:, :2] + boxes[:, 2:] for boxes in (prediction, truth))
    sides = np.maximum(np.minimum(*ends) - np.maximum(prediction[:, :2], truth[:, :2]), 0)
    shared = sides[:, 0] * sides[:, 1]
    union = _area(prediction) + _area(truth) - shared + np.finfo(float).eps
    return np.asarray(np.clip(np.divide(shared, union, out=np.zeros(len(shared)), where=union != 0), 0.0, 1.0))


def _area(boxes_xywh: Array) -> Array:
    return np.asarray(boxes_xywh[:, 2] * boxes_xywh[:, 3])


def _clip(boxes_xywh: Array, size_wh: tuple[int, int]) -> Array:
    """x and y into the frame, then width and height to what is left of it."""
    corner = np.clip(boxes_xywh[:, :2], 0, size_wh)
    return np.concatenate([corner, np.clip(boxes_xywh[:, 2:], 0, np.asarray(size_wh) - corner)], axis=1)


# --- what is given -----------------------------------------------------------------------------------------


def _boxes(boxes_xywh: ArrayLike, which: str) -> Array:
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        shape = " x ".join(map(str, boxes.shape)) or "one number"
        raise InputError(f"expected {which} boxes as x, y, width, height, one row a frame; got {shape}; give (N, 4)")
    return boxes


def _flags(values: ArrayLike | None, name: str, count: int) -> Flags | None:
    if values is None:
        return None
    flags = np.asarray(values, dtype=bool)
    if flags.shape != (count,):
        raise InputError(f"expected {name} for each of {count} frames; got {flags.size}; give one value a frame")
    return flags


def _check_lengths(prediction: Array, truth: Array, *, may_be_longer: bool) -> None:
    if len(truth) == 0:
        raise InputError("expected true boxes of at least one frame; got none; leave this sequence out")
    if len(truth) == 1 < len(prediction):
        raise InputError(
            f"expected a true box for each of {len(prediction)} frames; got that of the first one alone: this "
            "benchmark keeps the others to itself; send the results to its server (singletrack submit)"
        )
    if len(prediction) < len(truth) or (len(prediction) > len(truth) and not may_be_longer):
        raise InputError(
            f"expected a predicted box for each of {len(truth)} frames; got {len(prediction)}; "
            "run the tracker over the whole sequence, or get the results that belong to these annotations"
        )


def _needed_visible(facts: _Facts) -> Flags:
    if facts.visible is None:
        raise InputError(
            f"expected to know in which frames of {facts.benchmark} the target is visible; got nothing; "
            "give visible, from full_occlusion.txt and out_of_view.txt"
        )
    return facts.visible


def _first_row(boxes: Array, wrong: ArrayLike) -> str:
    index = int(np.argmax(wrong))
    return f"{','.join(f'{value:g}' for value in boxes[index])} in frame {index}"
