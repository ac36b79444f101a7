"""Export: every table as CSV and LaTeX, every figure as SVG and PNG, beside the page."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from study.report.blocks import Cell, Table, Value
from study.report.page import Page, html

PAGE = "report.html"


def write(page: Page, folder: Path) -> Path:
    """Writes the page, and its tables and figures into folders beside it; returns where the page is."""
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for table in page.tables:
        (folder / "tables" / f"{table.key}.csv").write_text(as_csv(table), encoding="utf-8")
        (folder / "tables" / f"{table.key}.tex").write_text(as_latex(table), encoding="utf-8")
    for figure in page.figures:
        for suffix, data in figure.files.items():
            (folder / "figures" / f"{figure.key}.{suffix}").write_bytes(data)
    target = folder / PAGE
    target.write_text(html(page), encoding="utf-8")
    return target


def as_csv(table: Table) -> str:
    """Full-precision values: a column for each that a cell of the table's column holds, or its words."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    columns = [
        _expanded(column.title, [row[place] for row in table.rows]) for place, column in enumerate(table.columns)
    ]
    writer.writerow([name for column in columns for name in column])
    for row in table.rows:
        writer.writerow([value(cell) for cell, column in zip(row, columns, strict=True) for value in column.values()])
    return sink.getvalue()


def _expanded(title: str, cells: Sequence[Cell]) -> Mapping[str, Callable[[Cell], Value]]:
    """Names of CSV columns, and how each is read off a cell."""
    keys = list(dict.fromkeys(key for cell in cells for key in cell.values))
    if not keys:
        return {title: lambda cell: cell.text}
    found: dict[str, Callable[[Cell], Value]] = {
        f"{title} {key}".strip(): lambda cell, key=key: cell.values.get(key) for key in keys
    }
    if any(cell.mark for cell in cells):
        found[f"{title} mark"] = lambda cell: cell.mark
    return found


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "\u2212": "$-$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
    "\n": " ",
}


def escaped(text: str) -> str:
    """Words in LaTeX."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def as_latex(table: Table) -> str:
    """A table in the style of booktabs, as it is read on the page; its questions as comments."""
    shape = "".join("r" if column.number else "l" for column in table.columns)
    head = " & ".join(escaped(column.title) for column in table.columns)
    body = "\n".join("    " + " & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows)
    caption = " ".join(filter(None, [table.badge and f"{table.badge[:1].upper()}{table.badge[1:]}.", table.caption]))
    comments = "".join(f"% {line}\n" for sql in table.sql for line in sql.splitlines())
    return (
        f"{comments}\\begin{{table}}\n  \\centering\n  \\caption{{{escaped(caption)}}}\n"
        f"  \\begin{{tabular}}{{{shape}}}\n    \\toprule\n    {head} \\\\\n    \\midrule\n"
        f"{body}\n    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(cell: Cell) -> str:
    mark = f"$^{{{cell.mark}}}$" if cell.mark else ""
    return escaped(cell.text) + mark + (f" {escaped(cell.small)}" if cell.small else "")
