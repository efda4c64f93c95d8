"""Formats tables of numbers as text for the terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from singletrack.files import make_folder, writing

Cell = str | int | float

UNKNOWN = "–"
LATEX_LETTERS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a header; the first column names each row.

    Attributes:
        name: file name without ending.
        title: a line above the table.
        columns: column headers.
        rows: cells are text, integers or floats; NaN is unknown.
        digits: decimals of floats; CSV has all digits.
        best: mark the highest number of each column, of each row, or none.
        less: columns in which the lowest number is the best.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: int = 2
    best: Literal["column", "row", "none"] = "none"
    less: tuple[str, ...] = ()

    def show(self, cell: Cell) -> str:
        """Format a cell."""
        if isinstance(cell, float):
            return UNKNOWN if math.isnan(cell) else f"{cell:.{self.digits}f}"
        return str(cell)

    @cached_property
    def marked(self) -> frozenset[tuple[int, int]]:
        """Find row and column of the cells to mark: the best of at least two, after rounding."""
        places = [(row, column) for row, cells in enumerate(self.rows) for column in range(len(cells))]
        lines: dict[int, list[tuple[int, int]]] = {}
        for row, column in places if self.best != "none" else ():
            cell = self.rows[row][column]
            if isinstance(cell, float) and not math.isnan(cell):
                lines.setdefault(column if self.best == "column" else row, []).append((row, column))
        marked = []
        for line in lines.values():
            choose = min if self.best == "column" and self.columns[line[0][1]] in self.less else max
            best = self.show(choose(self.rows[row][column] for row, column in line))
            marked += [place for place in line if len(line) > 1 and self.show(self.rows[place[0]][place[1]]) == best]
        return frozenset(marked)

    def text(self) -> str:
        """Format for a terminal: aligned columns, numbers to the right."""
        shown = [[_clean(cell) for cell in row] for row in (self.columns, *(map(self.show, row) for row in self.rows))]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if index and self._is_number(index) else cell.ljust(width)
                for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in shown
        ]
        return "\n".join([_clean(self.title), *lines]) + "\n"

    def markdown(self) -> str:
        rules = ["---:" if index and self._is_number(index) else ":---" for index in range(len(self.columns))]
        body = ([self._markdown_cell(row, column) for column in range(len(self.columns))] for row in self._indices)
        lines = [_bars(map(_escape_markdown, self.columns)), _bars(rules), *map(_bars, body)]
        return f"{_escape_markdown(self.title)}\n\n" + "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Format as CSV with all digits and without the title; unknown numbers are empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(map(_csv_cell, self.columns))
        for row in self.rows:
            writer.writerow("" if isinstance(cell, float) and math.isnan(cell) else _csv_cell(cell) for cell in row)
        return stream.getvalue()

    def latex(self) -> str:
        """Format as a tabular with the rules of the package booktabs."""
        alignment = "".join("r" if index and self._is_number(index) else "l" for index in range(len(self.columns)))
        body = ([self._latex_cell(row, column) for column in range(len(self.columns))] for row in self._indices)
        return "\n".join(
            [
                f"% {_clean(self.title)}; needs \\usepackage{{booktabs}}",
                f"\\begin{{tabular}}{{{alignment}}}",
                "\\toprule",
                _ampersands(map(_escape_latex, self.columns)),
                "\\midrule",
                *map(_ampersands, body),
                "\\bottomrule",
                "\\end{tabular}\n",
            ]
        )

    @property
    def _indices(self) -> range:
        return range(len(self.rows))

    def _is_number(self, column: int) -> bool:
        return all(not isinstance(row[column], str) for row in self.rows)

    def _markdown_cell(self, row: int, column: int) -> str:
        shown = _escape_markdown(self.show(self.rows[row][column]))
        return f"**{shown}**" if (row, column) in self.marked else shown

    def _latex_cell(self, row: int, column: int) -> str:
        shown = _escape_latex(self.show(self.rows[row][column]))
        return f"\\textbf{{{shown}}}" if (row, column) in self.marked else shown


def write_table(table: Table, folder: Path) -> Path:
    """Write a table as Markdown, CSV and LaTeX; returns the Markdown file."""
    make_folder(folder)
    with writing(folder):
        for ending, text in ((".md", table.markdown()), (".tex", table.latex()), (".csv", table.csv())):
            (folder / f"{table.name}{ending}").write_text(text, encoding="utf-8")
    return folder / f"{table.name}.md"


def _csv_cell(cell: Cell) -> Cell:
    """Text that a spreadsheet would take for a formula gets a quote before it; control characters are escaped."""
    if not isinstance(cell, str):
        return cell
    shown = _clean(cell)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def _clean(text: str) -> str:
    """The text with control characters escaped, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def _bars(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<])", r"\\\1", _clean(text))


def _escape_latex(text: str) -> str:
    return "".join(LATEX_LETTERS.get(letter, letter) for letter in _clean(text))
