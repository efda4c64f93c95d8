"""Writes a report to files: tables, plots, and one self-contained HTML page. Needs the [report] extra.

OUT/report.html             one page that includes all plots; ``write_tables`` writes tables of other kinds as such
OUT/table.md .csv .tex      also differences, attributes, sequences; measures.csv has everything
OUT/success.png .svg .pdf   also precision, normalized_precision, long_term, speed, attribute_bars, attribute_radar,
                            best_1, ..., worst_1, ...
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from singletrack.datasets.base import VideoSequence
from singletrack.evaluation import plots
from singletrack.evaluation.protocols import CURVE_LIMITS, mean_score
from singletrack.evaluation.report import Report, all_tables, measure_table
from singletrack.evaluation.tables import Table, write_table
from singletrack.files import make_folder, writing

STRIP_FRAMES = 6
FEWEST_RADAR_AXES = 3
PICTURE_KINDS = ("png", "svg", "pdf")
MEDIA = {"svg": "image/svg+xml", "jpg": "image/jpeg"}
# curve -> title and axis label of its thresholds
CURVE_WORDS = {
    "success": ("Success", "overlap threshold"),
    "precision": ("Precision", "center error, pixels"),
    "normalized_precision": ("Normalized precision", "center error, target sizes"),
}
# curve -> measure in its legend: the first of these that the protocol has, else its headline
CURVE_MEASURES = {"success": ("AUC", "AO"), "precision": ("P",), "normalized_precision": ("P_norm",)}


def write_report(report: Report, out: str | Path, *, strips: int = 3) -> Path:
    """Write a report to a folder.

    Args:
        report: the report.
        out: output folder; created if needed.
        strips: number of best and of worst sequences of the first tracker to show as frame strips.

    Returns:
        The path of the HTML page.

    Raises:
        SingletrackError: the folder cannot be written.
        VideoError: a frame cannot be read.
    """
    folder = Path(out)
    make_folder(folder)
    tables = all_tables(report)
    with writing(folder):
        for table in tables:
            (folder / f"{table.name}.md").write_text(table.markdown(), encoding="utf-8")
            (folder / f"{table.name}.tex").write_text(table.latex(), encoding="utf-8")
        for table in (*tables, measure_table(report)):
            (folder / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8")
    shown: dict[str, dict[str, str]] = {"plots": {}, "strips": {}}
    for place, kind, name, figure in _figures(report, strips):
        with writing(folder):
            for ending in PICTURE_KINDS:
                plots.save(figure, folder / f"{name}.{ending}", ending)
        shown[place][name] = _embedded(figure, kind)
    return _write_page(folder, "report.html", report=report, tables={table.name: table for table in tables}, **shown)


def write_tables(title: str, about: str, tables: Sequence[Table], figures: Mapping[str, Figure], out: Path) -> Path:
    """Write tables as Markdown, CSV and LaTeX, plots, and a page with all of them.

    Args:
        title: title of the page.
        about: a sentence or two below it.
        tables: the tables.
        figures: name -> plot.
        out: output folder; created if needed.

    Returns:
        The path of the HTML page.

    Raises:
        SingletrackError: the folder cannot be written.
    """
    make_folder(out)
    for table in tables:
        write_table(table, out)
    shown = {}
    for name, figure in figures.items():
        with writing(out):
            for ending in PICTURE_KINDS:
                plots.save(figure, out / f"{name}.{ending}", ending)
        shown[name] = _embedded(figure, "svg")
    return _write_page(out, "tables.html", title=title, about=about, tables=tables, plots=shown)


def _write_page(folder: Path, template: str, **facts: Any) -> Path:
    environment = Environment(loader=PackageLoader("singletrack.evaluation", "templates"), autoescape=True)
    environment.trim_blocks = environment.lstrip_blocks = True
    page = environment.get_template(template).render(**facts)
    with writing(folder / "report.html"):
        (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def _figures(report: Report, strips: int) -> Iterator[tuple[str, str, str, Figure]]:
    """Yield each figure with its place in the page, its image format, and its name."""
    for name, figure in draw_plots(report).items():
        yield "plots", "svg", name, figure
    ranked = report.worst_first()
    count = min(strips, (len(ranked) + 1) // 2)
    best = ranked[: -count - 1 : -1]
    worst = [each for each in ranked[:count] if each not in best]
    for kind, chosen in (("worst", worst), ("best", best)):
        for place, sequence in enumerate(chosen, 1):
            yield "strips", "jpg", f"{kind}_{place}", draw_sequence(report, sequence, f"{kind} {place}")


def draw_plots(report: Report) -> dict[str, Figure]:
    """Draw the curves of the protocol, and the long-term and speed plots if these are known."""
    found = {}
    for curve, (title, x_label) in CURVE_WORDS.items():
        if curve not in report.trackers[0].total.curves:
            continue
        measure = next((each for each in CURVE_MEASURES[curve] if each in report.measures), report.headline)
        found[curve] = plots.draw_curves(
            {each.label: each.total.curves[curve] for each in report.trackers},
            {each.label: each.total.measures[measure] for each in report.trackers},
            limit=CURVE_LIMITS[curve],
            title=f"{title} on {report.title} [{measure}]",
            x_label=x_label,
        )
    sure = {each.label: each.long_term for each in report.trackers if each.long_term is not None}
    if sure:
        found["long_term"] = plots.draw_precision_recall(
            {label: (each.recall, each.precision) for label, each in sure.items()},
            {label: (each.best[1], each.best[0], each.best[2]) for label, each in sure.items()},
        )
    points = {each.label: (each.speed, each.total.measures[report.headline]) for each in report.trackers}
    if any(not np.isnan(speed) for speed, _ in points.values()):
        found["speed"] = plots.draw_speed(points, measure=report.headline)
    if report.attributes:
        scores = {
            each.label: {
                attribute: mean_score(each.sequences[name] for name in names).measures[report.headline]
                for attribute, names in report.attributes.items()
            }
            for each in report.trackers
        }
        found["attribute_bars"] = plots.draw_attribute_bars(scores, measure=report.headline)
        if len(report.attributes) >= FEWEST_RADAR_AXES:
            found["attribute_radar"] = plots.draw_attribute_radar(scores, measure=report.headline)
    return found


def draw_sequence(report: Report, sequence: VideoSequence, rank: str) -> Figure:
    """Draw evenly spaced frames of one sequence with the boxes of all trackers."""
    length = len(sequence.boxes_xywh)
    indices = sorted(set(np.linspace(0, length - 1, STRIP_FRAMES).round().astype(int).tolist()))
    scores = ", ".join(
        f"{each.label} {100 * each.sequences[sequence.name].measures[report.headline]:.1f}" for each in report.trackers
    )
    return plots.draw_strip(
        {index: sequence.frames[index] for index in indices},
        sequence.boxes_xywh,
        {each.label: each.results.boxes_xywh[sequence.name][0] for each in report.trackers},
        {each.label: each.sequences[sequence.name].overlaps for each in report.trackers},
        title=f"{rank}: {sequence.name}   {report.headline} {scores}",
    )


def _embedded(figure: Figure, kind: str) -> str:
    stream = io.BytesIO()
    plots.save(figure, stream, kind)
    return f"data:{MEDIA[kind]};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
