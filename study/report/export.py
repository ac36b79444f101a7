"""Export: every table as CSV and LaTeX, every figure as SVG and PNG, beside the page."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from study.records.records import slug
from study.report.blocks import Cell, Page, Table, Value
from study.report.page import html
from study.store.storage import Storage, concurrently

PAGE = "report.html"


def folder_of(study: str) -> str:
    """The place of a study's report in its store."""
    return f"report/{slug(study)}"


def page_of(study: str) -> str:
    """The place of a study's page in its store."""
    return f"{folder_of(study)}/{PAGE}"


def write(page: Page, storage: Storage, folder: str, *, own: bool) -> str:
    """Writes the page, and its tables and figures into folders beside it; returns the page's full name.

    `own`: the folder holds nothing else, so tables and figures of an earlier page are removed.
    """
    files: dict[str, bytes] = {}
    for table in page.tables:
        files |= {
            f"tables/{table.key}.csv": as_csv(table).encode(),
            f"tables/{table.key}.tex": as_latex(table).encode(),
        }
    for figure in page.figures:
        files[f"figures/{figure.key}.svg"], files[f"figures/{figure.key}.png"] = figure.drawn, figure.png()
    for part in ("tables", "figures") if own else ():
        for name in storage.names(f"{folder}/{part}"):
            if f"{part}/{name}" not in files:
                storage.delete(f"{folder}/{part}/{name}")
    concurrently(lambda name: storage.write(f"{folder}/{name}", files[name]), files)
    return write_page(page, storage, folder)


def write_page(page: Page, storage: Storage, folder: str) -> str:
    """Writes the page alone; returns its full name."""
    storage.write(f"{folder}/{PAGE}", html(page).encode())
    return storage.name_of(f"{folder}/{PAGE}")


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
    """A booktabs table with the page's text; its SQL as comments."""
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
