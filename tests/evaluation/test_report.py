from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from singletrack.datasets.base import VideoSequence
from singletrack.errors import InputError
from singletrack.evaluation import plots
from singletrack.evaluation.html_report import draw_plots, write_report
from singletrack.evaluation.plots import draw_curves, draw_strip, save
from singletrack.evaluation.report import (
    Report,
    all_tables,
    attribute_table,
    build_report,
    difference_table,
    main_table,
    sequence_table,
)
from singletrack.evaluation.result_readers import TrackerResults
from singletrack.evaluation.tables import Table

NAN = float("nan")
BOX = np.array([10.0, 10.0, 20.0, 20.0])


class Gray:
    """So many gray frames; says which were looked at."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, []  # type: tuple[int, list[int]]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        self.asked.append(index)
        return np.full((48, 64, 3), 128, np.uint8)


def sequence(name: str, count: int = 10, **facts: object) -> VideoSequence:
    return VideoSequence(name=name, frames=Gray(count), boxes_xywh=np.tile(BOX, (count, 1)), **facts)  # type: ignore[arg-type]


SEQUENCES = [
    sequence("a", 10, attributes=("SV", "OCC")),
    sequence("b", 20, attributes=("OCC",)),
    sequence("c", 5),
]


def tracker(
    label: str, right: Mapping[str, int], sequences: list[VideoSequence] = SEQUENCES, **facts: object
) -> TrackerResults:
    """Right in so many frames of each sequence, and far off in the rest."""
    boxes = {}
    for each in sequences:
        if each.name in right:
            boxes[each.name] = np.tile(BOX, (len(each), 1))
            boxes[each.name][right[each.name] :] += [500, 500, 0, 0]
    return TrackerResults(label=label, boxes_xywh={name: (each,) for name, each in boxes.items()}, **facts)  # type: ignore[arg-type]


GOOD = tracker("good", {"a": 10, "b": 10, "c": 5}, seconds={name: np.full(9, 0.02) for name in "abc"})
POOR = tracker("poor", {"a": 5, "b": 10, "c": 1})


def report(*results: TrackerResults, benchmark: str = "otb", **options: object) -> Report:
    return build_report(list(results), SEQUENCES, benchmark=benchmark, **options)  # type: ignore[arg-type]


# --- numbers ---


def test_scores_of_each_tracker() -> None:
    found = report(GOOD, POOR)
    good, poor = found.trackers
    assert good.total.measures["P"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert poor.total.measures["P"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 5) / 3)
    assert good.speed == pytest.approx(50)
    assert np.isnan(poor.speed)
    assert good.long_term is None


def test_which_protocol_was_used_is_said() -> None:
    assert report(GOOD).summary == "3 sequences, 35 frames; protocol ostrack, as in papers on this benchmark"
    other = report(GOOD, protocol="pysot").summary
    assert other.endswith("protocol pysot; papers on this benchmark use ostrack")
    assert report(GOOD, benchmark="folder").summary.endswith("protocol ostrack")
    assert "21 overlap thresholds" in report(GOOD).about_protocol


def test_missing_results_are_an_error_or_left_out() -> None:
    part = tracker("part", {"a": 10, "c": 5})
    with pytest.raises(InputError, match="part has no results for 1 of 3 sequences: b; finish that run"):
        report(GOOD, part)
    found = report(GOOD, part, common=True)
    assert [each.name for each in found.sequences] == ["a", "c"]
    assert found.summary.startswith("2 of 3 sequences, 15 frames")
    assert found.trackers[0].total.measures["P"] == 1
    with pytest.raises(InputError, match="no sequence has results of every tracker"):
        report(part, tracker("rest", {"b": 1}), common=True)


def test_what_cannot_be_reported() -> None:
    with pytest.raises(InputError, match="give at least one folder of results"):
        report()
    with pytest.raises(InputError, match="got good, good; set them with LABEL=FOLDER"):
        report(GOOD, GOOD)
    short = TrackerResults(label="short", boxes_xywh={each.name: (BOX[None],) for each in SEQUENCES})
    with pytest.raises(InputError, match="short, a: there must be a predicted box for each of 10 frames; got 1"):
        report(short)


def test_repetitions_count_together() -> None:
    twice = TrackerResults(
        label="twice",
        boxes_xywh={name: (GOOD.boxes_xywh[name][0], POOR.boxes_xywh[name][0]) for name in "abc"},
    )
    both = report(twice, GOOD, POOR).trackers
    assert both[0].total.measures["P"] == pytest.approx((both[1].total.measures["P"] + both[2].total.measures["P"]) / 2)


def test_got10k_pools_frames_of_all_sequences_and_repetitions() -> None:
    covered = [sequence(name, count, cover=np.ones(count)) for name, count in (("a", 11), ("b", 21))]
    # of the frames after the first, 5 of 10 and then 10 of 10; 0 of 20
    results = TrackerResults(
        label="x",
        boxes_xywh={
            "a": tuple(tracker("", {"a": n}, covered).boxes_xywh["a"][0] for n in (6, 11)),
            "b": tracker("", {"b": 1}, covered).boxes_xywh["b"],
        },
    )
    found = build_report([results], covered, benchmark="got10k")
    assert found.trackers[0].sequences["a"].measures["AO"] == 0.75
    assert found.trackers[0].total.measures["AO"] == 15 / 40


def test_long_term_where_every_frame_has_a_confidence() -> None:
    sure = tracker(
        "sure",
        {"a": 10, "b": 20, "c": 5},
        confidences={each.name: np.ones(len(each)) for each in SEQUENCES},
    )
    found = report(sure, GOOD)
    assert found.trackers[0].long_term is not None
    assert found.trackers[0].long_term.best[0] == 1
    table = main_table(found)
    assert table.columns == ("tracker", "AUC", "OP50", "OP75", "P", "P_norm", "AO", "Pr", "Re", "F", "frames/s")
    assert np.isnan(table.rows[1][-2])  # type: ignore[arg-type]


# --- tables ---


def test_tables() -> None:
    found = report(GOOD, POOR)
    assert [table.name for table in all_tables(found)] == ["table", "differences", "attributes", "sequences"]
    assert [table.name for table in all_tables(report(GOOD, benchmark="otb"))] == ["table", "attributes", "sequences"]
    attributes = attribute_table(found)
    assert [row[:2] for row in attributes.rows] == [("OCC", 2), ("SV", 1)]
    perfect = 100 * 20 / 21
    assert attributes.rows[1][2:] == pytest.approx((perfect, perfect / 2))
    assert sequence_table(found).rows[2][2:] == pytest.approx((perfect, perfect / 5))


def test_differences_are_the_first_tracker_against_the_others() -> None:
    table = difference_table(report(GOOD, POOR))
    row = next(row for row in table.rows if row[1] == "P")
    assert row[0] == "good − poor"
    assert row[2:] == pytest.approx((100 * 1.3 / 3, 0.0, 80.0, 98.1), abs=0.5)


TABLE = Table(
    name="x",
    title="Scores of a_b",
    columns=("tracker", "AUC", "frames"),
    rows=(("one & two", 51.239, 3), ("50%|_", NAN, 12), ("three", 9.0, 1)),
    best="column",
)


def test_table_for_the_terminal() -> None:
    assert TABLE.text().splitlines() == [
        "Scores of a_b",
        "tracker      AUC  frames",
        "one & two  51.24       3",
        "50%|_          –      12",
        "three       9.00       1",
    ]


def test_table_as_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        r"Scores of a\_b",
        "",
        "| tracker | AUC | frames |",
        "| :--- | ---: | ---: |",
        "| one & two | **51.24** | 3 |",
        r"| 50%\|\_ | – | 12 |",
        "| three | 9.00 | 1 |",
    ]


def test_table_as_csv_has_all_digits() -> None:
    assert list(csv.reader(TABLE.csv().splitlines())) == [
        ["tracker", "AUC", "frames"],
        ["one & two", "51.239", "3"],
        ["50%|_", "", "12"],
        ["three", "9.0", "1"],
    ]


def test_table_as_latex() -> None:
    lines = TABLE.latex().splitlines()
    assert lines[1] == r"\begin{tabular}{lrr}"
    assert lines[3] == r"tracker & AUC & frames \\"
    assert lines[5:8] == [r"one \& two & \textbf{51.24} & 3 \\", r"50\%|\_ & -- & 12 \\", r"three & 9.00 & 1 \\"]


def test_best_of_a_row_and_ties() -> None:
    rows = (("x", 1.001, 1.002, 0.5), ("y", NAN, 2.0, NAN))
    by_row = Table(name="", title="", columns=("", "a", "b", "c"), rows=rows, best="row")
    assert by_row.marked == {(0, 1), (0, 2)}  # the same as they are read; one alone is no best
    assert Table(name="", title="", columns=("", "a", "b", "c"), rows=rows).marked == frozenset()


# --- pictures ---


def test_plots_of_the_whole() -> None:
    figures = draw_plots(report(GOOD, POOR))
    assert list(figures) == ["success", "precision", "normalized_precision", "speed", "attribute_bars"]
    axes = figures["success"].axes[0]
    assert [line.get_label() for line in axes.lines] == ["good [79.4]", "poor [38.1]"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.linspace(0, 1, 21))
    speed = figures["speed"].axes[0]
    assert [text.get_text() for text in speed.texts] == ["good", "30 frames/s"]  # poor has no times
    assert list(draw_plots(report(POOR))) == ["success", "precision", "normalized_precision", "attribute_bars"]


def test_got10k_has_no_precision() -> None:
    covered = [sequence("a", 10, cover=np.ones(10))]
    assert list(draw_plots(build_report([POOR], covered, benchmark="got10k"))) == ["success"]


def test_trackers_differ_in_their_lines() -> None:
    styles = plots.line_styles(20)
    assert len(set(styles)) == 20


# --- the page ---


def test_everything_is_written(tmp_path: Path) -> None:
    strange = tracker("<b>x</b>", {"a": 1, "b": 2, "c": 3}, facts={"engine": "<openvino>"})
    path = write_report(report(GOOD, POOR, strange), tmp_path / "new" / "out", strips=1)
    written = {file.name for file in path.parent.iterdir()}
    for table in ("table", "differences", "attributes", "sequences"):
        assert {f"{table}.md", f"{table}.csv", f"{table}.tex"} <= written
    for picture in ("success", "precision", "normalized_precision", "speed", "best_1", "worst_1"):
        assert {f"{picture}.png", f"{picture}.svg", f"{picture}.pdf"} <= written
    assert "measures.csv" in written
    with (path.parent / "measures.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 9
    page = path.read_text()
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 7
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r'(href|src)="(?!data:)|url\(|<script', page)  # nothing from outside
    assert "<b>x</b>" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "&lt;openvino&gt;" in page


def test_strips_show_the_worst_and_the_best_once_each(tmp_path: Path) -> None:
    path = write_report(report(POOR), tmp_path, strips=5)
    assert sorted(file.name for file in path.parent.glob("*st_*.png")) == ["best_1.png", "best_2.png", "worst_1.png"]
    assert [each.name for each in report(POOR).worst_first()] == ["c", "a", "b"]


def test_strips_look_at_frames_over_the_whole_length(tmp_path: Path) -> None:
    long = sequence("long", 101)
    results = tracker("x", {"long": 50}, [long])
    write_report(build_report([results], [long], benchmark="otb"), tmp_path, strips=1)
    assert long.frames.asked == [0, 20, 40, 60, 80, 100]  # type: ignore[attr-defined]


def test_no_strips_and_frames_without_a_box(tmp_path: Path) -> None:
    absent = sequence("d", 10)
    absent.boxes_xywh[5:] = NAN
    boxes = np.tile(BOX, (10, 1))
    boxes[7] = 0
    results = TrackerResults(label="x", boxes_xywh={"d": (boxes,)})
    page = write_report(build_report([results], [absent], benchmark="otb"), tmp_path / "one", strips=1).read_text()
    assert page.count("<figure>") == 4
    page = write_report(build_report([results], [absent], benchmark="otb"), tmp_path / "two", strips=0).read_text()
    assert page.count("<figure>") == 3
    assert "Worst and best" not in page


def test_the_same_report_is_the_same_to_the_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report(report(GOOD, POOR), tmp_path / name, strips=1)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("label", ["$x^$", "_x", r"\$", "$", "a_{b", "\x1b[31mred"])
def test_labels_are_text(label: str) -> None:  # C12
    figure = draw_curves(
        {label: np.ones(3), "b": np.zeros(3)}, {label: 1.0, "b": 0.0}, limit=1, title=label, x_label="x"
    )
    save(figure, io.BytesIO(), "png")
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 2
    strip = draw_strip(
        {0: np.zeros((4, 4, 3), np.uint8)},
        np.array([[0.0, 0, 2, 2]]),
        {label: np.array([[0.0, 0, 2, 2]]), "b": np.array([[0.0, 0, 2, 2]])},
        {label: np.ones(1), "b": np.ones(1)},
        title=label,
    )
    save(strip, io.BytesIO(), "png")


def test_cells_of_a_spreadsheet_are_no_formulas() -> None:  # C33
    rows = (("=cmd|' /C calc'!A0", -1.5), ("\x1b]0;title\x07", 2.0), ("@SUM(1)", 0.0), ("plain", 1.0))
    table = Table(name="t", title="\x1b[31m", columns=("=name", "value"), rows=rows)
    lines = table.csv().splitlines()
    assert lines == [
        "'=name,value",
        "'=cmd|' /C calc'!A0,-1.5",
        r"\x1b]0;title\x07,2.0",
        "'@SUM(1),0.0",
        "plain,1.0",
    ]
    for text in (table.text(), table.markdown(), table.latex(), table.csv()):
        assert "\x1b" not in text
        assert "\x07" not in text


def test_published_results_stand_beside_those_of_a_run() -> None:
    found = report(GOOD, with_published=True)  # on OTB
    table = next(each for each in all_tables(found) if each.name == "published")
    assert set(table.columns) == {"tracker", "AUC", "P", "P_norm", "source"}
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert (rows[0]["tracker"], rows[0]["source"]) == ("good", "this report")
    assert rows[0]["AUC"] == pytest.approx(100 * found.trackers[0].total.measures["AUC"])
    row = next(row for row in rows if row["tracker"] == "SiamRPN++ R50 (OTB)")
    assert (row["AUC"], row["P"], row["source"]) == (69.6, 91.4, "MODEL_ZOO.md of STVIR/pysot")
    assert np.isnan(row["P_norm"])
    assert [row["AUC"] for row in rows[1:]] == sorted((row["AUC"] for row in rows[1:]), reverse=True)
    assert "69.6" in table.markdown()
    assert all(each.name != "published" for each in all_tables(report(GOOD)))


def test_attributes_are_drawn_as_bars_and_as_a_radar_from_three_on() -> None:
    figures = draw_plots(report(GOOD, POOR))
    assert "attribute_bars" in figures
    assert "attribute_radar" not in figures  # two attributes make no radar
    (axes,) = figures["attribute_bars"].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["OCC", "SV"]
    assert len(axes.patches) == 4
    three = [sequence("a", 10, attributes=("SV", "OCC", "FM"))]
    figures = draw_plots(build_report([tracker("a", {"a": 5}, three)], three, benchmark="otb"))
    assert len(figures["attribute_radar"].axes[0].lines) == 1
