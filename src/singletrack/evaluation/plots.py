"""Plots of a report: curves, accuracy against speed, and frame strips. Needs matplotlib (the [report] extra).

The global state of matplotlib is not changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# color-blind safe colors of Okabe and Ito; then the same, dashed
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
TRUTH_COLOR = "#FFFFFF"
REAL_TIME = 30.0
STRIP_WIDTH = 420  # width of a frame in a strip, in pixels


def plain(text: str) -> str:
    """The text for matplotlib, which takes $ for the start of a formula, and leaves out labels that begin with _."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text.replace("$", r"\$") if not text.startswith("_") else " " + text.replace("$", r"\$")


def line_styles(count: int) -> list[tuple[str, str]]:
    """Return color and dash style for each of ``count`` trackers, the same in every plot."""
    dashes = (dash for dash in cycle(DASHES) for _ in COLORS)
    return [style for style, _ in zip(zip(cycle(COLORS), dashes, strict=False), range(count), strict=False)]


def draw_curves(
    curves: Mapping[str, Array], scores: Mapping[str, float], *, limit: float, title: str, x_label: str
) -> Figure:
    """Draw one line per tracker over thresholds from 0 to ``limit``; the legend has the scores (0 to 1), best first."""
    figure, axes = _one_plot()
    styles = dict(zip(curves, line_styles(len(curves)), strict=True))
    for name in sorted(curves, key=lambda each: -np.nan_to_num(scores[each], nan=-1)):
        color, dash = styles[name]
        thresholds = np.linspace(0, limit, len(curves[name]))
        label = plain(f"{name} [{100 * scores[name]:.1f}]")
        axes.plot(thresholds, 100 * curves[name], color=color, linestyle=dash, label=label, linewidth=1.8)
    axes.set(title=plain(title), xlabel=x_label, ylabel="frames, %", xlim=(0, limit), ylim=(0, 100))
    axes.legend(fontsize=8, framealpha=0.85)
    return figure


def draw_precision_recall(
    curves: Mapping[str, tuple[Array, Array]], best: Mapping[str, tuple[float, float, float]]
) -> Figure:
    """Draw precision over recall of each tracker, 0 to 1.

    Args:
        curves: recall and precision, (T,) each, by tracker.
        best: recall, precision and F at the highest F, by tracker: drawn as a dot, with F in the legend.
    """
    figure, axes = _one_plot()
    for (name, (recall, precision)), (color, dash) in zip(curves.items(), line_styles(len(curves)), strict=True):
        label = plain(f"{name} [{100 * best[name][2]:.1f}]")
        axes.plot(100 * recall, 100 * precision, color=color, linestyle=dash, label=label, linewidth=1.8)
        axes.plot(100 * best[name][0], 100 * best[name][1], "o", color=color, markersize=6)
    axes.set(title="Long-term tracking [best F]", xlabel="recall, %", ylabel="precision, %")
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.legend(fontsize=8, framealpha=0.85)
    return figure


def draw_expected_overlap(
    curves: Mapping[str, Array], scores: Mapping[str, float], *, low: int, high: int, title: str
) -> Figure:
    """Draw the expected overlap of each tracker over the number of frames; the EAO is the mean of the shaded part.

    Args:
        curves: (N,) overlaps after 0, 1, ... frames, by tracker.
        scores: EAO, 0 to 1, by tracker.
        low: first frame of the part.
        high: its last one.
        title: name of the challenge.
    """
    figure, axes = _one_plot()
    for (name, curve), (color, dash) in zip(curves.items(), line_styles(len(curves)), strict=True):
        label = plain(f"{name} [{100 * scores[name]:.1f}]")
        axes.plot(np.arange(1, len(curve)), curve[1:], color=color, linestyle=dash, label=label, linewidth=1.8)
    axes.axvspan(low, high, color="#0072b2", alpha=0.08)
    longest = max([high, *map(len, curves.values())])
    axes.set(title=plain(f"Expected overlap on {title} [EAO]"), xlabel="frames", ylabel="expected overlap")
    axes.set(xlim=(0, longest), ylim=(0, 1))
    axes.legend(fontsize=8, framealpha=0.85)
    return figure


def draw_accuracy_robustness(points: Mapping[str, tuple[float, float]], *, title: str, robustness: str) -> Figure:
    """Draw accuracy over robustness in percent, one point per tracker, the better towards the upper right.

    Args:
        points: robustness and accuracy by tracker.
        title: name of the challenge.
        robustness: what robustness is; an axis of which less is better runs to the left.
    """
    figure, axes = _one_plot()
    for (name, (x, y)), (color, _) in zip(points.items(), line_styles(len(points)), strict=True):
        axes.plot(x, y, "o", color=color, markersize=9)
        axes.annotate(plain(name), (x, y), xytext=(8, 4), textcoords="offset points", fontsize=9)
    axes.set(title=plain(f"Accuracy and robustness on {title}"), xlabel=f"robustness: {robustness}")
    axes.set_ylabel("accuracy, %")
    axes.margins(0.25)
    if "less is better" in robustness:
        axes.invert_xaxis()
    return figure


def draw_speed(points: Mapping[str, tuple[float, float]], *, measure: str) -> Figure:
    """Draw accuracy (0 to 1) over frames per second, one point per tracker; unknown speeds are left out.

    This is Figure 1 of the OSTrack paper with a logarithmic axis.
    """
    figure, axes = _one_plot()
    speeds = [speed for speed, _ in points.values() if not math.isnan(speed)]
    for (name, (speed, accuracy)), (color, _) in zip(points.items(), line_styles(len(points)), strict=True):
        if math.isnan(speed):
            continue
        axes.plot(speed, 100 * accuracy, "o", color=color, markersize=9)
        axes.annotate(plain(name), (speed, 100 * accuracy), xytext=(8, 4), textcoords="offset points", fontsize=9)
    axes.set_xscale("log")
    left, right = min([*speeds, REAL_TIME]) / 1.6, max([*speeds, REAL_TIME]) * 2.5
    axes.set(title=f"{measure} against speed", xlabel="frames per second", ylabel=f"{measure}, %", xlim=(left, right))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(y=0.25)
    axes.axvline(REAL_TIME, color="#888888", linestyle=":", linewidth=1)
    axes.annotate("30 frames/s", (REAL_TIME, 0.01), xycoords=("data", "axes fraction"), fontsize=7, color="#666666")
    return figure


def draw_cost(points: Mapping[str, tuple[float, float, float]], *, measure: str) -> Figure:
    """Draw accuracy (0 to 1) over frames per second, one circle per tracker with an area by its cost.

    This is Figure 1 of the OSTrack paper.

    Args:
        points: tracker -> frames per second, accuracy, and billions of multiply-adds per frame (NaN: unknown, drawn as
            a cross).
        measure: name of the accuracy.
    """
    figure, axes = _one_plot()
    for (name, (speed, accuracy, cost)), (color, _) in zip(points.items(), line_styles(len(points)), strict=True):
        known = not math.isnan(cost)
        axes.scatter(
            [speed],
            [100 * accuracy],
            s=30 + 25 * cost if known else 60,
            c=color,
            marker="o" if known else "x",
            alpha=0.65 if known else 1.0,
        )
        label = plain(name) + (f"\n{cost:.3g} GMACs" if known else "")
        axes.annotate(
            label, (speed, 100 * accuracy), ha="center", va="bottom", fontsize=8, xytext=(0, 14),
            textcoords="offset points",
        )  # fmt: skip
    axes.set(title=f"{measure}, speed and cost", xlabel="frames per second", ylabel=f"{measure}, %")
    axes.margins(0.3)
    axes.set_xlim(left=0)
    return figure


def draw_convergence(runs: Mapping[str, tuple[Array, Array]], *, measure: str) -> Figure:
    """Draw a measure (0 to 1) over the number of training samples, one line per run: Figure 3 of the OSTrack paper."""
    figure, axes = _one_plot()
    largest = max((float(np.max(samples, initial=0)) for samples, _ in runs.values()), default=0.0)
    unit, divisor = ("million", 1e6) if largest >= 1e6 else ("thousand", 1e3)
    for (name, (samples, values)), (color, dash) in zip(runs.items(), line_styles(len(runs)), strict=True):
        axes.plot(
            samples / divisor, 100 * values, color=color, linestyle=dash, marker="o", markersize=3, label=plain(name)
        )
    axes.set(title="Convergence", xlabel=f"training samples, {unit}", ylabel=f"{measure}, %")
    axes.legend(fontsize=8, framealpha=0.85)
    return figure


def draw_attribute_bars(scores: Mapping[str, Mapping[str, float]], *, measure: str) -> Figure:
    """Draw a group of bars per attribute. ``scores``: tracker -> attribute -> 0 to 1."""
    attributes = list(next(iter(scores.values())))
    figure = Figure(figsize=(max(5.2, 0.45 * len(attributes) * len(scores) + 1.5), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(scores)
    for place, ((name, values), (color, _)) in enumerate(zip(scores.items(), line_styles(len(scores)), strict=True)):
        left = np.arange(len(attributes)) + (place - (len(scores) - 1) / 2) * width
        axes.bar(left, [100 * values[each] for each in attributes], width, color=color, label=plain(name))
    axes.set_xticks(np.arange(len(attributes)), [plain(each) for each in attributes], rotation=45, ha="right")
    axes.set(ylabel=f"{measure}, %", title=f"{measure} by attribute")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.85)
    return figure


def draw_attribute_radar(scores: Mapping[str, Mapping[str, float]], *, measure: str) -> Figure:
    """Draw a closed line per tracker over the attributes as axes of a radar. ``scores``: as for the bars."""
    attributes = list(next(iter(scores.values())))
    angles = np.linspace(0, 2 * math.pi, len(attributes), endpoint=False)
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    highest = max(0.01, *(value for values in scores.values() for value in values.values() if not math.isnan(value)))
    for (name, values), (color, dash) in zip(scores.items(), line_styles(len(scores)), strict=True):
        line = [100 * values[each] for each in attributes]
        axes.plot([*angles, angles[0]], [*line, line[0]], color=color, linestyle=dash, label=plain(name))
    axes.set_xticks(angles, [plain(each) for each in attributes], fontsize=8)
    axes.set_ylim(0, 100 * highest * 1.05)
    axes.tick_params(axis="y", labelsize=6)
    axes.set_title(f"{measure} by attribute, %", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_strip(
    frames: Mapping[int, NDArray[np.uint8]],
    truth_xywh: Array,
    predictions_xywh: Mapping[str, Array],
    overlaps: Mapping[str, Array],
    *,
    title: str,
) -> Figure:
    """Draw frames of one sequence with the boxes of all trackers, and the overlap over all frames below.

    Args:
        frames: frame index -> (H, W, 3) uint8 RGB.
        truth_xywh: (N, 4), NaN without a target; drawn white and dashed.
        predictions_xywh: tracker -> (N, 4).
        overlaps: tracker -> (N,), NaN where nothing was compared.
    """
    height, width = next(iter(frames.values())).shape[:2]
    shown, below = 2.3 * height / width + 0.25, 1.1  # inches; a frame is 2.3 wide
    figure = Figure(figsize=(2.3 * max(len(frames), 3), shown + below + 0.3), layout="constrained")
    upper, lower = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=(shown, below))))
    styles = dict(zip(predictions_xywh, line_styles(len(predictions_xywh)), strict=True))
    for axes, (index, frame) in zip(upper.subplots(1, len(frames), squeeze=False)[0], frames.items(), strict=True):
        small, scale = _smaller(frame)
        axes.imshow(small, interpolation="antialiased")
        axes.set_axis_off()
        axes.set_title(f"frame {index}", fontsize=7)
        _draw_box(axes, scale * truth_xywh[index], color="#000000", dash="-", width=2.4)
        _draw_box(axes, scale * truth_xywh[index], color=TRUTH_COLOR, dash="--", width=1.4)
        for name, boxes in predictions_xywh.items():
            _draw_box(axes, scale * boxes[index], color=styles[name][0], dash=styles[name][1], width=1.6)
        axes.set(xlim=(-0.5, small.shape[1] - 0.5), ylim=(small.shape[0] - 0.5, -0.5))
    axes = lower.subplots()
    for name, values in overlaps.items():
        color, dash = styles[name]
        axes.plot(np.arange(len(values)), values, color=color, linestyle=dash, linewidth=1, label=plain(name))
    for index in frames:
        axes.axvline(index, color="#888888", linestyle=":", linewidth=0.8)
    axes.set(xlim=(0, max(len(truth_xywh) - 1, 1)), ylim=(0, 1.02), yticks=(0, 0.5, 1))
    axes.set_ylabel("overlap", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(overlaps) > 1:
        axes.legend(fontsize=7, loc="lower left", ncols=4, framealpha=0.85)
    figure.suptitle(plain(title), fontsize=10)
    return figure


def save(figure: Figure, target: Any, kind: str) -> None:
    """Save a figure as png, svg, pdf or jpg to a path or binary stream; equal figures give equal bytes."""
    from matplotlib import rc_context

    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with rc_context({"svg.hashsalt": "singletrack"}):
        figure.savefig(target, format=kind, dpi=150 if kind != "jpg" else 110, metadata=undated or None)


def _one_plot() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _smaller(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Scale a frame to the width of a strip; also returns the scale."""
    from singletrack.opencv import cv2

    scale = min(1.0, STRIP_WIDTH / frame.shape[1])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def _draw_box(axes: Axes, box_xywh: Sequence[float] | Array, *, color: str, dash: str, width: float) -> None:
    x, y, box_width, box_height = (float(value) for value in box_xywh)
    if np.isfinite([x, y, box_width, box_height]).all() and box_width > 0 and box_height > 0:
        corner = (x - 0.5, y - 0.5)  # imshow puts the center of the first pixel at 0
        axes.add_patch(
            Rectangle(corner, box_width, box_height, fill=False, edgecolor=color, linestyle=dash, linewidth=width)
        )
